"""A student of several teachers: what it learns, and how much say each of them had."""

import pytest

from stillhouse.errors import InputError
from stillhouse.recipe.recipe import Recipe, load_recipe, validated
from tests.conftest import RECIPE
from tests.stillhouse.training.trainings import left, run

BY_DOMAIN = {
    "kind": "ensemble",
    "weighting": {"kind": "by_domain", "own": ["toy"]},
    "members": [{"teacher": "org/other", "serves": ["elsewhere"]}],
}


@pytest.fixture
def two(apart):
    """Two teachers: the recipe's own, and the student as it began."""
    return {**apart, "teacher_1": apart["start"]}


def test_by_domain_the_student_learns_as_from_its_domains_teacher_alone(two, tmp_path):
    alone = left(run(two, tmp_path / "alone", alpha=1.0, steps=3))
    served = left(run(two, tmp_path / "served", alpha=1.0, steps=3, knowledge=BY_DOMAIN))
    assert served.losses == pytest.approx(alone.losses, rel=1e-5)
    mixed = left(
        run(two, tmp_path / "mixed", alpha=1.0, steps=3, knowledge=BY_DOMAIN | {"weighting": {"kind": "fixed"}})
    )
    assert mixed.losses[0] < 0.7 * alone.losses[0]


def test_the_say_of_each_teacher_is_written_down_by_data_set(two, tmp_path):
    history = left(run(two, tmp_path / "a", steps=3, knowledge=BY_DOMAIN)).history
    say = history["say"]["toy"]
    assert say["tokens"] == sum(entry["tokens"] for entry in history["training"])
    assert say["shares"] == pytest.approx([say["tokens"], 0.0])
    shares = {}
    # Of equal weight, so that nothing parts them but how sure each is: random models, by a hundredth of a nat.
    for sharpness in (1e-6, 300.0):
        sure = BY_DOMAIN | {"weighting": {"kind": "by_confidence", "sharpness": sharpness}}
        found = left(run(two, tmp_path / f"{sharpness}", steps=3, knowledge=sure)).history["say"]["toy"]
        shares[sharpness] = found["shares"]
        assert sum(found["shares"]) == pytest.approx(say["tokens"])
    assert shares[1e-6] == pytest.approx([say["tokens"] / 2] * 2, rel=1e-3)
    assert shares[300.0][0] > 1.2 * shares[300.0][1] > 0
    assert "say" not in left(run(two, tmp_path / "c", steps=1)).history


@pytest.mark.slow
def test_two_ranks_count_the_say_of_one(two, tmp_path):
    sure = BY_DOMAIN | {"weighting": {"kind": "by_confidence"}}
    one = left(run(two, tmp_path / "one", accumulation=2, steps=2, knowledge=sure))
    ranks = left(run(two, tmp_path / "two", training={"processes": 2}, steps=2, knowledge=sure))
    assert ranks.history["say"]["toy"]["tokens"] == one.history["say"]["toy"]["tokens"]
    assert ranks.history["say"]["toy"]["shares"] == pytest.approx(one.history["say"]["toy"]["shares"], rel=1e-4)
    assert ranks.losses == pytest.approx(one.losses, rel=1e-5)


SETS = ["boolq-passages", "reasoning-gym"]


def told(own: list[str], serves: list[str], kind: str = "by_domain") -> dict:
    weighting = {"kind": kind} | ({"own": own} if kind == "by_domain" else {})
    return {"kind": "ensemble", "weighting": weighting, "members": [{"teacher": "org/other", "serves": serves}]}


@pytest.mark.parametrize(
    ("knowledge", "words"),
    [
        (told(SETS[:1], SETS[:1]), "no teacher serves the data set reasoning-gym; name it in knowledge.weighting.own"),
        (told(SETS, ["code"]), "knowledge.members.0.serves names code, which is none of the data sets; they are boolq"),
        (told(SETS, []), "knowledge.members.0.serves is empty"),
        (told([], SETS) | {"weight": 2.0}, "recipe's own teacher teaches nothing, and knowledge.own and"),
        (
            told([], SETS) | {"own": {"kind": "cached", "targets": {"kind": "full"}}},
            "teaches nothing, and knowledge.own",
        ),
        (told([], SETS, "by_confidence"), "knowledge.weighting is by_confidence, in which every teacher teaches every"),
    ],
)
def test_teachers_by_domain_that_do_not_fit_the_data_are_refused_by_the_sets_name(knowledge, words):
    content = load_recipe(RECIPE).model_dump(mode="json", exclude={"knowledge"})
    with pytest.raises(InputError, match=words):
        validated(Recipe, content | {"knowledge": knowledge}, "recipe.yaml")


def test_teachers_by_domain_that_serve_all_data_between_them_are_taken():
    content = load_recipe(RECIPE).model_dump(mode="json", exclude={"knowledge"})
    for own in (SETS[:1], []):
        validated(Recipe, content | {"knowledge": told(own, SETS)}, "recipe.yaml")
