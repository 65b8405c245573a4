"""A student with random weights: sizes, other architectures, its vocabulary, and the same bytes for the same seed."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, GPT2Config, LlamaConfig, Qwen2Config

from stillhouse.errors import InputError
from stillhouse.models.fresh import FreshStudentSettings, fresh_config, make_fresh_student
from stillhouse.models.load import load_model, load_tokenizer
from stillhouse.models.tokenizer import tokenizer_digest
from stillhouse.recipe.student import Fresh


def make(teacher: Path, folder: Path, seed: int = 3, **asked) -> dict:
    folder.mkdir()
    settings = FreshStudentSettings(student=Fresh.model_validate(asked), seed=seed)
    make_fresh_student(settings, {"teacher": teacher}, folder)
    return json.loads((folder / "facts.json").read_text())


def test_the_teachers_architecture_with_other_sizes(tiny_model: Path, tmp_path: Path):
    facts = make(tiny_model, tmp_path / "a", layers=3, hidden_size=24, attention_heads=6, key_value_heads=3)
    config = AutoConfig.from_pretrained(tmp_path / "a")
    assert (config.num_hidden_layers, config.hidden_size, config.num_attention_heads) == (3, 24, 6)
    # What was not asked is the teacher's: the feed-forward, the width of a head, ties.
    assert (config.intermediate_size, config.head_dim, config.tie_word_embeddings) == (64, 8, True)
    model = load_model(tmp_path / "a", device="cpu", dtype="fp32")
    assert facts["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert facts["vocabulary_size"] == AutoConfig.from_pretrained(tiny_model).vocab_size


def test_it_predicts_like_a_model_that_knows_nothing(tiny_model: Path, tmp_path: Path):
    make(tiny_model, tmp_path / "a", config={"model_type": "llama", "hidden_size": 32, "num_attention_heads": 4})
    model = load_model(tmp_path / "a", device="cpu", dtype="fp32")
    with torch.no_grad():
        log_probs = model(torch.arange(5, 60)[None]).logits.log_softmax(-1)
    assert log_probs.mean().item() == pytest.approx(-torch.tensor(float(log_probs.shape[-1])).log().item(), abs=0.1)


def test_another_architecture_with_the_teachers_tokenizer(tiny_model: Path, tmp_path: Path):
    config = {"model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}
    facts = make(tiny_model, tmp_path / "a", config=config)
    opened = AutoModelForCausalLM.from_pretrained(tmp_path / "a")
    assert type(opened).__name__ == "GPT2LMHeadModel" and facts["architecture"] == "gpt2"
    tokenizer = load_tokenizer(tmp_path / "a")
    assert tokenizer_digest(tokenizer) == tokenizer_digest(load_tokenizer(tiny_model))
    assert opened.config.vocab_size == len(tokenizer)
    # GPT-2's own end token lies far beyond this vocabulary.
    assert opened.generation_config.eos_token_id == tokenizer.eos_token_id == opened.config.eos_token_id


def test_the_vocabulary_has_the_rows_of_the_teachers_model_padding_included(tiny_model: Path, tmp_path: Path):
    padded = tmp_path / "teacher"
    shutil.copytree(tiny_model, padded)
    content = json.loads((padded / "config.json").read_text())
    (padded / "config.json").write_text(json.dumps(content | {"vocab_size": 320}))
    facts = make(padded, tmp_path / "a", layers=1)
    assert facts["vocabulary_size"] == 320 > facts["tokenizer_tokens"]


def test_the_same_seed_gives_the_same_bytes_and_leaves_the_generator_alone(tiny_model: Path, tmp_path: Path):
    torch.manual_seed(11)
    expected = torch.rand(3)
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        torch.manual_seed(11)
        make(tiny_model, tmp_path / name, seed, layers=1)
        assert torch.equal(torch.rand(3), expected)
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in "abc"]
    assert weights[0] == weights[1] != weights[2]
    assert (tmp_path / "a" / "config.json").read_bytes() == (tmp_path / "b" / "config.json").read_bytes()


TEACHER = LlamaConfig(vocab_size=100, hidden_size=32, num_attention_heads=4, num_key_value_heads=2)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"config": {"model_type": "lama"}}, "'lama', which is no causal language model in transformers"),
        ({"config": {"model_type": "t5"}}, "'t5', which is no causal language model"),
        ({"config": {"model_type": "llama", "vocab_size": 90}}, "vocab_size is 90, but it predicts 100 tokens"),
        ({"attention_heads": 3}, "3 query heads cannot share 2 key/value heads"),
        ({"hidden_size": 33}, "student.hidden_size is 33 with 4 query heads"),
    ],
)
def test_what_is_no_model_is_refused(asked, said):
    with pytest.raises(InputError, match=said):
        fresh_config(Fresh.model_validate(asked), TEACHER, "it")


def test_sizes_go_by_the_architectures_own_names():
    config = fresh_config(Fresh(layers=2, hidden_size=64, attention_heads=4), GPT2Config(), "it")
    assert (config.n_layer, config.n_embd, config.n_head) == (2, 64, 4)
    with pytest.raises(InputError, match="a 'gpt2' has no key_value_heads; give the whole of student.config"):
        fresh_config(Fresh(key_value_heads=2), GPT2Config(), "it")


def test_more_layers_than_the_teacher_are_of_the_kinds_that_its_architecture_gives_them():
    config = fresh_config(Fresh(layers=40), Qwen2Config(num_hidden_layers=4, vocab_size=100), "it")
    assert len(config.layer_types) == 40
