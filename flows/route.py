"""From teacher and data to a trained student: directly, or by way of students that teach the next one."""

from dataclasses import dataclass, field, replace

from flows.knowledge import gather_knowledge
from flows.settings import SettingsOfStages, SettingsOfStart
from flows.work import Work
from stillhouse.models.fresh import FreshStudentSettings
from stillhouse.models.low_rank import LowRankSettings
from stillhouse.models.narrow_students import PruneLayersAndWidthsSettings, PruneWidthsSettings
from stillhouse.models.pruning import PruneSettings
from stillhouse.models.teacher import LoadTeacherSettings
from stillhouse.recipe.continual import Continual
from stillhouse.recipe.route import BornAgain, Direct, Progressive
from stillhouse.store.artifact import Reference
from tasks.choose_round import choose_round
from tasks.distill import distill
from tasks.fetch import load_teacher
from tasks.fetch_student import load_student
from tasks.find_difficulty import measure_difficulty
from tasks.low_rank import low_rank
from tasks.make_fresh import make_fresh_student
from tasks.prune import prune_layers
from tasks.prune_both import prune_layers_and_widths
from tasks.prune_widths import prune_widths
from tasks.refit import refit_layers

References = dict[str, Reference]


@dataclass(frozen=True)
class Taught:
    """What a route made."""

    start: Reference
    """The student before it is trained."""
    student: Reference
    """The student."""
    before: References
    """The students that taught on the way, by name, in their order."""
    knowledge: References
    """What starts and trainings read besides: what was refitted or made low rank, caches, the other teachers of an
    ensemble, and how hard the texts are."""


def teach(
    settings: SettingsOfStages,
    work: Work,
    read: References,
    *,
    seed: int | None = None,
    cut_by: Reference | None = None,
) -> Taught:
    """Make the student that the recipe asks for.

    Args:
        settings: Of every stage.
        work: Runs them.
        read: `teacher` and `dataset`; `tokenizer` and `dataset_teacher` where the student has a tokenizer of its own.
        seed: Of the trainings alone, for studies that repeat them from one start; the recipe's when left out.
        cut_by: The data set that students are cut by, for studies of other data from one start; `read`'s when left
            out, and each round's own on the way through rounds.
    """
    cut = read | ({} if cut_by is None else {"dataset": cut_by})
    training = _Training(work, {name: each for name, each in read.items() if name != "teacher"}, seed)
    match settings.recipe.route:
        case Direct():
            start = training.start(settings, cut)
            return training.ended(start, training.train(settings, read["teacher"], start))
        case Progressive():
            teacher = read["teacher"]
            for number, recipe in enumerate(settings.recipe.before, start=1):
                link = replace(settings, recipe=recipe)
                name = f"intermediate-{number}"
                start = training.start(link, cut | {"teacher": teacher}, name)
                teacher = training.train(link, teacher, start, name)
            start = training.start(settings, cut | {"teacher": teacher})
            return training.ended(start, training.train(settings, teacher, start))
        case BornAgain(generations=generations):
            start, teacher = training.start(settings, cut), read["teacher"]
            first = replace(settings, recipe=settings.recipe.first_generation)
            for generation in range(1, generations):
                told = first if generation == 1 else settings
                teacher = training.train(told, teacher, start, f"generation-{generation}")
            return training.ended(start, training.train(settings, teacher, start))
        case Continual():
            return _in_rounds(settings, work, read, training)


def _in_rounds(settings: SettingsOfStages, work: Work, read: References, training: "_Training") -> Taught:
    """Train on one domain after the other, each time from where the round before left the student.

    What the student starts from is cut by the first round's text: the others are not there yet.
    """
    datasets = [work.make(choose_round, told, {"dataset": read["dataset"]}) for told in settings.rounds]
    student = start = training.start(settings, {"teacher": read["teacher"], "dataset": datasets[0]})
    told = zip(settings.recipe.rounds, settings.round_teachers, datasets, strict=True)
    for number, (recipe, other, dataset) in enumerate(told, start=1):
        teacher = read["teacher"] if other is None else work.make(load_teacher, other, {})
        training.data["dataset"] = training.knowledge[f"data_round-{number}"] = dataset
        if other is not None:
            training.knowledge[f"teacher_{number}"] = teacher
        name = f"round-{number}" if number < len(datasets) else ""
        before = student if number > 1 else None
        student = training.train(replace(settings, recipe=recipe), teacher, student, name, before=before)
    return training.ended(start, student)


