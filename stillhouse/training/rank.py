"""One of several processes that train together; also as `torchrun ... -m stillhouse.training.rank ORDER.json`.

What torchrun trained lies in the stage's work folder until the stage is run again, which takes it up: a stage's
unfinished folder keeps nothing else from one attempt to the next.
"""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from stillhouse.store.artifact import WORK
from stillhouse.store.links import link_tree
from stillhouse.training.loop import train
from stillhouse.training.trainer import DistillSettings

ORDER = "order.json"
_TRAINED = "trained"


def train_as_rank(payload: dict[str, Any]) -> dict[str, Any]:
    """Train as the environment's rank.

    Args:
        payload: `settings`, `inputs` and `folder` of the stage, as `launch` writes them.
    """
    inputs = {name: Path(path) for name, path in payload["inputs"].items()}
    train(DistillSettings.model_validate(payload["settings"]), inputs, Path(payload["folder"]))
    return {}


def keep_trained(folder: Path) -> None:
    """Move what a training left in the stage's folder to where the next attempt finds it."""
    unfinished, trained = folder / WORK / f"{_TRAINED}.unfinished", folder / WORK / _TRAINED
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    for path in folder.iterdir():
        if path.name != WORK:
            path.rename(unfinished / path.name)
    unfinished.rename(trained)


def take_trained(folder: Path) -> bool:
    """Put what torchrun trained for this stage in place; says whether there was any.

    It is linked, not moved: an attempt that is killed in between leaves all of it to the next. The store drops it with
    the work folder when the stage ends.
    """
    trained = folder / WORK / _TRAINED
    if not trained.is_dir():
        return False
    link_tree(trained, folder)
    return True


def _train_under_torchrun(order: Path) -> None:
    payload = json.loads(order.read_text(encoding="utf-8"))
    if (Path(payload["folder"]) / WORK / _TRAINED).is_dir():
        return
    train_as_rank(payload)
    if os.environ.get("RANK", "0") == "0":
        keep_trained(Path(payload["folder"]))


if __name__ == "__main__":
    _train_under_torchrun(Path(sys.argv[1]))
