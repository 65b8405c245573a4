"""What the scoring of models reads."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from flows.delivery import check_evidence, prepare_data, score_models
from flows.work import Work
from stillhouse.errors import InputError
from stillhouse.recipe.evaluation import Behaviour
from stillhouse.store.artifact import Reference
from stillhouse.store.store import Store
from tests.evaluation.gate_results import recipe_with


@pytest.mark.parametrize("suites", [("generations",), ("generations", "recitation")])
def test_training_documents_are_read_only_where_recitation_is_measured(suites: tuple[str, ...], tmp_path: Path):
    read: dict[str, set[str]] = {}

    def call(task, store, settings, inputs) -> Reference:
        read[task.fn.__name__] = set(inputs)
        return Reference(task.fn.__name__, "1" * 64)

    behaviour = SimpleNamespace(behaviour=Behaviour(suites=suites))
    settings = SimpleNamespace(capability=None, behaviour=behaviour, held_out=None)
    data = {name: Reference(name, "2" * 64) for name in ("documents", "dataset")}
    found = score_models(settings, Work(Store(tmp_path), call), {"student": Reference("distill", "3" * 64)}, data)
    assert set(found) == {"capability_student", "behaviour_student", "held_out_student"}
    assert ("documents" in read["evaluate_behaviour"]) == ("recitation" in suites)
    assert "documents" not in read["evaluate_capability"]


def test_benchmarks_are_looked_for_before_the_teacher_answers_anything(tmp_path: Path):
    called: list[str] = []

    def call(task, store, settings, inputs) -> Reference:
        called.append(task.fn.__name__)
        if called[-1] == "measure_contamination":
            raise InputError("of piqa, 50% of the documents occur")
        return Reference(task.fn.__name__, "1" * 64)

    settings = SimpleNamespace(documents=None, contamination=None)
    with pytest.raises(InputError, match="of piqa"):
        prepare_data(settings, Work(Store(tmp_path), call), Reference("load_teacher", "3" * 64))
    assert called == ["gather_documents", "measure_contamination"]


@pytest.mark.parametrize("select", [None, "asked"])
def test_what_is_answered_and_encoded_is_what_was_selected(select: str | None, tmp_path: Path):
    read: dict[str, dict[str, Reference]] = {}

    def call(task, store, settings, inputs) -> Reference:
        read[task.fn.__name__] = inputs
        return Reference(task.fn.__name__, "1" * 64)

    settings = SimpleNamespace(
        documents=None,
        contamination=None,
        select=select,
        answers=None,
        encode=None,
        rationales=None,
        own_tokenizer=None,
        sampled=None,
        own_prompts=None,
    )
    found = prepare_data(settings, Work(Store(tmp_path), call), Reference("load_teacher", "3" * 64))
    source = "gather_documents" if select is None else "select_documents"
    assert {read[stage]["documents"].kind for stage in ("answer_prompts", "encode_documents")} == {source}
    assert ("selected" in found) == (select is not None)
    assert found["documents"].kind == "gather_documents"


@pytest.mark.parametrize("chosen", [None, "asked"])
def test_sampled_responses_are_encoded_as_they_are_or_as_they_were_chosen(chosen: str | None, tmp_path: Path):
    read: dict[str, dict[str, Reference]] = {}

    def call(task, store, settings, inputs) -> Reference:
        read[task.fn.__name__] = inputs
        return Reference(task.fn.__name__, "1" * 64)

    asked = {"sampled": "asked", "responses": chosen}
    unused = ("documents", "contamination", "select", "answers", "encode", "rationales", "own_tokenizer", "own_prompts")
    others = dict.fromkeys(unused)
    found = prepare_data(
        SimpleNamespace(**others, **asked), Work(Store(tmp_path), call), Reference("load_teacher", "3" * 64)
    )
    last = "sample_responses" if chosen is None else "choose_responses"
    assert read["encode_documents"]["responses"] == found["responses"] == Reference(last, "1" * 64)
    # What is measured on stays the greedy answers.
    assert read["encode_documents"]["answers"].kind == "answer_prompts"
    assert "sampled" not in read["encode_documents"] and found["sampled"].kind == "sample_responses"


def test_gates_are_refused_as_soon_as_the_data_are_known_to_be_too_few(tmp_path: Path):
    recipe = recipe_with({"figure": "models.student.bits_per_byte", "at_most": 2})
    settings, dataset = SimpleNamespace(recipe=recipe), Reference("encode_documents", "1" * 64)

    def work(facts: dict) -> SimpleNamespace:
        return SimpleNamespace(facts=lambda reference: facts)

    with pytest.raises(InputError, match="holds 3 documents"):
        check_evidence(settings, work({"held_out": {"sets": {"a": {"documents": 3}}}}), dataset)
    check_evidence(settings, work({"held_out": {"sets": {"a": {"documents": 9}}}}), dataset)
    # While a run is only planned, nothing is known.
    check_evidence(settings, work({}), dataset)
