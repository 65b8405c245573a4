"""Traces that a teacher writes of problems: several draws each, batch by batch, so that a killed run goes on."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerFast

from stillhouse import progress
from stillhouse.data.chat import render
from stillhouse.data.document import Message
from stillhouse.errors import InputError
from stillhouse.models.continuing import end_tokens
from stillhouse.models.load import load_model, load_tokenizer
from stillhouse.reasoning.problems import ASK_STEPS, Problem, example_of, write_steps
from stillhouse.reasoning.steps import spell
from stillhouse.recipe.compute import Compute
from stillhouse.recipe.reasoning import TeacherTraces
from stillhouse.teachers.answers import context_of, lengths_of

_SEEDS = 1 << 63
"""So many seeds the generator takes."""


@dataclass(frozen=True)
class Drawing:
    """How traces are drawn."""

    asked: TeacherTraces
    compute: Compute
    """Where the teacher runs; its seed decides the draws."""


class Drawn(NamedTuple):
    """One trace."""

    text: str
    ended: bool
    """Whether its writer ended it, or was cut off."""


@dataclass(frozen=True)
class _Teacher:
    """A loaded model that solves problems."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    generation: GenerationConfig
    seed: int


def draw_traces(drawing: Drawing, teacher: Path, problems: Sequence[Problem], work: Path) -> Iterator[list[Drawn]]:
    """Let the teacher solve each problem `samples` times, and hand out the traces of each as soon as they are drawn.

    Whoever reads them may stop, and no further batch is drawn. A batch's draws depend on the seed and the batch's
    number alone, and each finished batch lies in `work`: a run that was killed draws what an uninterrupted one does.

    Args:
        drawing: How.
        teacher: A model folder with a chat template.
        problems: In the order that makes the batches.
        work: May hold what a killed run finished.

    Returns:
        The traces by problem, in order.

    Raises:
        InputError: If the model has no chat template, or problems leave its context no room for a rationale.
    """
    _check_room(drawing.asked, teacher, problems)
    size = drawing.asked.batch_size
    batches = [problems[start : start + size] for start in range(0, len(problems), size)]
    work.mkdir(parents=True, exist_ok=True)
    loaded: _Teacher | None = None
    ended: list[bool] = []
    for number, batch in enumerate(batches):
        file = work / f"traces-{number:06d}.json"
        if not file.exists():
            loaded = loaded or _load(drawing, teacher)
            figures = {"ended": sum(ended) / len(ended)} if ended else {}
            progress.step("the teacher writes rationales", number, len(batches), figures)
            _draw_batch(loaded, batch, number, file)
        for written in json.loads(file.read_text(encoding="utf-8")):
            traces = [Drawn(*each) for each in written]
            ended += [each.ended for each in traces]
            yield traces


def conversation(problem: Problem) -> list[Message]:
    """What the teacher reads: a worked example of the family, and the problem."""
    example = example_of(problem.family)
    steps = write_steps(example)
    assert steps is not None
    return [
        {"role": "user", "content": f"{ASK_STEPS}\n{example.question}"},
        {"role": "assistant", "content": spell(steps, example.answer)},
        {"role": "user", "content": f"{ASK_STEPS}\n{problem.question}"},
    ]


def _check_room(asked: TeacherTraces, teacher: Path, problems: Sequence[Problem]) -> None:
    """Refuse what would run over the teacher's context, before the teacher is loaded."""
    context, tokenizer = context_of(teacher), load_tokenizer(teacher)
    room = context - asked.max_new_tokens
    prompts = [render(tokenizer, conversation(problem), answer_next=True) for problem in problems]
    too_long = [length for length in lengths_of(tokenizer, prompts) if length > room]
    if too_long:
        raise InputError(
            f"{len(too_long)} of {len(problems)} problems, each behind a worked example, take up to {max(too_long)} "
            f"tokens, and the teacher's context holds {context}, of which "
            f"rationales.max_new_tokens takes {asked.max_new_tokens}; lower that, take shorter problems, or rationales "
            "of kind ground_truth"
        )


def _load(drawing: Drawing, teacher: Path) -> _Teacher:
    compute, asked = drawing.compute, drawing.asked
    torch.set_num_threads(compute.threads)
    tokenizer = load_tokenizer(teacher)
    model = load_model(teacher, device=compute.device, dtype=compute.precision)
    generation = GenerationConfig(
        max_new_tokens=asked.max_new_tokens,
        do_sample=True,
        temperature=asked.temperature,
        top_k=0,
        top_p=1.0,
        num_return_sequences=asked.samples,
        eos_token_id=sorted(end_tokens(model, tokenizer)),
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )
    return _Teacher(model, tokenizer, generation, compute.seed)


def _draw_batch(teacher: _Teacher, batch: Sequence[Problem], number: int, file: Path) -> None:
    """Solve one batch and put it on disk in one rename, so that a kill leaves no half of it."""
    tokenizer = teacher.tokenizer
    prompts = [render(tokenizer, conversation(problem), answer_next=True) for problem in batch]
    read = tokenizer(
        prompts,
        add_special_tokens=False,
        padding=True,
        padding_side="left",
        return_tensors="pt",
        return_token_type_ids=False,
    ).to(teacher.model.device)
    # transformers draws from the global generator and takes no other.
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed((teacher.seed * 1_000_003 + number) % _SEEDS)
        written = teacher.model.generate(**read, generation_config=teacher.generation, use_model_defaults=False)  # type: ignore[operator]
    new = written[:, read["input_ids"].shape[1] :]
    texts = tokenizer.batch_decode(new, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    ends = torch.tensor(teacher.generation.eos_token_id, device=new.device)
    drawn = list(zip(texts, torch.isin(new, ends).any(dim=1).tolist(), strict=True))
    samples = teacher.generation.num_return_sequences
    grouped = [drawn[start : start + samples] for start in range(0, len(drawn), samples)]
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(grouped), encoding="utf-8")
    partial.replace(file)