@dataclass
class _Training:
    """The trainings of a route, and what they left behind them."""

    work: Work
    data: References
    seed: int | None
    before: References = field(default_factory=dict)
    knowledge: References = field(default_factory=dict)

    def start(self, settings: SettingsOfStages, read: References, name: str = "") -> Reference:
        """Make a student before its training; what it was made of is remembered as the cut of that name."""
        cut = make_cut(settings, self.work, read)
        self.knowledge |= {f"{name}_cut".strip("_"): each for each in cut.values()}
        return _finish(settings, self.work, read, cut)

    def train(
        self,
        settings: SettingsOfStages,
        teacher: Reference,
        start: Reference,
        name: str = "",
        *,
        before: Reference | None = None,
    ) -> Reference:
        """Train a student; one that has a name comes before another. `before` is the one that it may be taught by."""
        if self.seed is not None:
            settings = replace(settings, compute=settings.compute.model_copy(update={"seed": self.seed}))
        knowledge = gather_knowledge(settings, self.work, teacher, self.data["dataset"], student_before=before)
        knowledge |= self._read(settings, {"teacher": teacher, "start": start})
        # A student before has its name already.
        new = {key: each for key, each in knowledge.items() if each != before}
        self.knowledge |= {f"{name}_{key}".strip("_"): each for key, each in new.items()}
        read = {"start": start, "teacher": teacher, **self.data, **knowledge}
        student = self.work.make(distill, settings.distill, read)
        self.before |= {name: student} if name else {}
        return student

    def _read(self, settings: SettingsOfStages, models: References) -> References:
        """How hard the texts are for the models that the curriculum goes by."""
        readers = settings.recipe.curriculum.readers if settings.recipe.curriculum is not None else ()
        # A teacher with another tokenizer reads the same texts in its own tokens.
        texts = {"start": self.data["dataset"], "teacher": self.data.get("dataset_teacher", self.data["dataset"])}
        return {
            f"difficulty_{name}": self.work.make(
                measure_difficulty, settings.difficulty, {"model": models[name], "dataset": texts[name]}
            )
            for name in readers
        }

    def ended(self, start: Reference, student: Reference) -> Taught:
        return Taught(start, student, self.before, self.knowledge)


def make_start(settings: SettingsOfStages, work: Work, read: References) -> Reference:
    """The student before it is trained: cut from the teacher and perhaps refitted, random, or a model that exists."""
    return _finish(settings, work, read, make_cut(settings, work, read))


def make_cut(settings: SettingsOfStages, work: Work, read: References) -> References:
    """As `start`, what is made low rank or refitted afterwards; nothing where the teacher's cut is the start."""
    if settings.refit is not None:
        return {"start": _make(settings.start, work, read)}
    return {} if settings.cut is None else {"start": _make(settings.cut, work, read)}


def _finish(settings: SettingsOfStages, work: Work, read: References, cut: References) -> Reference:
    if settings.refit is not None:
        return work.make(refit_layers, settings.refit, {**cut, "teacher": read["teacher"], "dataset": read["dataset"]})
    return _make(settings.start, work, read | cut)


def _make(asked: SettingsOfStart, work: Work, read: References) -> Reference:
    match asked:
        case PruneSettings() as prune:
            return work.make(prune_layers, prune, read)
        case PruneWidthsSettings() as widths:
            return work.make(prune_widths, widths, read)
        case PruneLayersAndWidthsSettings() as both:
            return work.make(prune_layers_and_widths, both, read)
        case LowRankSettings() as bounded:
            return work.make(low_rank, bounded, read)
        case FreshStudentSettings() as fresh:
            own: References = {name: read[name] for name in ("teacher", "tokenizer") if name in read}
            return work.make(make_fresh_student, fresh, own)
        case LoadTeacherSettings() as existing:
            return work.make(load_student, existing, {})
