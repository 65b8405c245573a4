"""Activations that are computed again instead of kept."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from stillhouse.errors import InputError


def checkpoint_activations(student: PreTrainedModel) -> None:
    """Keep a layer's input alone, and run the layer again on the way back (Chen et al., 2016).

    Transformers does so in layers that are in training mode. Only that mark is set, on nothing inside them, and it is
    gone while the layer runs, for some drop by it (OPT, Falcon): the student stays without dropout.

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
            module._gradient_checkpointing_func = _unmarked(module)  # type: ignore[assignment]  # no tensor


def _unmarked(layer: GradientCheckpointingLayer) -> Callable[..., Any]:
    """What transformers calls with a layer's forward: runs it, now and again on the way back, without the mark."""

    def keep_inputs_alone(forward: Callable[..., Any], *inputs: Any) -> Any:
        def run(*inputs: Any) -> Any:
            layer.training = False
            try:
                return forward(*inputs)
            finally:
                layer.training = True

        return checkpoint(run, *inputs, use_reentrant=False)

    return keep_inputs_alone


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
