"""What all of a suite would take: some documents of every benchmark, each timed, and its time extrapolated.

The sample is stratified: of each benchmark as many documents, spread evenly over its file, so that of MMLU all subjects
are among them. A benchmark's time is that of its stage less that of loading, times all of its documents over those
asked. Scores are of the sample. Run it while nothing else runs. It goes through a store, so it goes on after a kill; a
store of its own, as what was asked of the model before would take no time.

    python -m benchmarks.full_suite MODEL --documents 20 --out docs/benchmarks/full_suite.json
"""

import argparse
import json
from pathlib import Path
from typing import Any

from evaluation.benchmark_files import asked_of, benchmark
from evaluation.capability import capability_settings
from flows.environment import code_version, environment
from flows.evaluate_model import Wish, request_of
from flows.preflight import decide_compute
from flows.subjects import MODEL, find_subjects
from flows.work import Work, directly
from stillhouse import terminal
from stillhouse.recipe.compute import Compute
from stillhouse.recipe.evaluation import Evaluation
from stillhouse.store.artifact import Reference, read_manifest
from stillhouse.store.store import Store
from tasks.fetch_student import load_student
from tasks.score_benchmarks import evaluate_capability

OF_LOADING = ("arc_easy", (2, 3, 4))
"""A benchmark, and so few of its documents that opening the model is nearly all that it takes; the least of these times
is taken, as the first stage of a process imports as well what the later ones find."""


def main() -> None:
    """Score a sample of every benchmark of the suite, and write what was found after each."""
    options = _parser().parse_args()
    request = request_of(Wish(options.model, suite=options.suite, device=options.device))
    subject = find_subjects(options.model, None)[MODEL]
    work = Work(Store(options.runs.resolve() / "store"), directly)
    with terminal.shown():
        compute, _ = decide_compute(request, work.store)
        model = work.make(load_student, subject, {})
        found: dict[str, Any] = {
            "model": work.facts(model)["parameters"],
            "suite": options.suite,
            "compute": compute.model_dump(mode="json"),
            "code": code_version(),
            "environment": environment(),
            "loading_seconds": min(
                _timed(work, request.evaluation, compute, model, OF_LOADING[0], few)["seconds"] for few in OF_LOADING[1]
            ),
            "benchmarks": {},
        }
        for name in request.evaluation.benchmarks:
            found["benchmarks"][name] = _timed(work, request.evaluation, compute, model, name, options.documents)
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            options.out.with_suffix(".md").write_text(page(found), encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a model's folder, or what else names one; no package")
    parser.add_argument("--suite", default="full", help="a file of recipes/suites (default: full)")
    parser.add_argument("--documents", type=int, default=20, help="of each benchmark (default: 20)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--runs", type=Path, default=Path("runs/full-suite"), help="holds its store")
    parser.add_argument("--out", type=Path, required=True, help="a JSON file; a table is written beside it")
    return parser


def _timed(
    work: Work, evaluation: Evaluation, compute: Compute, model: Reference, name: str, documents: int
) -> dict[str, Any]:
    asked = evaluation.model_copy(update={"benchmarks": (name,), "documents": documents})
    scored = work.make(evaluate_capability, capability_settings(asked, compute), {"model": model})
    file = benchmark(name)
    return {
        **work.facts(scored)[name],
        "asked": asked_of(file, documents),
        "documents": file.documents,
        "seconds": read_manifest(work.store.folder(scored)).seconds,
    }


def extrapolated_seconds(timed: dict[str, Any], loading_seconds: float) -> float:
    """What all documents of a benchmark would take, the model being open."""
    return float(max(0.0, timed["seconds"] - loading_seconds) * timed["documents"] / timed["asked"])


def page(found: dict[str, Any]) -> str:
    """The content of the JSON file as a page to read."""
    whole = {name: extrapolated_seconds(one, found["loading_seconds"]) for name, one in found["benchmarks"].items()}
    rows = "\n".join(_row(name, one, whole[name]) for name, one in found["benchmarks"].items())
    documents = sum(one["documents"] for one in found["benchmarks"].values())
    return f"""# The suite `{found["suite"]}`, by a sample

A model of {found["model"] / 1e6:.1f}M parameters, {found["compute"]["precision"]} on
{found["environment"]["processor"]}, threads: {found["compute"]["threads"]}. Of each benchmark some documents, spread
evenly over its file; the time is that of the sample, less {found["loading_seconds"]:.1f} s of loading, times all
documents over those asked.

**All {documents:,} documents would take about {sum(whole.values()) / 3600:.1f} hours.** It may be stopped at any time:
what was asked is not asked again.

| benchmark | score of the sample | documents asked | of | sample, s | all, minutes |
|---|--:|--:|--:|--:|--:|
{rows}

Scores of so few documents say that a benchmark runs on a real model, and little else. Made by
`python -m benchmarks.full_suite`.
"""


def _row(name: str, one: dict[str, Any], whole: float) -> str:
    score = f"{one['value']:.2f} ± {one['stderr']:.2f}"
    return f"| {name} | {score} | {one['asked']:,} | {one['documents']:,} | {one['seconds']:.1f} | {whole / 60:.1f} |"


if __name__ == "__main__":
    main()
