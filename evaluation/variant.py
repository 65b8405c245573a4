"""A variant opened by the runtime that its files ask for, imports kept apart from loading."""

from collections.abc import Callable
from pathlib import Path

from stillhouse.serving.language_model import LanguageModel


def open_variant(folder: Path, *, threads: int, device: str) -> LanguageModel:
    """Open a variant: an ONNX graph in ONNX Runtime, without torch; any other model folder in transformers."""
    return prepare(folder, threads=threads, device=device)()


def prepare(folder: Path, *, threads: int, device: str) -> Callable[[], LanguageModel]:
    """Import what opens the variant, and return the function that opens it.

    Args:
        folder: The variant.
        threads: CPU threads.
        device: A torch device; ONNX Runtime uses CUDA where it names one, and the CPU otherwise.
    """
    if (folder / "model.onnx").is_file():
        from stillhouse.serving.decoder import CPU, CUDA, Decoder

        providers = (CUDA, CPU) if device.startswith("cuda") else (CPU,)
        return lambda: Decoder.open(folder, threads=threads, providers=providers)
    from evaluation.torch_decoder import TorchDecoder, import_architecture

    import_architecture(folder)
    return lambda: TorchDecoder.open(folder, threads=threads, device=device)
