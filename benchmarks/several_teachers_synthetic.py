"""Who should teach what? Two small teachers, each of which knows one task, and one student that is to know both.

Letters are to be written backwards, or in the order of the alphabet; the first letter of a question says which. Each
teacher has learned one task and never saw a question of the other. Students of the same size learn from the teachers'
distributions alone (alpha 1), by every way to share a text between teachers, or from the text. All trainings are the
stage `distill` that every recipe runs. Asked are questions that no training has.

    python -m benchmarks.several_teachers_synthetic --seeds 0 1 2 --out docs/benchmarks/several_teachers_synthetic.json
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from benchmarks.figures import shares, write_synthetic
from benchmarks.letters import (
    DOMAINS,
    LENGTH,
    Lesson,
    Size,
    draw_questions,
    share_right,
    start_model,
    teach,
    write_dataset,
)
from stillhouse import terminal


@dataclass(frozen=True)
class Effort:
    """How much is trained and asked."""

    steps: int = 400
    documents: int = 12_000
    """Of each domain."""
    asked: int = 200
    threads: int = 2


@dataclass(frozen=True)
class Arm:
    """How a student is taught."""

    teacher: str
    """The domain that the recipe's own teacher knows."""
    weighting: dict[str, Any] | None = None
    """Of an ensemble with the other teacher; `None` where there is no other."""
    serves: dict[str, list[str]] = field(default_factory=dict)
    """What the other one serves."""
    alpha: float = 1.0


SHARPNESS = 5.0
"""Five times the default: here a teacher is to count that is surer by a fraction of a nat."""
ARMS = {
    "the text alone": Arm("backwards", alpha=0.0),
    "the teacher of backwards": Arm("backwards"),
    "the teacher of sorted": Arm("sorted"),
    "both, fixed": Arm("backwards", {"kind": "fixed"}),
    "both, by domain": Arm("backwards", {"kind": "by_domain", "own": ["backwards"]}, {"serves": ["sorted"]}),
    "both, by confidence: entropy": Arm("backwards", {"kind": "by_confidence", "sharpness": SHARPNESS}),
    "both, by confidence: cross-entropy": Arm(
        "backwards", {"kind": "by_confidence", "measure": "cross_entropy", "sharpness": SHARPNESS}
    ),
}


def main() -> None:
    """Teach both teachers, then every student with every seed, and write what was found after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="a JSON file; a table is written beside it")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=Effort.steps, help="of each training")
    parser.add_argument("--documents", type=int, default=Effort.documents, help="of each domain")
    parser.add_argument("--asked", type=int, default=Effort.asked, help="questions of each domain")
    parser.add_argument("--threads", type=int, default=Effort.threads)
    asked = parser.parse_args()
    effort = Effort(steps=asked.steps, documents=asked.documents, asked=asked.asked, threads=asked.threads)
    found: dict[str, Any] = {"effort": asdict(effort), "runs": []}
    with terminal.shown():
        for seed in asked.seeds:
            with tempfile.TemporaryDirectory() as folder:
                for row in measure(seed, effort, Path(folder)):
                    found["runs"].append({"seed": seed, **row})
                    write_synthetic(asked.out, found, page)


def measure(seed: int, effort: Effort, folder: Path) -> Iterator[dict[str, Any]]:
    """Teachers first, then the students: of each, what share of questions it answers rightly."""
    generator = np.random.default_rng(seed)
    asked = {domain: sorted(draw_questions(generator, effort.asked)) for domain in DOMAINS}
    known = {question for questions in asked.values() for question in questions}
    texts = {
        domain: [each for each in draw_questions(generator, effort.documents) if each not in known]
        for domain in DOMAINS
    }
    for name, domains in (*((domain, (domain,)) for domain in DOMAINS), ("both", DOMAINS)):
        write_dataset(folder / f"data-{name}", {domain: texts[domain] for domain in domains})
    for number, domain in enumerate(DOMAINS):
        start = start_model(folder / f"start-{domain}", Size(), seed=1_000 + 10 * seed + number)
        read = {"start": start, "teacher": start, "dataset": folder / f"data-{domain}"}
        _teach(folder / domain, read, Arm(domain, alpha=0.0), effort, seed)
        yield {"model": f"teacher of {domain}"} | share_right(folder / domain, asked)
    start = start_model(folder / "start", Size(), seed=seed)
    for name, arm in ARMS.items():
        other = next(domain for domain in DOMAINS if domain != arm.teacher)
        read = {"start": start, "teacher": folder / arm.teacher, "dataset": folder / "data-both"}
        read |= {} if arm.weighting is None else {"teacher_1": folder / other}
        student = folder / name.replace(" ", "-")
        _teach(student, read, arm, effort, seed)
        yield {"model": name} | share_right(student, asked) | {"say": _say(student, arm)}


def _teach(folder: Path, read: dict[str, Path], arm: Arm, effort: Effort, seed: int) -> None:
    member = {"teacher": "the/other", **arm.serves}
    ensemble = {"kind": "ensemble", "weighting": arm.weighting, "members": [member]}
    lesson = Lesson(effort.steps, arm.alpha, seed, effort.threads)
    teach(folder, read, lesson, None if arm.weighting is None else ensemble)


def _say(student: Path, arm: Arm) -> dict[str, float]:
    """By domain the share of its tokens that was taught by the teacher that knows it."""
    history = json.loads((student / "history.json").read_text(encoding="utf-8"))
    order = (arm.teacher, *(domain for domain in DOMAINS if domain != arm.teacher))
    return {
        domain: told["shares"][order.index(domain)] / told["tokens"] for domain, told in history.get("say", {}).items()
    }


def page(found: dict[str, Any]) -> str:
    """The content of the JSON file as a page to read."""
    effort, runs = found["effort"], found["runs"]
    lines = [
        f"| model | {' | '.join(f'{domain}, right' for domain in DOMAINS)} | taught by the one that knows it |",
        "|---|--:|--:|--:|",
    ]
    for name in dict.fromkeys(run["model"] for run in runs):
        rows = [run for run in runs if run["model"] == name]
        cells = [shares([row[domain] for row in rows]) for domain in DOMAINS]
        said = [mean(row["say"].values()) for row in rows if row.get("say")]
        lines.append(f"| {name} | {' | '.join(cells)} | {shares(said) if said else ''} |")
    return f"""# Several teachers: a synthetic task

Two teachers of {Size().layers} layers, one of which writes {LENGTH} letters backwards and the other in the order of
the alphabet; neither has seen the other's questions. Students of their size, {effort["steps"]} steps each on texts of
both, learn from the teachers' distributions alone. Right: share of {effort["asked"]} new questions that are answered
without a mistake; mean, and each seed. Confidence counts with sharpness {SHARPNESS:g}. This is a task with
known answers and no language: it shows what a way of sharing does where teachers know different things, not how much a
language model gains.

{chr(10).join(lines)}

Made by `python -m benchmarks.several_teachers_synthetic`.
"""


if __name__ == "__main__":
    main()
