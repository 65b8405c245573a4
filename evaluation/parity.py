"""The stage `measure_parity`: what a variant, read from its saved bytes, lost against `torch-fp32`.

The variant answers in a process of its own, which for ONNX holds no torch; its logits pass through scratch files
a few documents at a time, and are compared here with the reference's on the very same positions.

Shapes: P counted positions, V vocabulary, D documents.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from math import log
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt

from evaluation import parity_child
from evaluation.statistics import bootstrap_mean_interval
from evaluation.variant import open_variant
from stillhouse import child, progress
from stillhouse.data.dataset import Split, read_split
from stillhouse.errors import InputError
from stillhouse.recipe.settings import Settings
from stillhouse.serving.language_model import LanguageModel
from stillhouse.store.artifact import FACTS, WORK, Inputs

# Logits on disk at once; at 49,152 tokens of vocabulary these are 1,365 positions.
SCRATCH_BYTES = 256 * 2**20
# Positions whose distributions exist at once in float64.
CHUNK = 64
# Length of a prompt that is continued, the first tokens of a held-out document.
PROMPT_TOKENS = 16


class ParitySettings(Settings):
    """How much text is compared, and how it is run."""

    parity_tokens: PositiveInt
    """Counted held-out tokens to compare on; the document that reaches them is read to its end."""
    greedy_tokens: PositiveInt
    """Length of the greedy continuations."""
    greedy_prompts: int = Field(default=16, ge=2)
    """Held-out documents whose beginning is continued."""
    prompt_tokens: PositiveInt = PROMPT_TOKENS
    """Length of that beginning."""
    device: str
    """A torch device."""
    threads: PositiveInt
    """CPU threads."""
    seed: int
    """Decides the bootstrap's resamples."""


@dataclass(frozen=True)
class Piece:
    """A document of the held-out split, or one piece of a long one."""

    name: str
    ids: list[int]
    positions: list[int]
    """Where a counted token is predicted: one before each of them."""
    num_bytes: int
    """UTF-8 bytes that the counted tokens spell."""


@dataclass(frozen=True)
class Comparison:
    """Sums over the counted positions of one piece."""

    name: str
    tokens: int
    num_bytes: int
    nats: float
    """The variant's negative log-likelihood."""
    reference_nats: float
    kl_nats: float
    """KL(reference || variant)."""
    agreements: int
    """Positions whose most likely token is the reference's."""


@dataclass(frozen=True)
class Continuation:
    """One prompt, continued by both."""

    name: str
    equal_tokens: int
    """Leading tokens that are the same."""
    ids: list[int]
    reference_ids: list[int]


