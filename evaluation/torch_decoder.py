"""A variant open in transformers: the reference that every other one is compared with, and those of bitsandbytes.

It offers what `stillhouse.serving.decoder.Decoder` offers, so that parity and speed are measured by one code.
"""

import json
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import PreTrainedModel

from stillhouse.models.load import is_quantized, load_model, quiet_bitsandbytes
from stillhouse.serving.language_model import Choose, Generation


class TorchDecoder:
    """A model folder that is open with its tokenizer: in fp32, or as it ships where it is quantized."""

    def __init__(self, model: PreTrainedModel, tokenizer: Tokenizer):
        self._model = model
        # Never asked: it is held so that load time and memory are those of a model that is ready to serve.
        self._tokenizer = tokenizer

    @classmethod
    def open(cls, folder: Path, *, threads: int, device: str = "cpu") -> "TorchDecoder":
        """Open a model folder; `threads` is set for the whole process, torch knows no other way."""
        torch.set_num_threads(threads)
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        return cls(load_model(folder, device=device, dtype="fp32"), tokenizer)

    def logits(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Return `[T, V]`: what each position predicts next, in one pass over the whole sequence."""
        with torch.inference_mode():
            found = self._model(torch.tensor([list(ids)], device=self._model.device), use_cache=False)
        logits: NDArray[np.float32] = found.logits[0].float().cpu().numpy()
        return logits

    def generate_with_margins(
        self,
        ids: Sequence[int],
        *,
        max_new_tokens: int,
        stop_ids: Collection[int] = (),
        on_token: Callable[[int], None] | None = None,
        choose: Choose | None = None,
    ) -> Generation:
        """Continue the prompt with a key-value cache; see `LanguageModel`.

        Like transformers' own `generate`, it works the prompt's logits out for the last position only.
        """
        step, cache = list(ids), None
        new_ids, margins = list[int](), list[float]()
        with torch.inference_mode():
            while len(new_ids) < max_new_tokens:
                step_BT = torch.tensor([step], device=self._model.device)
                found = self._model(step_BT, past_key_values=cache, use_cache=True, logits_to_keep=1)
                logits_V = found.logits[0, -1].float()
                (first, second), (token, _) = (each.tolist() for each in logits_V.topk(2))
                if choose is not None:
                    token = choose(logits_V.cpu().numpy())
                new_ids.append(token)
                margins.append(first - second)
                if on_token is not None:
                    on_token(token)
                if token in stop_ids:
                    break
                step, cache = [token], found.past_key_values
        return Generation(new_ids, margins)


def import_architecture(folder: Path) -> None:
    """Import the model's class and what runs its quantized weights, which transformers puts off until it is opened.

    Load time and memory are the model's; the code's are counted with the imports.
    """
    for name in json.loads((folder / "config.json").read_text(encoding="utf-8")).get("architectures", ()):
        getattr(transformers, name, None)
    if is_quantized(folder):
        quiet_bitsandbytes()
        import accelerate  # noqa: F401
        import bitsandbytes  # noqa: F401
