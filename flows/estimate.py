"""What a recipe costs, before it runs: arithmetic on shapes, and the speed that a short probe measured."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.parity import GREEDY_PROMPTS
from flows.answering_cost import answer_tokens, answering_bytes, sets_of_own
from stillhouse import machine
from stillhouse.models.shape import ModelShape
from stillhouse.recipe import Recipe
from stillhouse.recipe.data import Data
from stillhouse.recipe.knowledge import (
    Cached,
    Endpoint,
    Ensemble,
    FullTargets,
    Knowledge,
    MovingAverage,
    Online,
    SampledTargets,
    StoredTargets,
    TopKTargets,
)
from stillhouse.recipe.losses import UniversalLogitDistance
from stillhouse.recipe.low_rank import LowRank
from stillhouse.recipe.pruned import DepthAndWidthPruned, DepthPruned, Ranking, WidthPruned
from stillhouse.recipe.route import Progressive
from stillhouse.recipe.source import Source
from stillhouse.recipe.student import ExistingModel, Fresh, Student

_TRAINING_SHARE = 0.4
"""Of the probe's speed on one big matrix, what a whole training step reaches: attention, norms, softmax over the
vocabulary and the optimizer are not matrix products. Set from the demo's own wall time (README)."""
_OTHER_SECONDS = 60.0
"""Start-up, imports of every process, export, quantization and packaging of any run."""
_TOKENS_A_DOCUMENT = 200
"""Of a benchmark: its question, once for each answer that does not share a pass."""
_LIBRARIES_BYTES = 700 * 2**20
"""Python, torch and transformers themselves."""


@dataclass(frozen=True)
class Estimate:
    """Rough costs; disk and memory err on the side of too much."""

    training_tokens: int
    seconds: float
    memory_bytes: int
    disk_bytes: int
    answering: tuple["Answering", ...] = ()
    """What each of the other teachers that answer prompts has in these."""


@dataclass(frozen=True)
class Speed:
    """What the probe measured, GFLOP/s."""

    of_run: float
    """In the precision of the run."""
    in_fp32: float
    """In which is chosen what stays of a teacher, whatever the run's precision."""


@dataclass(frozen=True)
class Answering:
    """What it costs that a teacher answers prompts."""

    seconds: float
    memory_bytes: int


@dataclass(frozen=True)
class Room:
    """What is there, or what is needed."""

    memory_bytes: int
    disk_bytes: int


def room(device: str, store: Path) -> Room:
    """Memory of the device that trains, and free disk where the store lies or is going to lie."""
    existing = next(path for path in (store, *store.parents) if path.exists())
    return Room(_memory_bytes(device), shutil.disk_usage(existing).free)


def _memory_bytes(device: str) -> int:
    if not device.startswith("cuda"):
        return machine.memory_bytes()
    import torch

    return torch.cuda.get_device_properties(device).total_memory


@dataclass(frozen=True)
class Link:
    """The training of a student that teaches the next one."""

    recipe: Recipe
    """With the student and the steps of this training."""
    teacher: ModelShape
    student: ModelShape
    source: Source | None = None
    """Where the student lies, where it exists."""
    is_cut: bool = True
    """Whether it begins as a cut of its teacher, and not as another student does, or as the one before was left."""


