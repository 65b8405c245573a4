"""A local teacher: read, never changed, and known by its hidden states where that is the whole truth."""

import hashlib
from pathlib import Path

import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM, GPTNeoXConfig, GPTNeoXForCausalLM, PhiConfig, PhiForCausalLM

from stillhouse.errors import InputError
from stillhouse.losses.forward_kl import forward_kl
from stillhouse.teachers.local import LocalTeacher, open_local, plain_head
from stillhouse.teachers.targets import Dense, Factored
from tests.stillhouse.teachers.captures import COMPUTE

SIZES = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "initializer_range": 0.3,
}


def hash_of(model) -> str:
    total = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        total.update(name.encode() + tensor.numpy().tobytes())
    return total.hexdigest()


def test_the_parameters_of_the_teacher_hash_the_same_before_and_after(tiny_model: Path, batches):
    teacher = open_local(tiny_model, COMPUTE)
    before = hash_of(teacher.model)
    student = torch.zeros(*batches[0].labels.shape, teacher.vocabulary_size, requires_grad=True)
    # An optimizer that was given everything it could find, as a trainer that wraps both models would.
    optimizer = torch.optim.AdamW([student, *teacher.model.parameters()], lr=0.1, weight_decay=0.1)
    for batch in batches[:2]:
        known = teacher.targets(batch).distribution
        logits = known.hidden @ known.head.T
        forward_kl(student[: len(logits)], logits, batch.labels).backward()
        optimizer.step()
    assert student.abs().sum() > 0
    assert hash_of(teacher.model) == before
    assert not any(parameter.requires_grad for parameter in teacher.model.parameters())


def test_the_teacher_is_in_eval_mode_whatever_was_done_to_it_and_gives_no_gradients(tiny_model: Path, batches):
    teacher = open_local(tiny_model, COMPUTE)
    quiet = teacher.targets(batches[0]).distribution.hidden
    teacher.model.config.attention_dropout = 0.5
    for layer in teacher.model.model.layers:
        layer.self_attn.attention_dropout = 0.5
    teacher.model.train()
    teacher.model.requires_grad_(True)
    again = teacher.targets(batches[0]).distribution.hidden
    assert torch.equal(again, quiet)
    assert not again.requires_grad and not torch.is_inference(again)


def test_hidden_states_times_head_are_the_logits(tiny_model: Path, batches):
    teacher = open_local(tiny_model, COMPUTE)
    said = teacher.targets(batches[0]).distribution
    assert isinstance(said, Factored)
    with torch.no_grad():
        logits = teacher.model(**batches[0].inputs_of(teacher.model), use_cache=False).logits
    rows, positions = (batches[0].labels != -100).nonzero(as_tuple=True)
    torch.testing.assert_close(said.at(rows, positions), logits[rows, positions])


def test_logits_that_are_more_than_a_product_are_given_as_logits(batches):
    """Gemma caps its logits, Phi adds a bias. GPT-NeoX does neither, under another name for its head."""
    torch.manual_seed(0)
    capped = Gemma2ForCausalLM(Gemma2Config(**SIZES, num_key_value_heads=2, head_dim=8)).eval()
    biased = PhiForCausalLM(PhiConfig(**SIZES)).eval()
    assert not biased.lm_head.bias.any(), "and a bias that is still zero would never be trained"
    plain = GPTNeoXForCausalLM(GPTNeoXConfig(**SIZES, rotary_pct=1.0)).eval()
    assert plain_head(capped) is None and plain_head(biased) is None
    assert plain_head(plain) is plain.embed_out.weight
    for model in (capped, biased):
        said = LocalTeacher(model, 290, plain_head(model)).targets(batches[0]).distribution
        assert isinstance(said, Dense) and said.logits.shape == (*batches[0].labels.shape, 290)


def test_a_padded_head_is_cut_to_the_true_vocabulary(tiny_model: Path, tmp_path: Path, batches):
    from stillhouse.models.load import load_model, load_tokenizer

    model = load_model(tiny_model, device="cpu", dtype="fp32")
    true_size = len(load_tokenizer(tiny_model))
    model.resize_token_embeddings(true_size + 52)
    model.save_pretrained(tmp_path)
    load_tokenizer(tiny_model).save_pretrained(tmp_path)
    padded, plain = open_local(tmp_path, COMPUTE), open_local(tiny_model, COMPUTE)
    assert padded.vocabulary_size == plain.vocabulary_size == true_size
    one, another = padded.targets(batches[0]).distribution, plain.targets(batches[0]).distribution
    torch.testing.assert_close(one.head, another.head)
    torch.testing.assert_close(one.hidden, another.hidden)


def test_hidden_states_are_counted_as_transformers_counts_them(tiny_model: Path, batches):
    teacher = open_local(tiny_model, COMPUTE, layers=(0, 1, 2))
    said = teacher.targets(batches[0])
    assert torch.equal(said.hidden_states[0], teacher.model.model.embed_tokens(batches[0].input_ids))
    assert torch.equal(said.hidden_states[2], said.distribution.hidden)
    with pytest.raises(InputError, match="no hidden states of layer 3: 0 is its embedding and 2 its last layer"):
        open_local(tiny_model, COMPUTE, layers=(3,))
