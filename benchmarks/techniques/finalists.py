"""What the three best techniques can do and how they write, beside plain KL, cross-entropy and the teacher.

Finalists have the lowest KL to the teacher on validation text, meaned over seeds, in the view of equal tokens.
Students come from the store, or are trained again as their records say.

    python -m benchmarks.techniques.finalists
    python -m benchmarks.techniques.finalists --rows "reverse KL" --seeds 0
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.figures import difference, over_seeds, write_study
from benchmarks.techniques.record import Record, key_of, read_all
from benchmarks.techniques.rows import PLAIN_KL, ROWS
from benchmarks.techniques.train import BASE, OUT, order, settings_of
from evaluation.benchmark_files import POOLED
from evaluation.comparison import Compared, compare_behaviour, compare_capability
from evaluation.score_files import DocumentScores, read_behaviour, read_capability, together
from flows.settings import SettingsOfStages
from flows.work import Planner, Work, directly
from stillhouse import terminal
from stillhouse.store.artifact import Reference
from stillhouse.store.store import Store
from tasks.score_behaviour import evaluate_behaviour
from tasks.score_benchmarks import evaluate_capability

TEACHER = "teacher"
BESIDE = (PLAIN_KL, "cross-entropy")
"""Rows that every finalist is read against."""
FINALISTS = 3
JUDGED_BY = "kl_to_teacher_nats_per_token"
Scored = dict[str, Path]
"""Folders of `capability` and `behaviour`."""


def main() -> None:
    """Score the teacher and every student, and write what was found after each."""
    options = _parser().parse_args()
    rows = options.rows or finalists(list(read_all(options.records)), options.seeds)
    store = Store(options.runs.resolve() / "store")
    found: dict[str, Any] = {"finalists": rows, "models": []}
    with terminal.shown():
        base = settings_of({}, options.base, options.threads, store)
        for seed, row in product(options.seeds, dict.fromkeys((*BESIDE, *rows))):
            settings = settings_of(ROWS[row].changes, options.base, options.threads, store)
            recorded = key_of(options.records, row, "tokens", seed)
            if recorded and recorded != order(settings, base, seed, Work(Planner(store.root), directly))[1].key:
                raise ValueError(f"{row}, seed {seed}: its record is of other code or data; do `make techniques` first")
            work = Work(store, directly)
            read, student, _ = order(settings, base, seed, work)
            teacher = _scored(settings, work, read["teacher"])
            if not found["models"]:
                found["models"].append(
                    {"row": TEACHER, "seed": None, "key": read["teacher"].key} | _figures(teacher, teacher, settings)
                )
            own = _scored(settings, work, student)
            found["models"].append({"row": row, "seed": seed, "key": student.key} | _figures(own, teacher, settings))
            write_study(options.out, settings, found, page)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), help="instead of those that validation text chooses")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--base", type=Path, default=BASE, help="the recipe under every row, with what is scored")
    parser.add_argument("--records", type=Path, default=OUT, help="the table's records")
    parser.add_argument("--out", type=Path, default=OUT.with_name("techniques_finalists.json"))
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="holds the store (default: runs)")
    parser.add_argument("--threads", type=int, default=2)
    return parser


def finalists(records: Sequence[Record], seeds: Sequence[int]) -> list[str]:
    """The rows with the lowest mean on validation text, of those that have a record of every seed.

    Raises:
        ValueError: If fewer rows than `FINALISTS` have.
    """
    found: dict[str, dict[int | None, float]] = {}
    for record in records:
        if record.view == "tokens" and record.row in ROWS and record.row not in BESIDE and record.seed in seeds:
            found.setdefault(record.row, {})[record.seed] = record.figures["validation"][JUDGED_BY]
    whole = {row: mean(values.values()) for row, values in found.items() if set(values) == set(seeds)}
    if len(whole) < FINALISTS:
        raise ValueError(
            f"only {len(whole)} techniques have records of seeds {', '.join(map(str, seeds))}; finish `make "
            "techniques`, or name --rows or fewer --seeds"
        )
    return sorted(whole, key=whole.__getitem__)[:FINALISTS]


def _scored(settings: SettingsOfStages, work: Work, model: Reference) -> Scored:
    capability = work.make(evaluate_capability, settings.capability, {"model": model})
    behaviour = work.make(evaluate_behaviour, settings.behaviour, {"model": model, "capability": capability})
    return {"capability": work.store.folder(capability), "behaviour": work.store.folder(behaviour)}


def _figures(own: Scored, teacher: Scored, settings: SettingsOfStages) -> dict[str, Any]:
    """Each figure with its difference to the teacher's on the same documents."""
    seed = settings.recipe.seed
    scores = read_capability(own["capability"])
    shares = [score for score in scores.values() if score.share]
    every = scores | ({POOLED: together(shares)} if shares else {})
    beside = compare_capability(own["capability"], teacher["capability"], seed=seed)
    written = {name: score for name, score in read_behaviour(own["behaviour"]).items() if score is not None}
    others = compare_behaviour(own["behaviour"], teacher["behaviour"], seed=seed)
    return {"capability": _told(every, beside), "generation": _told(written, others)}


