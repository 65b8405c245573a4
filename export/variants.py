"""The student as it is: `torch-fp32`, the form that every other one is compared with."""

from pathlib import Path

from stillhouse.recipe.settings import Settings
from stillhouse.store.artifact import Inputs
from stillhouse.store.links import content_files, link_file

WEIGHTS = (".safetensors", ".safetensors.index.json", ".bin", ".onnx", ".onnx_data")
RECORDS = ("history.json", "ranking.json", "widths.json", "low_rank.json", "refit.json")
"""What a stage wrote for the report beside its model."""


class CopyStudentSettings(Settings):
    """Nothing to choose: the variant is the student, byte for byte."""


def copy_student(settings: CopyStudentSettings, inputs: Inputs, folder: Path) -> None:
    """Make the `torch-fp32` variant: the files of `inputs["student"]`, linked rather than copied."""
    for path in content_files(inputs["student"]):
        if path.name not in RECORDS:
            link_file(path, folder / path.relative_to(inputs["student"]))


def copy_companions(source: Path, folder: Path) -> None:
    """Put everything of a model but its weights into `folder`: configs, tokenizer, chat template."""
    for path in content_files(source):
        if path.name not in RECORDS and not path.name.endswith(WEIGHTS):
            link_file(path, folder / path.relative_to(source))
