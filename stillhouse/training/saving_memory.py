"""Activations that are computed again instead of kept."""

from collections.abc import Iterator
from contextlib import contextmanager

from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from stillhouse.errors import InputError


def checkpoint_activations(student: PreTrainedModel) -> None:
    """Keep a layer's input alone, and run the layer again on the way back (Chen et al., 2016).

    Transformers does so in layers that are in training mode. Only that mark is set, and on nothing inside them: the
    student stays without dropout.

    Raises:
        InputError: If the architecture cannot.
    """
    if not student.supports_gradient_checkpointing:
        kind = type(student).__name__
        raise InputError(f"compute.gradient_checkpointing is on, and {kind} does not support it: turn it off")
    student.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    for module in student.modules():
        if isinstance(module, GradientCheckpointingLayer):
            module.training = True


@contextmanager
def activations_kept(student: PreTrainedModel) -> Iterator[None]:
    """Without what `checkpoint_activations` did: a layer that forgets keeps no keys and values to write text with."""
    marked = [each for each in student.modules() if isinstance(each, GradientCheckpointingLayer) and each.training]
    for module in marked:
        module.training = False
    try:
        yield
    finally:
        for module in marked:
            module.training = True