def _told(scores: Mapping[str, DocumentScores], beside: Mapping[str, Compared]) -> dict[str, dict[str, Any]]:
    return {
        name: {
            "value": float(score.values.sum() / score.denominators.sum()),
            "documents": len(score.values),
            "difference_to_teacher": beside[name].difference,
            "difference_interval": beside[name].interval,
        }
        for name, score in scores.items()
        if name in beside
    }


def page(found: dict[str, Any]) -> str:
    """The content of the JSON file as a page to read."""
    evaluation = found["recipe"]["evaluation"]
    behaviour = evaluation["behaviour"]
    return f"""# Finalists of the techniques: tasks, and what they write

The {len(found["finalists"])} techniques with the lowest KL to the teacher on validation text,
plain KL, plain cross-entropy, and the teacher that all learn from. A cell is the mean over seeds, with each seed behind
it in their order.

## Tasks

{evaluation["documents"]} documents of each benchmark, by lm-eval, every model in the dtype that it trains in. Shares
of right answers, in percent; pooled less the teacher's with its 95% interval, over the same documents, seed by seed.

{chr(10).join(_table(found, "capability"))}

## What they write

{behaviour["prompts"]} prompts, greedily and by sampling at temperature {behaviour["temperature"]:g}, top-p
{behaviour["top_p"]:g}, cut at {behaviour["new_tokens"]} tokens.

{chr(10).join(_table(found, "generation"))}

{found["compute"]["precision"]} on {found["environment"]["processor"]}. Made by `python -m
benchmarks.techniques.finalists`; every figure with its difference to the teacher is in the JSON file beside this page.
"""


def _table(found: dict[str, Any], part: str) -> Iterator[str]:
    """A row a figure, a column a model."""
    models = found["models"]
    rows = list(dict.fromkeys(model["row"] for model in models))
    yield f"| | {' | '.join(rows)} |"
    yield "|---|" + "--:|" * len(rows)
    scale = 100 if part == "capability" else 1
    for figure in models[0][part]:
        values = [[one[part][figure]["value"] * scale for one in models if one["row"] == row] for row in rows]
        cells = [over_seeds(each, _shown) for each in values]
        yield f"| {figure} | {' | '.join(cells)} |"
    if part == "capability":
        students = [row for row in rows if row != TEACHER]
        cells = ["<br>".join(_beside(one[part][POOLED]) for one in models if one["row"] == row) for row in students]
        yield f"| pooled, less the teacher's | | {' | '.join(cells)} |"


def _shown(value: float) -> str:
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _beside(figure: dict[str, Any]) -> str:
    bounds = figure["difference_interval"]
    return "" if bounds is None else difference(figure["difference_to_teacher"], bounds, digits=1, scale=100)


if __name__ == "__main__":
    main()
