"""Who answers which prompts, in the order of work: each teacher its own data sets', whatever its tokenizer."""

import json
from pathlib import Path

import pytest

from flows.compress import in_order
from flows.delivery import prepare_data
from flows.preflight import examine, prepare_export
from flows.settings import SettingsOfStages
from flows.work import Planner, Work, directly
from stillhouse.data.dataset import read_split
from stillhouse.data.document import read_documents
from stillhouse.errors import InputError
from stillhouse.models.load import load_tokenizer
from stillhouse.recipe.recipe import ExportRecipe, Recipe, load_recipe, validated
from stillhouse.store.artifact import Reference
from stillhouse.store.store import Store
from stillhouse.teachers import answers
from tasks.fetch import load_teacher
from tests.conftest import RECIPE
from tests.flows.test_trainable import recipe

OTHER = RECIPE.parents[1] / "tests" / "tiny_teacher"
SPLITS = ("train", "validation", "held_out")


def asked(folder: Path, own: Path, *, others: tuple[str, ...] = ("code",), **answering) -> Path:
    """Prompts of two sets and some text; another teacher answers those of `others`."""
    for name in ("general", "code"):
        lines = [{"messages": [{"role": "user", "content": f"what is {name} {number}"}]} for number in range(40)]
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    sets = [{"kind": "jsonl", "path": f"{name}.jsonl"} for name in ("data", "general", "code")]
    told = {"others": [{"teacher": str(OTHER), "serves": list(others)}]} if others else {}
    data = {
        "sets": sets,
        "sequence_length": 64,
        "train_tokens": 6000,
        "validation_tokens": 600,
        "held_out_tokens": 600,
        "answers": {"max_new_tokens": 6, "batch_size": 16, **answering, **told},
    }
    return recipe(folder, teacher=str(own), data=data, evaluation={"benchmarks": [], "behaviour": {"suites": []}})


def settings_of(path: Path, store: Store) -> SettingsOfStages:
    return examine(load_recipe(path), path.parent, store).settings


def prepared(path: Path, store: Store) -> dict[str, Reference]:
    settings = settings_of(path, store)
    work = Work(store, directly)
    return prepare_data(settings, work, work.make(load_teacher, settings.teacher, {}))


def planned(path: Path, store: Store) -> list[tuple[str, dict[str, Reference]]]:
    """The stages of a whole run in their order, each with what it would read."""
    read = []

    def call(task, planner, settings, inputs) -> Reference:
        read.append((task.fn.__name__, dict(inputs)))
        return task.fn(planner, settings, inputs)

    in_order(settings_of(path, store), Work(Planner(store.root), call))
    return read


def documents(store: Store, reference: Reference) -> dict[str, object]:
    """By id, those of every split that the stage wrote."""
    files = [store.folder(reference) / f"{split}.jsonl" for split in SPLITS]
    return {each.id: each for file in files if file.exists() for each in read_documents(file)}


def test_served_prompts_are_answered_by_the_other_teacher_and_the_others_by_the_recipes_own(tiny_model, tmp_path):
    store = Store(tmp_path / "store")
    found = prepared(asked(tmp_path, tiny_model), store)
    alone = prepared(asked(tmp_path, tiny_model, others=()), store)
    served = prepared(asked(tmp_path, OTHER, others=()), store)
    own, other = documents(store, found["answers"]), documents(store, found["answers_1"])
    assert {each.rpartition("/")[0] for each in own} == {"general"}
    assert {each.rpartition("/")[0] for each in other} == {"code"}
    # What each would say to all of it: that of the one is in no other tokens' reach.
    of_own, of_other = documents(store, alone["answers"]), documents(store, served["answers"])
    said = [each.messages[-1]["content"] for each in other.values()]
    assert said == [of_other[each].messages[-1]["content"] for each in other]
    assert said != [of_own[each].messages[-1]["content"] for each in other]
    assert own == {each: of_own[each] for each in own}
    # What is measured on a served set is answered by who serves it, too.
    for split in SPLITS:
        answered = [each.id for each in read_documents(store.folder(found["answers_1"]) / f"{split}.jsonl")]
        assert answered and all(each.startswith("code/") for each in answered)