def estimate(
    recipe: Recipe,
    teacher: ModelShape,
    student: ModelShape,
    speed: Speed,
    links: Sequence[Link] = (),
    *,
    above: ModelShape | None = None,
    device: str = "cpu",
    answering: Sequence[ModelShape] = (),
) -> Estimate:
    """Estimate time, memory and disk of a run.

    Args:
        recipe: What is asked.
        teacher: Shape of the teacher.
        student: Shape of the student.
        speed: Of this machine.
        links: The other trainings, where the route is not direct.
        above: Shape of what teaches the recipe's own student, where that is not the teacher.
        device: That trains. Several processes share a processor with its memory; of accelerators each has its own.
        answering: Shapes of the other teachers that answer prompts.
    """
    trainings = [Link(recipe, above or teacher, student), *links]
    cards = 1 if device.startswith("cpu") else recipe.compute.processes
    # Teacher; start, student, ONNX and the forms in fewer bits; two checkpoints of three fp32 copies while training;
    # logits of the parity tokens.
    scratch_bytes = max(24 * student.parameters, recipe.evaluation.parity_tokens * teacher.vocabulary_size * 4)
    cut_of = links[-1].student if isinstance(recipe.route, Progressive) else teacher
    starts = [Link(recipe, cut_of, student), *(link for link in links if link.is_cut)]
    flops = _flops(recipe, teacher, student)
    flops += sum(_flops_of_start(each.recipe, each.teacher, each.student) for each in starts)
    for link in links:
        flops += recipe.data.held_out_tokens * 2 * (teacher.parameters + link.student.parameters)
    flops += sum(_flops_of_training(each.recipe, each.teacher, each.student) for each in trainings) / cards
    flops_per_second = speed.of_run * 1e9 * _TRAINING_SHARE
    chosen = sum(_flops_of_choice(each.recipe.student, each.teacher, each.student) for each in starts)
    chosen_seconds = chosen / (speed.in_fp32 * 1e9 * _TRAINING_SHARE)
    answered = _answering(recipe.data, answering, flops_per_second)
    memory = [
        max(
            _training_bytes(each.recipe, each.teacher, each.student) * each.recipe.compute.processes // cards,
            _refit_bytes(each.recipe, each.teacher, each.student),
        )
        for each in trainings
    ]
    return Estimate(
        training_tokens=sum(_training_tokens(each.recipe) for each in trainings),
        seconds=_OTHER_SECONDS + flops / flops_per_second + chosen_seconds + sum(each.seconds for each in answered),
        memory_bytes=max([*memory, *(each.memory_bytes for each in answered)]),
        # Of a link its start and what becomes of it; a start that is refitted or of low rank lies there as cut, too.
        disk_bytes=4 * teacher.parameters
        + sum(4 * shape.parameters for shape in answering)
        + 18 * student.parameters
        + scratch_bytes
        + sum(_cache_bytes(each.recipe, each.teacher) for each in trainings)
        + sum(8 * link.student.parameters for link in links)
        + sum(4 * each.student.parameters for each in trainings if _is_made_of_a_cut(each.recipe)),
        answering=answered,
    )


def _is_made_of_a_cut(recipe: Recipe) -> bool:
    return recipe.refit is not None or (isinstance(recipe.student, LowRank) and recipe.student.cut is not None)


def _answering(data: Data, shapes: Sequence[ModelShape], flops_per_second: float) -> tuple[Answering, ...]:
    return tuple(
        Answering(
            answer_tokens(data, other.serves) * 2 * shape.parameters / flops_per_second,
            answering_bytes(data, shape) + _LIBRARIES_BYTES,
        )
        for other, shape in zip(data.answers.others, shapes, strict=True)
    )


def _refit_bytes(recipe: Recipe, teacher: ModelShape, student: ModelShape) -> int:
    """Memory of refitting: both models in fp32, the states of the text in both, and squares of the inputs in fp64.

    A feed-forward is taken to be four times as wide as its model.
    """
    if recipe.refit is None:
        return 0
    states = 2 * _refit_tokens(recipe) * student.hidden_size
    squares = 3 * (4 * student.hidden_size) ** 2
    return 4 * (teacher.parameters + student.parameters + states) + 8 * squares + _LIBRARIES_BYTES


def _training_bytes(recipe: Recipe, teacher: ModelShape, student: ModelShape) -> int:
    """Memory of one of the processes that train.

    Student, its gradient and two moments in fp32, and its teachers beside it; some 40 numbers a layer, token and
    feature that are kept for the way back (Korthikanti et al., 2022, without attention's matrix); logits of a chunk,
    twice, and the head's gradient.
    """
    asked = recipe.compute
    tokens = recipe.distillation.batch_rows * recipe.data.sequence_length
    kept = 40 * tokens * student.hidden_size * (2 if asked.gradient_checkpointing else student.layers)
    logits = 2 * min(tokens, asked.loss_rows) * teacher.vocabulary_size
    if isinstance(recipe.distillation.loss, UniversalLogitDistance):
        # No chunks: of each model logits, their probabilities, these sorted, and their difference with its gradient.
        logits += 5 * tokens * (teacher.vocabulary_size + student.vocabulary_size)
    head = teacher.vocabulary_size * student.hidden_size
    weights = 16 * student.parameters // (asked.processes if asked.sharding == "full" else 1)
    held = _parameters_held(recipe.knowledge, teacher, student)
    return weights + 4 * (held + kept + logits + head) + _LIBRARIES_BYTES


