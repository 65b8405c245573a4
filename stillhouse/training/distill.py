"""The distillation stage: a student learns from the text and from its teacher's distribution."""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW
from transformers import PreTrainedModel

from stillhouse import progress
from stillhouse.data.dataset import Split, read_split
from stillhouse.data.packing import pack
from stillhouse.losses.cross_entropy import cross_entropy
from stillhouse.losses.mixture import Mixture, mixture
from stillhouse.models.load import count_parameters, load_model, load_tokenizer, save_model
from stillhouse.recipe.compute import Compute
from stillhouse.recipe.distillation import Distillation
from stillhouse.recipe.settings import Settings
from stillhouse.store.artifact import FACTS, WORK, Inputs
from stillhouse.training.batches import Batch, make_batch, rows_for_step
from stillhouse.training.checkpoint import load_checkpoint, save_checkpoint, seed_everything
from stillhouse.training.schedule import learning_rate

HISTORY = "history.json"


class DistillSettings(Settings):
    """The recipe's section, and where it runs."""

    distillation: Distillation
    """How the student is trained."""
    sequence_length: int
    """Tokens in a packed row."""
    compute: Compute
    """Device, precision, threads and seed."""


class TrainingDiverged(RuntimeError):
    """A loss or gradient that is not a number; the message names the batch."""


@dataclass
class Trainer:
    """What a training step reads and changes."""

    settings: DistillSettings
    teacher: PreTrainedModel | None
    student: PreTrainedModel
    optimizer: AdamW
    train: Split
    rows: list[list[int]]
    pad_id: int
    num_steps: int
    history: dict[str, Any] = field(default_factory=lambda: {"training": [], "validation": []})


def distill(settings: DistillSettings, inputs: Inputs, folder: Path) -> None:
    """Train the student, resuming from the last checkpoint in `folder/work` if there is one.

    Inputs are `teacher`, `start` (the student's model folder) and `dataset`. Writes the student's model folder and
    `history.json`. The same settings, inputs, processor and threads give the same bytes, killed in between or not.

    Raises:
        TrainingDiverged: If a loss or gradient is not finite.
    """
    compute = settings.compute
    seed_everything(compute.seed, compute.threads)
    trainer = _prepare(settings, inputs)
    checkpoints = folder / WORK
    resumed = load_checkpoint(checkpoints, trainer.student, trainer.optimizer)
    first_step = 0
    if resumed is not None:
        first_step, trainer.history = resumed
        progress.step(f"goes on from step {first_step}", first_step, trainer.num_steps)
    validation = _validation_batches(trainer, read_split(inputs["dataset"], "validation"))
    if first_step == 0:
        if trainer.teacher is not None:
            trainer.history["teacher_validation_loss"] = _mean_loss(trainer, trainer.teacher, validation)
        _validate(trainer, 0, validation)
    _train(trainer, first_step, validation, checkpoints)
    trainer.student.to("cpu")  # type: ignore[arg-type]  # transformers' wrapper hides the signature
    # The texts were rendered with the teacher's template and ends, whatever the start came with.
    save_model(trainer.student, load_tokenizer(inputs["teacher"]), folder)
    (folder / HISTORY).write_text(json.dumps(trainer.history), encoding="utf-8")
    tokens = sum(entry["tokens"] for entry in trainer.history["training"])
    layers = trainer.student.config.num_hidden_layers
    facts = {"parameters": count_parameters(trainer.student), "layers": layers, "steps": trainer.num_steps}
    (folder / FACTS).write_text(json.dumps(facts | {"tokens": tokens}), encoding="utf-8")


