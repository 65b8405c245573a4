"""One arm's steps, timed one by one, and the memory that they took: runs in a process of its own."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.gauge import Gauge
from stillhouse.data.dataset import read_split
from stillhouse.freed_memory import freed_memory_kept
from stillhouse.models.load import load_model, load_tokenizer
from stillhouse.recipe.compute import Compute
from stillhouse.recipe.distillation import Distillation
from stillhouse.recipe.knowledge import Cached, Online
from stillhouse.recipe.training_compute import TrainingCompute

LEARNING_RATE = 1e-5
Case = dict[str, Any]
Steps = tuple[Callable[[], float], nn.Module, int]
"""Makes one optimizer step and gives its loss; the student; bytes of the teacher's weights."""


def measure(case: Case) -> dict[str, Any]:
    """Time the steps of an arm.

    Args:
        case: `arm`, `device`, `threads`, `rows`, `length`, `warm_up`, `steps`, and the folders `teacher`,
            `start`, `dataset`, `cache`.
    """
    torch.set_num_threads(case["threads"])
    torch.manual_seed(0)
    if case["arm"] == "trl":
        return _trl(case)
    gauge = Gauge(case["device"])
    libraries = gauge.held_bytes()
    if case["arm"].startswith("plain"):
        return _timed(case, gauge, libraries, _plain(case))
    # As `stillhouse.training.loop` has it; the peers run as their users run them.
    with freed_memory_kept():
        return _timed(case, gauge, libraries, _stillhouse(case))


def _timed(case: Case, gauge: Gauge, libraries: int, made: Steps) -> dict[str, Any]:
    step, student, teacher_bytes = made
    losses = [step() for _ in range(case["warm_up"])]
    gauge.forget_peak()
    seconds = []
    for _ in range(case["steps"]):
        started = gauge.seconds()
        losses.append(step())
        seconds.append(gauge.seconds() - started)
    return _figures(gauge, seconds, losses, student, teacher_bytes + libraries)


def _stillhouse(case: Case) -> Steps:
    from stillhouse.training.ranks import join
    from stillhouse.training.step import train_step
    from stillhouse.training.trainer import DistillSettings, prepare

    arm = case["arm"]
    settings = DistillSettings(
        distillation=Distillation(
            alpha=0.0 if arm == "text" else 1.0,
            temperature=1.0,
            steps=case["warm_up"] + case["steps"],
            batch_rows=case["rows"],
            learning_rate=LEARNING_RATE,
            final_learning_rate_share=1.0,
            warmup_steps=0,
        ),
        knowledge=Cached() if arm.startswith("cached") else Online(),
        sequence_length=case["length"],
        compute=Compute(device=case["device"], precision="bf16", threads=case["threads"], seed=0),
        training=TrainingCompute(compile="eager" not in arm),
    )
    inputs = {name: Path(case[name]) for name in ("teacher", "start", "dataset", "cache")}
    trainer = prepare(settings, inputs, join(case["device"]))
    numbers = iter(range(trainer.num_steps))
    teacher = getattr(trainer.teacher, "model", None)
    return lambda: train_step(trainer, next(numbers))["loss"], trainer.student, _bytes(teacher)


def _plain(case: Case) -> Steps:
    """What one writes first: whole logits of both models in fp32, and autograd."""
    student = load_model(Path(case["start"]), device=case["device"], dtype="fp32")
    teacher = None
    if case["arm"] == "plain":
        teacher = load_model(Path(case["teacher"]), device=case["device"], dtype="bf16").requires_grad_(False)
    optimizer = torch.optim.AdamW(
        student.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.01, fused=True
    )
    batches = iter(_rows(case))

    def step() -> float:
        ids = next(batches).to(case["device"])
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(ids.device.type, torch.bfloat16):
            logits = student(input_ids=ids, use_cache=False).logits[:, :-1].float()
        loss = _plain_loss(logits, ids, teacher)
        loss.backward()
        nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    return step, student, _bytes(teacher)


def _plain_loss(logits: Tensor, ids: Tensor, teacher: nn.Module | None) -> Tensor:
    if teacher is None:
        return nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
    with torch.no_grad():
        said = teacher(input_ids=ids, use_cache=False).logits[:, :-1].float()
    own, target = logits.log_softmax(-1).flatten(0, 1), said.log_softmax(-1).flatten(0, 1)
    return nn.functional.kl_div(own, target, log_target=True, reduction="batchmean")


def _trl(case: Case) -> dict[str, Any]:
    """TRL's trainer as its users run it; a callback notes the time of every step's end."""
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    import tempfile

    from datasets import Dataset
    from transformers import TrainerCallback
    from trl.experimental.gkd import GKDConfig, GKDTrainer

    gauge = Gauge(case["device"])
    libraries = gauge.held_bytes()
    student = load_model(Path(case["start"]), device=case["device"], dtype="fp32")
    teacher = load_model(Path(case["teacher"]), device=case["device"], dtype="bf16").requires_grad_(False)
    ends: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, arguments: Any, state: Any, control: Any, **others: Any) -> None:
            del arguments, control, others
            ends.append(gauge.seconds())
            if state.global_step == case["warm_up"]:
                gauge.forget_peak()
                ends[:] = [gauge.seconds()]

    with tempfile.TemporaryDirectory() as folder:
        arguments = GKDConfig(
            output_dir=folder,
            per_device_train_batch_size=case["rows"],
            max_steps=case["warm_up"] + case["steps"],
            learning_rate=LEARNING_RATE,
            lr_scheduler_type="constant",
            optim="adamw_torch_fused",
            bf16=True,
            use_cpu=torch.device(case["device"]).type == "cpu",
            # Forward KL, on the texts that are given.
            lmbda=0.0,
            beta=0.0,
            temperature=1.0,
            gradient_checkpointing=False,
            max_length=case["length"],
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            dataloader_pin_memory=False,
            disable_tqdm=True,
        )
        trainer = GKDTrainer(
            model=student,
            teacher_model=teacher,
            args=arguments,
            train_dataset=Dataset.from_dict({"input_ids": torch.cat(_rows(case)).tolist()}),
            data_collator=_collated,
            processing_class=load_tokenizer(Path(case["teacher"])),
            callbacks=[Clock()],
        )
        trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return _figures(gauge, np.diff(ends).tolist(), losses, student, _bytes(teacher) + libraries)


def _collated(samples: list[dict[str, Any]]) -> dict[str, Tensor]:
    ids = torch.tensor([sample["input_ids"] for sample in samples])
    labels = ids.clone()
    labels[:, 0] = -100
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels, "prompts": ids[:, :1]}


def _rows(case: Case) -> list[Tensor]:
    ids = read_split(Path(case["dataset"]), "train").ids.astype(np.int64)
    return list(torch.from_numpy(ids).view(-1, case["rows"], case["length"]))


def _figures(
    gauge: Gauge, seconds: list[float], losses: list[float], student: nn.Module, others_bytes: int
) -> dict[str, Any]:
    """Of one process, whose libraries and teacher took `others_bytes`.

    A parameter in fp32 takes 4 bytes, and as many for its gradient and each of two moments.
    """
    trained = 4 * _bytes(student)
    return {
        "seconds": seconds,
        "losses": losses,
        "peak_bytes": gauge.peak_bytes(),
        "activation_bytes": gauge.peak_bytes() - others_bytes - trained,
    }


def _bytes(model: nn.Module | None) -> int:
    return 0 if model is None else sum(each.numel() * each.element_size() for each in model.parameters())