def _cache_bytes(recipe: Recipe, teacher: ModelShape) -> int:
    """What is stored of the teachers' answers, at most: every training token a target. Shards are linked, not copied.

    Members of an ensemble have the vocabulary of the first; their own widths matter to nobody, for they keep no hidden
    states.
    """
    knowledge, features = recipe.knowledge, recipe.distillation.features
    asked = (knowledge.own, *(each.knowledge for each in knowledge.members)) if isinstance(knowledge, Ensemble) else ()
    a_token = sum(
        _target_bytes(each.targets, teacher.vocabulary_size) for each in (knowledge, *asked) if isinstance(each, Cached)
    )
    if isinstance(knowledge, Cached) and features is not None and features.layers != "auto":
        a_token += 2 * len(set(features.layers.values())) * teacher.hidden_size
    return recipe.data.train_tokens * a_token


def _target_bytes(targets: StoredTargets, vocabulary: int) -> int:
    """Of one target, as `stillhouse.teachers.cache.records` writes it."""
    match targets:
        case FullTargets():
            return 2 * vocabulary
        case TopKTargets(k=k):
            return min(k, vocabulary) * (2 + (2 if vocabulary <= 1 << 16 else 4)) + 4
        case SampledTargets(draws=draws):
            # A bit a draw says whether it is another token than the last; of each token its low bits and up to three.
            different = min(draws, vocabulary)
            return (draws + different * ((vocabulary // different).bit_length() + 2)) // 8 + 1


def room_for_export(model: ModelShape, data: Data, answering: Sequence[ModelShape] = ()) -> Room:
    """Memory and disk that making every variant of a model needs.

    Args:
        model: Shape of what is exported.
        data: What it is measured on.
        answering: Shapes of the other teachers that answer prompts.
    """
    return Room(
        # The exporter holds the model, its trace and the graph; the quantizers hold two copies of the weights.
        memory_bytes=max([12 * model.parameters, *(answering_bytes(data, shape) for shape in answering)])
        + _LIBRARIES_BYTES,
        # The model and its ONNX form in fp32, five variants in fewer bits, and an export that is not finished.
        disk_bytes=20 * model.parameters + sum(4 * shape.parameters for shape in answering),
    )


def _training_tokens(recipe: Recipe) -> int:
    """Tokens that pass through training, at most: one pass over the data, or the rows that the steps take."""
    steps = recipe.distillation.steps
    return recipe.data.train_tokens if steps is None else steps * _tokens_a_step(recipe)


def _tokens_a_step(recipe: Recipe) -> int:
    asked = recipe.distillation
    return asked.batch_rows * asked.accumulation * recipe.compute.processes * recipe.data.sequence_length


def _flops(recipe: Recipe, teacher: ModelShape, student: ModelShape) -> float:
    """Of all but starts and training: 2 FLOP a weight and token forward (Kaplan et al., 2020)."""
    data, asked = recipe.data, recipe.evaluation
    scored = len(recipe.evaluation.benchmarks) * recipe.evaluation.documents * _TOKENS_A_DOCUMENT
    # Answers are written side by side, so a token of one costs little more than one that is read.
    scored += 2 * asked.behaviour.prompts * asked.behaviour.new_tokens + len(asked.behaviour.suites) * 20_000
    if "responses" in asked.behaviour.suites:
        # Written once and read once, to prompts of two kinds.
        scored += 4 * asked.behaviour.prompts * asked.behaviour.responses * asked.behaviour.new_tokens
    evaluation = scored * 2 * (teacher.parameters + 2 * student.parameters)
    held_out = data.held_out_tokens * 12 * teacher.parameters
    answers = answer_tokens(data, sets_of_own(data)) * 2 * teacher.parameters
    return answers + evaluation + held_out + _flops_of_variants(recipe, student)


def _flops_of_training(recipe: Recipe, teacher: ModelShape, student: ModelShape) -> float:
    """One training with its validations: 6 FLOP a weight and token forward and backward."""
    tokens = _training_tokens(recipe)
    validations = 2 + tokens // (_tokens_a_step(recipe) * recipe.distillation.validate_every)
    validation = validations * recipe.data.validation_tokens * 2 * student.parameters
    readers = recipe.curriculum.readers if recipe.curriculum is not None else ()
    sizes = {"teacher": teacher.parameters, "start": student.parameters}
    difficulty = recipe.data.train_tokens * 2 * sum(sizes[name] for name in readers)
    asked = _parameters_read(recipe.knowledge, teacher, student) if recipe.distillation.asks_teacher else 0
    read = 2 * asked + 6 * student.parameters
    # Texts are gone on with side by side, so a token written costs little more than one that is read.
    written = 0.0 if recipe.distillation.on_policy is None else recipe.distillation.on_policy.share
    return tokens * (read + 2 * written * student.parameters) + validation + difficulty


def _parameters_read(knowledge: Knowledge, teacher: ModelShape, student: ModelShape) -> int:
    """Weights that say something of every training token, cached or not; an ensemble's are all taken to be as large."""
    match knowledge:
        case Online() | Cached():
            return teacher.parameters
        case Ensemble(members=members):
            return (1 + len(members)) * teacher.parameters
        case MovingAverage():
            return student.parameters
        case Endpoint():
            return 0


def _parameters_held(knowledge: Knowledge, teacher: ModelShape, student: ModelShape) -> int:
    """Weights of teachers in memory: one that is not asked is loaded all the same, for its loss on validation text."""
    match knowledge:
        case Ensemble(own=own, members=members):
            asked = (own, *(member.knowledge for member in members))
            return max(1, sum(isinstance(each, Online) for each in asked)) * teacher.parameters
        case MovingAverage():
            return teacher.parameters + student.parameters
        case Online() | Cached() | Endpoint():
            return teacher.parameters


def _flops_of_start(recipe: Recipe, teacher: ModelShape, student: ModelShape) -> float:
    """What is computed in the run's precision to fit what is left of a teacher, or to make its layers low rank."""
    # Both read once for their masks and once for their states, the start once more for what its layers are given; its
    # sums of squares are about as much again.
    read = 2 * (2 * teacher.parameters + 4 * student.parameters)
    learned = 0.0
    if isinstance(recipe.student, LowRank):
        asked = recipe.student
        # What each layer is shown, twice, and the steps, which are those of one layer at a time.
        shown = asked.train_tokens + asked.validation_tokens
        learned = 8 * shown * teacher.parameters + 6 * asked.steps * asked.batch_tokens * student.parameters
    return learned + _refit_tokens(recipe) * read


def _refit_tokens(recipe: Recipe) -> int:
    return 0 if recipe.refit is None else min(recipe.refit.tokens, recipe.data.train_tokens)


def _flops_of_choice(asked: Student, teacher: ModelShape, student: ModelShape) -> float:
    """What is read in fp32 to choose the layers and channels that stay; where bf16 goes first, less than that."""
    token = 2 * teacher.parameters
    match asked:
        case DepthPruned():
            return asked.ranking_tokens * _models_ranked(asked.ranking, teacher.layers, student.layers) * token
        case WidthPruned():
            # Once for activations, once for the norms.
            return 2 * asked.statistics_tokens * token
        case DepthAndWidthPruned():
            ranked = asked.ranking_tokens * _models_ranked(asked.ranking, teacher.layers, student.layers) * token
            return ranked + 2 * asked.statistics_tokens * token * student.layers / teacher.layers
        case LowRank(cut=cut):
            return 0 if cut is None else _flops_of_choice(cut, teacher, student)
        case Fresh() | ExistingModel():
            return 0


def _models_ranked(ranking: Ranking, layers: int, kept: int) -> float:
    """Layers read to rank them, in whole teachers: all of a model once, and without each the ones after it.

    Greedily there is a round for each layer that goes, each of a smaller model.
    """
    rounds = (layers,) if ranking == "drop_one" else range(kept + 1, layers + 1)
    return sum(left * (left + 1) / 2 for left in rounds) / layers


def _flops_of_variants(recipe: Recipe, student: ModelShape) -> float:
    """What each variant reads to be compared and timed; a token decoded alone costs as much as ten that are read."""
    asked, benchmark = recipe.evaluation, recipe.benchmark
    rounds = benchmark.repeats + benchmark.warmup
    timed = rounds * sum(length + 10 * benchmark.new_tokens for length in benchmark.prompt_tokens)
    timed *= sum(set(benchmark.batch_sizes))
    compared = 2 * asked.parity_tokens + GREEDY_PROMPTS * 10 * asked.greedy_tokens
    scored = len(asked.benchmarks) * asked.variant_documents * _TOKENS_A_DOCUMENT
    once_more = timed if benchmark.noise_floor else 0
    return (len(recipe.export.variants) * (timed + compared + scored) + once_more) * 2 * student.parameters
