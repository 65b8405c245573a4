"""What is measured of a trained student in a study, and how a table shows it."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any

from flows.environment import code_version, environment
from flows.settings import SettingsOfStages
from flows.work import Work
from stillhouse.store.artifact import Reference
from tasks.score_held_out import measure_held_out

SPLITS = ("validation", "held_out")
FIGURES = (
    "held_out_loss_above_teacher_nats_per_token",
    "kl_to_teacher_nats_per_token",
    "top1_agreement_with_teacher",
)


def measure(
    settings: SettingsOfStages, work: Work, model: Reference, read: Mapping[str, Reference]
) -> dict[str, dict[str, Any]]:
    """Figures on validation and on held-out text, with their intervals over documents where there are enough."""
    found = {}
    for split in SPLITS:
        asked = settings.held_out.model_copy(update={"split": split})
        facts = work.facts(work.make(measure_held_out, asked, {"model": model, **read}))
        intervals = {name: facts["intervals"][name] for name in FIGURES if name in facts["intervals"]}
        found[split] = {name: facts[name] for name in (*FIGURES, "tokens", "documents")} | {"intervals": intervals}
    return found


def documents_of(
    settings: SettingsOfStages, work: Work, model: Reference, read: Mapping[str, Reference]
) -> list[dict[str, Any]]:
    """What each held-out document adds to the figures."""
    asked = settings.held_out.model_copy(update={"split": "held_out"})
    folder = work.store.folder(work.make(measure_held_out, asked, {"model": model, **read}))
    documents: list[dict[str, Any]] = json.loads((folder / "held_out.json").read_text(encoding="utf-8"))["documents"]
    return documents


def cells(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Means over the rows, of every figure on every split."""
    for split, name in product(SPLITS, FIGURES):
        value = mean(row[split][name] for row in rows)
        yield f"{100 * value:.1f}%" if name.startswith("top1") else f"{value:.3f}"


def difference(value: float, bounds: Sequence[float] | None, *, digits: int = 3, scale: int = 1, unit: str = "") -> str:
    """What one differs from another by, and its interval where there is one, signed and times `scale`."""
    told = f"{scale * value:+.{digits}f}{unit}"
    return told if bounds is None else f"{told} ({' to '.join(f'{scale * bound:+.{digits}f}' for bound in bounds)})"


def write_study(
    out: Path, settings: SettingsOfStages, found: dict[str, Any], page: Callable[[dict[str, Any]], str]
) -> None:
    """Write what a study has found so far, with where it comes from, as JSON and as a page beside it."""
    origin = {
        "recipe": settings.recipe.model_dump(mode="json"),
        "compute": settings.compute.model_dump(mode="json"),
        "code": code_version(),
        "environment": environment(),
    }
    _write(out, found | origin, page)


def write_synthetic(out: Path, found: dict[str, Any], page: Callable[[dict[str, Any]], str]) -> None:
    """The same of a study that has no recipe."""
    _write(out, found | {"code": code_version(), "environment": environment()}, page)


def shares(values: Sequence[float]) -> str:
    """The mean of shares of 1, and behind it each seed's; empty where there is none."""
    if not values:
        return ""
    each = " ".join(f"{100 * value:.0f}" for value in values)
    return f"{100 * mean(values):.0f}%" + (f" ({each})" if len(values) > 1 else "")


def over_seeds(values: Sequence[float], shown: Callable[[float], str]) -> str:
    """The mean, and behind it each seed's where there are several."""
    each = " ".join(map(shown, values))
    return shown(mean(values)) + (f" ({each})" if len(values) > 1 else "")


def _write(out: Path, found: dict[str, Any], page: Callable[[dict[str, Any]], str]) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    out.with_suffix(".md").write_text(page(found), encoding="utf-8")
