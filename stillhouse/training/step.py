"""One optimizer step, and the measurement between steps."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from stillhouse.losses.reduction import widest
from stillhouse.models.load import load_model
from stillhouse.store.artifact import Inputs
from stillhouse.teachers.ensemble import EnsembleTeacher
from stillhouse.teachers.local import LocalTeacher
from stillhouse.teachers.moving_average import MovingAverageTeacher
from stillhouse.training.batches import Batch
from stillhouse.training.coefficients import Coefficients
from stillhouse.training.objective import Objective, StepLoss
from stillhouse.training.own_text import is_on_policy, write_own_text
from stillhouse.training.say import SaySums, added, no_say
from stillhouse.training.schedule import learning_rate
from stillhouse.training.trainer import Trainer, batches_of_step, documents_of_step

Entry = dict[str, float]
_PARTS = ("loss", "cross_entropy", "teacher_loss", "feature_loss")


class TrainingDiverged(RuntimeError):
    """A loss or gradient that is not a number; the message names the batch."""


def train_step(trainer: Trainer, step: int) -> Entry:
    """Move the weights once. Every loss is divided by the counted tokens of the whole step, over all processes.

    Returns:
        What is written down: losses in nats per counted token, the coefficients, gradient norm, rate, tokens.

    Raises:
        TrainingDiverged: If a loss or gradient is not finite.
    """
    settings, read = trainer.settings.distillation, _text_of_step(trainer, step)
    batches, coefficients = read.batches, read.coefficients
    counts = torch.tensor([float(sum(batch.num_counted for batch in batches))], device=trainer.text.device)
    num_counted = int(trainer.ranks.sum(counts).item())
    wide = widest(counts.device)
    sums, agreement = counts.new_zeros(len(_PARTS), dtype=wide), counts.new_zeros((), dtype=wide)
    trainer.optimizer.zero_grad(set_to_none=True)
    say = _no_say(trainer)
    for batch in batches:
        share = batch.num_counted / max(num_counted, 1)
        with trainer.ranks.gathering(trainer.module, last=batch is batches[-1]):
            found = _loss(trainer, batch, coefficients, say)
            # Gradients are averaged over processes, and this is a share of their sum.
            (found.loss * share * trainer.ranks.count).backward()
        parts = torch.stack([getattr(found, name).detach().to(wide) for name in _PARTS])
        if not torch.isfinite(parts).all():
            raise TrainingDiverged(_diverged("loss", step, batch))
        sums += parts * share
        if found.agreement is not None:
            agreement += found.agreement.to(wide) * share
    norm = _clipped(trainer.objective, settings.max_gradient_norm)
    if not torch.isfinite(norm):
        raise TrainingDiverged(_diverged("gradient norm", step, batches[-1]))
    rate = learning_rate(settings, step, trainer.num_steps)
    for group in trainer.optimizer.param_groups:
        group["lr"] = rate
    trainer.optimizer.step()
    if isinstance(trainer.teacher, MovingAverageTeacher):
        trainer.teacher.follow(trainer.student)
    losses = dict(zip(_PARTS, trainer.ranks.sum(sums).tolist(), strict=True))
    # Every rank has the same coefficients, so all of them come here or none does.
    counted = settings.follows_agreement and coefficients.alpha > 0 and num_counted > 0 and not read.is_own
    agreed = {"agreement": trainer.ranks.sum(agreement[None]).item()} if counted else {}
    trainer.course.learn(None if read.is_own else losses["teacher_loss"], agreed.get("agreement"))
    if say is not None:
        whole = replace(say, sums=trainer.ranks.sum(say.sums))
        trainer.history["say"] = added(trainer.history.get("say"), whole)
    if trainer.objective.matcher is None:
        del losses["feature_loss"]
    made = {"step": step + 1, **losses, **agreed, **coefficients.logged(), **read.logged, "gradient_norm": norm.item()}
    return {**made, "learning_rate": rate, "tokens": num_counted}


@dataclass(frozen=True)
class _StepText:
    """What a step is trained on, in this process."""

    batches: list[Batch]
    coefficients: Coefficients
    is_own: bool
    """Whether the student wrote it."""
    logged: Entry


def _text_of_step(trainer: Trainer, step: int) -> _StepText:
    """The rows of the data, or what the student writes behind their prompts."""
    settings, coefficients, writer = trainer.settings, trainer.course.at(step), trainer.writer
    if writer is None:
        return _StepText(batches_of_step(trainer, step), coefficients, False, {})
    if not is_on_policy(writer.asked, step, settings.compute.seed):
        return _StepText(batches_of_step(trainer, step), coefficients, False, {"on_policy": 0.0})
    own = write_own_text(writer, trainer.text, documents_of_step(trainer, step), step)
    device = torch.device(trainer.text.device)
    sums = torch.tensor([own.texts, own.tokens, own.ended], dtype=widest(device), device=device)
    texts, tokens, ended = trainer.ranks.sum(sums).tolist()
    logged = {"on_policy": 1.0, "own_text_tokens": tokens / texts, "own_text_ended": ended / texts}
    return _StepText(own.batches, replace(coefficients, alpha=1.0), True, logged)


@torch.no_grad()
def validation_loss(trainer: Trainer) -> float:
    """The student's cross-entropy in nats per counted token of validation text; every process reads all of it."""
    return _mean((trainer.module(batch).cross_entropy, batch.num_counted) for batch in trainer.validation)


