"""The study of what is forgotten: each way beside the others, and its page."""

import pytest
import yaml

from benchmarks.continual import AT_ONCE, WAYS, _asked, main, page
from stillhouse.errors import InputError
from stillhouse.recipe.continual import Continual
from stillhouse.recipe.recipe import load_recipe
from tests.conftest import ROOT

RECIPE = load_recipe(ROOT / "recipes" / "techniques" / "continual.yaml")


def test_the_ways_differ_in_what_keeps_the_earlier_rounds():
    route = RECIPE.route
    assert isinstance(route, Continual)
    asked = {way: _asked(RECIPE, route, way).route for way in WAYS}
    kept = {(one.replay, one.previous_student) for one in asked.values()}
    assert kept == {(0.0, "none"), (0.25, "none"), (0.25, "replayed"), (0.0, "everywhere")}
    assert all(one.rounds == route.rounds for one in asked.values())


def test_a_curriculum_has_no_way_at_once(tmp_path, monkeypatch):
    """Refused before four other ways are trained."""
    content = yaml.safe_load((ROOT / "recipes" / "techniques" / "continual.yaml").read_text()) | {"curriculum": {}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(content))
    monkeypatch.setattr("sys.argv", ["continual", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "out.json")])
    with pytest.raises(InputError, match="'all at once' is one training by one teacher in no order"):
        main()


def domain(number: int, ratio: float | None) -> dict:
    losses = {"pruned": 6.0, "round-1": 4.0, "student": 4.4}
    bounds = {} if ratio is None else {"loss_ratio_to_own_round": (1.0, 1.2)}
    told = {"round": number, "documents": 9, "tokens": 90, "loss_nats_per_token": losses}
    return told | {"loss_ratio_to_own_round": ratio, "intervals": bounds}


def test_the_page_has_a_row_for_each_way_and_seed():
    cost = {"tokens": 1200, "training_seconds": 61.4}
    names = ("boolq-passages", "python-functions")
    rounds = {"domains": {names[0]: domain(1, 1.1), names[1]: domain(3, None)}, **cost}
    at_once = {"domains": {name: domain(1, None) for name in names}, **cost}
    runs = [{"way": "naive", "seed": 3, **rounds}, {"way": AT_ONCE, "seed": 3, **at_once}]
    told = page(
        {
            "runs": runs,
            "recipe": RECIPE.model_dump(mode="json"),
            "compute": {"precision": "fp32", "threads": 2},
            "environment": {"processor": "a processor"},
        }
    )
    assert "| naive | 3 | 4.000 | 4.400 | 4.400 | 1.100 (1.000 to 1.200) | 1,200 | 61 |" in told
    assert "| all at once | 3 | 4.400 | 4.400 | 4.400 |  | 1,200 | 61 |" in told
    assert "boolq-passages; then pubmed-abstracts; then python-functions" in told
