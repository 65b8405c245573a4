"""A variant opened by the runtime that its files ask for, imports kept apart from loading."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from stillhouse.serving.language_model import LanguageModel

if TYPE_CHECKING:
    from stillhouse.serving.decoder import Decoder

Precision = Literal["fp32", "bf16"]


def open_variant(folder: Path, *, threads: int, device: str, precision: Precision = "fp32") -> LanguageModel:
    """Open a variant: an ONNX graph in ONNX Runtime, without torch; any other model folder in transformers."""
    return prepare(folder, threads=threads, device=device, precision=precision)()


def prepare(folder: Path, *, threads: int, device: str, precision: Precision = "fp32") -> Callable[[], LanguageModel]:
    """Import what opens the variant, and return the function that opens it.

    Args:
        folder: The variant.
        threads: CPU threads.
        device: A torch device.
        precision: Of a model folder whose weights are not quantized; a graph and quantized weights have their own.
    """
    if holds_graph(folder):
        import stillhouse.serving.decoder  # noqa: F401

        return partial(open_decoder, folder, threads=threads, device=device)
    from evaluation.torch_decoder import TorchDecoder, import_architecture

    import_architecture(folder)
    return lambda: TorchDecoder.open(folder, threads=threads, device=device, precision=precision)


def holds_graph(folder: Path) -> bool:
    """Whether ONNX Runtime opens the variant, and not transformers."""
    return (folder / "model.onnx").is_file()


def open_decoder(folder: Path, *, threads: int, device: str) -> "Decoder":
    """Open an ONNX graph, with CUDA where the torch device names it, and on the CPU otherwise."""
    from stillhouse.serving.decoder import CPU, CUDA, Decoder

    providers = (CUDA, CPU) if device.startswith("cuda") else (CPU,)
    return Decoder.open(folder, threads=threads, providers=providers)
