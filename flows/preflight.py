"""What must hold before anything expensive starts: each room is asked what it can refuse.

Preflight also decides every `auto`, so that all keys of a run are known before the first stage.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from evaluation.behaviour.check import check_behaviour
from evaluation.behaviour.harm import ANSWER_TOKENS, CONTINUATION_TOKENS
from evaluation.benchmark_files import benchmark, check_benchmarks, tokens_written
from evaluation.gate_figures import check_gates
from evaluation.parity import PROMPT_TOKENS
from flows.environment import device_name
from flows.estimate import Estimate, Link, Room, Speed, estimate, room, room_for_export
from flows.other_teachers import FoundTeacher, members_of_ensemble, teachers_of_rounds, teachers_that_answer
from flows.settings import SettingsOfExport, SettingsOfStages
from flows.starts import examine_route, examine_students, refuse_other_template
from flows.trainable import check_features, check_reader, check_student
from flows.work import Work, directly
from stillhouse import machine
from stillhouse.data.check_verifiers import check_verifiers
from stillhouse.data.sources import check_data, holds_prompts, needs_chat_template
from stillhouse.errors import InputError
from stillhouse.models.shape import ModelShape
from stillhouse.models.sources import describe, resolve_model, tokenizer_of
from stillhouse.recipe import Delivery, ExportRecipe, Recipe, load_recipe
from stillhouse.recipe.compute import Compute
from stillhouse.recipe.conditions import Conditions
from stillhouse.recipe.data import Data
from stillhouse.recipe.evaluation import Evaluation
from stillhouse.recipe.knowledge import Endpoint
from stillhouse.recipe.reasoning import Reasoning, TeacherTraces
from stillhouse.recipe.source import Source
from stillhouse.recipe.student import has_own_tokenizer
from stillhouse.recipe.teacher import Teacher
from stillhouse.recipe.training_compute import TrainingCompute
from stillhouse.store.artifact import Reference
from stillhouse.store.store import Store
from stillhouse.teachers.endpoint import check_endpoint, try_endpoint
from stillhouse.training.compiler import ProbeCompilerSettings
from stillhouse.training.precision import ProbeSettings
from tasks.probe import probe_precision
from tasks.probe_compiler import probe_compiler


def prepare(recipe: Recipe, base: Path, store: Store) -> SettingsOfStages:
    """Refuse what cannot work, and give the settings of every stage; all else as `examine`."""
    return examine(recipe, base, store).settings


def prepare_export(recipe: ExportRecipe, base: Path, store: Store) -> SettingsOfExport:
    """Do for the export of a model what `prepare` does for a compression."""
    _check_measures(recipe)
    model = find_model(recipe.model, base)
    shape = describe(model, trust_remote_code=recipe.model.trust_remote_code)
    _check_context(recipe, shape.context_length)
    data = check_data(recipe.data, base)
    check_verifiers(recipe.data, data)
    _check_chat(recipe.data, data, model)
    answering = teachers_that_answer(recipe.data, base)
    compute, probe = decide_compute(recipe, store)
    needed = room_for_export(shape, recipe.data, [each.shape for each in answering])
    _refuse_too_little(needed, room(compute.device, store.root), "take a smaller model")
    sources = tuple(each.source for each in answering)
    return SettingsOfExport(recipe, compute, data, probe, model, answering_sources=sources)


def check_run_again(recipe: Delivery, compute: Compute, student: Path, store: Store) -> None:
    """Refuse an export of a run that cannot work here: its student is made, but machine and variants may be others.

    Args:
        recipe: The run's, perhaps with other variants.
        compute: What the run decided.
        student: The model's folder.
        store: Of the run.

    Raises:
        InputError: Naming what was seen, what is allowed and what to do.
    """
    _check_measures(recipe)
    _device(compute.device)
    shape = describe(Source(kind="directory", digest="", location=str(student), name="the run's student"))
    _check_context(recipe, shape.context_length)
    _refuse_too_little(room_for_export(shape, recipe.data), room(compute.device, store.root), "take a smaller model")


def find_model(asked: Teacher, base: Path) -> Source:
    """Find a model that exists, and see that its tokenizer can go along.

    Raises:
        InputError: If there is no such model, or it has no tokenizer that can be packaged.
    """
    found = resolve_model(
        asked.source, base=base, revision=asked.revision, trust_remote_code=asked.trust_remote_code, role="model"
    )
    tokenizer_of(found, trust_remote_code=asked.trust_remote_code)
    return found


def check(recipe_path: Path, runs: Path) -> str:
    """Do all of preflight, and say in words what the recipe will do and cost.

    Raises:
        InputError: As `examine`.
    """
    recipe = load_recipe(recipe_path)
    found = examine(recipe, recipe_path.resolve().parent, Store(runs.resolve() / "store"))
    if isinstance(recipe.knowledge, Endpoint):
        try_endpoint(recipe.knowledge, found.teacher.vocabulary_size)
    compute, cost, there = found.settings.compute, found.cost, found.there
    return "\n".join(
        [
            f"{recipe_path} can run on {compute.device} in {compute.precision} with {compute.threads} threads",
            f"teacher   {found.settings.teacher_source.name}, {found.teacher.parameters / 1e6:.1f}M parameters",
            *_answering_lines(recipe.data, found),
            f"student   about {found.student.parameters / 1e6:.1f}M parameters",
            f"training  at most {cost.training_tokens:,} tokens",
            f"time      about {max(1, round(cost.seconds / 60))} min, from a short probe of this machine",
            f"memory    about {cost.memory_bytes / 1e9:.1f} GB of {there.memory_bytes / 1e9:.1f} GB",
            f"disk      about {cost.disk_bytes / 1e9:.1f} GB of {there.disk_bytes / 1e9:.1f} GB free",
        ]
    )


def _answering_lines(data: Data, found: "Examined") -> Iterator[str]:
    """The other teachers that answer prompts, and what that is going to take."""
    told = zip(data.answers.others, found.answering, found.cost.answering, strict=True)
    for asked, teacher, cost in told:
        yield (
            f"answers   {teacher.source.name}, {teacher.shape.parameters / 1e6:.1f}M parameters, to the prompts of "
            f"{', '.join(asked.serves)}: about {max(1, round(cost.seconds / 60))} min, {cost.memory_bytes / 1e9:.1f} GB"
        )


@dataclass(frozen=True)
class Examined:
    """What preflight found of a recipe that can run."""

    settings: SettingsOfStages
    teacher: ModelShape
    student: ModelShape
    cost: Estimate
    there: Room
    answering: tuple[FoundTeacher, ...]
    """The other teachers that answer prompts."""


def examine(recipe: Recipe, base: Path, store: Store, *, at_once: int = 1) -> Examined:
    """Refuse what cannot work, and give what was found of what can.

    Args:
        recipe: A recipe that fits the schema.
        base: Folder that its relative paths start from.
        store: Where the answer of the precision probe is remembered.
        at_once: Runs like this one that need their memory and disk at once.

    Raises:
        InputError: Naming what was seen, what is allowed and what to do.
    """
    _check_measures(recipe)
    if isinstance(recipe.knowledge, Endpoint):
        check_endpoint(recipe.knowledge)
    asked, trusted = recipe.teacher, recipe.teacher.trust_remote_code
    teacher = resolve_model(asked.source, base=base, revision=asked.revision, trust_remote_code=trusted)
    shape = describe(teacher, trust_remote_code=trusted)
    students = examine_students(recipe, base, teacher, shape)
    start = students[-1]
    recipe, student_shape = recipe.model_copy(update={"student": start.student}), start.shape
    members = members_of_ensemble(recipe, base, teacher)
    rounds = teachers_of_rounds(recipe, base, teacher)
    answering = teachers_that_answer(recipe.data, base)
    of_rounds = [shape if each is None else each.shape for each in rounds]
    found = examine_route(recipe, shape, students, of_rounds)
    links = [replace(each, source=start.source) for each in found]
    # A round has a teacher of its own or the recipe's; on another route the student before teaches.
    above = of_rounds[0] if of_rounds else links[-1].student if links else shape
    trainings = [*links, Link(recipe, above, student_shape, start.source)]
    _check_trainings(trainings, teacher)
    _check_context(recipe, min(shape.context_length, student_shape.context_length))
    _check_writing(recipe.data, shape.context_length)
    data = check_data(recipe.data, base)
    check_verifiers(recipe.data, data)
    _check_chat(recipe.data, data, teacher)
    if start.source is not None and has_own_tokenizer(recipe.student) and needs_chat_template(recipe.data.sets, data):
        refuse_other_template(teacher, start.source)
    compute, probe = decide_compute(recipe, store)
    recipe = recipe.model_copy(update={"compute": _decide_compiling(recipe, compute.device, store)})
    settings = SettingsOfStages(
        recipe,
        compute,
        data,
        probe,
        teacher,
        start.source,
        tuple(each.source for each in members),
        tuple(None if each is None else each.source for each in rounds),
        answering_sources=tuple(each.source for each in answering),
    )
    measured = store.facts(probe)["gigaflops_per_second"]
    speed = Speed(measured[compute.precision], measured["fp32"])
    # The first of several rounds stands for one training on all text; the later ones add what they replay.
    counted = recipe.rounds[0] if recipe.rounds else recipe
    others = [each.shape for each in answering]
    cost = estimate(counted, shape, student_shape, speed, links, above=above, device=compute.device, answering=others)
    there = room(compute.device, store.root)
    _check_room(cost, there, at_once)
    return Examined(settings, shape, student_shape, cost, there, answering)


def _check_room(cost: Estimate, there: Room, at_once: int) -> None:
    advice = "lower distillation.batch_rows, or take a smaller student"
    if at_once > 1:
        advice = f"let fewer than {at_once} runs work at once"
    _refuse_too_little(Room(at_once * cost.memory_bytes, at_once * cost.disk_bytes), there, advice)


def _check_trainings(trainings: Sequence[Link], teacher: Source) -> None:
    """Refuse what no training could begin with, of every one on the route."""
    first = trainings[0].recipe
    trusted, sequence_length = first.teacher.trust_remote_code, first.data.sequence_length
    check_reader(teacher, sequence_length, trust_remote_code=trusted)
    for each in trainings:
        check_student(each.recipe, teacher, each.source)
        check_features(each.recipe, each.teacher, each.student)


def _check_measures(recipe: Delivery) -> None:
    """Refuse benchmarks without data, behaviour that cannot be measured, and gates that cannot be judged."""
    asked = recipe.evaluation
    check_benchmarks(asked.benchmarks, asked.documents, fewer=asked.fewer_documents)
    check_behaviour(recipe.evaluation)
    check_gates(recipe)


def decide_compute(asked: Conditions, store: Store) -> tuple[Compute, Reference]:
    """Decide every `auto`, and give what timed the precisions.

    Raises:
        InputError: If the device is not there.
    """
    device = _device(asked.device)
    threads = machine.usable_cores() if asked.threads == "auto" else asked.threads
    probe = _probe(device, threads, store)
    precision = store.facts(probe)["precision"] if asked.precision == "auto" else asked.precision
    return Compute(device=device, precision=precision, threads=threads, seed=asked.seed), probe


def _device(wanted: str) -> str:
    """Decide `auto`, and refuse a device that is not there."""
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=wanted)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device {wanted!r} cannot be used here ({reason}); set device to cpu or auto") from None
    return wanted


def _check_context(recipe: Delivery, context_tokens: int) -> None:
    asked = {
        "data.sequence_length": recipe.data.sequence_length,
        "benchmark.prompt_tokens + new_tokens": max(recipe.benchmark.prompt_tokens) + recipe.benchmark.new_tokens,
        f"{PROMPT_TOKENS} + evaluation.greedy_tokens": PROMPT_TOKENS + recipe.evaluation.greedy_tokens,
        "evaluation.behaviour.new_tokens": recipe.evaluation.behaviour.new_tokens,
    }
    for name, tokens in asked.items():
        if tokens > context_tokens:
            raise InputError(
                f"{name} is {tokens}, but the models' context holds {context_tokens} tokens; make it shorter"
            )
    check_answers(recipe.evaluation, context_tokens)


def _check_writing(data: Data, context_tokens: int) -> None:
    """Refuse what the teacher is to write where nothing that it could read would fit before it."""
    asked = {"data.answers.max_new_tokens": data.answers.max_new_tokens}
    for number, each in enumerate(data.sets):
        if isinstance(each, Reasoning) and isinstance(each.rationales, TeacherTraces):
            asked[f"data.sets.{number}.rationales.max_new_tokens"] = each.rationales.max_new_tokens
    for name, tokens in asked.items():
        if tokens >= context_tokens:
            raise InputError(
                f"{name} is {tokens}, but the teacher's context holds {context_tokens} tokens, prompt and answer "
                "together; make it shorter"
            )


def check_answers(asked: Evaluation, context_tokens: int) -> None:
    """Refuse what asks for answers that leave no room for one token of the question.

    Raises:
        InputError: Naming the benchmark or suite, and what the context holds.
    """
    written = {f"{name} (evaluation.benchmarks)": tokens_written(benchmark(name)) for name in asked.benchmarks}
    if "harm" in asked.behaviour.suites:
        written["the suite harm (evaluation.behaviour.suites)"] = max(ANSWER_TOKENS, CONTINUATION_TOKENS)
    for name, tokens in written.items():
        if tokens >= context_tokens:
            raise InputError(
                f"{name} asks for answers of up to {tokens} tokens, but the models' context holds {context_tokens}, "
                "question and answer together; leave it out"
            )


def _check_chat(data: Data, sources: tuple[Source, ...], teacher: Source) -> None:
    """Refuse conversations that cannot be put into words, and answers that are longer than what is learned at once."""
    if needs_chat_template(data.sets, sources) and tokenizer_of(teacher).chat_template is None:
        raise InputError(
            f"{teacher.name} has no chat template, but the data hold prompts or messages; "
            "take a teacher with one, or data of plain text"
        )
    if data.answers.max_new_tokens >= data.sequence_length and holds_prompts(data.sets, sources):
        raise InputError(
            f"data.answers.max_new_tokens is {data.answers.max_new_tokens}, and a training row of data.sequence_length "
            f"{data.sequence_length} holds prompt and answer together, so that the end of an answer would be learned "
            "without its prompt; raise data.sequence_length, or make answers shorter"
        )


def _probe(device: str, threads: int, store: Store) -> Reference:
    """Time both precisions, or find what was timed before: the answer must not flip while a run may go on."""
    settings = ProbeSettings(device=device, device_name=device_name(device), threads=threads)
    return Work(store, directly).make(probe_precision, settings, {})


def _decide_compiling(recipe: Recipe, device: str, store: Store) -> TrainingCompute:
    """Decide `compile`, or refuse it where nothing can be compiled; the answer is remembered as that of the probe.

    Raises:
        InputError: If it is asked for and cannot be.
    """
    asked = recipe.compute
    if asked.compile is False:
        return asked
    if recipe.distillation.on_policy is not None:
        # What is compiled for a training's rows cannot write token by token; asked for as such, the recipe refuses it.
        return asked.model_copy(update={"compile": False})
    settings = ProbeCompilerSettings(device=device, device_name=device_name(device))
    found = store.facts(Work(store, directly).make(probe_compiler, settings, {}))
    if asked.compile is True and not found["compiles"]:
        raise InputError(
            f"compute.compile is true, and torch.compile does not work on this machine ({found['reason']}); install a "
            "C++ compiler (on Debian: apt-get install g++), or set it to auto or false"
        )
    return asked.model_copy(update={"compile": found["compiles"]})


def _refuse_too_little(needed: Room, there: Room, advice: str) -> None:
    if needed.disk_bytes > there.disk_bytes:
        raise InputError(
            f"too little disk: about {needed.disk_bytes / 1e9:.1f} GB are needed and {there.disk_bytes / 1e9:.1f} "
            "GB are free where --runs lies; free some (`stillhouse gc` helps) or give another --runs"
        )
    if needed.memory_bytes > there.memory_bytes:
        raise InputError(
            f"too little memory: about {needed.memory_bytes / 1e9:.1f} GB are needed and the device has "
            f"{there.memory_bytes / 1e9:.1f} GB; {advice}"
        )
