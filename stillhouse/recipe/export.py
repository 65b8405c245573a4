"""The `export` section: which variants ship, and how each is made."""

from typing import Literal, get_args

from pydantic import Field

from stillhouse.recipe.settings import Settings

VariantName = Literal["torch-fp32", "bnb-int8", "bnb-nf4", "onnx-fp32", "onnx-int8", "onnx-int4"]
Int8Kind = Literal["weight-only", "dynamic"]


class Int8(Settings):
    """8-bit quantization of the graph, of the kind that loses less on validation text."""

    kinds: tuple[Int8Kind, ...] = Field(default=("weight-only", "dynamic"), min_length=1)
    """Candidates: `weight-only` gives each block of weights and activations its own scale, `dynamic` one scale to all
    activations of a product."""
    block_size: Literal[16, 32, 64, 128] = 32
    """Weights that share one scale, of `weight-only`."""
    validation_tokens: int = Field(default=2048, ge=256)
    """Validation tokens on which the candidates are compared with `onnx-fp32`."""


class Int4(Settings):
    """Weight-only 4-bit quantization of every matrix, head and embedding included."""

    block_size: Literal[16, 32, 64, 128] = 32
    """Weights that share one scale."""
    symmetric: bool = False
    """No zero points: a little smaller; less exact with `gptq`, more exact with `nearest`."""
    method: Literal["gptq", "nearest"] = "gptq"
    """`gptq` makes each rounding error good by the weights that follow, on training text; `nearest` needs none."""
    calibration_tokens: int = Field(default=4096, ge=256)
    """Training tokens that `gptq` reads."""


class Export(Settings):
    """The forms of the student that a serving team can choose from."""

    variants: tuple[VariantName, ...] = Field(default=get_args(VariantName), min_length=1)
    """`torch-fp32` is what the others are compared with, so it is always made, and ships beside them."""
    int8: Int8 = Int8()
    """How `onnx-int8` is quantized."""
    int4: Int4 = Int4()
    """How `onnx-int4` is quantized."""
    smoke_prompts: int = Field(default=4, ge=1, le=32)
    """Prompts in the package whose tokens `verify` expects."""
