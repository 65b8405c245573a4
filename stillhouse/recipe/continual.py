"""The `route` of kind `continual`: domains that come one after the other, and what keeps the earlier ones."""

from collections.abc import Sequence
from typing import Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from stillhouse.recipe.knowledge import (
    ByDomain,
    Cached,
    Ensemble,
    FixedWeights,
    FullTargets,
    Knowledge,
    Member,
    Online,
)
from stillhouse.recipe.settings import Settings
from stillhouse.recipe.teacher import Teacher

PREVIOUS_STUDENT = "the student of the round before"
"""What an ensemble calls it; no place that a model is fetched from."""


class Round(Settings):
    """What arrives at once: data sets that were not there before, perhaps with a teacher of their own."""

    sets: tuple[str, ...] = Field(min_length=1)
    """Names of the data sets that are new in this round, as results name them: `pubmed-abstracts`, or a file's stem."""
    teacher: Teacher | None = None
    """Who teaches in this round, with the tokenizer of the recipe's teacher; that one when left out."""
    steps: PositiveInt | None = None
    """Optimizer steps; one pass over the round's text when both this and `distillation.steps` are left out."""


class Continual(Settings):
    """The student is trained round by round, each time from where the round before left it.

    What keeps the earlier domains is text of theirs that is seen again (experience replay: Rolnick et al., 2019,
    arXiv:1811.11682) and the student as it was, which teaches there (Li and Hoiem, 2016, arXiv:1606.09282; Buzzega et
    al., 2020, arXiv:2004.07211). Without either this is naive fine-tuning.
    """

    kind: Literal["continual"] = "continual"
    rounds: tuple[Round, ...] = Field(min_length=2, max_length=20)
    """In their order."""
    replay: float = Field(default=0.25, ge=0, le=1)
    """Of the training documents of every earlier round, the share that is seen again beside the new ones, the same
    ones in each later round."""
    previous_student: Literal["none", "replayed", "everywhere"] = "replayed"
    """What the student of the round before teaches, beside or in the place of the round's teacher: nothing; the
    documents that are replayed; or all text, mixed with the teacher."""
    previous_weight: PositiveFloat = 1.0
    """With `everywhere`: its weight in the mixture, where the round's teacher has 1."""

    @model_validator(mode="after")
    def _weighs_what_is_mixed(self) -> Self:
        if self.previous_weight != 1 and self.previous_student != "everywhere":
            raise ValueError(
                f"route.previous_weight is {self.previous_weight:g}, and route.previous_student is "
                f"{self.previous_student}, where the student before is mixed with no teacher; set previous_student to "
                "everywhere, or leave the weight out"
            )
        return self

    @model_validator(mode="after")
    def _has_something_to_replay(self) -> Self:
        if self.replay == 0 and self.previous_student == "replayed":
            raise ValueError(
                "route.previous_student is replayed, and route.replay is 0, so that the replay buffer is empty; set "
                "replay above 0, or previous_student to everywhere or none"
            )
        return self


def check_rounds(route: Continual, sets: Sequence[str], knowledge: Knowledge, *, asks_teacher: bool) -> None:
    """Refuse rounds that leave a data set out or name it twice, and a student before that cannot teach.

    Args:
        route: The section.
        sets: Names of all data sets.
        knowledge: The section.
        asks_teacher: Whether who teaches has a share in the training at all.

    Raises:
        ValueError: Naming the round, or what keeps the student before from teaching.
    """
    arrived: dict[str, int] = {}
    for number, told in enumerate(route.rounds, start=1):
        for name in told.sets:
            if name not in sets:
                raise ValueError(
                    f"round {number} of route.rounds names {name}, which is none of the data sets; they are "
                    f"{', '.join(sets)}"
                )
            if name in arrived:
                raise ValueError(
                    f"round {number} of route.rounds names {name}, which round {arrived[name]} has; a set is new once, "
                    "and route.replay says how much of it is seen again"
                )
            arrived[name] = number
    if left := [name for name in sets if name not in arrived]:
        raise ValueError(f"no round of route.rounds has the data set {left[0]}; name it in one, or take it out")
    if not isinstance(knowledge, Online | Cached):
        raise ValueError(
            f"route is continual, and knowledge.kind is {knowledge.kind}; a round has one teacher, and perhaps the "
            "student before it, so set knowledge.kind to online or cached"
        )
    if not asks_teacher:
        _refuse_teachers(route)
    is_mixed = route.previous_student != "none"
    if is_mixed and isinstance(knowledge, Cached) and not isinstance(knowledge.targets, FullTargets):
        raise ValueError(
            f"route.previous_student is {route.previous_student}, whose distributions are mixed with the teacher's, "
            f"and a cache of {knowledge.targets.kind} targets does not hold whole ones; set knowledge.targets.kind to "
            "full, knowledge.kind to online, or previous_student to none"
        )


def _refuse_teachers(route: Continual) -> None:
    """Refuse whoever is named as a teacher where the text alone is learned."""
    nobody = "but distillation.alpha is 0, so that nobody teaches; set alpha above 0, or"
    if route.previous_student != "none":
        raise ValueError(f"route.previous_student is {route.previous_student}, {nobody} previous_student to none")
    for number, told in enumerate(route.rounds, start=1):
        if told.teacher is not None:
            raise ValueError(f"round {number} of route.rounds has a teacher, {nobody} leave that out")


def knowledge_of_round(route: Continual, number: int, knowledge: Knowledge) -> Knowledge:
    """Who teaches in a round.

    Args:
        route: The section.
        number: Of the round, from 0.
        knowledge: The recipe's section, online or cached.
    """
    if number == 0 or route.previous_student == "none":
        return knowledge
    assert isinstance(knowledge, Online | Cached)
    before = Member(teacher=Teacher(source=PREVIOUS_STUDENT))
    if route.previous_student == "replayed":
        own, before = route.rounds[number].sets, before.model_copy(update={"serves": earlier_sets(route, number)})
        return Ensemble(weighting=ByDomain(own=own), own=knowledge, members=(before,))
    before = before.model_copy(update={"weight": route.previous_weight})
    return Ensemble(weighting=FixedWeights(), own=knowledge, members=(before,))


def earlier_sets(route: Continual, number: int) -> tuple[str, ...]:
    """Names of the data sets of all rounds before one, which is counted from 0."""
    return tuple(name for told in route.rounds[:number] for name in told.sets)
