import copy
import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, GenerationConfig, PreTrainedTokenizerFast

from stillhouse.errors import InputError
from stillhouse.models.load import count_parameters, load_model, load_tokenizer, save_model
from stillhouse.models.tokenizer import tokenizer_digest


@pytest.fixture
def folder(llama, llama_folder, tmp_path):
    save_model(copy.deepcopy(llama), load_tokenizer(llama_folder), tmp_path / "saved")
    return tmp_path / "saved"


def test_a_saved_model_gives_the_same_logits_when_it_is_loaded(llama, folder):
    ids = torch.arange(20)[None]
    loaded = load_model(folder, device="cpu", dtype="fp32")
    assert not loaded.training
    assert torch.equal(loaded(ids).logits, llama(ids).logits)


def test_weights_are_read_in_the_precision_asked_for(folder):
    assert load_model(folder, device="cpu", dtype="bf16").dtype == torch.bfloat16
    assert load_model(folder, device="cpu", dtype="fp32").dtype == torch.float32


def test_saving_what_was_loaded_gives_the_same_bytes(folder, tmp_path):
    again = tmp_path / "elsewhere" / "again"
    save_model(load_model(folder, device="cpu", dtype="fp32"), load_tokenizer(folder), again)
    names = sorted(path.name for path in folder.iterdir())
    assert names == sorted(path.name for path in again.iterdir())
    assert {"config.json", "model.safetensors", "generation_config.json", "tokenizer.json"} <= set(names)
    assert [(folder / name).read_bytes() for name in names] == [(again / name).read_bytes() for name in names]


def test_everyone_who_reads_the_config_may_read_the_weights(folder):
    assert (folder / "model.safetensors").stat().st_mode == (folder / "config.json").stat().st_mode


def test_the_generation_config_agrees_with_the_tokenizer_and_samples_nothing(folder):
    stated = json.loads((folder / "generation_config.json").read_text())
    assert (stated["bos_token_id"], stated["eos_token_id"], stated["pad_token_id"]) == (1, 2, 2)
    assert "temperature" not in stated and "do_sample" not in stated


def test_further_end_tokens_of_a_model_are_kept(llama_folder, llama_tokenizer, tmp_path):
    model = load_model(llama_folder, device="cpu", dtype="fp32")
    model.generation_config = GenerationConfig(eos_token_id=[0, 2], temperature=0.6, do_sample=True)
    save_model(model, llama_tokenizer, tmp_path / "saved")
    stated = json.loads((tmp_path / "saved" / "generation_config.json").read_text())
    assert stated["eos_token_id"] == [0, 2]
    assert "temperature" not in stated


def test_an_end_token_that_also_pads_still_gets_a_gradient(folder):
    model = load_model(folder, device="cpu", dtype="fp32")
    assert model.get_input_embeddings().padding_idx is None
    assert load_tokenizer(folder).pad_token_id == 2


def test_a_tied_embedding_counts_once(llama):
    vocabulary, width, inner = llama.config.vocab_size, 32, 64
    block = 2 * width * width + 2 * width * (width // 2) + 3 * width * inner + 2 * width
    assert count_parameters(llama) == vocabulary * width + 2 * block + width


def test_missing_weights_are_refused_rather_than_made_up(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"lacks 1 of the weights.*layers\.1\.mlp\.up_proj"):
        load_model(folder, device="cpu", dtype="fp32")


def test_weights_of_another_shape_are_refused(folder):
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"] = torch.ones(5)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="cannot load the weights of saved"):
        load_model(folder, device="cpu", dtype="fp32")


def test_a_tokenizer_without_padding_pads_with_its_end_token(llama_folder):
    assert load_tokenizer(llama_folder).pad_token == "<|im_end|>"


def test_a_tokenizer_gives_what_a_decoder_takes_and_is_written_so(llama, llama_folder, tmp_path):
    tokenizer = load_tokenizer(llama_folder)
    assert set(tokenizer("a")) == {"input_ids", "attention_mask"}
    save_model(copy.deepcopy(llama), tokenizer, tmp_path / "saved")
    assert set(AutoTokenizer.from_pretrained(tmp_path / "saved")("a")) == {"input_ids", "attention_mask"}


def test_a_folder_without_a_tokenizer_is_refused(folder):
    for path in folder.glob("*token*"):
        path.unlink()
    with pytest.raises(InputError, match="saved has no tokenizer: one of"):
        load_tokenizer(folder)


def test_a_tokenizer_without_an_end_token_is_refused(llama_tokenizer, llama_folder):
    PreTrainedTokenizerFast(tokenizer_object=llama_tokenizer.backend_tokenizer).save_pretrained(llama_folder)
    with pytest.raises(InputError, match="no end token"):
        load_tokenizer(llama_folder)


def test_roles_of_special_tokens_do_not_tell_tokenizers_apart_but_merges_and_digits_do(llama_tokenizer):
    from tokenizers import Tokenizer, pre_tokenizers

    text = llama_tokenizer.backend_tokenizer.to_str()
    same = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(text), eos_token="<|endoftext|>")
    assert tokenizer_digest(same) == tokenizer_digest(llama_tokenizer)
    state = json.loads(text)
    state["model"]["merges"].reverse()
    fewer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(state)))
    assert tokenizer_digest(fewer) != tokenizer_digest(llama_tokenizer)
    together = Tokenizer.from_str(text)
    together.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    assert tokenizer_digest(PreTrainedTokenizerFast(tokenizer_object=together)) != tokenizer_digest(llama_tokenizer)
