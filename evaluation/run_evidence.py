"""The evidence behind every figure of a run that a gate may limit, from the files that its stages left.

What no file tells more of (sizes, times, counts) has no evidence here; `evaluation.gates` takes the interval of
`results.json`, or the bare value.
"""

from collections.abc import Iterator, Mapping
from math import log
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from evaluation.behaviour import stereoset_scores
from evaluation.benchmark_files import POOLED
from evaluation.comparison import Compared
from evaluation.drawn_statistics import centred, drawn_error_of_gaps, drawn_figures, statistic
from evaluation.evidence import Evidence, of_draws, of_share, of_sums, of_two_ratios
from evaluation.score_files import DocumentScores, read, read_behaviour, read_capability, together
from evaluation.statistics import by_cluster

Kind = Literal["alone", "difference", "ratio"]
"""A figure as it stands, or less, or over, that of what a gate is `relative_to`."""
Key = tuple[str, Kind]
"""Path in `results.json`, and how it is taken."""
Rooms = Mapping[str, Mapping[str, Mapping[str, Compared]]]
"""`capability`, `behaviour` or `variants`, then model or variant, then measure: what sets it off the teacher, or off
`torch-fp32`."""


def evidence_of(inputs: Mapping[str, Path], compared: Rooms, *, seed: int) -> dict[Key, Evidence]:
    """Gather the evidence of a run.

    Args:
        inputs: Artifacts by name, as `evaluation.assemble.assemble_results` gets them.
        compared: What was already compared with the teacher.
        seed: Of the resamples.
    """
    found: dict[Key, Evidence | None] = {}
    for name, folder in inputs.items():
        kind, _, owner = name.partition("_")
        if name.startswith("held_out_") and (folder / "held_out.json").is_file():
            found |= _of_model(name.removeprefix("held_out_"), folder, seed)
            found |= _across_tokenizers(name.removeprefix("held_out_"), folder, inputs.get("held_out_teacher"), seed)
        elif kind == "parity" and (folder / "parity.json").is_file():
            found |= _of_variant(owner, folder, seed)
        elif kind in ("capability", "behaviour"):
            room = "variants" if f"variant_{owner}" in inputs else kind
            scored = read_behaviour(folder) if kind == "behaviour" else read_capability(folder)
            found |= dict(_of_scores(room, owner, scored, seed))
            found |= dict(_of_drawn(owner, folder, seed)) if kind == "behaviour" else {}
    for room, models in compared.items():
        for model, measures in models.items():
            for measure, one in measures.items():
                found[f"{_score_path(room, model, measure)}.value", "difference"] = one.evidence
                found[f"{_score_path(room, model, measure)}.difference_to_teacher", "alone"] = one.evidence
    return {key: evidence for key, evidence in found.items() if evidence is not None}


def _of_model(model: str, folder: Path, seed: int) -> dict[Key, Evidence | None]:
    """Held-out text: the model alone, and beside its teacher at the same positions."""
    columns = _columns(read(folder, "held_out.json")["documents"])
    tokens, num_bytes, nats = columns["tokens"], columns["bytes"], columns["loss_nats"]
    loss, bits = (f"models.{model}.{figure}" for figure in ("held_out_loss_nats_per_token", "bits_per_byte"))
    found: dict[Key, Evidence | None] = {
        (loss, "alone"): of_sums(nats, tokens, seed=seed),
        (bits, "alone"): of_sums(nats / log(2), num_bytes, seed=seed),
    }
    # Files of before calibration was told by document have none.
    if (gaps := columns.get("calibration_gaps")) is not None:
        found[f"models.{model}.calibration_error", "alone"] = of_draws(
            *drawn_error_of_gaps(gaps, tokens, seed=seed),
            num_units=len(tokens),
            documents=len(tokens),
            direction="lower is better",
        )
    if np.isnan(columns["teacher_loss_nats"]).any():
        return found
    teacher_nats = columns["teacher_loss_nats"]
    above = of_sums(nats - teacher_nats, tokens, seed=seed)
    ratio = of_sums(nats, teacher_nats, seed=seed)
    agrees = of_sums(columns["top1_agreements"], tokens, seed=seed, direction="higher is better")
    return found | {
        (loss, "difference"): above,
        (f"models.{model}.held_out_loss_above_teacher_nats_per_token", "alone"): above,
        (bits, "difference"): of_sums((nats - teacher_nats) / log(2), num_bytes, seed=seed),
        (loss, "ratio"): ratio,
        (bits, "ratio"): ratio,
        (f"models.{model}.kl_to_teacher_nats_per_token", "alone"): of_sums(
            columns["kl_to_teacher_nats"], tokens, seed=seed
        ),
        (f"models.{model}.top1_agreement_with_teacher", "alone"): agrees,
    }


