"""What `stillhouse verify` finds in a package that is no run's: a few files, and a decoder that fails."""

import json
import os
from pathlib import Path

import pytest

from export import verify as checking
from export.verify import verify
from stillhouse import cli
from stillhouse.store.artifact import read_manifest
from tests.sealed import seal


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Two variants, which nothing opens."""
    folder = tmp_path / "package"
    names = ("onnx-fp32", "onnx-int8")
    for name in names:
        (folder / "variants" / name).mkdir(parents=True)
        (folder / "variants" / name / "model.onnx").write_text(name)
    prompt = {"text": "a", "ids": [1], "tokens": {name: [2] for name in names}}
    (folder / "smoke.json").write_text(json.dumps({"new_tokens": 1, "prompts": [prompt]}))
    opens = {"stillhouse": "stillhouse.serving.decoder.Decoder"}
    variants = {name: {"folder": f"variants/{name}", "loaders": opens} for name in names}
    (folder / "facts.json").write_text(json.dumps({"variants": variants}))
    seal(folder, {"variants": variants})
    return folder


class Decoder:
    """Answers what it should, unless its variant is the one that fails."""

    def __init__(self, folder: Path, failing: str):
        self.fails = folder.name == failing

    def encode(self, text: str) -> list[int]:
        return [1]

    def generate(self, ids: list[int], *, max_new_tokens: int) -> list[int]:
        if self.fails:
            raise FloatingPointError("logits are not numbers")
        return [2]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch):
    def choose(name: str) -> None:
        monkeypatch.setattr(checking.Decoder, "open", lambda folder, **_: Decoder(folder, name))

    choose("")
    return choose


def test_another_package_that_is_whole_differs_from_the_digest_that_was_asked_for(package, failing, capsys):
    digest = read_manifest(package).digest
    assert verify(package) == verify(package, digest) == verify(package, digest[:12].upper()) == []
    # Whoever changes a file can write its checksum anew.
    (package / "variants" / "onnx-int8" / "model.onnx").write_text("another")
    seal(package, json.loads((package / "facts.json").read_text()))
    assert verify(package) == []
    assert verify(package, digest) == [
        f"the package's digest is {read_manifest(package).digest}, not {digest}: it is another package"
    ]
    assert cli.command(["verify", str(package), "--digest", digest]) == 1
    assert cli.command(["verify", str(package)]) == 0
    assert read_manifest(package).digest in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.command(["verify", str(package), "--digest", "not hexadecimal"])
    assert "is no SHA-256: give 12 to 64 hexadecimal digits" in capsys.readouterr().err


def test_what_is_no_file_is_no_part_of_a_package(package, failing):
    os.mkfifo(package / "variants" / "pipe")
    assert verify(package) == ["variants/pipe is no file"]


def test_a_variant_that_opens_and_cannot_answer_is_named_and_the_others_are_asked(package, failing):
    failing("onnx-fp32")
    assert verify(package) == [
        "variants/onnx-fp32/model.onnx opens, and does not answer 'a': FloatingPointError: logits are not numbers"
    ]
    failing("onnx-int8")
    assert [line.split()[0] for line in verify(package)] == ["variants/onnx-int8/model.onnx"]