def test_all_answers_are_encoded_in_the_tokens_of_the_recipes_own_teacher(tiny_model, tmp_path):
    store = Store(tmp_path / "store")
    found = prepared(asked(tmp_path, tiny_model), store)
    split, tokenizer = read_split(store.folder(found["dataset"]), "train"), load_tokenizer(tiny_model)
    assert {name.rpartition("/")[0] for name in split.names} == {"data", "general", "code"}
    said = documents(store, found["answers_1"])
    texts = [
        (name, tokenizer.decode(split.ids[start:end]))
        for name, start, end in zip(split.names, split.starts[:-1], split.starts[1:], strict=True)
        if name.startswith("code/")
    ]
    assert all(said[name].messages[-1]["content"][:8] in text for name, text in texts) and len(texts) > 20


def test_sampled_responses_are_those_of_the_teacher_that_serves_the_set(tiny_model, tmp_path):
    store = Store(tmp_path / "store")
    sampled = {"samples": 2, "keep": {"distinct": True}, "weigh": "by_prompt"}
    found = prepared(asked(tmp_path, tiny_model, sampled=sampled), store)
    alone = prepared(asked(tmp_path, OTHER, others=(), sampled=sampled), store)

    def said(reference: Reference) -> list[tuple[str, str]]:
        file = store.folder(reference) / "train.jsonl"
        return [(each.id, each.messages[-1]["content"]) for each in read_documents(file) if each.set_name == "code"]

    assert said(found["responses_1"]) == said(alone["responses"]) and len(said(found["responses_1"])) > 40
    assert said(found["responses"]) == [] and found["sampled_1"].kind == "sample_responses"
    split = read_split(store.folder(found["dataset"]), "train")
    assert sum(name.startswith("code/") for name in split.names) == len(said(found["responses_1"]))


def test_the_prompts_of_a_held_out_file_go_with_their_set(tiny_model, tmp_path):
    path = asked(tmp_path, tiny_model)
    lines = [{"messages": [{"role": "user", "content": f"held out {number}"}]} for number in range(3)]
    (tmp_path / "held.jsonl").write_text("\n".join(map(json.dumps, lines)))
    content = load_recipe(path).model_dump(mode="json", exclude_none=True)
    content["data"]["sets"][2]["held_out"] = "held.jsonl"
    path.write_text(json.dumps(content))
    store = Store(tmp_path / "store")
    found = prepared(path, store)
    held_out = list(read_documents(store.folder(found["answers_1"]) / "held_out.jsonl"))
    assert [each.set_name for each in held_out] == ["code/held-out"] * 3
    assert store.facts(found["prompts_1"]) == {"prompts": {"code": 43}}


def test_a_kill_repeats_no_more_than_one_batch_of_either_teacher(tiny_model, tmp_path, monkeypatch):
    store, path = Store(tmp_path / "store"), asked(tmp_path, tiny_model)
    generate, asked_for = answers._generate, []

    def dies_at_the_fifth(teacher, prompts):
        asked_for.append([each.id for each in prompts])
        if len(asked_for) == 5:
            raise KeyboardInterrupt
        return generate(teacher, prompts)

    monkeypatch.setattr(answers, "_generate", dies_at_the_fifth)
    with pytest.raises(KeyboardInterrupt):
        prepared(path, store)
    prepared(path, store)
    # Three batches each: the fifth is the other teacher's second.
    assert asked_for[4] == asked_for[5] and len(asked_for) == 7
    assert len({each for batch in asked_for for each in batch}) == 80


