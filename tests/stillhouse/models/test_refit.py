"""Refitting what is left of a teacher that lost layers: what it gains, what it leaves alone, and what it refuses."""

import json
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, Gemma2Config, Gemma2ForCausalLM, PreTrainedModel

from stillhouse.data.dataset import Split, write_split
from stillhouse.errors import InputError
from stillhouse.losses.forward_kl import forward_kl
from stillhouse.models.load import load_model, load_tokenizer
from stillhouse.models.pruning import PruneSettings, keep_layers, prune_layers, transformer_layers
from stillhouse.models.refit import REFIT, RefitSettings, _text_of, check_blocks, refit, refit_layers
from stillhouse.recipe.compute import Compute
from stillhouse.recipe.pruned import DepthPruned
from stillhouse.recipe.refit import Refit
from stillhouse.training.batches import Batch, make_batch
from tests.small_models import SIZES

TEACHER = Path(__file__).parents[2] / "tiny_teacher"
COMPUTE = Compute(device="cpu", precision="fp32", threads=1, seed=0)
KEPT = [0, 1, 3, 5]
PENALTY = 0.3
LENGTH = 64
TEXT = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
"""English, that the teacher was not trained on."""


@dataclass(frozen=True)
class Texts:
    """Documents to fit to, and others."""

    train: Split
    other: Split


@pytest.fixture(scope="module")
def texts() -> Texts:
    ids = np.array(load_tokenizer(TEACHER)(TEXT).input_ids, dtype=np.int32)
    documents = len(ids) // 50
    starts = np.arange(documents + 1) * 50
    ids = ids[: starts[-1]]
    counted = np.ones(len(ids), dtype=bool)
    counted[starts[:-1]] = False
    half = documents // 2

    def part(first: int, end: int) -> Split:
        place = slice(first * 50, end * 50)
        names = tuple(f"a/{number}" for number in range(first, end))
        lengths = np.full(end - first, 100)
        return Split(ids[place], counted[place], np.arange(end - first + 1) * 50, lengths, names)

    return Texts(part(0, half), part(half, documents))


def batches(split: Split, *, pad_id: int = 0) -> list[Batch]:
    """Rows of one document of 50 tokens, the rest of 64 padding, four to a batch."""
    places = range(0, split.num_documents - 3, 4)
    return [
        make_batch(split, [[start + row] for row in range(4)], sequence_length=LENGTH, pad_id=pad_id)
        for start in places
    ]


def teacher() -> PreTrainedModel:
    return load_model(TEACHER, device="cpu", dtype="fp32").requires_grad_(False)


def cut(kept: list[int] = KEPT) -> PreTrainedModel:
    return keep_layers(load_model(TEACHER, device="cpu", dtype="fp32"), kept).requires_grad_(False)


@torch.inference_mode()
def apart(student: PreTrainedModel, split: Split) -> float:
    """KL to the teacher in nats per token."""
    batch = batches(split)[0]
    own, other = (model(**batch.inputs_of(model)).logits for model in (student, teacher()))
    return forward_kl(own, other, batch.labels).item()


def test_a_cut_student_is_nearer_to_its_teacher_on_text_that_it_was_not_fitted_to(texts: Texts):
    start, fitted = cut(), cut()
    found = refit(teacher(), fitted, KEPT, batches(texts.train), PENALTY, COMPUTE)
    assert apart(fitted, texts.other) < 0.8 * apart(start, texts.other)
    assert [(each.layer, each.stands_for) for each in found] == [(0, 0), (1, 2), (3, 4), (5, 5)]
    assert all(each.error_after < each.error_before for each in found[1:])


def test_what_nothing_is_missing_before_stays_bit_for_bit(texts: Texts):
    fitted = cut()
    found = refit(teacher(), fitted, KEPT, batches(texts.train), PENALTY, COMPUTE)
    assert found[0].error_before == found[0].error_after == 0
    before, after = (dict(transformer_layers(model).named_parameters()) for model in (cut(), fitted))
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed == {f"{index}.mlp.down_proj.weight" for index in (1, 2, 3)}


def test_a_layer_that_was_damaged_says_again_what_it_said(texts: Texts):
    """With all layers there, least squares has a solution without error: the teacher's own weight."""
    every = list(range(6))
    whole = cut(every)
    damaged = transformer_layers(whole)[2].mlp.down_proj
    known = damaged.weight.clone()
    damaged.weight.mul_(0.5)
    found = refit(teacher(), whole, every, batches(texts.train), PENALTY, COMPUTE)
    assert [each.error_before > 0 for each in found[:3]] == [False, False, True]
    assert found[2].error_after < 0.05 * found[2].error_before
    assert (damaged.weight - known).norm() < 0.5 * (0.5 * known).norm()


def test_the_higher_the_penalty_the_less_is_changed(texts: Texts):
    moved, errors = [], []
    for penalty in (0.01, 1.0, 100.0):
        fitted = cut()
        errors.append(refit(teacher(), fitted, KEPT, batches(texts.train), penalty, COMPUTE)[1].error_after)
        weights = (transformer_layers(model)[1].mlp.down_proj.weight for model in (cut(), fitted))
        moved.append(torch.dist(*weights).item())
    assert moved == sorted(moved, reverse=True) and errors == sorted(errors)


def test_padding_counts_for_nothing(texts: Texts):
    fitted = [cut(), cut()]
    for student, pad_id in zip(fitted, (0, 7), strict=True):
        refit(teacher(), student, KEPT, batches(texts.train, pad_id=pad_id), PENALTY, COMPUTE)
    one, other = (model.state_dict() for model in fitted)
    for name in one:
        torch.testing.assert_close(one[name], other[name])


