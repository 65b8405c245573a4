"""Garbage collection: what a run names stays, what somebody is making stays, the rest goes."""

from pathlib import Path

from pydantic import BaseModel

from stillhouse.store import lock
from stillhouse.store.collect import collect
from stillhouse.store.store import Store


class Word(BaseModel):
    word: str


def write_word(settings: Word, inputs, folder: Path) -> None:
    (folder / "word.txt").write_text(settings.word)


def test_only_what_no_run_needs_goes(tmp_path: Path):
    store = Store(tmp_path)
    kept, dropped = (store.make(write_word, Word(word=word), {}) for word in ("kept", "dropped"))
    lines = collect(tmp_path, lambda: {kept})
    assert len(lines) == 1 and dropped.key[:12] in lines[0]
    assert store.has(kept) and not store.has(dropped)


def test_a_dry_run_deletes_nothing(tmp_path: Path):
    store = Store(tmp_path)
    made = store.make(write_word, Word(word="x"), {})
    assert len(collect(tmp_path, set, dry_run=True)) == 1
    assert store.has(made)


def test_unfinished_work_of_nobody_goes_and_of_somebody_stays(tmp_path: Path):
    store = Store(tmp_path)
    references = [store.plan(write_word, Word(word=word), {}) for word in ("abandoned", "being made", "planned")]
    for reference in references:
        (store.partial(reference) / "work").mkdir(parents=True)
    with lock.locked(store.lock_file(references[1])):
        collect(tmp_path, lambda: {references[2]})
    assert [store.partial(reference).exists() for reference in references] == [False, True, True]
