"""The stage `measure_held_out`: how well a model predicts text it has not seen, alone and beside its teacher.

Everything is summed a document at a time: documents are what another sample would have drawn otherwise, so they
are the unit of every interval, and the pieces of a long one are one unit. Both models read the same pieces, so
their differences are paired.

Calibration is of tokens: how far the probability of the likeliest token lies from how often it is the right one, over
15 bins of equal width (Guo et al., 2017, arXiv:1706.04599). It is never negative: chance alone gives few tokens some.

Shapes: P counted positions, V vocabulary, D documents, B bins.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from evaluation.drawn_statistics import drawn_error_of_gaps
from evaluation.statistics import bootstrap_mean_interval, percentile_interval
from stillhouse import progress
from stillhouse.data.dataset import Split, read_split
from stillhouse.errors import InputError
from stillhouse.freed_memory import freed_memory_kept
from stillhouse.recipe.settings import Settings
from stillhouse.store.artifact import FACTS, Inputs

if TYPE_CHECKING:
    import torch

# Padded tokens of a batch: logits of 256 x 49,152 are 50 MB for each of the two models.
_BATCH_TOKENS = 256
# Positions whose distributions exist at once: at 49,152 tokens these stay in a core's cache, and 128 take three times
# as long.
_CHUNK = 16
_BINS = 15


class HeldOutSettings(Settings):
    """Where it is measured; the arithmetic is always fp32."""

    device: str
    """A torch device."""
    threads: int = Field(gt=0)
    """CPU threads."""
    seed: int
    """Decides the bootstrap's resamples."""
    split: Literal["held_out", "validation"] = "held_out"
    """`validation` is for choosing among recipes, so that held-out text stays unseen by the choice."""


@dataclass(frozen=True)
class Sums:
    """Totals of each document's counted tokens, `[D]` each but one; the last three are `None` without a teacher."""

    names: tuple[str, ...]
    """The documents that have counted tokens."""
    tokens: NDArray[np.int64]
    """How many those are."""
    num_bytes: NDArray[np.int64]
    """UTF-8 bytes that they spell."""
    nats: NDArray[np.float64]
    """Negative log-likelihood."""
    gaps: NDArray[np.float64]
    """`[D, B]`: of the tokens whose likeliest one has a probability in this bin, that probability less 1 where it is
    the right one."""
    teacher_nats: NDArray[np.float64] | None = None
    """The teacher's."""
    kl_nats: NDArray[np.float64] | None = None
    """KL(teacher || model)."""
    agreements: NDArray[np.float64] | None = None
    """Positions whose most likely token is the teacher's."""


def measure_held_out(settings: HeldOutSettings, inputs: Inputs, folder: Path) -> None:
    """Measure `inputs["model"]` on a split of `inputs["dataset"]`, beside `inputs["teacher"]`.

    Writes `held_out.json` (the figures, and each document's totals) and `facts.json` (the figures alone, named as
    in `evaluation.results.ModelFigures`). Where model and teacher are one folder, what compares them is `None`.

    Raises:
        InputError: If the split has no counted token.
        ValueError: If a model's loss is not finite; the message names the document.
    """
    import torch

    from stillhouse.models.load import count_parameters, load_model

    torch.set_num_threads(settings.threads)
    split = read_split(inputs["dataset"], settings.split)
    model = load_model(inputs["model"], device=settings.device, dtype="fp32")
    alone = inputs["model"].resolve() == inputs["teacher"].resolve()
    teacher = None if alone else load_model(inputs["teacher"], device=settings.device, dtype="fp32")
    with freed_memory_kept():
        sums = sum_documents(model, teacher, split)
    figures: dict[str, Any] = {
        "parameters": count_parameters(model),
        "layers": model.config.get_text_config().num_hidden_layers,
        **figures_of_sums(sums, seed=settings.seed),
    }
    _write(folder / "held_out.json", {"figures": figures, "documents": _document_rows(sums)})
    _write(folder / FACTS, figures)