def _across_tokenizers(model: str, folder: Path, teacher: Path | None, seed: int) -> dict[Key, Evidence | None]:
    """Bits per byte beside a teacher with other tokens, on the documents that both read; nothing where tokens are one.

    A teacher that was read beside the model stands in the model's own file already.
    """
    if model == "teacher" or teacher is None:
        return {}
    rows = read(folder, "held_out.json")["documents"]
    if rows[0]["teacher_loss_nats"] is not None:
        return {}
    theirs = {row["document"]: row for row in read(teacher, "held_out.json")["documents"]}
    both = [(row, theirs[row["document"]]) for row in rows if row["document"] in theirs]
    if not both:
        return {}
    own, other = (_columns([pair[side] for pair in both]) for side in (0, 1))
    totals = [(one["loss_nats"] / log(2), one["bytes"]) for one in (own, other)]
    bits = f"models.{model}.bits_per_byte"
    return {
        (bits, "difference"): of_two_ratios(totals[0], totals[1], ratio=False, seed=seed),
        (bits, "ratio"): of_two_ratios(totals[0], totals[1], ratio=True, seed=seed),
    }


def _of_variant(variant: str, folder: Path, seed: int) -> dict[Key, Evidence | None]:
    """Parity: a variant beside `torch-fp32` at the same positions; pieces of one document are one unit."""
    rows = read(folder, "parity.json")["documents"]
    names = np.unique([row["name"] for row in rows], return_inverse=True)[1]
    columns = {name: by_cluster(values, names) for name, values in _columns(rows).items()}
    tokens, num_bytes, nats, reference = (columns[name] for name in ("tokens", "num_bytes", "nats", "reference_nats"))
    bits = f"variants.{variant}.bits_per_byte"
    ratio = of_sums(nats, reference, seed=seed)
    agrees = of_sums(columns["agreements"], tokens, seed=seed, direction="higher is better")
    return {
        (bits, "alone"): of_sums(nats / log(2), num_bytes, seed=seed),
        (bits, "difference"): of_sums((nats - reference) / log(2), num_bytes, seed=seed),
        (bits, "ratio"): ratio,
        (f"{bits}_ratio_to_fp32", "alone"): ratio,
        (f"variants.{variant}.kl_to_fp32", "alone"): of_sums(columns["kl_nats"], tokens, seed=seed),
        (f"variants.{variant}.top1_agreement", "alone"): agrees,
    }


def _of_scores(
    room: str, owner: str, scored: Mapping[str, DocumentScores | None], seed: int
) -> Iterator[tuple[Key, Evidence | None]]:
    """Each benchmark or measure of one model or variant, and the documents of all benchmarks that are shares."""
    shares = [scores for scores in scored.values() if scores is not None and scores.share]
    pooled = {POOLED: together(shares)} if room != "behaviour" and shares else {}
    for measure, scores in (*scored.items(), *pooled.items()):
        if scores is not None:
            yield (f"{_score_path(room, owner, measure)}.value", "alone"), _of_documents(scores, seed)


def _of_drawn(owner: str, folder: Path, seed: int) -> Iterator[tuple[Key, Evidence]]:
    """Measures that are no mean over documents."""
    records = read(folder, "behaviour.json")
    for name, record in records.items():
        if (kind := record.get("statistic")) is not None:
            rows = np.asarray(record["rows"], dtype=np.float64)
            drawn, units = drawn_figures(kind, [rows], record["clusters"], seed=seed)
            value = statistic(kind, rows)
            estimates = centred(drawn[:, 0], value) if kind == "calibration error" else drawn[:, 0]
            told: Any = {"num_units": units, "documents": len(rows), "direction": record["direction"]}
            yield _alone(name, owner), of_draws(value, estimates, **told)
    if not (folder / stereoset_scores.FILE).is_file():
        return
    triples = stereoset_scores.Triples(**read(folder, stereoset_scores.FILE))
    found = stereoset_scores.drawn_scores(triples, seed=seed)
    for name, value, drawn in zip(stereoset_scores.MEASURES, found.values, found.drawn.T, strict=True):
        direction = records.get(name, {}).get("direction", "no direction")
        told = {"num_units": found.terms, "documents": len(triples.terms), "direction": direction}
        yield _alone(name, owner), of_draws(value, drawn, **told)


def _alone(measure: str, owner: str) -> Key:
    return f"{_score_path('behaviour', owner, measure)}.value", "alone"


def _score_path(room: str, owner: str, measure: str) -> str:
    """Where a score stands in `results.json`."""
    return f"variants.{owner}.capability.{measure}" if room == "variants" else f"{room}.{measure}.{owner}"


def _of_documents(scores: DocumentScores, seed: int) -> Evidence | None:
    clusters, direction = scores.clusters, scores.direction
    if scores.share:
        return of_share(scores.values, clusters=clusters, direction=direction)
    return of_sums(scores.values, scores.denominators, seed=seed, clusters=clusters, direction=direction)


def _columns(rows: list[dict[str, Any]]) -> dict[str, NDArray[np.float64]]:
    """One array a column; NaN where there is no number."""
    names = [name for name, value in rows[0].items() if not isinstance(value, str)]
    return {name: np.array([row[name] for row in rows], dtype=np.float64) for name in names}
