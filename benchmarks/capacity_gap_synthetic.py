"""Is a teacher in between worth its steps? A large teacher and a small student, directly and through a middle one.

Letters are to be sorted. A teacher learns it from the text; students that are too small to learn all of it are taught
by the teacher's distributions alone (alpha 1): directly, through a middle student with as many steps in all, and
through a middle student with a whole training for each. Beside them students of teachers of two smaller sizes, which
learned from the text as well: whether a larger teacher is the worse one is the capacity gap itself. Asked are questions
that no training has.

    python -m benchmarks.capacity_gap_synthetic --seeds 0 1 2 --out docs/benchmarks/capacity_gap_synthetic.json
"""

import argparse
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures import shares, write_synthetic
from benchmarks.letters import LENGTH, Lesson, Size, draw_questions, share_right, start_model, teach, write_dataset
from stillhouse import terminal

TASK = "sorted"
SIZES = {"large": Size(width=96, layers=6), "middle": Size(width=48, layers=3), "small": Size(width=24, layers=1)}
TEXT = "the text"


@dataclass(frozen=True)
class Effort:
    """How much is trained and asked."""

    steps: int = 600
    """Of one whole training."""
    documents: int = 20_000
    asked: int = 500
    threads: int = 2


@dataclass(frozen=True)
class Training:
    """A model of the study."""

    size: str
    by: str
    """The text, or the name of the model that teaches it."""
    share: float = 1.0
    """Of a whole training's steps."""


TRAININGS = {
    "large teacher": Training("large", TEXT),
    "middle teacher": Training("middle", TEXT),
    "small teacher": Training("small", TEXT),
    "directly": Training("small", "large teacher"),
    "by the middle teacher": Training("small", "middle teacher"),
    "by the small teacher": Training("small", "small teacher"),
    "middle student, half": Training("middle", "large teacher", 0.5),
    "through the middle, equal steps in all": Training("small", "middle student, half", 0.5),
    "middle student, whole": Training("middle", "large teacher"),
    "through the middle, whole trainings": Training("small", "middle student, whole"),
}
"""In the order of training: who teaches comes before who is taught."""


def main() -> None:
    """Train every model with every seed, and write what was found after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="a JSON file; a table is written beside it")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=Effort.steps, help="of one whole training")
    parser.add_argument("--documents", type=int, default=Effort.documents)
    parser.add_argument("--asked", type=int, default=Effort.asked)
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
    """Train one model after the other: of each, what share of questions it answers rightly, and what it took."""
    generator = np.random.default_rng(seed)
    asked = sorted(draw_questions(generator, effort.asked))
    known = set(asked)
    texts = [each for each in draw_questions(generator, effort.documents) if each not in known]
    write_dataset(folder / "data", {TASK: texts})
    starts = _starts(folder, seed)
    for name, told in TRAININGS.items():
        start = starts[told.size, told.by == TEXT]
        teacher = start if told.by == TEXT else folder / told.by
        lesson = Lesson(max(2, round(effort.steps * told.share)), 0.0 if told.by == TEXT else 1.0, seed, effort.threads)
        teach(folder / name, {"start": start, "teacher": teacher, "dataset": folder / "data"}, lesson)
        right = share_right(folder / name, {TASK: asked})[TASK]
        yield {"model": name, "right": right, "steps": lesson.steps}


def _starts(folder: Path, seed: int) -> Mapping[tuple[str, bool], Path]:
    """Random weights by size, others for who learns from the text: a student must not start as its teacher did."""
    return {
        (name, from_text): start_model(
            folder / f"start-{name}-{from_text}", size, seed=100 * seed + 10 * number + from_text
        )
        for number, (name, size) in enumerate(SIZES.items())
        for from_text in (True, False)
    }


def page(found: dict[str, Any]) -> str:
    """The content of the JSON file as a page to read."""
    effort, runs = found["effort"], found["runs"]
    lines = ["| model | layers, width | taught by | steps | right |", "|---|--:|---|--:|--:|"]
    for name, told in TRAININGS.items():
        rows = [run for run in runs if run["model"] == name]
        if rows:
            size = SIZES[told.size]
            cells = [name, f"{size.layers}, {size.width}", told.by, f"{rows[0]['steps']:,}"]
            lines.append(f"| {' | '.join([*cells, shares([row['right'] for row in rows])])} |")
    return f"""# The capacity gap: a synthetic task

{LENGTH} letters are to be written in the order of the alphabet. Right: share of {effort["asked"]} new questions that
are answered without a mistake; mean, and each seed. Students learn from their teacher's distributions alone. This is a
task with known answers and no language: it shows whether a student follows a large teacher worse than one in between,
not what a language model gains. On {found["environment"]["processor"]}.

{chr(10).join(lines)}

Made by `python -m benchmarks.capacity_gap_synthetic`.
"""


if __name__ == "__main__":
    main()