def sum_documents(model: Any, teacher: Any | None, split: Split) -> Sums:
    """Sum loss, and what compares model with teacher, over each document's counted tokens.

    Args:
        model: A causal language model of transformers, in fp32.
        teacher: Another, or `None` to measure the model alone.
        split: The documents.

    Raises:
        InputError: If the split has no counted token.
        ValueError: If a loss is not finite; the message names the document.
    """
    names, owners = _documents(split)
    totals, gaps = np.zeros((4, len(names))), np.zeros((len(names), _BINS))
    tokens, num_bytes = (np.zeros(len(names), dtype=np.int64) for _ in range(2))
    np.add.at(num_bytes, owners, split.num_bytes)
    pieces = [piece for piece in range(len(owners)) if split.counted[_tokens(split, piece)].any()]
    if not pieces:
        raise InputError(
            f"the split has no counted token in {len(names)} documents; "
            "raise data.held_out_tokens, or give more documents"
        )
    done = 0
    for batch in _batches(split, pieces):
        owner = np.concatenate([np.full(split.counted[_tokens(split, piece)].sum(), owners[piece]) for piece in batch])
        values = _score(model, teacher, split, batch)
        wrong = ~np.isfinite(values).all(axis=0)
        if wrong.any():
            first = int(wrong.argmax())
            found = values[2:4, first]
            raise ValueError(f"the loss on held-out document {names[owner[first]]} is not finite: {found}")
        np.add.at(tokens, owner, 1)
        likeliest, right, *summed = values
        np.add.at(gaps, (owner, np.minimum(likeliest * _BINS, _BINS - 1).astype(int)), likeliest - right)
        for row, value in zip(totals, summed, strict=False):
            np.add.at(row, owner, value)
        done += len(batch)
        progress.step("reads held-out text", done, len(pieces))
    kept = np.flatnonzero(tokens)
    compared = (None, None, None) if teacher is None else totals[1:, kept]
    return Sums(tuple(names[at] for at in kept), tokens[kept], num_bytes[kept], totals[0, kept], gaps[kept], *compared)


def figures_of_sums(sums: Sums, *, seed: int) -> dict[str, Any]:
    """Divide the totals, and draw each figure's 95% interval over documents; `seed` decides the resamples."""
    above = None if sums.teacher_nats is None else sums.nats - sums.teacher_nats
    ratios: dict[str, tuple[NDArray[np.float64] | None, NDArray[np.int64]]] = {
        "held_out_loss_nats_per_token": (sums.nats, sums.tokens),
        "bits_per_byte": (sums.nats / log(2), sums.num_bytes),
        "held_out_loss_above_teacher_nats_per_token": (above, sums.tokens),
        "kl_to_teacher_nats_per_token": (sums.kl_nats, sums.tokens),
        "top1_agreement_with_teacher": (sums.agreements, sums.tokens),
    }
    figures: dict[str, Any] = {"tokens": int(sums.tokens.sum()), "documents": len(sums.names), "intervals": {}}
    # An absolute value of sums is no ratio of theirs: it is worked out anew in every draw.
    figures["calibration_error"], drawn = drawn_error_of_gaps(sums.gaps, sums.tokens, seed=seed)
    if (bounds := percentile_interval(drawn, len(sums.names))) is not None:
        figures["intervals"]["calibration_error"] = bounds
    for name, (totals, units) in ratios.items():
        figures[name] = None if totals is None else float(totals.sum() / units.sum())
        # One document says nothing of the spread between documents, and a few hardly more.
        if totals is not None and len(sums.names) > 1:
            bounds = bootstrap_mean_interval(totals, units, seed=seed)
            figures["intervals"] |= {} if bounds is None else {name: bounds}
    return figures


def _documents(split: Split) -> tuple[list[str], NDArray[np.int64]]:
    """Name the documents in order, and say which one each piece belongs to."""
    names = list(dict.fromkeys(split.names))
    numbers = {name: number for number, name in enumerate(names)}
    return names, np.array([numbers[name] for name in split.names], dtype=np.int64)


def _tokens(split: Split, piece: int) -> slice:
    return slice(int(split.starts[piece]), int(split.starts[piece + 1]))


