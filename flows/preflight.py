"""What must hold before anything expensive starts: each room is asked what it can refuse.

Preflight also decides every `auto`, so that all keys of a run are known before the first stage.
"""

from pathlib import Path
from typing import Any

import torch

from evaluation.benchmark_files import check_benchmarks
from evaluation.gates import check_gates
from flows.estimate import Estimate, estimate
from flows.settings import SettingsOfStages
from flows.work import Work, directly
from stillhouse import machine
from stillhouse.data.sources import check_data, needs_chat_template
from stillhouse.errors import InputError
from stillhouse.models.shape import ModelShape
from stillhouse.models.sources import describe, resolve_model, tokenizer_of
from stillhouse.models.tokenizer import tokenizer_digest
from stillhouse.recipe import Recipe, load_recipe
from stillhouse.recipe.compute import Compute
from stillhouse.recipe.source import Source
from stillhouse.recipe.student import DepthPruned, ExistingModel
from stillhouse.store.store import Store
from stillhouse.training.precision import ProbeSettings
from tasks.probe import probe_precision


def prepare(recipe: Recipe, base: Path, store: Store) -> SettingsOfStages:
    """Refuse what cannot work, and give the settings of every stage.

    Args:
        recipe: A recipe that fits the schema.
        base: Folder that its relative paths start from.
        store: Where the answer of the precision probe is remembered.

    Raises:
        InputError: Naming what was seen, what is allowed and what to do.
    """
    settings, cost = _examine(recipe, base, store)
    _refuse_too_little(cost)
    return settings


def check(recipe_path: Path, runs: Path) -> str:
    """Do all of preflight, and say in words what the recipe will do and cost.

    Raises:
        InputError: As `prepare`.
    """
    recipe = load_recipe(recipe_path)
    store = Store(runs.resolve() / "store")
    settings, cost = _examine(recipe, recipe_path.resolve().parent, store)
    _refuse_too_little(cost)
    compute = settings.compute
    return "\n".join(
        [
            f"{recipe_path} can run on {compute.device} in {compute.precision} with {compute.threads} threads",
            f"teacher   {settings.teacher_source.name}, {cost.teacher_parameters / 1e6:.1f}M parameters",
            f"student   about {cost.student_parameters / 1e6:.1f}M parameters",
            f"training  at most {recipe.data.train_tokens:,} tokens",
            f"time      about {max(1, round(cost.seconds / 60))} min, from a short probe of this machine",
            f"memory    about {cost.memory_bytes / 1e9:.1f} GB of {cost.memory_there_bytes / 1e9:.1f} GB",
            f"disk      about {cost.disk_bytes / 1e9:.1f} GB of {cost.disk_free_bytes / 1e9:.1f} GB free",
        ]
    )


def _examine(recipe: Recipe, base: Path, store: Store) -> tuple[SettingsOfStages, Estimate]:
    check_benchmarks(recipe.evaluation.benchmarks, recipe.evaluation.documents)
    check_gates(recipe)
    device = _device(recipe.device)
    teacher = resolve_model(
        recipe.teacher.source,
        base=base,
        revision=recipe.teacher.revision,
        trust_remote_code=recipe.teacher.trust_remote_code,
    )
    shape = describe(teacher, trust_remote_code=recipe.teacher.trust_remote_code)
    student = _student(recipe, base, teacher, shape)
    _check_context(recipe, shape)
    data = check_data(recipe.data, base)
    _check_chat(recipe, teacher, data)
    threads = machine.usable_cores() if recipe.threads == "auto" else recipe.threads
    probe = _probe(device, threads, store)
    precision = probe["precision"] if recipe.precision == "auto" else recipe.precision
    compute = Compute(device=device, precision=precision, threads=threads, seed=recipe.seed)
    settings = SettingsOfStages(recipe, compute, teacher, student, data)
    kept = recipe.student.layers if isinstance(recipe.student, DepthPruned) else None
    cost = estimate(recipe, shape, kept, probe["gigaflops_per_second"][precision], store.root)
    return settings, cost


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


def _student(recipe: Recipe, base: Path, teacher: Source, shape: ModelShape) -> Source | None:
    match recipe.student:
        case DepthPruned(layers=layers):
            if layers > shape.layers:
                raise InputError(
                    f"student.layers is {layers}, but {teacher.name} has {shape.layers} layers; "
                    f"keep between 1 and {shape.layers}"
                )
            return None
        case ExistingModel() as student:
            found = resolve_model(
                student.source,
                base=base,
                revision=student.revision,
                trust_remote_code=student.trust_remote_code,
                role="student",
            )
            _refuse_other_tokenizer(teacher, found)
            rows = describe(found, trust_remote_code=student.trust_remote_code).vocabulary_size
            if rows != shape.vocabulary_size:
                raise InputError(
                    f"{teacher.name} predicts {shape.vocabulary_size} tokens and {found.name} {rows}, padding "
                    "included, and their distributions are compared place by place; resize one of the embeddings"
                )
            return found


def _refuse_other_tokenizer(teacher: Source, student: Source) -> None:
    """Compare token by token: a student whose ids mean other words would learn noise, with a falling loss."""
    one, other = tokenizer_of(teacher), tokenizer_of(student)
    if tokenizer_digest(one) != tokenizer_digest(other):
        raise InputError(
            f"the tokenizers differ: {teacher.name} has {len(one)} tokens and {student.name} has {len(other)}, "
            "and not the same ones in the same places; take a student with the teacher's tokenizer"
        )


def _check_context(recipe: Recipe, shape: ModelShape) -> None:
    benchmark = recipe.benchmark.prompt_tokens + recipe.benchmark.new_tokens
    asked = {"data.sequence_length": recipe.data.sequence_length, "benchmark.prompt_tokens + new_tokens": benchmark}
    for name, tokens in asked.items():
        if tokens > shape.context_length:
            raise InputError(
                f"{name} is {tokens}, but the teacher's context holds {shape.context_length} tokens; make it shorter"
            )


def _check_chat(recipe: Recipe, teacher: Source, data: tuple[Source, ...]) -> None:
    if needs_chat_template(recipe.data.sets, data) and tokenizer_of(teacher).chat_template is None:
        raise InputError(
            f"{teacher.name} has no chat template, but the data hold prompts or messages; "
            "take a teacher with one, or data of plain text"
        )


def _probe(device: str, threads: int, store: Store) -> dict[str, Any]:
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else machine.processor()
    work = Work(store, directly)
    return work.facts(work.make(probe_precision, ProbeSettings(device=device, device_name=name, threads=threads), {}))


def _refuse_too_little(cost: Estimate) -> None:
    if cost.disk_bytes > cost.disk_free_bytes:
        raise InputError(
            f"too little disk: the run needs about {cost.disk_bytes / 1e9:.1f} GB and {cost.disk_free_bytes / 1e9:.1f} "
            "GB are free where --runs lies; free some (`stillhouse gc` helps) or give another --runs"
        )
    if cost.memory_bytes > cost.memory_there_bytes:
        raise InputError(
            f"too little memory: training needs about {cost.memory_bytes / 1e9:.1f} GB and the machine has "
            f"{cost.memory_there_bytes / 1e9:.1f} GB; lower distillation.batch_rows, or keep fewer layers"
        )
