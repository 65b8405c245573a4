"""What is refused of a benchmark before a model is asked, and what guessing would give."""

from typing import Any

from evaluation.benchmark_files import BenchmarkFile, ChoiceBenchmark, TextBenchmark
from evaluation.benchmark_tasks.documents import Row
from evaluation.benchmark_tasks.verdicts import right_choice
from stillhouse.errors import InputError


def check_answers(scorer: Any, file: BenchmarkFile, task: Any) -> int:
    """Refuse labels that are no choices, and answers that leave no room for a question; count the requests.

    lm-eval only warns of a right answer that is no choice, and counts the document as wrong; an answer that is longer
    than what a model reads stops it at an assertion without words.

    Args:
        scorer: An lm-eval model with `tok_encode` and `max_length`.
        file: The benchmark.
        task: lm-eval's task over its documents.

    Returns:
        How many questions the task puts to a model.

    Raises:
        InputError: If an answer is too long.
        ValueError: If a document's right answer is not one of its choices.
    """
    match file:
        case ChoiceBenchmark():
            requests = count_choices(task)
            ends = [end for document in task.eval_docs for end in continuations(task, document)]
        case TextBenchmark():
            requests = len(task.eval_docs)
            ends = [task.doc_to_target(document) for document in task.eval_docs]
        case _:
            return len(task.eval_docs)
    longest = max(len(scorer.tok_encode(end)) for end in ends)
    if longest > scorer.max_length:
        raise InputError(
            f"an answer of {task.config.task} has {longest} tokens, and the model reads {scorer.max_length} at once; "
            "leave the benchmark out of evaluation.benchmarks, or ask for fewer evaluation.documents"
        )
    return requests


def count_choices(task: Any) -> int:
    """Count the answers that will be scored for all documents of a multiple-choice task.

    Raises:
        ValueError: If a document's right answer is not one of its choices.
    """
    total = 0
    for number, document in enumerate(task.eval_docs):
        choices = task.doc_to_choice(document)
        if not _has_right_choice(task, document, len(choices)):
            gold = task.doc_to_text(document) if task.multiple_input else task.doc_to_target(document)
            raise ValueError(
                f"the right answer of document {number} of {task.config.task} must be one of its {len(choices)} "
                f"choices or its number, counted from 0, got {gold!r}; its columns are {', '.join(document)}"
            )
        total += len(choices)
    return total


def _has_right_choice(task: Any, document: Row, num_choices: int) -> bool:
    gold = None if task.multiple_input else task.doc_to_target(document)
    if isinstance(gold, list):
        # Some tasks of a hub have several right choices.
        return bool(gold) and all(isinstance(one, int) and 0 <= one < num_choices for one in gold)
    return right_choice(task, document) is not None


def continuations(task: Any, document: Row) -> list[str]:
    """What a model scores of a document, without the question: each choice, or the one end that all choices share."""
    ends = [task.doc_to_target(document)] if task.multiple_input else task.doc_to_choice(document)
    return [task.config.target_delimiter + end for end in ends]


def chance(file: BenchmarkFile, task: Any) -> float | None:
    """Share that guessing would get right; `None` where there is nothing to guess."""
    if not isinstance(file, ChoiceBenchmark):
        return None
    counts = [len(task.doc_to_choice(document)) for document in task.eval_docs]
    return sum(1 / count for count in counts) / len(counts)
