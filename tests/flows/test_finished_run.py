"""A run that is over is taken up with every teacher that it had."""

import json
import shutil
from pathlib import Path

import pytest

from flows.finished_run import open_finished_run
from stillhouse.errors import InputError
from stillhouse.recipe.recipe import load_recipe
from stillhouse.store.artifact import Manifest, Reference, write_manifest
from stillhouse.store.store import Store
from tests.conftest import RECIPE

MADE = ("teacher", "student", "documents", "answers", "answers_1", "answering_1", "prompts_1", "teacher_2", "cache_1")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run whose artifacts are empty."""
    folder, store = tmp_path / "mine" / "run", Store(tmp_path / "store")
    folder.mkdir(parents=True)
    made = {name: Reference("make", f"{number:064x}") for number, name in enumerate(MADE)}
    ends = [Reference(kind, "f" * 64) for kind in ("assemble_results", "probe_precision")]
    for reference in (*made.values(), *ends):
        store.folder(reference).mkdir(parents=True)
        inputs = {name: each.key for name, each in made.items()} if reference == ends[0] else {}
        write_manifest(manifest(reference, inputs), store.folder(reference))
    references = [{"kind": each.kind, "key": each.key} for each in (*made.values(), *ends)]
    (folder / "run.json").write_text(json.dumps(references))
    recipe = load_recipe(RECIPE).model_dump(mode="json")
    compute = {"device": "cpu", "precision": "fp32", "threads": 1, "seed": 0}
    (folder / "results.json").write_text(json.dumps({"lineage": {"recipe": recipe, "compute": compute}}))
    return folder


def manifest(reference: Reference, inputs: dict[str, str]) -> Manifest:
    return Manifest(
        kind=reference.kind,
        key=reference.key,
        digest="d",
        settings={},
        inputs=inputs,
        input_digests={},
        sources={},
        libraries={},
        files={},
        facts={},
        hardware={},
        made_at="",
        seconds=1.0,
        peak_memory_bytes=1,
    )


def test_other_teachers_and_what_they_said_are_found_again(run: Path):
    assert set(open_finished_run(run).found) == set(MADE) - {"cache_1"}


def test_an_answer_that_the_store_lost_is_named(run: Path):
    reference = Reference("make", f"{MADE.index('answers_1'):064x}")
    shutil.rmtree(Store(run.parents[1] / "store").folder(reference))
    with pytest.raises(InputError, match="the store lost answers_1 of the run"):
        open_finished_run(run)