def test_every_teacher_is_an_input_of_the_stage_that_asks_it_and_of_the_results(tiny_model, tmp_path):
    read = planned(asked(tmp_path, tiny_model), Store(tmp_path / "store"))
    (own, other) = [inputs for name, inputs in read if name == "answer_prompts"]
    teachers = [inputs for name, inputs in read if name == "load_teacher"]
    assert len(teachers) == 2 and own["teacher"] != other["teacher"]
    assert own["documents"].kind == other["documents"].kind == "choose_prompts"
    results, encoded = dict(read)["assemble_results"], dict(read)["encode_documents"]
    assert (results["teacher"], results["answering_1"]) == (own["teacher"], other["teacher"])
    assert {name for name in encoded if name.startswith("answers")} == {"answers", "answers_1"}
    assert {"prompts", "prompts_1", "answers_1"} <= set(results)


def test_the_prompts_are_chosen_before_anybody_answers_and_no_teacher_is_loaded_beside_one_that_answers(
    tiny_model, tmp_path
):
    read = planned(asked(tmp_path, tiny_model), Store(tmp_path / "store"))
    names = [name for name, _ in read]
    places = [place for place, name in enumerate(names) if name == "choose_prompts"]
    assert names[places[0] : places[0] + 5] == [
        *("choose_prompts", "choose_prompts", "answer_prompts"),
        *("load_teacher", "answer_prompts"),
    ]
    # No stage reads two models to answer.
    assert all(set(inputs) == {"teacher", "documents"} for name, inputs in read if name == "answer_prompts")


def test_without_other_teachers_nothing_is_planned_for_them(tiny_model, tmp_path):
    store, path = Store(tmp_path / "store"), asked(tmp_path, tiny_model, others=())
    read = dict(planned(path, store))
    assert "choose_prompts" not in read and read["answer_prompts"]["documents"].kind == "gather_documents"
    assert not any(name.startswith(("answering", "prompts", "answers_")) for name in read["assemble_results"])
    settings = settings_of(path, store)
    assert "others" not in json.dumps([settings.answers.model_dump(), settings.recipe.model_dump(mode="json")])


def test_a_served_set_that_turns_out_to_have_no_prompt_ends_the_run_before_anybody_answers(tiny_model, tmp_path):
    store, called = Store(tmp_path / "store"), []
    settings = settings_of(asked(tmp_path, tiny_model), store)

    def call(task, store, told, inputs) -> Reference:
        called.append(task.fn.__name__)
        return Reference(task.fn.__name__, "1" * 64)

    work = Work(store, call)
    work.facts = lambda reference: {"prompts": {"code": 0}} if reference.kind == "choose_prompts" else {}
    with pytest.raises(InputError, match=r"others\.0\.serves names code, and none of its documents is a prompt"):
        prepare_data(settings, work, Reference("load_teacher", "3" * 64))
    assert "answer_prompts" not in called


def test_an_export_lets_other_teachers_answer_what_it_is_measured_on(tiny_model, tmp_path):
    content = load_recipe(asked(tmp_path, tiny_model)).model_dump(mode="json", exclude_none=True)
    for section in ("teacher", "student", "route", "knowledge", "distillation", "compute"):
        del content[section]
    store = Store(tmp_path / "store")
    told = validated(ExportRecipe, content | {"model": str(tiny_model)}, "the recipe")
    settings = prepare_export(told, tmp_path, store)
    work = Work(store, directly)
    found = prepare_data(settings, work, work.make(load_teacher, settings.model, {}))
    assert set(documents(store, found["answers_1"])) and found["answering_1"].kind == "load_teacher"


def test_rationales_are_written_before_prompts_are_answered(tiny_model, tmp_path):
    """What a teacher cannot solve ends the run, and ought not to after hours of answers."""
    data = {"sets": [{"kind": "packaged", "name": "nq-open"}, {"kind": "reasoning", "tasks": 20}]}
    content = load_recipe(RECIPE).model_dump(mode="json", exclude_none=True)
    content["data"] |= data
    store = Store(tmp_path / "store")
    settings, called = examine(validated(Recipe, content, "the recipe"), RECIPE.parent, store).settings, []

    def call(task, store, told, inputs) -> Reference:
        called.append(task.fn.__name__)
        return Reference(task.fn.__name__, "1" * 64)

    prepare_data(settings, Work(store, call), Reference("load_teacher", "3" * 64))
    assert called.index("write_rationales") < called.index("answer_prompts")