def _batches(split: Split, pieces: list[int]) -> Iterator[list[int]]:
    """Group pieces of similar length, so that little is padded and logits stay small."""
    lengths = np.diff(split.starts)
    batch: list[int] = []
    for piece in sorted(pieces, key=lambda piece: lengths[piece]):
        if batch and (len(batch) + 1) * lengths[piece] > _BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(piece)
    yield batch


def _score(model: Any, teacher: Any | None, split: Split, batch: list[int]) -> NDArray[np.float64]:
    """Score a batch's counted positions, piece after piece.

    Returns:
        `[6, P]` probability of the likeliest token, whether it is the right one, loss, teacher's loss, KL and
        agreement; `[3, P]`, up to the loss, without a teacher.
    """
    import torch

    length = max(int(split.starts[piece + 1] - split.starts[piece]) for piece in batch)
    ids, labels, mask = (torch.full((len(batch), length), value) for value in (0, -100, 0))
    for row, piece in enumerate(batch):
        tokens = np.asarray(split.ids[_tokens(split, piece)], dtype=np.int64)
        targets = np.where(split.counted[_tokens(split, piece)], tokens, -100)
        ids[row, : len(tokens)] = torch.from_numpy(tokens)
        labels[row, : len(tokens) - 1] = torch.from_numpy(targets[1:])
        mask[row, : len(tokens)] = 1
    ids, labels, mask = ids.to(model.device), labels.to(model.device), mask.to(model.device)
    labels = labels.flatten()
    places = (labels != -100).nonzero()[:, 0]
    with torch.inference_mode():
        pair = [
            one(ids, attention_mask=mask, use_cache=False).logits.flatten(0, 1)
            for one in (model, teacher)
            if one is not None
        ]
        scores = [_compare(labels[few], *(logits[few] for logits in pair)) for few in places.split(_CHUNK)]
    return np.concatenate(scores, axis=1)


def _compare(
    targets: "torch.Tensor", logits: "torch.Tensor", teacher_logits: "torch.Tensor | None" = None
) -> NDArray[np.float64]:
    """Score positions `[P, V]` against their targets `[P]`."""
    import torch

    if teacher_logits is None:
        return torch.stack(_alone(logits.log_softmax(-1), targets)).cpu().double().numpy()
    # Embeddings are often padded to a round size; no tokenizer emits what lies beyond the shorter one.
    size = min(logits.shape[-1], teacher_logits.shape[-1])
    log_probs, teacher_log_probs = (each[:, :size].log_softmax(-1) for each in (logits, teacher_logits))
    kl = (teacher_log_probs.exp() * (teacher_log_probs - log_probs)).sum(-1)
    agrees = log_probs.argmax(-1) == teacher_log_probs.argmax(-1)
    rows = [*_alone(log_probs, targets), _nats(teacher_log_probs, targets), kl, agrees.to(kl.dtype)]
    return torch.stack(rows).cpu().double().numpy()


def _alone(log_probs: "torch.Tensor", targets: "torch.Tensor") -> "list[torch.Tensor]":
    likeliest, tokens = log_probs.max(-1)
    return [likeliest.exp(), (tokens == targets).to(likeliest.dtype), _nats(log_probs, targets)]


def _nats(log_probs: "torch.Tensor", targets: "torch.Tensor") -> "torch.Tensor":
    return -log_probs.gather(-1, targets[:, None])[:, 0]


def _document_rows(sums: Sums) -> list[dict[str, Any]]:
    """One row a document."""
    columns = {
        "tokens": sums.tokens,
        "bytes": sums.num_bytes,
        "loss_nats": sums.nats,
        "teacher_loss_nats": sums.teacher_nats,
        "kl_to_teacher_nats": sums.kl_nats,
        "top1_agreements": sums.agreements,
        "calibration_gaps": sums.gaps,
    }
    return [
        {"document": name, **{key: None if each is None else each[at].tolist() for key, each in columns.items()}}
        for at, name in enumerate(sums.names)
    ]


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
