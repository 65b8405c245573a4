"""The matrix of what was kept of each domain, by hand, and the gate on it."""

import json
from pathlib import Path

import pytest

from evaluation.forgetting import RATIO, domains_of
from evaluation.gate_figures import check_documents, check_gates, figures_of
from evaluation.report.domain_tables import domains_tables, forgotten
from evaluation.report.words import MINUS, TO
from evaluation.results import DomainFigures, Results
from stillhouse.errors import InputError
from stillhouse.recipe.continual import Continual
from stillhouse.recipe.recipe import Recipe, load_recipe, validated
from tests.conftest import RECIPE

ROUTE = Continual(rounds=({"sets": ["general"]}, {"sets": ["medicine"]}, {"sets": ["code"]}))
LOSSES = {"pruned": (4.0, 5.0, 6.0), "round-1": (2.0, 4.0, 5.0), "round-2": (2.1, 3.0, 4.5), "student": (2.2, 2.7, 3.0)}


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    """Each student's held-out text: six documents of ten tokens a set; of the general ones, half from a file."""
    found = {}
    for student, losses in LOSSES.items():
        rows = [
            {"document": f"{name}{own}/{number}", "tokens": 10, "loss_nats": 10 * loss * (1 + 0.01 * number)}
            for name, loss in zip(("general", "medicine", "code"), losses, strict=True)
            for number in range(6)
            for own in ["/held-out" if name == "general" and number % 2 else ""]
        ]
        place = f"held_out_{student}" if student in ("pruned", "student") else f"before_{student}"
        found[place] = tmp_path / student
        found[place].mkdir()
        (found[place] / "held_out.json").write_text(json.dumps({"documents": rows}))
    return found


def figures(route: Continual, inputs: dict[str, Path]) -> dict[str, DomainFigures]:
    return {name: one.figures for name, one in domains_of(route, inputs, seed=0).items()}


def test_the_matrix_and_what_was_forgotten(inputs):
    found = figures(ROUTE, inputs)
    assert list(found) == ["general", "medicine", "code"]
    general, medicine, code = found.values()
    assert list(general.loss_nats_per_token) == ["pruned", "round-1", "round-2", "student"]
    # The mean of 1, 1.01 to 1.05 is 1.025.
    assert general.loss_nats_per_token["round-2"] == pytest.approx(2.1 * 1.025)
    assert (general.round, general.documents, general.tokens) == (1, 6, 60)
    assert general.loss_ratio_to_own_round == pytest.approx(1.1)
    assert medicine.loss_ratio_to_own_round == pytest.approx(0.9)
    assert code.loss_ratio_to_own_round is None and code.intervals == {}
    # Documents differ in how hard they are, and not in what was forgotten of them: they are paired.
    assert general.intervals[RATIO] == pytest.approx((1.1, 1.1))
    assert domains_of(ROUTE, inputs, seed=0)["medicine"].evidence.interval_at(0.9) == pytest.approx((0.9, 0.9))


def test_rounds_are_in_their_order_whatever_that_of_the_inputs_is(inputs):
    (general, *_) = figures(ROUTE, dict(reversed(inputs.items()))).values()
    assert list(general.loss_nats_per_token) == ["pruned", "round-1", "round-2", "student"]


def test_a_set_without_held_out_text_has_no_row(inputs):
    route = ROUTE.model_copy(
        update={"rounds": (*ROUTE.rounds[:2], ROUTE.rounds[2].model_copy(update={"sets": ("x",)}))}
    )
    assert list(figures(route, inputs)) == ["general", "medicine"]


def test_the_report_shows_the_matrix_and_says_what_was_forgotten(inputs):
    results = Results.model_construct(domains=figures(ROUTE, inputs))
    (table,) = domains_tables(results)
    assert table.columns[2:6] == ("pruned", "round-1", "round-2", "student")
    assert [cell.text for cell in table.rows[0]] == ["general", "1", "4.100", "2.050", "2.153", "2.255", "1.100", "6"]
    assert table.rows[2][6].text == "n/a"
    first, second = forgotten(results)
    assert "general, learned in round 1" in first and f"+10.0% (+10.0%{TO}+10.0%)" in first
    assert f"{MINUS}10.0%" in second
    assert domains_tables(Results.model_construct(domains={})) == []


def in_rounds(figure: str) -> Recipe:
    content = load_recipe(RECIPE).model_dump(mode="json", exclude_none=True)
    names = [data_set["name"] for data_set in content["data"]["sets"]]
    content["route"] = {"kind": "continual", "rounds": [{"sets": [name]} for name in names]}
    content["gates"] = [{"figure": figure, "at_most": 1.02}]
    return validated(Recipe, content, "recipe")


def test_a_gate_may_limit_what_is_forgotten_of_all_sets_but_the_last():
    check_gates(in_rounds(f"domains.boolq-passages.{RATIO}"))
    with pytest.raises(InputError, match="which no stage of this recipe produces; near it are domains.boolq-passages"):
        check_gates(in_rounds(f"domains.reasoning-gym.{RATIO}"))
    assert not any(figure.startswith("domains") for figure in figures_of(load_recipe(RECIPE)))


def test_a_blocking_gate_on_a_set_with_too_few_held_out_documents_is_refused_before_training():
    recipe = in_rounds(f"domains.boolq-passages.{RATIO}")
    check_documents(recipe, {"boolq-passages": 2, "boolq-passages/held-out": 3})
    with pytest.raises(InputError, match="the held-out split holds 4 documents of boolq-passages: fewer than 5"):
        check_documents(recipe, {"boolq-passages": 4, "reasoning-gym": 90})
