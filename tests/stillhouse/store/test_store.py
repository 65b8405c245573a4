"""The store on toy stages: what it remembers, what it notices, what it forgives."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from pydantic import BaseModel

from stillhouse import machine
from stillhouse.errors import Unavailable
from stillhouse.store.artifact import Reference, read_manifest
from stillhouse.store.store import Store

calls: list[str] = []


class Word(BaseModel):
    word: str


class Nothing(BaseModel):
    pass


def write_word(settings: Word, inputs, folder: Path) -> None:
    calls.append("write_word")
    (folder / "word.txt").write_text(settings.word)


def shout(settings: Nothing, inputs, folder: Path) -> None:
    calls.append("shout")
    (folder / "loud.txt").write_text((inputs["word"] / "word.txt").read_text().upper())
    (folder / "facts.json").write_text(json.dumps({"letters": 5}))


def fail_once(settings: Word, inputs, folder: Path) -> None:
    calls.append("fail_once")
    work = folder / "work"
    if not work.exists():
        work.mkdir()
        (work / "half").write_text("done before")
        (folder / "stray.txt").write_text("must not ship")
        raise OSError(28, "No space left on device")
    (folder / "whole.txt").write_text((work / "half").read_text())


def refuse(settings: Nothing, inputs, folder: Path) -> None:
    raise Unavailable("this processor has none")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    calls.clear()
    return Store(tmp_path / "store")


def two_stages(store: Store, word: str = "quiet") -> tuple[Reference, Reference]:
    first = store.make(write_word, Word(word=word), {})
    return first, store.make(shout, Nothing(), {"word": first})


def test_a_stage_runs_once_and_is_found_again(store: Store):
    first = two_stages(store)
    again = two_stages(Store(store.root))
    assert first == again
    assert calls == ["write_word", "shout"]


def test_a_changed_setting_reruns_what_depends_on_it(store: Store):
    _, loud = two_stages(store)
    _, louder = two_stages(store, "other")
    assert loud != louder
    assert calls == ["write_word", "shout"] * 2


def test_a_run_is_planned_without_making_anything(store: Store):
    word = store.plan(write_word, Word(word="quiet"), {})
    loud = store.plan(shout, Nothing(), {"word": word})
    assert calls == [] and not store.root.exists()
    assert (word, loud) == two_stages(store)


def test_what_a_machine_could_not_make_is_known_to_a_plan_on_this_machine_only(store: Store, monkeypatch):
    reference = store.plan(refuse, Nothing(), {})
    assert store.why_unavailable(reference) is None
    for _ in range(2):
        # It is tried again each time: a reason is no result.
        with pytest.raises(Unavailable):
            store.make(refuse, Nothing(), {})
    assert Store(store.root).why_unavailable(reference) == "this processor has none"
    monkeypatch.setattr(machine, "hardware", lambda: {"processor": "another"})
    assert store.why_unavailable(reference) is None


def test_the_manifest_says_what_was_read_and_what_came_out(store: Store):
    word, loud = two_stages(store)
    manifest = read_manifest(store.folder(loud))
    assert manifest.inputs == {"word": word.key}
    assert manifest.input_digests == {"word": store.manifest(word).digest}
    assert set(manifest.files) == {"loud.txt", "facts.json"}
    assert manifest.facts == {"letters": 5}
    assert "test_store.py" in " ".join(manifest.sources)
    assert "pydantic" in manifest.libraries


@pytest.mark.parametrize("damage", ["changed", "missing", "extra", "manifest"])
def test_a_damaged_artifact_is_found_and_made_again(store: Store, damage: str):
    word, _ = two_stages(store)
    file = store.folder(word) / "word.txt"
    if damage == "changed":
        file.chmod(0o644)
        file.write_text("Quiet")
    elif damage == "missing":
        file.unlink()
    elif damage == "extra":
        (store.folder(word) / "more.txt").write_text("?")
    else:
        manifest = store.folder(word) / "manifest.json"
        manifest.chmod(0o644)
        manifest.write_text("{}")
    calls.clear()
    two_stages(Store(store.root))
    # The same bytes came out again, so what was made from them still holds.
    assert calls == ["write_word"]
    assert (store.folder(word) / "word.txt").read_text() == "quiet"


def test_other_bytes_under_the_same_key_rerun_what_read_them(store: Store):
    word, _ = two_stages(store)
    manifest = store.folder(word) / "manifest.json"
    content = json.loads(manifest.read_text())
    content["digest"] = "0" * 64
    manifest.chmod(0o644)
    manifest.write_text(json.dumps(content))
    calls.clear()
    reader = Store(store.root)
    reader.make(shout, Nothing(), {"word": word})
    assert calls == ["shout"]


def test_finished_files_are_read_only(store: Store):
    word, _ = two_stages(store)
    assert (store.folder(word) / "word.txt").stat().st_mode & 0o222 == 0


def test_work_of_a_failed_attempt_is_handed_on_and_strays_are_not(store: Store):
    settings = Word(word="x")
    with pytest.raises(OSError, match="No space"):
        store.make(fail_once, settings, {})
    made = store.make(fail_once, settings, {})
    assert (store.folder(made) / "whole.txt").read_text() == "done before"
    assert set(store.manifest(made).files) == {"whole.txt"}


def remember(settings: Word, inputs, folder: Path) -> None:
    """Counts its attempts in its work."""
    work = folder / "work"
    work.mkdir(exist_ok=True)
    (work / str(len(list(work.iterdir())))).write_text("done")
    (folder / "attempts").write_text(str(len(list(work.iterdir()))))


@pytest.mark.parametrize("ended_in", ["hash_files", "write_manifest", "_publish"])
def test_an_attempt_that_is_ended_before_its_artifact_has_its_name_loses_no_work(
    store: Store, ended_in: str, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patched:
        patched.setattr(f"stillhouse.store.store.{ended_in}", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            store.make(remember, Word(word="x"), {})
    made = store.make(remember, Word(word="x"), {})
    assert (store.folder(made) / "attempts").read_text() == "2"
    assert set(store.manifest(made).files) == {"attempts"}
    assert not store.work_aside(made).exists() and not store.partial(made).exists()


def test_a_damaged_artifact_is_not_held(store: Store):
    word, loud = two_stages(store)
    assert store.holds(word, {}) and store.holds(loud, {"word": word})
    file = store.folder(loud) / "loud.txt"
    file.chmod(0o644)
    file.write_text("?")
    other = Store(store.root)
    assert other.has(loud) and not other.holds(loud, {"word": word}) and other.holds(word, {})


def test_what_is_left_of_a_deletion_that_was_ended_is_no_hindrance(store: Store):
    word, _ = two_stages(store)
    (store.folder(word) / "manifest.json").unlink()
    again = Store(store.root)
    assert again.make(write_word, Word(word="quiet"), {}) == word and again.has(word)


def slow_count(settings: Word, inputs, folder: Path) -> None:
    """Append a line to a file beside the store each time it runs."""
    with Path(settings.word).open("a") as file:
        file.write("ran\n")
    time.sleep(0.3)
    (folder / "out").write_text("x")


def test_two_runs_at_once_make_it_once(store: Store, tmp_path: Path):
    settings = Word(word=str(tmp_path / "count"))
    threads = [threading.Thread(target=Store(store.root).make, args=(slow_count, settings, {})) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "count").read_text() == "ran\n"


KILLED = """
import os, sys, time
from pathlib import Path
from pydantic import BaseModel
from stillhouse.store.store import Store

class Settings(BaseModel):
    parts: int

def count_parts(settings, inputs, folder):
    work = folder / "work"
    work.mkdir(exist_ok=True)
    for part in range(settings.parts):
        if (work / str(part)).exists():
            continue
        print("makes", part, flush=True)
        time.sleep(0.05)
        (work / str(part)).write_text("part")
        if part == int(sys.argv[2]):
            time.sleep(60)
    (folder / "whole").write_text("".join((work / str(p)).read_text() for p in range(settings.parts)))

reference = Store(Path(sys.argv[1])).make(count_parts, Settings(parts=6), {})
print("made", reference.key, flush=True)
"""


def test_after_kill_9_only_unfinished_parts_are_made(tmp_path: Path):
    script = tmp_path / "script.py"
    script.write_text(KILLED)

    def start(stop_after: int) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(script), str(tmp_path / "store"), str(stop_after)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.getcwd()},
        )

    first = start(stop_after=3)
    while not list(tmp_path.glob("store/*/*.partial/work/3")):
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert not list(tmp_path.glob("store/*/*/manifest.json"))
    second = start(stop_after=99)
    said = second.communicate()[0].split()
    assert said[:4] == ["makes", "4", "makes", "5"]
    assert said[4] == "made"
