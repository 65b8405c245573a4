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
from evaluation.pieces import Piece, first_pieces
from evaluation.positions import compare_positions
from evaluation.statistics import FEWEST_UNITS, bootstrap_mean_interval
from evaluation.variant import open_variant
from stillhouse import child, progress
from stillhouse.data.dataset import Split, read_split
from stillhouse.errors import InputError
from stillhouse.recipe.settings import Settings
from stillhouse.serving.language_model import LanguageModel
from stillhouse.store.artifact import FACTS, WORK, Inputs

# Logits on disk at once; at 49,152 tokens of vocabulary these are 5,461 positions. Each time that it fills, the
# variant is opened again, which takes a process with torch longer than it takes to read a thousand tokens.
SCRATCH_BYTES = 2**30
# Length of a prompt that is continued, the first tokens of a held-out document.
PROMPT_TOKENS = 16
# Of them so many.
GREEDY_PROMPTS = 16


class ParitySettings(Settings):
    """How much text is compared, and how it is run."""

    parity_tokens: PositiveInt
    """Counted held-out tokens to compare on; the document that reaches them is read to its end, and no fewer than five
    are read."""
    greedy_tokens: PositiveInt
    """Length of the greedy continuations."""
    greedy_prompts: int = Field(default=GREEDY_PROMPTS, ge=2)
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
    """One prompt that the variant continued."""

    name: str
    equal_tokens: int
    """Leading tokens that the reference chooses too."""
    ids: list[int]
    """The variant's tokens."""
    reference_ids: list[int]
    """The reference's, up to the first that differs."""


def measure_parity(settings: ParitySettings, inputs: Inputs, folder: Path) -> None:
    """Compare `inputs["variant"]` with `inputs["reference"]` on the held-out split of `inputs["dataset"]`.

    Writes `parity.json` (figures, each document's sums, each continuation) and `facts.json` (the figures, named
    as in `evaluation.results.VariantFigures`). Whole documents are compared, so that the bytes their tokens
    spell are known exactly. Where variant and reference are one folder, it is read once.

    Raises:
        InputError: If the split has fewer than two documents with counted tokens.
        FloatingPointError: If the variant's logits are not finite; the message names the document.
    """
    pieces = _choose(read_split(inputs["dataset"], "held_out"), settings.parity_tokens)
    prompts = _prompts(pieces, settings)
    work = folder / WORK
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    alone = inputs["variant"].resolve() == inputs["reference"].resolve()
    reference = None if alone else open_variant(inputs["reference"], threads=settings.threads, device=settings.device)
    vocabulary = json.loads((inputs["reference"] / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    compared: list[Comparison] = []
    continuations: list[list[int] | None] = []
    for batch in _batches(pieces, SCRATCH_BYTES // (4 * vocabulary)):
        # One process answers the first batch and the prompts: opening a variant takes a while.
        asked = [] if continuations else [prompt.ids for prompt in prompts]
        continuations += _ask(settings, inputs["variant"], batch, asked, work)
        for number, piece in enumerate(batch):
            progress.step("compares with torch-fp32", len(compared), len(pieces))
            logits_PV = np.load(_scratch(work, number))
            reference_PV = logits_PV if reference is None else reference.logits(piece.ids)[piece.positions]
            compared.append(_compare(piece, reference_PV, logits_PV))
            _scratch(work, number).unlink()
    continued = [
        _check_continuation(reference, prompt, ids) for prompt, ids in zip(prompts, continuations, strict=True)
    ]
    figures = _figures(compared, continued, settings.seed)
    details = {"figures": figures, "documents": compared, "continuations": continued}
    (folder / "parity.json").write_text(json.dumps(details, indent=1, default=asdict) + "\n", encoding="utf-8")
    (folder / FACTS).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _choose(split: Split, budget: int) -> list[Piece]:
    """Return the first documents that hold `budget` counted tokens, or all of them; enough to tell an interval."""
    chosen = first_pieces(split, budget, documents=FEWEST_UNITS)
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
) -> list[list[int] | None]:
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
    continuations: list[list[int] | None] = answer["continuations"]
    return continuations


def _check_continuation(reference: LanguageModel | None, prompt: Piece, ids: list[int] | None) -> Continuation:
    """Count the leading tokens that the reference chooses as well.

    One pass over prompt and continuation says what the reference puts after each token of it. Up to the first that
    differs, both have read the same tokens, so these are the reference's own greedy tokens; what it would have
    written behind is not asked, and need not be generated token by token. No reference: the variant is its own.
    """
    if ids is None:
        raise FloatingPointError(f"logits of the variant are not finite where it continues {prompt.name}")
    if reference is None:
        return Continuation(prompt.name, len(ids), ids, ids)
    progress.step("checks continuations with torch-fp32")
    chosen = reference.logits([*prompt.ids, *ids[:-1]])[len(prompt.ids) - 1 :].argmax(axis=1)
    equal = int(np.cumprod(chosen == ids).sum())
    return Continuation(prompt.name, equal, ids, chosen[: equal + 1].tolist())


def _scratch(work: Path, number: int) -> Path:
    return work / f"logits-{number}.npy"


def _compare(piece: Piece, reference_PV: NDArray[np.float32], logits_PV: NDArray[np.float32]) -> Comparison:
    """Sum what one document says of the variant."""
    for owner, logits in (("the variant", logits_PV), ("torch-fp32", reference_PV)):
        if not np.isfinite(logits).all():
            raise FloatingPointError(
                f"logits of {owner} are not finite in held-out document {piece.name}: "
                f"{np.count_nonzero(~np.isfinite(logits))} of {logits.size} values"
            )
    nats, reference_nats, kl, agreements = compare_positions(reference_PV, logits_PV, piece.labels).tolist()
    return Comparison(piece.name, len(piece.positions), piece.num_bytes, nats, reference_nats, kl, int(agreements))


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
    intervals = {
        name: bootstrap_mean_interval(numerators, denominators, seed=seed)
        for name, (numerators, denominators) in ratios.items()
    }
    # So few documents tell none.
    figures["intervals"] = {name: bounds for name, bounds in intervals.items() if bounds is not None}
    return figures
