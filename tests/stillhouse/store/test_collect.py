"""Garbage collection: what a run names stays, what somebody is making stays, the rest goes."""

from pathlib import Path

from pydantic import BaseModel

from stillhouse.store import beside, lock
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


def test_answers_of_a_model_that_a_run_needs_stay_and_others_go(tmp_path: Path):
    store = Store(tmp_path)
    kept, dropped = (store.make(write_word, Word(word=word), {}) for word in ("kept", "dropped"))
    folders = []
    for reference in (kept, dropped):
        with beside.offered(tmp_path):
            folder = beside.folder_of_answers(beside.model_digest(store.manifest(reference)))
        assert folder is not None
        folder.mkdir(parents=True)
        (folder / "answers.jsonl").write_text("[]\n")
        folders.append(folder)
    assert any(line.startswith("requests/") for line in collect(tmp_path, lambda: {kept}, dry_run=True))
    assert all(folder.exists() for folder in folders)
    assert len(collect(tmp_path, lambda: {kept})) == 2
    assert [folder.exists() for folder in folders] == [True, False]


def test_answers_are_kept_only_where_a_store_runs_the_stage(tmp_path: Path):
    seen = []

    def look(settings: Word, inputs, folder: Path) -> None:
        seen.append(beside.folder_of_answers("digest"))

    Store(tmp_path).make(look, Word(word="x"), {})
    assert seen == [tmp_path / "requests" / "digest"]
    assert beside.folder_of_answers("digest") is None
