"""One of several processes that train together; also as `torchrun ... -m stillhouse.training.rank ORDER.json`."""

import json
import sys
from pathlib import Path
from typing import Any

from stillhouse.training.loop import train
from stillhouse.training.trainer import DistillSettings

ORDER = "order.json"


def train_as_rank(payload: dict[str, Any]) -> dict[str, Any]:
    """Train as the environment's rank.

    Args:
        payload: `settings`, `inputs` and `folder` of the stage, as `launch` writes them.
    """
    inputs = {name: Path(path) for name, path in payload["inputs"].items()}
    train(DistillSettings.model_validate(payload["settings"]), inputs, Path(payload["folder"]))
    return {}


if __name__ == "__main__":
    train_as_rank(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
