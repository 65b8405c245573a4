"""Whether a model that was opened reads a packed row as it reads each of its texts, seen on a few tokens.

An architecture may ignore places or masks, or hand a state from token to token; then it would be trained, or asked, on
texts that leak into each other, and nothing would look wrong but the student.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from stillhouse.data.dataset import Split
from stillhouse.errors import InputError
from stillhouse.training.batches import Batch, make_batch
from stillhouse.training.packed_attention import window_of

_FEW = 8
"""Tokens of a text: more than the convolutions of today's hybrids reach over."""
_LEAK = {torch.float32: 2e-6, torch.float64: 1e-12}
"""How far the logits of a text may move, of their size, where the text before it is another. Under a mask they do not
move at all, but what is sorted by expert is added up in another order."""
_DIFFERENCE = {torch.float32: 1e-3, torch.float64: 1e-6}
"""How far they may be from those of the text alone: rows of another length are added up in another order."""
_LEAK_IN_FEW_BITS, _DIFFERENCE_IN_FEW_BITS = 0.02, 0.1


@torch.no_grad()
def check_packed_rows(model: PreTrainedModel, name: str, sequence_length: int) -> None:
    """Refuse a model whose logits of two packed texts are not those of each alone.

    Args:
        model: In eval mode.
        name: What an error calls it.
        sequence_length: Of the training; a sliding window that is shorter is tried out too.

    Raises:
        InputError: If the two differ, or the model cannot take a packed row.
    """
    window = window_of(model.config)
    longer = _FEW if window is None or window >= sequence_length else window + _FEW
    vocabulary = model.config.get_text_config(decoder=True).vocab_size
    drawn = np.random.default_rng(0).integers(0, vocabulary, size=2 * _FEW + longer)
    first, other, second = drawn[:_FEW], drawn[_FEW : 2 * _FEW], drawn[2 * _FEW :]
    try:
        packed = _logits(model, _batch([first, second], model.device))
        moved = _logits(model, _batch([other, second], model.device))[_FEW:]
    except torch.OutOfMemoryError:
        raise
    except (TypeError, ValueError, RuntimeError, IndexError, AttributeError) as error:
        raise InputError(f"{_seen(model, name)} cannot read one ({str(error)[:200]}); {_ADVICE}") from error
    alone = [_alone(model, text) for text in (first, second)]
    if not all(torch.isfinite(logits).all() for logits in alone):
        # Broken weights are no leak; the first step names the documents.
        return
    exact = packed.dtype in _LEAK and not getattr(model, "is_quantized", False)
    leak = _LEAK[packed.dtype] if exact else _LEAK_IN_FEW_BITS
    difference = _DIFFERENCE[packed.dtype] if exact else _DIFFERENCE_IN_FEW_BITS
    beside = zip(packed.split([_FEW, longer]), alone, strict=True)
    apart = _apart(packed, torch.cat(alone)) if exact else max(_mostly_apart(one, other) for one, other in beside)
    for seen, most, what in (
        (_apart(moved, packed[_FEW:]), leak, "with another text before it"),
        (apart, difference, "alone"),
    ):
        # `not <=` catches NaN too.
        if not seen <= most:
            raise InputError(
                f"{_seen(model, name)} gives a text's logits in one that are {seen:.2g} of their size away from those "
                f"{what}, where {most:g} is allowed: texts would leak into each other; {_ADVICE}"
            )


_ADVICE = "take a model whose layers all are attention under a mask, as llama or qwen3 are"


def _seen(model: PreTrainedModel, name: str) -> str:
    return f"training texts are packed several to a row, and {name} ({model.config.model_type})"


def _batch(texts: Sequence[np.ndarray], device: torch.device) -> Batch:
    starts = np.cumsum([0, *map(len, texts)])
    numbers = np.zeros(len(texts), dtype=np.int64)
    ids = np.concatenate(texts).astype(np.int32)
    split = Split(ids, np.zeros(len(ids), dtype=bool), starts, numbers, tuple(f"text/{n}" for n in range(len(texts))))
    rows = [list(range(len(texts)))]
    return make_batch(split, rows, sequence_length=len(ids), pad_id=0, device=device)


def _logits(model: PreTrainedModel, batch: Batch) -> Tensor:
    logits: Tensor = model(**batch.inputs_of(model), use_cache=False).logits[0]
    return logits


def _alone(model: PreTrainedModel, text: np.ndarray) -> Tensor:
    ids = torch.from_numpy(text.astype(np.int64)).to(model.device)
    logits: Tensor = model(input_ids=ids[None], use_cache=False).logits[0]
    return logits


def _apart(one: Tensor, other: Tensor) -> float:
    """The size of their difference, of the size of the other."""
    # Not on the device: Apple's has no fp64.
    wide = other.cpu().double()
    return float((one.cpu().double() - wide).norm() / wide.norm().clamp(min=1e-30))


def _mostly_apart(one: Tensor, other: Tensor) -> float:
    """The same of a text's last tokens, each by itself, but for the two that are furthest apart.

    In few bits a token or two may be far off though nothing leaks: by 0.28 and more in bf16, of a cut student after 22
    steps that is within 1e-6 in fp32. A wrong mask or place moves the last ones of a text, beyond a sliding window too;
    the longer the window, the less.
    """
    found, wide = (each[-_FEW:].cpu().double() for each in (one, other))
    if not torch.isfinite(found).all():
        return torch.inf
    apart = (found - wide).norm(dim=-1) / wide.norm(dim=-1).clamp(min=1e-30)
    return float(apart.sort().values[-3])
