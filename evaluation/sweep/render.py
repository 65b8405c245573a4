"""The comparison of a sweep: one HTML file, the same in Markdown, and its content as JSON."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from evaluation.report import drawings, markdown, page, words
from evaluation.report.findings import Tile
from evaluation.report.gains import ABOVE
from evaluation.results import Results
from evaluation.sweep import run_tables
from evaluation.sweep.comparison import ComparedRun, Comparison, VariantRow, compare, variants
from stillhouse.recipe.settings import Settings
from stillhouse.store.artifact import Inputs

HERE = Path(__file__).parent
HTML, MARKDOWN, JSON = "comparison.html.jinja", "comparison.md.jinja", "comparison.json"


class CompareRunsSettings(Settings):
    """Which runs are compared."""

    name: str
    """The recipe's name."""
    runs: tuple[ComparedRun, ...]
    """In the order of the list of changes; those that failed among them."""


@dataclass(frozen=True)
class Verdict:
    """How a sweep went."""

    tone: str
    """`good` where every run ships something, `bad` where none does."""
    sentences: tuple[str, ...]


def compare_runs(settings: CompareRunsSettings, inputs: Inputs, folder: Path) -> None:
    """Write `comparison.html`, `comparison.md`, `comparison.json`, and in `plots/` the PNG that the page shows.

    Inputs are the results of the runs that did not fail (`results.json`), by `run_<first number>`.
    """
    results = {
        run.name: Results.model_validate_json((inputs[key] / "results.json").read_text(encoding="utf-8"))
        for run in settings.runs
        if (key := f"run_{run.numbers[0]}") in inputs
    }
    found = compare(settings.name, settings.runs, results)
    (folder / JSON).write_text(found.model_dump_json(indent=1) + "\n", encoding="utf-8")
    shown = _view(found) | {"plots": drawings.draw(_drawings(found), folder / "plots")}
    for template, environment in ((HTML, page.environment(HERE)), (MARKDOWN, markdown.environment(HERE))):
        text = environment.get_template(template).render(shown)
        (folder / template.removesuffix(".jinja")).write_text(text, encoding="utf-8")


def _drawings(found: Comparison) -> list[drawings.Drawing]:
    from evaluation.sweep import front_plot

    if not variants(found.runs):
        return []
    return [drawings.Drawing("fronts", front_plot.seen(found), partial(front_plot.fronts, found))]


def _view(found: Comparison) -> dict[str, Any]:
    """Everything that both templates show."""
    return {
        "found": found,
        "verdict": _verdict(found),
        "tiles": list(_tiles(found)),
        "runs": run_tables.runs_table(found),
        "cheapest": run_tables.cheapest_table(found) if variants(found.runs) else None,
        "variants": run_tables.variants_table(found) if variants(found.runs) else None,
        "limits": list(_limits(found)),
    }


def _verdict(found: Comparison) -> Verdict:
    """How many runs there were and what became of them, and the failures one by one."""
    failed = [row for row in found.runs if row.failed is not None]
    shipping = [
        row for row in found.runs if any(isinstance(one, VariantRow) and one.ships for one in row.variants.values())
    ]
    ships = "all" if len(shipping) == len(found.runs) else len(shipping) or "none"
    told = [f"Of {words.plural(len(found.runs), 'run')}, {ships} may ship and {len(failed) or 'none'} failed."]
    told += [f"Run {row.name} ({row.changed}) failed: {row.failed}" for row in failed]
    tone = "good" if len(shipping) == len(found.runs) else "unsure" if shipping else "bad"
    return Verdict(tone, tuple(told))


def _tiles(found: Comparison) -> Iterator[Tile]:
    """The best of each figure, and whose it is."""
    above = {row.name: row.student.held_out_loss_above_teacher_nats_per_token for row in found.runs if row.student}
    known = {name: loss for name, loss in above.items() if loss is not None}
    if known:
        best = min(known, key=lambda name: known[name])
        yield Tile("Least loss above teacher", words.figure(ABOVE, known[best]), f"nats per token, run {best}")
    made = variants(found.runs)
    for cost, names in found.fronts.items():
        if names:
            # A front begins with what is cheapest.
            value = words.figure(cost, getattr(made[names[0]], cost))
            yield Tile(f"Least {words.label(cost)}", value, names[0])


def _limits(found: Comparison) -> Iterator[str]:
    """What the comparison does not show."""
    compared = [row for row in found.runs if row.student is not None]
    if len(compared) > 1:
        yield (
            f"Each run is one training with one seed. The best of {len(compared)} looks better here than it is: some "
            "of its lead is luck, and its own figures cannot tell how much. Another seed, or text that no choice was "
            "made on, can."
        )
    if not found.same_text:
        yield (
            "The runs were not compared with one teacher on one held-out text, so losses and bits per byte of "
            "different runs stand beside each other only roughly."
        )
    if compared:
        yield "Every speed was measured while no other run of Stillhouse worked on that machine."
