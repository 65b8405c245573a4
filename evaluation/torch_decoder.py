"""A variant open in transformers: the reference that every other one is compared with, and those of bitsandbytes.

It offers what `stillhouse.serving.decoder.Decoder` offers, so that scores, parity and speed are measured by one code.

Shapes: B = sequences, T = tokens, V = vocabulary.
"""

import json
from collections.abc import Callable, Collection, Sequence
from math import isfinite
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import PreTrainedModel

from stillhouse.models.continuing import continue_batch
from stillhouse.models.load import is_quantized, load_model, quiet_bitsandbytes
from stillhouse.serving.batches import Padded, pad_right
from stillhouse.serving.language_model import Choose, Generation, NotFinite, OnStep


class TorchDecoder:
    """A model folder that is open with its tokenizer: in one precision, or as it ships where it is quantized."""

    def __init__(self, model: PreTrainedModel, tokenizer: Tokenizer):
        self._model = model
        # Never asked: it is held so that load time and memory are those of a model that is ready to serve.
        self._tokenizer = tokenizer

    @classmethod
    def open(
        cls, folder: Path, *, threads: int, device: str = "cpu", precision: Literal["fp32", "bf16"] = "fp32"
    ) -> "TorchDecoder":
        """Open a model folder; `threads` is set for the whole process, torch knows no other way."""
        torch.set_num_threads(threads)
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        return cls(load_model(folder, device=device, dtype=precision), tokenizer)

    def logits(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Return `[T, V]`: what each position predicts next, in one pass over the whole sequence."""
        with torch.inference_mode():
            found = self._model(torch.tensor([list(ids)], device=self._model.device), use_cache=False)
        logits: NDArray[np.float32] = found.logits[0].float().cpu().numpy()
        return logits

    def logits_of(self, batch: Sequence[Sequence[int]], *, last: int | None = None) -> list[NDArray[np.float32]]:
        """Return `[T, V]` of each sequence, or of its `last` positions, in one pass; see `LanguageModel`.

        Only the positions that are wanted are predicted: for whole questions that would take most of the memory.
        """
        padded = pad_right(batch)
        firsts = [0 if last is None else max(0, len(ids) - last) for ids in batch]
        kept = padded.ids.shape[1] - min(firsts)
        with torch.inference_mode():
            found = self._model(
                torch.from_numpy(padded.ids).to(self._model.device),
                attention_mask=self._mask_of(padded),
                use_cache=False,
                logits_to_keep=kept,
            )
        logits_BTV: NDArray[np.float32] = found.logits.float().cpu().numpy()
        return [
            logits_BTV[row, first - min(firsts) : len(ids) - min(firsts)]
            for row, (first, ids) in enumerate(zip(firsts, batch, strict=True))
        ]

    def generate_batch(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        stop_ids: Collection[int] = (),
        choose: Sequence[Choose] | None = None,
        on_step: OnStep | None = None,
    ) -> list[Generation]:
        """Continue prompts side by side; see `LanguageModel`."""
        with torch.inference_mode():
            return continue_batch(
                self._model,
                prompts,
                max_new_tokens=max_new_tokens,
                stop_ids=stop_ids,
                choose=choose,
                on_step=on_step,
            )

    def _mask_of(self, padded: Padded) -> torch.Tensor | None:
        """The attention mask, or none where nothing was filled up: attention without one is faster."""
        return None if padded.mask.all() else torch.from_numpy(padded.mask).to(self._model.device)

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
                if not isfinite(first):
                    raise NotFinite(0)
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
