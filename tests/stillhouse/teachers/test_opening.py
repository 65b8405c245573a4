"""From the recipe's section to a teacher that answers, and to a loss."""

import json
import shutil

import pytest
from pydantic import TypeAdapter

from stillhouse.errors import InputError
from stillhouse.losses.chunked.divergences import forward_kl
from stillhouse.losses.chunked.loss import chunked_loss
from stillhouse.losses.chunked.targets import FactoredLogits
from stillhouse.recipe.knowledge import Knowledge, check_knowledge
from stillhouse.recipe.losses import ForwardKl, Moving, ReverseKl
from stillhouse.teachers.cached import CachedTeacher
from stillhouse.teachers.endpoint import EndpointTeacher
from stillhouse.teachers.ensemble import EnsembleTeacher
from stillhouse.teachers.local import LocalTeacher
from stillhouse.teachers.loss_target import loss_target
from stillhouse.teachers.opening import open_teacher
from tests.stillhouse.teachers.captures import COMPUTE


def section(**content) -> Knowledge:
    return TypeAdapter(Knowledge).validate_python(content)


CACHED = {"kind": "cached", "targets": {"kind": "sampled", "draws": 20}, "batch_rows": 2, "shard_tokens": 100}
FULL = {**CACHED, "targets": {"kind": "full"}}
OTHER = {"teacher": "org/other", "weight": 3.0}
ENDPOINT = {"kind": "endpoint", "url": "http://x/v1", "model": "m"}


@pytest.fixture
def opened(tiny_model, captured):
    def open_it(content: dict, inputs: dict, **options):
        return open_teacher(section(**content), inputs, COMPUTE, **{"temperature": 1.0} | options)

    return open_it


def test_each_kind_opens_its_teacher_and_all_speak_of_one_vocabulary(opened, tiny_model, captured, batches):
    sampled, full = captured("sampled", draws=20).folder, captured("full").folder
    kinds = [
        (LocalTeacher, {"kind": "online"}, {}),
        (CachedTeacher, CACHED, {"cache": sampled}),
        (CachedTeacher, FULL, {"cache": full}),
        (
            EnsembleTeacher,
            {"kind": "ensemble", "own": FULL, "members": [OTHER]},
            {"cache": full, "teacher_1": tiny_model},
        ),
        (EndpointTeacher, {"kind": "endpoint", "url": "http://127.0.0.1:1/v1", "model": "tiny"}, {}),
    ]
    losses = []
    for kind, content, inputs in kinds:
        teacher = opened(content, {"teacher": tiny_model, **inputs})
        assert isinstance(teacher, kind) and teacher.vocabulary_size == 300
        if kind is not EndpointTeacher:
            losses.append(loss_with(teacher, tiny_model, batches[0]))
    # One student, one teacher: a divergence of a model with itself where it is dense.
    assert [losses[place] for place in (0, 2, 3)] == pytest.approx([0, 0, 0], abs=1e-4)
    assert losses[1] > 1


def loss_with(teacher, student_folder, batch) -> float:
    """What the training loop does with targets of any kind."""
    student = open_teacher(section(kind="online"), {"teacher": student_folder}, COMPUTE, temperature=1.0)
    made_of = student.targets(batch).distribution
    target = loss_target(teacher.targets(batch).distribution, forward_kl())
    factored = FactoredLogits(made_of.hidden.requires_grad_(), made_of.head)
    return float(chunked_loss(factored, batch.labels, target, alpha=1.0).teacher_loss)


def test_top_k_targets_fit_their_loss(tiny_model, captured, batches):
    # With all tokens but a few among the K, the tail is small and the loss nearly the whole divergence.
    cached = captured("top_k", k=290).open(tiny_model)
    assert loss_with(cached, tiny_model, batches[0]) == pytest.approx(0, abs=1e-4)


def test_a_teacher_of_another_tokenizer_is_refused_by_its_name(opened, tiny_model, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(tiny_model, other)
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(
        InputError, match="org/other has another tokenizer.*let it write answers.*universal_logit_distance"
    ):
        opened({"kind": "ensemble", "members": [OTHER]}, {"teacher": tiny_model, "teacher_1": other})


def test_hidden_states_are_wanted_of_those_that_have_them(opened, tiny_model):
    endpoint = {"kind": "endpoint", "url": "http://127.0.0.1:1/v1", "model": "tiny"}
    for content in (endpoint, {"kind": "ensemble", "members": [OTHER]}):
        with pytest.raises(InputError, match="hidden states of layers 1 are wanted, and an en"):
            opened(content, {"teacher": tiny_model, "teacher_1": tiny_model}, hidden_layers=(1,))


@pytest.mark.parametrize(
    ("content", "temperature", "said"),
    [
        (CACHED, 2.0, "sampled targets are drawn at temperature 1"),
        (ENDPOINT, 2.0, "an endpoint gives log-probabilities at"),
        ({"kind": "ensemble", "own": CACHED, "members": [OTHER]}, 1.0, "a cache of sampled targets does not"),
        ({"kind": "ensemble", "members": [{**OTHER, "knowledge": CACHED}]}, 1.0, "a cache of sampled targets does not"),
    ],
)
def test_what_no_loss_could_use_is_refused_before_a_capture(content, temperature, said):
    with pytest.raises(ValueError, match=said):
        check_knowledge(section(**content), ForwardKl(), temperature)


@pytest.mark.parametrize("content", [CACHED, {**CACHED, "targets": {"kind": "top_k"}}, ENDPOINT])
def test_a_loss_that_needs_the_whole_distribution_is_refused_a_part(content):
    with pytest.raises(ValueError, match="distillation.loss is reverse_kl, which needs the whole distribution"):
        check_knowledge(section(**content), ReverseKl(), 1.0)


def test_a_temperature_that_moves_is_refused_where_one_is_stored():
    moving = Moving(start=4, end=1)
    with pytest.raises(ValueError, match="stored at one temperature, but the loss's moves, from 4 to 1"):
        check_knowledge(section(**{**CACHED, "targets": {"kind": "top_k"}}), ForwardKl(), moving)
    check_knowledge(section(**FULL), ReverseKl(), moving)


@pytest.mark.parametrize("content", [{"kind": "online"}, FULL, {**CACHED, "targets": {"kind": "top_k"}}])
def test_what_any_temperature_suits_is_not_refused(content):
    check_knowledge(section(**content), ForwardKl(), 2.0)


def test_a_place_is_no_part_of_a_key():
    one, another = (
        section(kind="endpoint", url=f"http://{host}/v1", model="m", timeout_seconds=wait)
        for host, wait in (("a", 1), ("b", 2))
    )
    assert one.model_dump(mode="json") == another.model_dump(mode="json")
