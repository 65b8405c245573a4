import errno
import os
from pathlib import Path

import pytest

from export.variants import CopyStudentSettings, copy_companions, copy_student


@pytest.fixture
def student(tmp_path: Path) -> Path:
    folder = tmp_path / "student"
    (folder / "additional").mkdir(parents=True)
    (folder / "work").mkdir()
    for name in ("model.safetensors", "config.json", "additional/template.jinja", "manifest.json", "work/scratch"):
        (folder / name).write_text(name)
    (folder / "tokenizer.json").symlink_to(folder / "config.json")
    return folder


def _names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_torch_variant_is_the_students_files_without_the_stores_own(student: Path, tmp_path: Path):
    copy_student(CopyStudentSettings(), {"student": student}, tmp_path / "variant")
    assert _names(tmp_path / "variant") == {
        "model.safetensors",
        "config.json",
        "tokenizer.json",
        "additional/template.jinja",
    }


def test_files_are_linked_and_never_symbolically(student: Path, tmp_path: Path):
    copy_student(CopyStudentSettings(), {"student": student}, tmp_path / "variant")
    weights = tmp_path / "variant" / "model.safetensors"
    assert weights.stat().st_ino == (student / "model.safetensors").stat().st_ino
    assert not (tmp_path / "variant" / "tokenizer.json").is_symlink()


def test_across_devices_files_are_copied(student: Path, tmp_path: Path, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    copy_student(CopyStudentSettings(), {"student": student}, tmp_path / "variant")
    weights = tmp_path / "variant" / "model.safetensors"
    assert weights.read_text() == "model.safetensors"
    assert weights.stat().st_ino != (student / "model.safetensors").stat().st_ino


def test_a_full_disk_is_not_taken_for_another_device(student: Path, tmp_path: Path, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(OSError, match="No space left"):
        copy_student(CopyStudentSettings(), {"student": student}, tmp_path / "variant")


def test_companions_are_everything_but_weights(student: Path, tmp_path: Path):
    copy_companions(student, tmp_path / "onnx")
    assert _names(tmp_path / "onnx") == {"config.json", "tokenizer.json", "additional/template.jinja"}
