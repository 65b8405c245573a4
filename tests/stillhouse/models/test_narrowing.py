"""Width pruning: what is not active may go without a trace, what stays computes what it computed."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

from stillhouse.data.dataset import Split
from stillhouse.models.activations import measure_importance, measure_norm_factors
from stillhouse.models.decoder import read_decoder
from stillhouse.models.load import count_parameters
from stillhouse.models.narrowing import Kept, choose, narrow
from stillhouse.training.batches import Batch, make_batch

SIZES: dict[str, Any] = {
    "vocab_size": 120,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.3,
    "attn_implementation": "sdpa",
}
CONFIGS = {
    "llama": lambda: LlamaConfig(**SIZES, tie_word_embeddings=True),
    "llama-biases": lambda: LlamaConfig(**SIZES, attention_bias=True, mlp_bias=True, head_dim=12),
    "mistral": lambda: MistralConfig(**SIZES),
    "qwen2": lambda: Qwen2Config(**SIZES),
    "qwen3": lambda: Qwen3Config(**SIZES, head_dim=16),
}
IDS = torch.arange(3, 40)[None]


def made(kind: str = "llama") -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = AutoModelForCausalLM.from_config(CONFIGS[kind]()).eval()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "norm" in name or name.endswith("bias"):
                    parameter.add_(0.3 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module")
def batches() -> list[Batch]:
    ids = np.random.default_rng(0).integers(3, 120, size=96).astype(np.int32)
    starts = np.array([0, 40, 64, 96])
    counted = np.ones(96, dtype=bool)
    counted[starts[:-1]] = False
    split = Split(ids, counted, starts, np.array([40, 24, 32]), ("a/0", "a/1", "a/2"))
    return [make_batch(split, [[0, 1], [2]], sequence_length=64, pad_id=0)]


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS).logits


def cut(model: Any, batches: list[Batch], **widths: int) -> Kept:
    """Narrow as the stage does; what a key leaves out stays."""
    decoder = read_decoder(model.config, "it")
    sizes = replace(decoder.sizes, **widths)
    kept = choose(measure_importance(model, batches, decoder.sizes, "root_mean_square"), sizes)
    narrower = sizes.hidden_size < decoder.sizes.hidden_size
    factors = measure_norm_factors(model, batches, kept.hidden) if narrower else None
    narrow(model, kept, sizes, factors)
    assert count_parameters(model) == decoder.parameters(sizes)
    return kept


@pytest.mark.parametrize("kind", CONFIGS)
def test_pruning_nothing_gives_the_teachers_logits_bit_for_bit(kind: str, batches):
    model = made(kind)
    cut(model, batches)
    assert torch.equal(logits(model), logits(made(kind)))


@pytest.mark.parametrize("kind", CONFIGS)
def test_channels_of_the_feed_forward_that_are_never_active_change_no_logits(kind: str, batches):
    model = made(kind)
    dead = ([0, 7, 30], [1, 2, 47])
    with torch.no_grad():
        for layer, channels in zip(model.model.layers, dead, strict=True):
            layer.mlp.up_proj.weight[channels] = 0
            if layer.mlp.up_proj.bias is not None:
                layer.mlp.up_proj.bias[channels] = 0
    before = logits(model)
    kept = cut(model, batches, feed_forward_size=45)
    assert [sorted(set(range(48)) - set(layer)) for layer in kept.feed_forward] == list(dead)
    torch.testing.assert_close(logits(model), before, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_group_of_heads_that_says_nothing_changes_no_logits(kind: str, batches):
    model = made(kind)
    with torch.no_grad():
        for layer, group in zip(model.model.layers, (1, 0), strict=True):
            attention = layer.self_attn
            rows = slice(group * attention.head_dim, (group + 1) * attention.head_dim)
            attention.v_proj.weight[rows] = 0
            if attention.v_proj.bias is not None:
                attention.v_proj.bias[rows] = 0
    before = logits(model)
    kept = cut(model, batches, key_value_heads=1)
    assert kept.key_value_heads == ((0,), (1,))
    assert (model.config.num_attention_heads, model.config.num_key_value_heads) == (2, 1)
    torch.testing.assert_close(logits(model), before, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", CONFIGS)
def test_hidden_channels_that_are_always_zero_change_no_logits(kind: str, batches):
    model = made(kind)
    dead = [3, 4, 17, 31]
    with torch.no_grad():
        model.model.embed_tokens.weight[:, dead] = 0
        for layer in model.model.layers:
            for last in (layer.self_attn.o_proj, layer.mlp.down_proj):
                last.weight[dead] = 0
                if last.bias is not None:
                    last.bias[dead] = 0
    before = logits(model)
    kept = cut(model, batches, hidden_size=28)
    assert sorted(set(range(32)) - set(kept.hidden)) == dead
    assert model.config.head_dim == read_decoder(CONFIGS[kind](), "it").sizes.head_size
    torch.testing.assert_close(logits(model), before, rtol=1e-3, atol=1e-3)


def test_the_norms_factor_is_the_kept_root_mean_square_over_the_whole_one(batches):
    model = made()
    with torch.no_grad():
        # Every channel of every token has size 1 before the first norm: half of 32 channels have the same mean.
        model.model.embed_tokens.weight.copy_(model.model.embed_tokens.weight.sign())
    assert measure_norm_factors(model, batches, range(16))[0] == pytest.approx(1)
    with torch.no_grad():
        # Now the first 8 have size 2: their mean square is 4, that of all (8 * 4 + 24) / 32.
        model.model.embed_tokens.weight[:, :8] *= 2
    assert measure_norm_factors(model, batches, range(8))[0] == pytest.approx((4 / 1.75) ** 0.5)


def test_only_counted_positions_are_measured(batches):
    model = made()
    seen = measure_importance(model, batches, read_decoder(model.config, "it").sizes, "mean_absolute")
    # The second row is half padding, which may hold anything.
    ids = batches[0].input_ids.clone()
    ids[1, 32:] = 9
    again = measure_importance(
        model, [replace(batches[0], input_ids=ids)], read_decoder(model.config, "it").sizes, "mean_absolute"
    )
    assert torch.equal(seen.hidden, again.hidden)


@pytest.mark.parametrize("statistic", ["mean_absolute", "root_mean_square"])
def test_the_statistics_by_hand(statistic: str, batches):
    model = made()
    seen: list[torch.Tensor] = []
    handle = model.model.layers[1].mlp.down_proj.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    found = measure_importance(model, batches, read_decoder(model.config, "it").sizes, statistic)
    handle.remove()
    states = seen[0][batches[0].labels != -100].double()
    by_hand: Callable[[torch.Tensor], torch.Tensor] = (
        (lambda x: x.abs().mean(0)) if statistic == "mean_absolute" else (lambda x: (x**2).mean(0).sqrt())
    )
    torch.testing.assert_close(found.feed_forward[1], by_hand(states))


def test_a_narrow_model_generates_with_its_cache_as_without(batches):
    model = made()
    cut(model, batches, hidden_size=24, key_value_heads=1, feed_forward_size=16)
    with_cache = model.generate(IDS, max_new_tokens=5, do_sample=False, pad_token_id=0)
    without = model.generate(IDS, max_new_tokens=5, do_sample=False, use_cache=False, pad_token_id=0)
    assert with_cache.tolist() == without.tolist()


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_saved_model_opens_again_and_says_the_same(kind: str, batches, tmp_path: Path):
    model = made(kind)
    cut(model, batches, hidden_size=24, key_value_heads=1, feed_forward_size=16)
    model.save_pretrained(tmp_path)
    opened = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert torch.equal(logits(opened), logits(model))
    assert (opened.lm_head.weight is opened.model.embed_tokens.weight) == model.config.tie_word_embeddings
