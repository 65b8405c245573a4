"""What each answer of a benchmark counts, decided by its kind."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluation.benchmark_files import (
    BenchmarkFile,
    ChoiceBenchmark,
    CodeBenchmark,
    GeneratedBenchmark,
    GenerationBenchmark,
    TextBenchmark,
)
from evaluation.benchmark_tasks.documents import Row
from evaluation.benchmark_tasks.generated import is_correct, is_sound, share_of_right_steps
from evaluation.benchmark_tasks.spans import f1_of_answers


@dataclass(frozen=True)
class Verdict:
    """What the answer to one document counts."""

    value: float
    """By the benchmark's metric; bits where that is bits per byte."""
    weight: int | None = None
    """Bytes that the bits are of."""
    chosen: int | None = None
    """Number of the choice that the metric takes as the model's answer."""
    confidence: float | None = None
    """Its probability among the choices."""


def judge(file: BenchmarkFile, task: Any, sample: Mapping[str, Any], row: Row) -> Verdict:
    """Judge one answer.

    Args:
        file: The benchmark.
        task: lm-eval's task.
        sample: What lm-eval keeps of the document: `doc`, `arguments`, `filtered_resps` and its metrics.
        row: The document as it is packaged.
    """
    match file:
        case ChoiceBenchmark():
            return _choice(file.metric, task, sample)
        case TextBenchmark(metric="bits_per_byte"):
            (((_, end),), ((log_prob, _),)) = sample["arguments"], sample["filtered_resps"]
            return Verdict(-log_prob / math.log(2), weight=len(end.encode("utf-8")))
        case TextBenchmark():
            return Verdict(float(sample["acc"]))
        case GenerationBenchmark(metric="exact_match"):
            return Verdict(float(sample["exact_match"]))
        case GenerationBenchmark():
            assert file.answers is not None, f"{file.name} names no column of right answers"
            return Verdict(f1_of_answers(sample["filtered_resps"][0], row[file.answers]))
        case CodeBenchmark():
            return Verdict(float(_passes(file, row, sample["filtered_resps"][0])))
        case GeneratedBenchmark():
            return Verdict(_generated(file, row, sample["filtered_resps"][0]))


def _generated(file: GeneratedBenchmark, row: Row, answer: str) -> float:
    match file.metric:
        case "correct":
            return float(is_correct(file.generator, row, answer))
        case "right_steps":
            return share_of_right_steps(row, answer)
        case "sound":
            return float(is_sound(row, answer))


def right_choice(task: Any, document: Mapping[str, Any]) -> int | None:
    """Number of the right choice; `None` where the label is none of them.

    A task that puts its choices into the question keeps the number in `doc_to_text`. A label that is a text is looked
    up among the choices, as lm-eval does.
    """
    choices = task.doc_to_choice(document)
    gold = task.doc_to_text(document) if task.multiple_input else task.doc_to_target(document)
    if isinstance(gold, str):
        return choices.index(gold) if gold in choices else None
    return gold if isinstance(gold, int) and 0 <= gold < len(choices) else None


def program_of(file: CodeBenchmark, row: Row, answer: str) -> str:
    """The program that ends without an error where the answer is right."""
    return _rendered(file.program, {**row, "answer": answer})


def solution_of(file: CodeBenchmark, row: Row) -> str:
    """An answer that is known to be right."""
    return _rendered(file.solution, row)


def _choice(metric: str, task: Any, sample: Mapping[str, Any]) -> Verdict:
    """Take the likeliest choice, as lm-eval decides it."""
    choices = task.doc_to_choice(sample["doc"])
    scores = [log_prob for log_prob, _ in sample["filtered_resps"]]
    if metric == "acc_norm":
        scores = [log_prob / len(choice) for log_prob, choice in zip(scores, choices, strict=True)]
    chosen = scores.index(max(scores))
    right = bool(sample[metric])
    assert right == (chosen == right_choice(task, sample["doc"])), f"{metric} means another choice"
    return Verdict(float(right), chosen=chosen, confidence=_share(scores, chosen))


def _share(scores: Sequence[float], chosen: int) -> float:
    """Softmax of the scores, at the chosen one."""
    wide = np.asarray(scores, dtype=np.float64)
    return float(1 / np.exp(wide - wide[chosen]).sum())


def _passes(file: CodeBenchmark, row: Row, answer: str) -> bool:
    from stillhouse.sandbox.run import run_program

    return run_program(program_of(file, row, answer)).passed


def _rendered(template: str, columns: Row) -> str:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    return environment.from_string(template).render(columns)
