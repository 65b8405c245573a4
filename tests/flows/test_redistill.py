"""A scheduled compression does its work only where there is any, and within its limits."""

from pathlib import Path

import pytest

from flows.compress import check_recipe
from flows.redistill import check_affordable, why_skip
from flows.run_folder import Asked
from flows.work import Made
from stillhouse.errors import InputError
from stillhouse.recipe.changes import NO_CHANGES, Changes
from stillhouse.store.artifact import Reference
from stillhouse.store.store import Store

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


def test_a_student_that_gates_blocked_is_not_tried_again(tmp_path: Path):
    results = Reference("assemble_results", "1" * 64)
    asked = Asked(lambda work: Made((results,), results, results, None), "tiny", Store(tmp_path))
    assert "gates blocked this student" in (why_skip(asked) or "")


def test_too_many_tokens_are_refused_before_anything_starts(tmp_path: Path):
    with pytest.raises(InputError, match="at_most_tokens allows 1,000; raise it, or lower data.train_tokens"):
        check_affordable(RECIPE, NO_CHANGES, 1000, tmp_path)
