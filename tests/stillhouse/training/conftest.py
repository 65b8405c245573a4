"""What a training reads."""

from pathlib import Path

import pytest

from tests.stillhouse.training.trainings import write_random_dataset


@pytest.fixture
def inputs(tiny_model: Path, tmp_path: Path) -> dict[str, Path]:
    return {"teacher": tiny_model, "start": tiny_model, "dataset": write_random_dataset(tmp_path / "dataset")}


@pytest.fixture
def apart(inputs: dict[str, Path], tmp_path: Path) -> dict[str, Path]:
    """The same, for a student that begins as another random model than its teacher."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    start = tmp_path / "start"
    with torch.random.fork_rng():
        torch.manual_seed(1)
        AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(inputs["teacher"])).save_pretrained(start)
    AutoTokenizer.from_pretrained(inputs["teacher"]).save_pretrained(start)
    return {**inputs, "start": start}
