"""Do the variants of a package say the same, request by request, and does it matter what is asked beside a request?

Every variant is scored on the same documents, each runtime through the adapter that all evaluations take, and the
log-probabilities of single answers are laid side by side: those of torch-fp32 against each other variant's. What asking
in batches does to a score is measured by the adapter itself, on fixed requests.

    python -m benchmarks.request_agreement PACKAGE --documents 25 --out docs/benchmarks/request_agreement.json
"""

import argparse
import json
from pathlib import Path
from statistics import median
from typing import Any

from evaluation.assemble import BATCH_DEPENDENCE, REFERENCE_VARIANT
from evaluation.batch_dependence import LIMIT_NATS, PROBES
from evaluation.capability import capability_settings
from evaluation.scored_requests import ScoredRequests
from flows.environment import code_version, environment
from flows.evaluate_model import Wish, request_of
from flows.preflight import decide_compute
from flows.subjects import find_subjects
from flows.work import Work, directly
from stillhouse import terminal
from stillhouse.store.artifact import read_manifest
from stillhouse.store.beside import REQUESTS, model_digest
from stillhouse.store.store import Store
from tasks.adopt import adopt_variant
from tasks.score_benchmarks import evaluate_capability


def main() -> None:
    """Score each variant, and write how far its answers lie from the reference's."""
    options = _parser().parse_args()
    request = request_of(Wish(options.package, documents=options.documents, device=options.device))
    work = Work(Store(options.runs.resolve() / "store"), directly)
    with terminal.shown():
        compute, _ = decide_compute(request, work.store)
        asked = capability_settings(request.evaluation, compute.model_copy(update={"precision": "fp32"}))
        subjects = find_subjects(options.package, None)
        scored = {name: _scored(work, subject, asked) for name, subject in subjects.items()}
    found = {
        "documents": options.documents,
        "benchmarks": list(request.evaluation.benchmarks),
        "threads": compute.threads,
        "code": code_version(),
        "environment": environment(),
        "variants": {name: _beside(one, scored[REFERENCE_VARIANT]) for name, one in scored.items()},
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    options.out.with_suffix(".md").write_text(page(found), encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", help="the package, or the run that holds it")
    parser.add_argument("--documents", type=int, default=25, help="of each of the usual benchmarks (default: 25)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="holds the store (default: runs)")
    parser.add_argument("--out", type=Path, required=True, help="a JSON file; a table is written beside it")
    return parser


def _scored(work: Work, subject: Any, asked: Any) -> dict[str, Any]:
    """Log-probability of each answer that was asked for, by the request's key, and how far batching moves one."""
    model = work.make(adopt_variant, subject, {})
    facts = work.facts(work.make(evaluate_capability, asked, {"model": model}))
    kept = work.store.root / REQUESTS / model_digest(read_manifest(work.store.folder(model)))
    answers: dict[str, list[Any]] = {}
    for file in sorted(kept.glob("*.jsonl")):
        answers |= {key: one for key, one in ScoredRequests(file).known.items() if is_score(one)}
    return {"answers": answers, BATCH_DEPENDENCE: facts[BATCH_DEPENDENCE]}


def is_score(answer: Any) -> bool:
    """Whether it is `(log-probability, is the likeliest)`, and not what was written: `(tokens, has ended)`."""
    return (
        isinstance(answer, list) and len(answer) == 2 and isinstance(answer[0], float) and isinstance(answer[1], bool)
    )


def _beside(one: dict[str, Any], reference: dict[str, Any]) -> dict[str, Any]:
    """How far a variant's log-probabilities lie from the reference's, over the requests of both."""
    both = sorted(set(one["answers"]) & set(reference["answers"]))
    apart = sorted(abs(one["answers"][key][0] - reference["answers"][key][0]) for key in both)
    same = sum(one["answers"][key][1] == reference["answers"][key][1] for key in both)
    return {
        "requests": len(both),
        "median_nats": median(apart),
        "p99_nats": apart[int(0.99 * (len(apart) - 1))],
        "largest_nats": apart[-1],
        "same_greedy_share": same / len(both),
        BATCH_DEPENDENCE: one[BATCH_DEPENDENCE],
    }


def page(found: dict[str, Any]) -> str:
    """The content of the JSON file as a page to read."""
    rows = "\n".join(_row(name, one) for name, one in found["variants"].items())
    return f"""# Variants, request by request

{found["documents"]} documents of each of {", ".join(found["benchmarks"])}:
the log-probability of every answer by every variant, beside that of `{REFERENCE_VARIANT}`, in nats an answer. Batching:
how far a score moves, at most, when {len(PROBES) - 1} others are asked beside it; above {LIMIT_NATS} a variant is asked
alone, and its package says that it must not be served in batches. {found["environment"]["processor"]}, threads:
{found["threads"]}.

| variant | requests | median | 99 of 100 below | largest | likeliest or not: same | batching |
|---|--:|--:|--:|--:|--:|--:|
{rows}

Made by `python -m benchmarks.request_agreement`.
"""


def _row(name: str, one: dict[str, Any]) -> str:
    apart = " | ".join(f"{one[key]:.2g}" for key in ("median_nats", "p99_nats", "largest_nats"))
    same, moved = f"{100 * one['same_greedy_share']:.1f}%", f"{one[BATCH_DEPENDENCE]:.1g}"
    return f"| `{name}` | {one['requests']:,} | {apart} | {same} | {moved} |"


if __name__ == "__main__":
    main()
