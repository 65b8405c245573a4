"""The tiny recipe made tinier, for studies that train."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture
def small_recipe(tmp_path: Path) -> Callable[..., Path]:
    """Writes `tiny.yaml` with a few thousand tokens, the tiny teacher and no gates; takes keys of `distillation`."""

    def write(**distillation: int) -> Path:
        content = yaml.safe_load((ROOT / "recipes" / "tiny.yaml").read_text())
        content |= {"teacher": str(ROOT / "tests" / "tiny_teacher"), "gates": []}
        content["data"] |= {
            "sets": [{"kind": "packaged", "name": "boolq-passages", "limit": 200}],
            "train_tokens": 4000,
            "validation_tokens": 1500,
            "held_out_tokens": 1500,
        }
        content["student"]["ranking_tokens"] = 512
        content["distillation"] |= distillation
        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return write