@torch.no_grad()
def teacher_validation_loss(trainer: Trainer, inputs: Inputs) -> float:
    """The teacher's own, to compare the student's with; a teacher that is not in this process is loaded for it."""
    compute, teacher = trainer.settings.compute, trainer.teacher
    model = teacher.model if isinstance(teacher, LocalTeacher) else None
    if model is None:
        model = load_model(inputs["teacher"], device=trainer.text.device, dtype=compute.precision)
    objective = trainer.objective
    chunking, vocabulary = objective.chunking, objective.vocabulary_size
    reader = Objective(model, objective.distillation, vocabulary, compute.precision, chunking)
    return _mean((reader(batch).cross_entropy, batch.num_counted) for batch in trainer.validation)


def _mean(losses_and_counts: Iterable[tuple[Tensor, int]]) -> float:
    total, count = 0.0, 0
    for loss, number in losses_and_counts:
        total += loss.item() * number
        count += number
    return total / max(count, 1)


def _no_say(trainer: Trainer) -> SaySums | None:
    """Where the say of several teachers is counted; `None` of one alone."""
    teacher = trainer.teacher
    if not isinstance(teacher, EnsembleTeacher):
        return None
    return no_say(trainer.sets, len(teacher.members), trainer.text.device)


def _loss(trainer: Trainer, batch: Batch, coefficients: Coefficients, say: SaySums | None) -> StepLoss:
    """Of one forward pass: means over its counted tokens."""
    # A schedule may give the teacher no share at this step; its forward pass is then saved.
    asked = coefficients.alpha > 0 or trainer.objective.matcher is not None
    targets = trainer.teacher.targets(batch) if trainer.teacher is not None and asked else None
    if say is not None and targets is not None and targets.shares is not None:
        say.add(batch, targets.shares)
    found: StepLoss = trainer.module(batch, targets, coefficients)
    return found


def _clipped(module: nn.Module, most: float) -> Tensor:
    """Scale gradients down to this norm; gives what their norm was."""
    norm = nn.utils.clip_grad_norm_(module.parameters(), most)
    return norm.full_tensor() if isinstance(norm, DTensor) else norm


def _diverged(what: str, step: int, batch: Batch) -> str:
    documents = ", ".join(name for row in batch.names for name in row)
    return (
        f"the {what} is not a number at step {step + 1}, in the batch of the documents {documents}; "
        "lower distillation.learning_rate or raise distillation.warmup_steps, and look at these documents"
    )
