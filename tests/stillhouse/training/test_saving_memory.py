"""Activations that are computed again are those that were computed, in layers that drop by their own mark too."""

import pytest
import torch
from transformers import FalconConfig, FalconForCausalLM, OPTConfig, OPTForCausalLM, PreTrainedModel

from stillhouse.training.saving_memory import activations_kept, checkpoint_activations

SIZES = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}


def opt() -> PreTrainedModel:
    return OPTForCausalLM(OPTConfig(**SIZES, ffn_dim=32, word_embed_proj_dim=16, dropout=0.5))


def falcon() -> PreTrainedModel:
    return FalconForCausalLM(FalconConfig(**SIZES, hidden_dropout=0.5, attention_dropout=0.5))


@pytest.mark.parametrize("architecture", [opt, falcon])
def test_a_student_whose_layers_forget_is_without_dropout(architecture):
    torch.manual_seed(0)
    model = architecture().eval()
    layers = model.model.decoder.layers if architecture is opt else model.transformer.h
    kept, of_kept = _loss_and_gradient(model)
    calls: list[int] = []
    layers[0].register_forward_pre_hook(lambda *_: calls.append(1))
    checkpoint_activations(model)
    saved, of_saved = _loss_and_gradient(model)
    assert len(calls) == 2, "on the way there and, again, on the way back"
    assert torch.equal(saved, kept)
    for one, another in zip(of_saved, of_kept, strict=True):
        torch.testing.assert_close(one, another)
    with activations_kept(model):
        _loss_and_gradient(model)
    assert len(calls) == 3
    _loss_and_gradient(model)
    assert len(calls) == 5


def _loss_and_gradient(model: PreTrainedModel) -> tuple[torch.Tensor, list[torch.Tensor]]:
    model.zero_grad()
    ids = torch.arange(12).reshape(2, 6)
    loss = model(input_ids=ids, labels=ids, use_cache=False).loss
    loss.backward()
    return loss.detach(), [each.grad.clone() for each in model.parameters() if each.grad is not None]
