"""The `compute` section: what a training is spread over, and what it saves."""

from typing import Literal, Self

from pydantic import Field, PositiveInt, model_validator

from stillhouse.recipe.settings import Settings


class Lora(Settings):
    """Train low-rank additions to the student's linear layers instead of its weights; they are merged at the end."""

    rank: PositiveInt = 16
    """Of each addition."""
    alpha: PositiveInt = 32
    """The addition is multiplied by this over the rank."""
    layers: tuple[str, ...] = Field(
        default=("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"), min_length=1
    )
    """Names of the linear layers that get one, as the model calls them."""


class TrainingCompute(Settings):
    """One process by default; the same recipe runs in several, on one machine or, under torchrun, on more."""

    processes: PositiveInt = 1
    """Processes that train together, each with its share of every step's rows; on GPUs, one for each."""
    sharding: Literal["none", "full"] = "none"
    """none: every process holds the student. full: each holds a part of its weights, gradients and optimizer (FSDP)."""
    gradient_checkpointing: bool = False
    """Forget activations within a layer and compute them again: less memory, about a third more time."""
    compile: bool | Literal["auto"] = False
    """Compile teacher, student and loss with torch.compile: faster steps after a minute's wait, which pays from some
    hundred steps on; needs a C++ compiler. auto: where there is one that works, which is tried once, and the student
    writes no text of its own (`distillation.on_policy`)."""
    loss_rows: PositiveInt = 512
    """Positions whose logits exist at a time. Fewer save memory, and each chunk touches the whole head's gradient."""
    lora: Lora | None = None
    """Left out, all weights of the student are trained."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.sharding == "full" and self.processes == 1:
            raise ValueError("compute.sharding is full, but there is one process to hold the shards; raise processes")
        return self


def check_writes(compute: TrainingCompute) -> None:
    """Refuse what a student cannot write text with, as `distillation.on_policy` lets it.

    Raises:
        ValueError: If its weights are sharded, or its forward pass is compiled for the rows of the training.
    """
    seen = "compute.sharding is full" if compute.sharding == "full" else "compute.compile is true"
    if compute.sharding == "full" or compute.compile is True:
        raise ValueError(
            f"{seen}, and distillation.on_policy lets the student write text, token by token and for as long as each "
            "process needs; leave one of the two out"
        )
