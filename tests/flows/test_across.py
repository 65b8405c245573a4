"""A student with a tokenizer of its own, in the order of work: who reads which tokens, and what is refused."""

import json
import shutil
from pathlib import Path

import pytest

from flows.compress import in_order
from flows.preflight import examine
from flows.work import Planner, Work
from stillhouse.errors import InputError
from stillhouse.recipe.recipe import Recipe, load_recipe, validated
from stillhouse.store.artifact import Reference
from stillhouse.store.store import Store
from tests.conftest import RECIPE

TEACHER = RECIPE.parents[1] / "tests" / "tiny_teacher"
ACROSS = {"loss": {"kind": "universal_logit_distance"}, "temperature": 1.0}


def trained(vocabulary: int) -> dict:
    return {"kind": "fresh", "layers": 2, "tokenizer": {"kind": "trained", "vocabulary": vocabulary}}


def recipe(**changes) -> Recipe:
    content = load_recipe(RECIPE).model_dump(mode="json", exclude_none=True)
    # What compares the same tokens is refused of a student with others.
    content["gates"] = [gate for gate in content["gates"] if "above_teacher" not in gate["figure"]]
    return validated(Recipe, content | {"distillation": ACROSS} | changes, "the recipe")


def planned(tmp_path: Path, **changes) -> dict[str, list[dict[str, Reference]]]:
    """What every stage of a run would read, by the stage's name."""
    store = Store(tmp_path)
    settings = examine(recipe(**changes), RECIPE.parent, store).settings
    read: dict[str, list[dict[str, Reference]]] = {}

    def call(task, planner, settings, inputs) -> Reference:
        read.setdefault(task.fn.__name__, []).append(dict(inputs))
        return task.fn(planner, settings, inputs)

    in_order(settings, Work(Planner(store.root), call))
    return read


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """The tiny teacher, two of whose tokens have changed places."""
    folder = tmp_path / "other"
    shutil.copytree(TEACHER, folder)
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary["A"], vocabulary["B"] = vocabulary["B"], vocabulary["A"]
    path.write_text(json.dumps(content))
    return folder


def test_each_model_reads_texts_in_its_own_tokens(tmp_path: Path):
    read = planned(tmp_path, student=trained(600), curriculum={})
    (encoded,), (again,), (learns,) = (read[name] for name in ("encode_documents", "encode_for_teacher", "distill"))
    tokenizer = encoded["tokenizer"]
    assert tokenizer.kind == "train_tokenizer" == learns["tokenizer"].kind
    assert again == {"teacher": learns["teacher"], "dataset": learns["dataset"]}
    assert learns["dataset_teacher"].kind == "encode_for_teacher"
    assert read["make_fresh_student"] == [{"teacher": learns["teacher"], "tokenizer": tokenizer}]
    # The teacher finds texts hard, or not, in its own tokens.
    assert read["measure_difficulty"] == [{"model": learns["teacher"], "dataset": learns["dataset_teacher"]}]
    assert len(read["measure_held_out"]) == 3
    for measured in read["measure_held_out"]:
        # Alone: a model beside itself is compared with nothing.
        assert measured["teacher"] == measured["model"]
        is_teacher = measured["model"] == learns["teacher"]
        assert measured["dataset"] == learns["dataset_teacher" if is_teacher else "dataset"]
    assert {measured["dataset"] for measured in read["measure_parity"]} == {learns["dataset"]}


def test_a_model_that_exists_brings_its_tokenizer(other: Path, tmp_path: Path):
    read = planned(tmp_path, student={"kind": "model", "source": str(other), "tokenizer": "own"})
    (encoded,), (learns,) = read["encode_documents"], read["distill"]
    assert encoded["tokenizer"] == learns["start"] == learns["tokenizer"]
    assert learns["start"].kind == "load_student"


def test_a_student_that_learns_written_answers_alone_is_compared_in_the_same_way(tmp_path: Path):
    read = planned(tmp_path, student=trained(600), distillation={"alpha": 0.0})
    assert {"answer_prompts", "train_tokenizer", "encode_for_teacher"} <= set(read)


@pytest.mark.parametrize(
    ("source", "tokenizer", "said"),
    [
        ("other", "teacher", "the tokenizers differ: .* or set student.tokenizer to own and distillation.loss.kind to"),
        ("teacher", "own", "student.tokenizer is own, but .* has the tokenizer of"),
    ],
)
def test_tokenizers_are_looked_at_before_anything_is_made(
    other: Path, tmp_path: Path, source: str, tokenizer: str, said: str
):
    student = {"kind": "model", "source": str(other if source == "other" else TEACHER), "tokenizer": tokenizer}
    distillation = ACROSS if tokenizer == "own" else {}
    with pytest.raises(InputError, match=said):
        examine(recipe(student=student, distillation=distillation), RECIPE.parent, Store(tmp_path))


def test_conversations_that_two_templates_render_differently_are_refused(other: Path, tmp_path: Path):
    template = other / "chat_template.jinja"
    template.write_text(template.read_text().replace("<|im_start|>", "<|im_start|> "))
    student = {"kind": "model", "source": str(other), "tokenizer": "own"}
    with pytest.raises(InputError, match="has another chat template than"):
        examine(recipe(student=student), RECIPE.parent, Store(tmp_path))
    data = load_recipe(RECIPE).data.model_dump(mode="json", exclude_none=True)
    plain = recipe(student=student, data=data | {"sets": data["sets"][:1]})
    assert examine(plain, RECIPE.parent, Store(tmp_path)).cost.seconds > 0


def test_a_student_is_as_large_as_its_own_vocabulary_makes_it(tmp_path: Path):
    small, large = (
        examine(recipe(student=trained(rows)), RECIPE.parent, Store(tmp_path)).student for rows in (400, 600)
    )
    assert (small.vocabulary_size, large.vocabulary_size) == (400, 600)
    assert large.parameters - small.parameters == 200 * small.hidden_size
