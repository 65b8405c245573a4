"""A scheduled compression does its work only where there is any, and within its limits."""

import json
import time
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from flows import preflight
from flows.attended import Outcome
from flows.compress import check_recipe
from flows.redistill import check_affordable, why_skip
from flows.run_folder import Asked, new_folder
from flows.work import Made
from stillhouse.errors import InputError
from stillhouse.recipe.changes import NO_CHANGES, Changes
from stillhouse.store.artifact import Reference
from stillhouse.store.links import link_tree
from stillhouse.store.store import Store

# The modules, and not the flows of their names.
redistill, compress = import_module("flows.redistill"), import_module("flows.compress")
ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "recipes" / "tiny.yaml"


def test_nothing_is_done_where_the_store_has_the_package(runs: Path):
    """Though a variant is absent on some machines: the plan knows what could not be made."""
    reason = why_skip(check_recipe(RECIPE, NO_CHANGES, runs))
    assert reason is not None and "the store has this very package, build_package/" in reason


def test_a_changed_value_is_work(runs: Path):
    assert why_skip(check_recipe(RECIPE, Changes(temperature=3.0), runs)) is None


def test_a_package_that_was_lost_is_work(runs: Path, tmp_path: Path):
    assert why_skip(check_recipe(RECIPE, NO_CHANGES, tmp_path)) is None


def test_a_package_that_no_run_folder_holds_is_work_and_so_is_a_damaged_one(tmp_path: Path):
    """As where a run ended between its last stage and the end."""
    store = Store(tmp_path / "store")
    package = store.make(write, Training(), {})

    def asked() -> Asked:
        """By a run of its own: a store reads the bytes of an artifact once in its life."""
        return Asked(lambda work: Made((package,), package, package, package), "tiny", Store(store.root))

    folder = new_folder(tmp_path, "tiny", [package])
    assert why_skip(asked()) is None
    link_tree(store.folder(package), folder / "package")
    (folder / "results.json").write_text("{}")
    assert "the store has this very package" in (why_skip(asked()) or "")
    file = store.folder(package) / "written"
    file.chmod(0o644)
    file.write_text("other")
    assert why_skip(asked()) is None


def write(settings: Any, inputs: Any, folder: Path) -> None:
    (folder / "written").write_text("it")


def test_a_student_that_gates_blocked_is_not_tried_again(tmp_path: Path):
    results = Reference("assemble_results", "1" * 64)
    asked = Asked(lambda work: Made((results,), results, results, None), "tiny", Store(tmp_path))
    assert "gates blocked this student" in (why_skip(asked) or "")


@dataclass(frozen=True)
class Training:
    """Toy stage: its first attempt takes a minute after its checkpoint, the next one no time."""

    fails_with_a_timeout: bool = False

    def model_dump(self, *, mode: str) -> dict[str, Any]:
        return asdict(self)


def train(settings: Training, inputs: Any, folder: Path) -> None:
    if settings.fails_with_a_timeout:
        raise TimeoutError("the teacher's server is slow")
    checkpoint = folder / "work" / "step"
    if not checkpoint.exists():
        checkpoint.parent.mkdir(exist_ok=True)
        checkpoint.write_text("7")
        time.sleep(60)
    (folder / "facts.json").write_text(json.dumps({"first": int(checkpoint.read_text())}))


@pytest.fixture
def scheduled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """The flow, without Prefect's engine, over the toy stage."""
    store = Store(tmp_path / "store")

    def run(settings: Training, seconds: float) -> Outcome:
        def carry_out(asked: Asked, call: object) -> Reference:
            return store.make(train, settings, {})

        monkeypatch.setattr(redistill, "carry_out", carry_out)
        monkeypatch.setattr(redistill, "checked", lambda look: Asked(None, "toy", store))
        monkeypatch.setattr(redistill, "why_skip", lambda asked: None)
        monkeypatch.setattr(redistill, "outcome_of", lambda made: Outcome("Packaged", "", store.facts(made)))
        return redistill._in_flow(RECIPE, NO_CHANGES, seconds / 3600, 1000, tmp_path)

    return run


def test_a_run_is_stopped_after_its_hours_and_the_next_one_goes_on(scheduled):
    with pytest.raises(InputError, match="stopped after .* hours, as at_most_hours says"):
        scheduled(Training(), seconds=2)
    ended = scheduled(Training(), seconds=300)
    assert ended.name == "Packaged" and ended.data["first"] == 7


def test_a_timeout_of_a_stage_is_not_taken_for_that(scheduled):
    with pytest.raises(TimeoutError, match="the teacher's server is slow"):
        scheduled(Training(fails_with_a_timeout=True), seconds=60)


def test_a_recipe_is_examined_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    examined = []
    monkeypatch.setattr(compress, "examine", lambda *given, **more: examined.append(given) or preflight.examine(*given))
    asked = check_affordable(RECIPE, NO_CHANGES, 10_000_000, tmp_path)
    assert len(examined) == 1 and asked.training_tokens > 1000


def test_too_many_tokens_are_refused_before_anything_starts(tmp_path: Path):
    with pytest.raises(InputError, match="at_most_tokens allows 1,000; raise it, or lower data.train_tokens"):
        check_affordable(RECIPE, NO_CHANGES, 1000, tmp_path)
