"""A file with the entries of a sweep."""

from pathlib import Path

import pytest

from stillhouse.errors import InputError
from stillhouse.recipe.changes import Changes
from stillhouse.recipe.changes_file import load_changes


def write(folder: Path, text: str) -> Path:
    (folder / "changes.yaml").write_text(text)
    return folder / "changes.yaml"


def test_an_entry_a_run(tmp_path):
    path = write(tmp_path, "- {layers: 4}\n-\n- {temperature: 4.0, variants: [onnx-int4]}\n")
    assert load_changes(path) == (Changes(layers=4), Changes(), Changes(temperature=4.0, variants=("onnx-int4",)))


def test_every_entry_that_is_wrong_is_named_by_its_number(tmp_path):
    path = write(tmp_path, "- {layers: 0}\n- {layers: 4}\n- {tempreature: 2}\n- 7\n")
    with pytest.raises(InputError) as refused:
        load_changes(path)
    said = str(refused.value)
    for words in (
        "entry 1 of",
        "layers: Input should be greater than or equal to 1 (got '0')",
        "has tempreature; a run can change teacher, layers, train_tokens, loss, alpha, temperature, variants, gates",
        "entry 4 of",
        "is 7, not a mapping",
    ):
        assert words in said
    assert "entry 2" not in said


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("layers: 4\n", "holds a dict, not a list of changes"),
        ("", "holds nothing, not a list of changes"),
        ("[]", "holds nothing, not a list of changes"),
        ("- {layers: [}\n", "is not valid YAML"),
    ],
)
def test_what_is_no_list_is_refused(tmp_path, text: str, says: str):
    with pytest.raises(InputError, match=says):
        load_changes(write(tmp_path, text))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match="no file with changes at .*nowhere.yaml"):
        load_changes(tmp_path / "nowhere.yaml")