def measure_parity(settings: ParitySettings, inputs: Inputs, folder: Path) -> None:
    """Compare `inputs["variant"]` with `inputs["reference"]` on the held-out split of `inputs["dataset"]`.

    Writes `parity.json` (figures, each document's sums, each continuation) and `facts.json` (the figures, named
    as in `evaluation.results.VariantFigures`). Whole documents are compared, so that the bytes their tokens
    spell are known exactly.

    Raises:
        InputError: If the split has fewer than two documents with counted tokens.
        FloatingPointError: If the variant's logits are not finite; the message names the document.
    """
    pieces = _choose(read_split(inputs["dataset"], "held_out"), settings.parity_tokens)
    prompts = _prompts(pieces, settings)
    work = folder / WORK
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    reference = open_variant(inputs["reference"], threads=settings.threads, device=settings.device)
    vocabulary = reference.logits(pieces[0].ids[:1]).shape[1]
    compared: list[Comparison] = []
    continuations: list[list[int]] = []
    for batch in _batches(pieces, SCRATCH_BYTES // (4 * vocabulary)):
        # One process answers the first batch and the prompts: opening a variant takes a while.
        asked = [] if continuations else [prompt.ids for prompt in prompts]
        continuations += _ask(settings, inputs["variant"], batch, asked, work)
        for number, piece in enumerate(batch):
            progress.step("compares with torch-fp32", len(compared), len(pieces))
            compared.append(_compare(piece, reference.logits(piece.ids), np.load(_scratch(work, number))))
    continued = _continue(reference, prompts, continuations, settings.greedy_tokens)
    shutil.rmtree(work)
    figures = _figures(compared, continued, settings.seed)
    details = {"figures": figures, "documents": compared, "continuations": continued}
    (folder / "parity.json").write_text(json.dumps(details, indent=1, default=asdict) + "\n", encoding="utf-8")
    (folder / FACTS).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _choose(split: Split, budget: int) -> list[Piece]:
    """Return the first documents that hold `budget` counted tokens, or all of them."""
    chosen: list[Piece] = []
    left = budget
    for number, name in enumerate(split.names):
        part = slice(int(split.starts[number]), int(split.starts[number + 1]))
        positions = (np.flatnonzero(split.counted[part][1:])).tolist()
        if positions and left > 0:
            chosen.append(Piece(name, split.ids[part].tolist(), positions, int(split.num_bytes[number])))
            left -= len(positions)
    if len({piece.name for piece in chosen}) < 2:
        raise InputError(
            f"parity needs at least 2 held-out documents with counted tokens: the first {budget} tokens "
            f"hold {len({piece.name for piece in chosen})}; raise evaluation.parity_tokens or data.held_out_tokens"
        )
    return chosen


def _prompts(pieces: Sequence[Piece], settings: ParitySettings) -> list[Piece]:
    """Return the beginnings of the first documents, one a document."""
    first = {piece.name: piece for piece in reversed(pieces)}
    names = list(dict.fromkeys(piece.name for piece in pieces))[: settings.greedy_prompts]
    return [Piece(name, first[name].ids[: settings.prompt_tokens], [], 0) for name in names]


def _batches(pieces: Sequence[Piece], limit: int) -> Iterator[list[Piece]]:
    """Group pieces of at most `limit` positions; a longer piece comes alone."""
    batch: list[Piece] = []
    for piece in pieces:
        if batch and sum(len(one.positions) for one in [*batch, piece]) > limit:
            yield batch
            batch = []
        batch.append(piece)
    yield batch


def _ask(
    settings: ParitySettings, variant: Path, batch: Sequence[Piece], prompts: list[list[int]], work: Path
) -> list[list[int]]:
    """Let the variant write the batch's logits to scratch files, and return how it continues the prompts."""
    payload = {
        "variant": str(variant),
        "threads": settings.threads,
        "device": settings.device,
        "requests": [
            {"ids": piece.ids, "positions": piece.positions, "file": str(_scratch(work, number))}
            for number, piece in enumerate(batch)
        ],
        "prompts": prompts,
        "new_tokens": settings.greedy_tokens,
    }
    answer = child.run(f"{parity_child.__name__}:answer", payload, threads=settings.threads)
    continuations: list[list[int]] = answer["continuations"]
    return continuations


def _continue(
    reference: LanguageModel, prompts: Sequence[Piece], continuations: Sequence[list[int]], new_tokens: int
) -> list[Continuation]:
    """Continue every prompt with the reference, and count the leading tokens that are the variant's."""
    continued = []
    for number, (prompt, ids) in enumerate(zip(prompts, continuations, strict=True)):
        progress.step("continues prompts with torch-fp32", number, len(prompts))
        expected = reference.generate_with_margins(prompt.ids, max_new_tokens=new_tokens).ids
        equal = np.cumprod(np.equal(ids, expected)).sum()
        continued.append(Continuation(prompt.name, int(equal), ids, expected))
    return continued


def _scratch(work: Path, number: int) -> Path:
    return work / f"logits-{number}.npy"


def _compare(piece: Piece, reference_TV: NDArray[np.float32], logits_PV: NDArray[np.float32]) -> Comparison:
    """Sum what one document says of the variant."""
    reference_PV = reference_TV[piece.positions]
    for owner, logits in (("the variant", logits_PV), ("torch-fp32", reference_PV)):
        if not np.isfinite(logits).all():
            raise FloatingPointError(
                f"logits of {owner} are not finite in held-out document {piece.name}: "
                f"{np.count_nonzero(~np.isfinite(logits))} of {logits.size} values"
            )
    labels_P = np.asarray(piece.ids)[np.asarray(piece.positions) + 1]
    sums = np.zeros(4)
    for start in range(0, len(labels_P), CHUNK):
        part = slice(start, start + CHUNK)
        sums += compare_positions(reference_PV[part], logits_PV[part], labels_P[part])
    nats, reference_nats, kl, agreements = sums.tolist()
    return Comparison(piece.name, len(labels_P), piece.num_bytes, nats, reference_nats, kl, int(agreements))


def compare_positions(
    reference_PV: NDArray[np.floating[Any]],
    variant_PV: NDArray[np.floating[Any]],
    labels_P: NDArray[np.integer[Any]],
) -> NDArray[np.float64]:
    """Sum over positions, in float64.

    Returns:
        `[4]`: the variant's negative log-likelihood of the labels, the reference's, KL(reference || variant),
        and the positions whose most likely token is the same. The first three in nats.
    """
    reference, variant = _log_softmax(reference_PV), _log_softmax(variant_PV)
    rows = np.arange(len(labels_P))
    agrees = reference_PV.argmax(axis=1) == variant_PV.argmax(axis=1)
    kl = np.exp(reference) * (reference - variant)
    return np.array([-variant[rows, labels_P].sum(), -reference[rows, labels_P].sum(), kl.sum(), agrees.sum()])


def _log_softmax(logits_PV: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    shifted = logits_PV.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return shifted


def _figures(compared: Sequence[Comparison], continued: Sequence[Continuation], seed: int) -> dict[str, Any]:
    """Divide the sums, and draw each figure's interval over documents; pieces of one document are one unit."""
    sums = {name: np.zeros(5) for name in dict.fromkeys(one.name for one in compared)}
    for one in compared:
        sums[one.name] += [one.nats, one.reference_nats, one.kl_nats, one.agreements, one.tokens]
    num_bytes = {name: sum(one.num_bytes for one in compared if one.name == name) for name in sums}
    nats, reference_nats, kl, agreements, tokens = np.array(list(sums.values())).T
    ratios = {
        "bits_per_byte": (nats / log(2), list(num_bytes.values())),
        "bits_per_byte_ratio_to_fp32": (nats, reference_nats),
        "kl_to_fp32": (kl, tokens),
        "top1_agreement": (agreements, tokens),
        "greedy_prefix_tokens": ([one.equal_tokens for one in continued], np.ones(len(continued))),
    }
    figures: dict[str, Any] = {
        name: float(np.sum(numerators) / np.sum(denominators)) for name, (numerators, denominators) in ratios.items()
    }
    figures["parity_tokens"] = int(tokens.sum())
    figures["intervals"] = {
        name: bootstrap_mean_interval(numerators, denominators, seed=seed)
        for name, (numerators, denominators) in ratios.items()
    }
    return figures
