"""The `route` section: whether the student is taught by the teacher itself, or by students before it."""

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from stillhouse.recipe.continual import Continual
from stillhouse.recipe.low_rank import LowRank
from stillhouse.recipe.pruned import DepthAndWidthPruned, DepthPruned, Pruned, WidthPruned, Widths
from stillhouse.recipe.settings import Settings
from stillhouse.recipe.student import Student


class Direct(Settings):
    """The student is cut from the teacher and taught by it."""

    kind: Literal["direct"] = "direct"


class Intermediate(Settings):
    """A student on the way, which teaches the next one."""

    student: Pruned
    """How it is cut from the one before it."""
    steps: PositiveInt | None = None
    """Optimizer steps; as many as `distillation` asks for when left out."""


class Progressive(Settings):
    """Each student is cut from the one before it and taught by it, from large to small; the recipe's comes last.

    A teacher far larger than its student may be harder to follow than one in between (Mirzadeh et al., 2020,
    arXiv:1902.03393). Every link takes the training of its own.
    """

    kind: Literal["progressive"] = "progressive"
    through: tuple[Intermediate, ...] = Field(min_length=1)
    """The students on the way, the largest first."""

    @model_validator(mode="after")
    def _sizes_are_of_one_measure(self) -> Self:
        for number, link in enumerate(self.through, start=1):
            refuse_share(link.student, f"route.through, student {number}")
        return self


class BornAgain(Settings):
    """The student is trained again from the same start, taught by the student of the generation before.

    Furlanello et al., 2018, arXiv:1805.04770, who draw the weights of each generation anew; here all start as the
    first one does, cut from the teacher.
    """

    kind: Literal["born_again"] = "born_again"
    generations: int = Field(default=2, ge=2, le=20)
    """Trainings in all."""
    first: Literal["teacher", "text"] = "teacher"
    """What the first generation learns from: the recipe's teacher as well, or the text alone, as in the paper, so that
    no other model ever teaches."""


Route = Annotated[Direct | Progressive | BornAgain | Continual, Field(discriminator="kind")]


def refuse_share(student: Student, where: str) -> None:
    """Refuse a size that is a share of a teacher that changes on the way.

    Raises:
        ValueError: If it is one.
    """
    if isinstance(student, Widths) and student.parameters_share is not None:
        raise ValueError(
            f"{where} is {student.parameters_share:g} of its teacher's parameters, and on a progressive route the "
            "teacher is the student before; give parameters, a number"
        )


def check_route(route: Route, student: Student, knowledge_kind: str, *, asks_teacher: bool) -> None:
    """Refuse a chain that has nothing to hand on.

    Args:
        route: The section.
        student: The recipe's own.
        knowledge_kind: How the teacher is asked.
        asks_teacher: Whether it has a share in the training at all.

    Raises:
        ValueError: If the student is not cut from its teacher, the knowledge is of the first teacher alone, or
            generations would all be alike.
    """
    # What a continual route can be taught by is its own matter (`check_rounds`).
    if isinstance(route, Direct | Continual):
        return
    if knowledge_kind == "moving_average":
        raise ValueError(
            f"route is {route.kind}, whose later students are taught by the ones before, but knowledge.kind is "
            "moving_average, by which a student is taught by itself alone; set it to online or cached, or leave "
            "route out"
        )
    if knowledge_kind not in ("online", "cached"):
        raise ValueError(
            f"route is {route.kind}, whose later students are taught by the ones before, but knowledge.kind is "
            f"{knowledge_kind}, which is of the recipe's teacher alone; set it to online or cached"
        )
    if isinstance(route, BornAgain) and not asks_teacher:
        raise ValueError(
            "route is born_again, in which each generation is taught by the one before, but distillation.alpha is 0, "
            "so that none is taught and all come out alike; set alpha above 0, or leave route out"
        )
    if isinstance(route, Progressive):
        cut = student.cut if isinstance(student, LowRank) else student
        if not isinstance(cut, DepthPruned | WidthPruned | DepthAndWidthPruned):
            allowed = "depth, width, depth_and_width, or low_rank with a cut"
            raise ValueError(
                f"route is progressive, which cuts the student from the one before it, but student.kind is "
                f"{student.kind}; take {allowed}, or leave route out"
            )
        refuse_share(cut, "student")


def check_layers_of_route(kind: str, layers: str | dict[int, int]) -> None:
    """Refuse layers by their numbers, which are others for every teacher on the way.

    Args:
        kind: Of the route.
        layers: `distillation.features.layers`.

    Raises:
        ValueError: If layers are named.
    """
    if layers != "auto":
        raise ValueError(
            f"distillation.features.layers names layers of the recipe's teacher, and on a {kind} route others teach "
            "too; set it to auto"
        )
