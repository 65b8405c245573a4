"""A teacher in this process: a transformers model that is only ever read."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from stillhouse.errors import InputError
from stillhouse.models.load import load_model
from stillhouse.models.tokenizer import open_tokenizer
from stillhouse.recipe.compute import Compute
from stillhouse.teachers.targets import Dense, Distribution, Factored, Targets
from stillhouse.teachers.vocabulary import true_vocabulary_size
from stillhouse.training.batches import Batch


@dataclass(frozen=True)
class LocalTeacher:
    """A loaded model."""

    model: PreTrainedModel
    vocabulary_size: int
    """V; rows of the head beyond it are padding, which would take probability from real tokens."""
    head: Tensor | None
    """[rows of the head, D] where logits are no more than hidden states times this; else `None`."""
    layers: tuple[int, ...] = ()
    """Whose hidden states are wanted, as `Targets.hidden_states` counts them."""

    @torch.no_grad()
    def targets(self, batch: Batch) -> Targets:
        """Read the batch: hidden states and head, so that logits need not exist all at once, where the model lets us.

        Not `inference_mode`: autograd refuses to keep what comes out of it.
        """
        # Whoever holds the model may have called `train()` on something around it.
        self.model.eval()
        if self.head is None:
            said = self.model(**batch.inputs_of(self.model), use_cache=False, output_hidden_states=bool(self.layers))
            distribution: Distribution = Dense(said.logits[..., : self.vocabulary_size])
        else:
            said = self.model.base_model(
                **batch.inputs_of(self.model), use_cache=False, output_hidden_states=bool(self.layers)
            )
            distribution = Factored(said.last_hidden_state, self.head[: self.vocabulary_size])
        return Targets(distribution, self._chosen(said.hidden_states))

    def _chosen(self, hidden_states: tuple[Tensor, ...] | None) -> Mapping[int, Tensor]:
        return {layer: hidden_states[layer] for layer in self.layers} if hidden_states else {}


def open_local(folder: Path, compute: Compute, layers: tuple[int, ...] = ()) -> LocalTeacher:
    """Load a model folder as a teacher, in eval mode and without gradients.

    Args:
        folder: A model folder.
        compute: Device and precision.
        layers: Whose hidden states are wanted.

    Raises:
        InputError: If the folder cannot be opened, or has no such layer.
    """
    model = load_model(folder, device=compute.device, dtype=compute.precision)
    model.requires_grad_(False)
    last = model.config.get_text_config(decoder=True).num_hidden_layers
    unknown = [layer for layer in layers if not 0 <= layer <= last]
    if unknown:
        raise InputError(
            f"{folder.name} has no hidden states of layer {unknown[0]}: 0 is its embedding and {last} its last layer"
        )
    return LocalTeacher(model, true_vocabulary_size(open_tokenizer(folder)), plain_head(model), layers)


@torch.no_grad()
def plain_head(model: PreTrainedModel) -> Tensor | None:
    """The weight of the last linear layer, if logits are the last hidden states times it and nothing else.

    Some architectures add a bias, scale or cap their logits. Whether this one does is seen on three tokens, not read
    off its name; the comparison is exact, because the same product is made. A bias is more than that even where it
    is zero, as it is before a training.
    """
    head = model.get_output_embeddings()
    if type(head) is not nn.Linear or head.bias is not None or model.base_model is model:
        return None
    tokens = torch.arange(3, device=head.weight.device)[None] % head.weight.shape[0]
    hidden = model.base_model(input_ids=tokens, use_cache=False).last_hidden_state
    logits = model(input_ids=tokens, use_cache=False).logits
    if hidden.shape[-1] != head.weight.shape[1]:
        return None
    return head.weight if torch.equal(nn.functional.linear(hidden, head.weight), logits) else None