def _prepare(settings: DistillSettings, inputs: Inputs) -> Trainer:
    compute, distillation = settings.compute, settings.distillation
    # Without its share in the loss the teacher is not even loaded.
    teacher = None
    if distillation.alpha > 0:
        teacher = load_model(inputs["teacher"], device=compute.device, dtype=compute.precision)
        teacher.requires_grad_(False)
    student = load_model(inputs["start"], device=compute.device, dtype="fp32")
    train = read_split(inputs["dataset"], "train")
    rows = pack(train.starts, settings.sequence_length)
    one_pass = max(1, len(rows) // (distillation.batch_rows * distillation.accumulation))
    return Trainer(
        settings=settings,
        teacher=teacher,
        student=student,
        optimizer=_optimizer(student, distillation),
        train=train,
        rows=rows,
        pad_id=load_tokenizer(inputs["teacher"]).pad_token_id,
        num_steps=distillation.steps or one_pass,
    )


def _optimizer(student: nn.Module, distillation: Distillation) -> AdamW:
    """AdamW that decays matrices and leaves norms and biases alone."""
    parameters = [parameter for parameter in student.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": distillation.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return AdamW(groups, lr=distillation.learning_rate, betas=(0.9, 0.95), fused=True)


def _train(trainer: Trainer, first_step: int, validation: list[Batch], checkpoints: Path) -> None:
    settings = trainer.settings.distillation
    # The student stays in eval mode, in which it was loaded: dropout would make the data order more than a
    # function of the seed, and the models that are distilled have none.
    started, done_tokens = time.monotonic(), 0.0
    for step in range(first_step, trainer.num_steps):
        entry = _step(trainer, step)
        trainer.history["training"].append(entry)
        done_tokens += entry["tokens"]
        figures = {"loss": entry["loss"], "tokens/s": done_tokens / (time.monotonic() - started)}
        progress.step("distils", step + 1, trainer.num_steps, figures)
        last = step + 1 == trainer.num_steps
        if last or (step + 1) % settings.validate_every == 0:
            _validate(trainer, step + 1, validation)
        if not last and (step + 1) % settings.checkpoint_every == 0:
            save_checkpoint(checkpoints, step + 1, trainer.student, trainer.optimizer, trainer.history)


def _step(trainer: Trainer, step: int) -> dict[str, float]:
    """One optimizer step; every loss in it is divided by the counted tokens of the whole step."""
    settings = trainer.settings.distillation
    batches = _batches_of_step(trainer, step)
    num_counted = sum(batch.num_counted for batch in batches)
    sums = {"loss": 0.0, "cross_entropy": 0.0, "kl": 0.0}
    trainer.optimizer.zero_grad(set_to_none=True)
    for batch in batches:
        found = _loss(trainer, batch)
        share = batch.num_counted / max(num_counted, 1)
        (found.loss * share).backward()
        for name in sums:
            sums[name] += getattr(found, name).item() * share
        if not torch.isfinite(found.loss):
            raise TrainingDiverged(_diverged("loss", step, batch))
    norm = nn.utils.clip_grad_norm_(trainer.student.parameters(), settings.max_gradient_norm)
    if not torch.isfinite(norm):
        raise TrainingDiverged(_diverged("gradient norm", step, batches[-1]))
    rate = learning_rate(settings, step, trainer.num_steps)
    for group in trainer.optimizer.param_groups:
        group["lr"] = rate
    trainer.optimizer.step()
    return {"step": step + 1, **sums, "gradient_norm": norm.item(), "learning_rate": rate, "tokens": num_counted}


def _loss(trainer: Trainer, batch: Batch) -> Mixture:
    """The mixed loss of one forward pass: means over its counted tokens."""
    settings = trainer.settings.distillation
    with _autocast(trainer.settings.compute):
        logits = trainer.student(**batch.model_inputs(), use_cache=False).logits
    teacher_logits = None
    if trainer.teacher is not None:
        with torch.no_grad():
            teacher_logits = trainer.teacher(**batch.model_inputs(), use_cache=False).logits
    return mixture(logits, teacher_logits, batch.labels, alpha=settings.alpha, temperature=settings.temperature)


def _autocast(compute: Compute) -> torch.autocast:
    return torch.autocast(torch.device(compute.device).type, torch.bfloat16, enabled=compute.precision == "bf16")


def _batches_of_step(trainer: Trainer, step: int) -> list[Batch]:
    settings = trainer.settings.distillation
    chosen = rows_for_step(
        len(trainer.rows), step, settings.batch_rows * settings.accumulation, trainer.settings.compute.seed
    )
    rows = [trainer.rows[index] for index in chosen]
    starts = range(0, len(rows), settings.batch_rows)
    return [_batch(trainer, trainer.train, rows[start : start + settings.batch_rows]) for start in starts]


def _batch(trainer: Trainer, split: Split, rows: list[list[int]]) -> Batch:
    length, device = trainer.settings.sequence_length, trainer.settings.compute.device
    return make_batch(split, rows, sequence_length=length, pad_id=trainer.pad_id, device=device)


def _validation_batches(trainer: Trainer, split: Split) -> list[Batch]:
    rows = pack(split.starts, trainer.settings.sequence_length)
    size = trainer.settings.distillation.batch_rows
    return [_batch(trainer, split, rows[start : start + size]) for start in range(0, len(rows), size)]


def _validate(trainer: Trainer, step: int, batches: list[Batch]) -> None:
    loss = _mean_loss(trainer, trainer.student, batches)
    trainer.history["validation"].append({"step": step, "loss": loss})
    progress.step("validates", step, trainer.num_steps, {"validation loss": loss})


@torch.no_grad()
def _mean_loss(trainer: Trainer, model: nn.Module, batches: list[Batch]) -> float:
    """Cross-entropy in nats per counted token over all batches."""
    total, count = 0.0, 0
    for batch in batches:
        with _autocast(trainer.settings.compute):
            logits = model(**batch.model_inputs(), use_cache=False).logits
        total += cross_entropy(logits, batch.labels).item() * batch.num_counted
        count += batch.num_counted
    return total / max(count, 1)


def _diverged(what: str, step: int, batch: Batch) -> str:
    documents = ", ".join(name for row in batch.names for name in row)
    return (
        f"the {what} is not a number at step {step + 1}, in the batch of the documents {documents}; "
        "lower distillation.learning_rate or raise distillation.warmup_steps, and look at these documents"
    )
