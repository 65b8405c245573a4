"""Students of several recipes that begin as one: whatever each is trained on, all are cut by the text of one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from flows.delivery import prepare_data
from flows.route import make_start, teach
from flows.settings import SettingsOfStages
from flows.work import Work
from stillhouse.store.artifact import Reference, read_manifest
from tasks.fetch import load_teacher

START = "start, not trained"


@dataclass(frozen=True)
class Student:
    """One of them."""

    way: str
    """The name of its recipe; `START` before any training."""
    seed: int | None
    """Of its training alone."""
    model: Reference
    teacher: Reference
    facts: dict[str, Any] = field(default_factory=dict)
    """Of its training: tokens, steps, seconds."""

    def told(self) -> dict[str, Any]:
        """For a file."""
        return {"way": self.way, "seed": self.seed, "key": self.model.key, **self.facts}


def from_one_start(
    asked: Mapping[str, SettingsOfStages], cut_by: str, work: Work, seeds: Sequence[int]
) -> Iterator[Student]:
    """The start, and then seed by seed a student of each recipe, as each is made.

    Args:
        asked: Settings by way.
        cut_by: The way by whose text the start is cut.
        work: Runs the stages.
        seeds: Of the trainings.
    """
    of_start = asked[cut_by]
    teacher = work.make(load_teacher, of_start.teacher, {})
    read = {
        way: {"teacher": teacher, "dataset": prepare_data(settings, work, teacher)["dataset"]}
        for way, settings in asked.items()
    }
    yield Student(START, None, make_start(of_start, work, read[cut_by]), teacher)
    for seed, (way, settings) in product(seeds, asked.items()):
        student = teach(settings, work, read[way], seed=seed, cut_by=read[cut_by]["dataset"]).student
        made = read_manifest(work.store.folder(student))
        yield Student(way, seed, student, teacher, {**made.facts, "seconds": made.seconds})
