"""Training from the first step to the last, in this process, which may be one of several."""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from stillhouse import progress
from stillhouse.errors import InputError
from stillhouse.freed_memory import freed_memory_kept
from stillhouse.models.load import count_parameters, load_model, load_tokenizer, save_model
from stillhouse.models.tokenizer import tokenizer_folder
from stillhouse.store.artifact import FACTS, WORK, Inputs
from stillhouse.training import adapters
from stillhouse.training.checkpoint import (
    has_checkpoint,
    load_checkpoint,
    save_checkpoint,
    seed_everything,
    whole_weights,
)
from stillhouse.training.coefficients import Course
from stillhouse.training.own_text import tell_endless
from stillhouse.training.ranks import Ranks, join
from stillhouse.training.steadiness import jumps
from stillhouse.training.step import teacher_validation_loss, train_step, validation_loss
from stillhouse.training.trainer import DistillSettings, Trainer, prepare

HISTORY = "history.json"
logger = logging.getLogger(__name__)


class NoMemoryLeft(MemoryError):
    """The training does not fit; the message says what to lower."""


def train(settings: DistillSettings, inputs: Inputs, folder: Path) -> None:
    """Train, from the last checkpoint if there is one; the first of several processes writes the results.

    Raises:
        InputError: If other processes joined than the settings say.
        TrainingDiverged: If a loss or gradient is not finite.
        NoMemoryLeft: If memory runs out, on the processor's side or the accelerator's.
    """
    compute = settings.compute
    seed_everything(compute.seed, max(1, compute.threads // settings.training.processes))
    ranks = join(compute.device)
    try:
        _check_joined(settings, ranks)
        with freed_memory_kept():
            _train(settings, inputs, folder, ranks)
    except torch.OutOfMemoryError as error:
        raise NoMemoryLeft(_advice(settings, str(error))) from error
    except RuntimeError as error:
        # PyTorch's allocator on processors has no class of its own for this.
        if "allocate memory" in str(error):
            raise NoMemoryLeft(_advice(settings, str(error))) from error
        raise
    finally:
        ranks.leave()


def _train(settings: DistillSettings, inputs: Inputs, folder: Path, ranks: Ranks) -> None:
    trainer = prepare(settings, inputs, ranks, goes_on=has_checkpoint(folder / WORK))
    checkpoints = folder / WORK
    first_step = _resume(trainer, checkpoints)
    if first_step == 0:
        # A loss per token of another tokenizer is no line to draw beside the student's.
        if trainer.teacher is not None and "tokenizer" not in inputs:
            trainer.history["teacher_validation_loss"] = teacher_validation_loss(trainer, inputs)
        _validate(trainer, 0)
    _steps(trainer, first_step, checkpoints)
    _save(trainer, inputs, folder)


def _check_joined(settings: DistillSettings, ranks: Ranks) -> None:
    """Refuse another number than decides the rows of a step: it would be another training under the same name."""
    if ranks.count != settings.training.processes:
        raise InputError(
            f"{ranks.count} processes joined a training that is ordered for {settings.training.processes} "
            f"(compute.processes): start as many (torchrun: --nnodes times --nproc-per-node), or set compute.processes "
            "in the recipe to what there is, which is another training, from its first step"
        )


def _resume(trainer: Trainer, checkpoints: Path) -> int:
    """Go back to the newest checkpoint; gives the step to make next."""
    resumed = load_checkpoint(checkpoints, trainer.objective, trainer.optimizer, average=trainer.average)
    if resumed is None:
        return 0
    first_step, trainer.history = resumed
    trainer.course = Course(trainer.settings.distillation, trainer.num_steps, trainer.history.get("course"))
    progress.step(f"goes on from step {first_step}", first_step, trainer.num_steps)
    return first_step


def _steps(trainer: Trainer, first_step: int, checkpoints: Path) -> None:
    settings = trainer.settings.distillation
    # The student stays in eval mode, in which it was loaded: dropout would make the data order more than a
    # function of the seed, and the models that are distilled have none.
    started, done_tokens = time.monotonic(), 0.0
    for step in range(first_step, trainer.num_steps):
        entry = train_step(trainer, step)
        trainer.history["training"].append(entry)
        if trainer.writer is not None and trainer.ranks.is_first:
            tell_endless(trainer.history["training"], trainer.writer.asked)
        trainer.history["course"] = trainer.course.state
        done_tokens += entry["tokens"]
        figures = {"loss": entry["loss"], "tokens/s": done_tokens / (time.monotonic() - started)}
        progress.step("distils", step + 1, trainer.num_steps, figures)
        last = step + 1 == trainer.num_steps
        if last or (step + 1) % settings.validate_every == 0:
            _validate(trainer, step + 1)
        if not last and (step + 1) % settings.checkpoint_every == 0:
            save_checkpoint(
                checkpoints,
                step + 1,
                trainer.objective,
                trainer.optimizer,
                trainer.history,
                average=trainer.average,
                writes=trainer.ranks.is_first,
            )


def _validate(trainer: Trainer, step: int) -> None:
    loss = validation_loss(trainer)
    trainer.history["validation"].append({"step": step, "loss": loss})
    progress.step("validates", step, trainer.num_steps, {"validation loss": loss})


def _save(trainer: Trainer, inputs: Inputs, folder: Path) -> None:
    """Write the student without anything that only served its training."""
    weights = whole_weights(trainer.student)
    if not trainer.ranks.is_first:
        return
    student = load_model(inputs["start"], device="cpu", dtype="fp32")
    if (lora := trainer.settings.training.lora) is not None:
        adapters.add(student, lora, trainer.settings.compute.seed)
    student.load_state_dict(weights, strict=False)
    if lora is not None:
        adapters.merge(student)
    # The texts were rendered with this one's template and ends, whatever the start came with.
    save_model(student, load_tokenizer(tokenizer_folder(inputs)), folder)
    trainer.history.pop("course", None)
    (folder / HISTORY).write_text(json.dumps(trainer.history), encoding="utf-8")
    tokens = sum(entry["tokens"] for entry in trainer.history["training"])
    facts = {"parameters": count_parameters(student), "layers": student.config.num_hidden_layers}
    if trainer.writer is not None:
        own = [entry["own_text_ended"] for entry in trainer.history["training"] if entry["on_policy"]]
        facts |= {"on_policy_steps": len(own)}
        # The mean of steps, which have as many texts as their rows hold.
        facts |= {"own_text_ended": sum(own) / len(own)} if own else {}
    facts |= {"steps": trainer.num_steps, "tokens": tokens, "gradient_jumps": _tell_jumps(trainer.history["training"])}
    if trainer.settings.curriculum is not None:
        facts |= {"texts": sum(map(len, trainer.text.rows)), "of_texts": trainer.text.split.num_documents}
    (folder / FACTS).write_text(json.dumps(facts), encoding="utf-8")


def _tell_jumps(made: Sequence[Mapping[str, float]]) -> int:
    """Say of a training that was not steady that it was not; gives the number of jumps."""
    found = jumps([entry["gradient_norm"] for entry in made])
    if found.are_many:
        logger.warning("the gradient %s; a lower distillation.learning_rate may end nearer to the teacher", found.told)
    return len(found.at)


def _advice(settings: DistillSettings, said: str) -> str:
    rows = settings.distillation.batch_rows
    fewer = f"distillation.batch_rows from {rows} to {max(1, rows // 2)}" if rows > 1 else "data.sequence_length"
    return (
        f"memory ran out on {settings.compute.device}: lower {fewer} (and raise accumulation to keep the step), set "
        f"compute.gradient_checkpointing, or compute.sharding over several processes. What was said: {said[:300]}"
    )
