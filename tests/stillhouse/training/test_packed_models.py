"""Packed rows in architectures that see less than everything before, or that remember without a mask."""

import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from stillhouse.data.dataset import read_split
from stillhouse.errors import InputError
from stillhouse.teachers.local import LocalTeacher
from stillhouse.training.batches import make_batch
from stillhouse.training.packed_attention import check_packable, masks_of, window_of
from stillhouse.training.packed_check import check_packed_rows
from tests.small_models import SIZES
from tests.stillhouse.training.trainings import run, write_random_dataset

SMALL = SIZES | {"initializer_range": 0.2}
MIXED = {"sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"], "head_dim": 8}
WITH_A_WINDOW = {
    "mistral": {"sliding_window": 4},
    "phi3": {"sliding_window": 4, "pad_token_id": 0},
    "starcoder2": {"sliding_window": 4},
    "gemma3_text": MIXED,
    "cohere2": MIXED,
    "qwen2": {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1},
}
LINEAR = {
    "layer_types": ["linear_attention", "full_attention"],
    "mlp_only_layers": [0, 1],
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
STATEFUL = {
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "qwen3_next": LINEAR,
    "granitemoehybrid": {"layer_types": ["mamba", "attention"], "mamba_n_heads": 4, "mamba_d_head": 16},
    "falcon_h1": {"mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8},
}


def config_of(kind: str, **changes) -> PretrainedConfig:
    return AutoConfig.for_model(kind, **{**SMALL, **changes})


def model_of(kind: str, **changes) -> PreTrainedModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(config_of(kind, **changes), attn_implementation="sdpa").eval()


@pytest.mark.parametrize("kind", WITH_A_WINDOW)
def test_packed_equals_unpacked_where_a_window_is_shorter_than_the_texts(kind, tmp_path):
    model, split = model_of(kind, **WITH_A_WINDOW[kind]), read_split(write_random_dataset(tmp_path), "train")
    assert window_of(model.config) == 4
    rows = [[0, 1], [2, 3, 4]]
    batch = make_batch(split, rows, sequence_length=80, pad_id=0)
    said = LocalTeacher(model, 300, None).targets(batch).distribution.logits
    for row, documents in enumerate(rows):
        end = 0
        for document in documents:
            ids = torch.from_numpy(split.ids[split.starts[document] : split.starts[document + 1]]).long()[None]
            with torch.no_grad():
                alone = model(input_ids=ids, use_cache=False).logits[0]
            torch.testing.assert_close(said[row, end : end + len(alone)], alone, atol=1e-4, rtol=1e-4)
            end += len(alone)


def test_a_window_as_long_as_the_row_or_in_no_layer_changes_no_mask():
    mask = torch.ones(1, 1, 6, 6, dtype=torch.bool).tril()
    for config in (
        config_of("mistral", sliding_window=6),
        config_of("mistral", sliding_window=None),
        config_of("qwen2", use_sliding_window=False, sliding_window=2),
        config_of("qwen3", layer_types=["full_attention"] * 2, sliding_window=2, use_sliding_window=True),
    ):
        assert masks_of(config, mask) is mask
    assert masks_of(config_of("mistral", sliding_window=2), mask)[0, 0].sum(dim=1).tolist() == [1, 2, 2, 2, 2, 2]


@pytest.mark.parametrize("kind", WITH_A_WINDOW)
def test_a_model_with_a_window_passes_the_check_of_what_is_opened(kind):
    check_packed_rows(model_of(kind, **WITH_A_WINDOW[kind]), "the teacher", 16)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16, torch.float64])
def test_a_model_of_masked_attention_passes_in_every_precision(precision):
    check_packed_rows(model_of("llama").to(precision), "the teacher", 16)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("window", [4, 60])
def test_a_window_that_is_not_in_the_mask_is_noticed(window, precision, monkeypatch):
    model = model_of("mistral", sliding_window=window).to(precision)
    check_packed_rows(model, "the teacher", 64)
    monkeypatch.setattr("stillhouse.training.batches.masks_of", lambda config, mask: mask)
    with pytest.raises(InputError, match="away from those alone"):
        check_packed_rows(model, "the teacher", 64)


def test_in_few_bits_a_token_or_two_may_be_far_off_and_not_three(monkeypatch):
    """As of a cut student in bf16, whose logits are the same in fp32."""
    model = model_of("llama")
    forward, spoiled = model.forward, slice(1, 3)

    def inexact(**given):
        found = forward(**given)
        if given["input_ids"].shape[1] == 8:
            # Each text alone.
            found.logits[0, spoiled] *= -1
        return found

    monkeypatch.setattr(model, "forward", inexact)
    with pytest.raises(InputError, match="away from those alone"):
        check_packed_rows(model, "the teacher", 16)
    model.to(torch.bfloat16)
    check_packed_rows(model, "the teacher", 16)
    spoiled = slice(1, 4)
    with pytest.raises(InputError, match="away from those alone"):
        check_packed_rows(model, "the teacher", 16)


@pytest.mark.parametrize("kind", STATEFUL)
def test_a_model_whose_state_leaks_from_text_to_text_is_refused_when_opened(kind):
    with pytest.raises(InputError, match=r"the student.*with another text before it.*leak"):
        check_packed_rows(model_of(kind, **STATEFUL[kind]), "the student", 16)


@pytest.mark.parametrize("kind", STATEFUL)
def test_a_model_with_a_state_is_refused_by_its_config(kind):
    with pytest.raises(InputError, match=r"my model \(.*several to a row"):
        check_packable(config_of(kind, **STATEFUL[kind]), "my model", 16)


@pytest.mark.parametrize("kind", ["mamba", "bloom", "gpt_neo"])
def test_a_model_that_cannot_be_given_a_mask_of_packed_texts_is_refused_by_its_config(kind):
    with pytest.raises(InputError, match="my model"):
        check_packable(AutoConfig.for_model(kind), "my model", 16)


def test_a_model_that_attends_within_chunks_is_refused_where_rows_are_longer():
    config = config_of("llama4_text", attention_chunk_size=8, intermediate_size_mlp=48)
    with pytest.raises(InputError, match="set data.sequence_length to 8 or less"):
        check_packable(config, "my model", 9)
    check_packable(config, "my model", 8)


def test_a_model_that_falls_over_a_packed_row_is_refused_in_words():
    model = model_of("llama")
    model.forward = lambda **given: (_ for _ in ()).throw(RuntimeError("4 dimensions are too many"))
    with pytest.raises(InputError, match="the teacher .* cannot read one .4 dimensions are too many"):
        check_packed_rows(model, "the teacher", 16)


@pytest.mark.parametrize("role", ["teacher", "start"])
def test_training_refuses_a_leaking_model_before_its_first_step(role, inputs, tmp_path):
    folder = tmp_path / "leaking"
    shutil.copytree(inputs["teacher"], folder)
    model_of("lfm2", **STATEFUL["lfm2"]).save_pretrained(folder)
    with pytest.raises(InputError, match="the teacher" if role == "teacher" else "the student"):
        run({**inputs, role: folder}, tmp_path / "run")
    assert not (Path(tmp_path) / "run" / "history.json").exists()