def test_the_first_word_of_a_prompt_is_fitted_and_padding_is_not(texts: Texts):
    """Nothing of a prompt is a target, and all that comes after reads it."""
    counted = texts.train.counted.copy().reshape(-1, 50)
    counted[:, :10] = False
    prompts = replace(texts.train, counted=counted.reshape(-1))
    model = teacher()
    passed = _text_of(model, transformer_layers(model), batches(prompts)[0], COMPUTE)
    assert passed.counted[:, :50].all() and not passed.counted[:, 50:].any()


def test_layers_that_are_gone_before_the_first_block_are_made_up_for_by_it(texts: Texts):
    kept = [2, 3, 5]
    fitted = cut(kept)
    found = refit(teacher(), fitted, kept, batches(texts.train), PENALTY, COMPUTE)
    assert [(each.layer, each.stands_for) for each in found] == [(2, 2), (3, 4), (5, 5)]
    assert apart(fitted, texts.other) < apart(cut(kept), texts.other)


def test_a_layer_with_a_bias_is_fitted_beside_it(texts: Texts):
    """Of the bias the block's output already knows."""
    config = AutoConfig.for_model("llama", **SIZES | {"vocab_size": 1100, "num_hidden_layers": 3, "mlp_bias": True})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        whole = AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
        for layer in transformer_layers(whole):
            layer.mlp.down_proj.bias.normal_()
    found = refit(whole, keep_layers(deepcopy(whole), [0, 2]), [0, 2], batches(texts.train), 0.01, COMPUTE)
    assert found[0].error_after < 0.9 * found[0].error_before


def test_the_teacher_is_left_as_it_was(texts: Texts):
    whole = teacher()
    before = deepcopy(whole.state_dict())
    refit(whole, cut(), KEPT, batches(texts.train), PENALTY, COMPUTE)
    assert all(torch.equal(value, before[name]) for name, value in whole.state_dict().items())


def test_in_bf16_it_gains_too(texts: Texts):
    fitted = cut()
    refit(teacher(), fitted, KEPT, batches(texts.train), PENALTY, COMPUTE.model_copy(update={"precision": "bf16"}))
    assert apart(fitted, texts.other) < 0.8 * apart(cut(), texts.other)
    assert fitted.dtype == torch.float32


def test_blocks_that_end_in_no_linear_layer_are_refused(texts: Texts):
    """Gemma 2 has a norm behind the last layer of a block: what is fitted before it would be another thing."""
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_key_value_heads": 1}
    config = Gemma2Config(vocab_size=1100, num_hidden_layers=3, head_dim=8, **sizes)
    whole = Gemma2ForCausalLM(config).eval()
    with pytest.raises(InputError, match="Gemma2DecoderLayer.* does not end in a linear layer"):
        refit(whole, keep_layers(deepcopy(whole), [0, 2]), [0, 2], batches(texts.train), PENALTY, COMPUTE)


def test_numbers_that_are_none_are_told_with_the_block(texts: Texts):
    broken = cut()
    with torch.no_grad():
        transformer_layers(broken)[2].mlp.up_proj.weight[0, 0] = float("nan")
    with pytest.raises(ArithmeticError, match="copy of the teacher's layer 3, or the teacher's layer 4, says"):
        refit(teacher(), broken, KEPT, batches(texts.train), PENALTY, COMPUTE)


def test_the_stage_writes_a_model_of_the_starts_shape_and_the_same_one_again(texts: Texts, tmp_path: Path):
    dataset, start = tmp_path / "dataset", tmp_path / "start"
    write_split(dataset, "train", texts.train)
    start.mkdir()
    asked = {"sequence_length": LENGTH, "compute": COMPUTE}
    cutting = PruneSettings(student=DepthPruned(layers=4, ranking_tokens=256), **asked)
    prune_layers(cutting, {"teacher": TEACHER, "dataset": dataset}, start)
    made = []
    for name in ("one", "again"):
        folder = tmp_path / name
        folder.mkdir()
        read = {"start": start, "teacher": TEACHER, "dataset": dataset}
        refit_layers(RefitSettings(refit=Refit(tokens=2048), **asked), read, folder)
        made.append(load_file(folder / "model.safetensors"))
    assert all(torch.equal(value, made[1][name]) for name, value in made[0].items())
    facts, before = (json.loads((folder / "facts.json").read_text()) for folder in (tmp_path / "one", start))
    assert {name: facts[name] for name in before} == before
    assert 0 < facts["refit_error_after"] < facts["refit_error_before"]
    assert [each["layer"] for each in json.loads((tmp_path / "one" / REFIT).read_text())] == before["kept_layers"]
    assert (tmp_path / "one" / "ranking.json").read_bytes() == (start / "ranking.json").read_bytes()


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen2", "qwen3"])
def test_blocks_of_these_kinds_can_be_fitted(kind: str):
    before = torch.random.get_rng_state()
    # What a hub's model says of itself: weights in bf16, and a padding token among the last of many.
    check_blocks(AutoConfig.for_model(kind, **SIZES | {"vocab_size": 49_152, "pad_token_id": 300, "dtype": "bfloat16"}))
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("kind", ["gemma2", "gemma3_text", "olmo2"])
def test_norms_behind_the_last_layer_are_found_on_one_random_block(kind: str):
    with pytest.raises(InputError, match="does not end in a linear layer"):
        check_blocks(AutoConfig.for_model(kind, **SIZES | {"vocab_size": 49_152}))
