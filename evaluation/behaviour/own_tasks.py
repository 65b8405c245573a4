"""The two forms of lm-eval task that the suites of behaviour ask: texts to answer, and sentences to rank.

Both are built in memory over rows of our own, so that whatever lm-eval can open can be asked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from evaluation.decoding import Decoding, Written
from evaluation.lm_eval_tasks import quiet, run_task
from stillhouse.errors import InputError

LONG_TOKENS = 256
"""Prompts longer than this are answered apart from the others."""


@dataclass(frozen=True)
class Ranking:
    """Sentences that a model ranks."""

    context: str
    """What stands before each of them; may be empty."""
    sentences: tuple[str, ...]
    """Each as it follows its context, with its space."""


@dataclass(frozen=True)
class Ranked:
    """What a model made of sentences."""

    scores: list[list[float]]
    """Of every ranking the log-probability of each sentence given its context, in nats, in the order given."""
    cut: int
    """Sentences of whose context the model could not read the beginning."""


@dataclass(frozen=True)
class Answer:
    """What a model wrote."""

    text: str
    ids: tuple[int, ...]
    """Its tokens, the end token included where there is one."""
    ended: bool
    """Whether the model ended it."""
    cut: bool
    """Whether the beginning of its prompt was cut, because prompt and answer are longer than the context."""


def rank(scorer: Any, name: str, rankings: Sequence[Ranking]) -> Ranked:
    """Return the log-probability of every sentence given its context.

    Args:
        scorer: An lm-eval model.
        name: Of the task.
        rankings: At least one, all with equally many sentences.

    Raises:
        InputError: If a sentence alone is longer than the model's context.
    """
    _refuse_long(scorer, name, rankings)

    def process_results(row: dict[str, Any], results: list[tuple[float, bool]]) -> dict[str, Any]:
        return {"scores": [log_prob for log_prob, _ in results]}

    with quiet():
        task = _task(
            name,
            [asdict(ranking) for ranking in rankings],
            {
                "output_type": "multiple_choice",
                "doc_to_text": lambda row: row["context"],
                "doc_to_choice": lambda row: row["sentences"],
                "doc_to_target": lambda row: 0,
                "target_delimiter": "",
                "process_results": process_results,
                "metric_list": [{"metric": "scores", "aggregation": _count, "higher_is_better": True}],
            },
        )
    requests = sum(len(ranking.sentences) for ranking in rankings)
    found = run_task(scorer, task, f"reads {name}", requests=requests)
    return Ranked([[float(score) for score in sample["scores"]] for sample in found["samples"]], found["cut"])


def answer(scorer: Any, name: str, texts: Sequence[str], generation_kwargs: Mapping[str, Any]) -> list[Answer]:
    """Return what a model writes after each text.

    A text that does not leave room for its answer loses its beginning, as everywhere in lm-eval; its answer says so.

    Args:
        scorer: An lm-eval model that notes what it writes.
        name: Of the task.
        texts: At least one, as the model reads them.
        generation_kwargs: lm-eval's, with `max_gen_toks`.

    Raises:
        InputError: If an answer alone would fill the model's context.
    """
    new_tokens = int(generation_kwargs["max_gen_toks"])
    if new_tokens >= scorer.max_length:
        raise InputError(
            f"{name} asks for answers of {new_tokens} tokens, but the model's context holds {scorer.max_length}; ask "
            "for fewer new_tokens, or leave the suite out of evaluation.behaviour.suites"
        )
    lengths = [len(scorer.tok_encode(text)) for text in texts]
    found: list[Answer | None] = [None] * len(texts)
    # A batch is padded to its longest prompt: a long one among short ones would cost as much as a batch of long ones.
    for part in ([n for n, length in enumerate(lengths) if (length > LONG_TOKENS) is long] for long in (False, True)):
        if part:
            answers = _answer(scorer, name, [texts[number] for number in part], generation_kwargs)
            for number, (text, written) in zip(part, answers, strict=True):
                cut = lengths[number] + new_tokens > scorer.max_length
                found[number] = Answer(text, tuple(written.ids), written.ended, cut)
    return [each for each in found if each is not None]


def num_cut(answers: Sequence[Answer]) -> int:
    """Count the prompts that lost their beginning."""
    return sum(written.cut for written in answers)


def cut_words(answers: Sequence[Answer]) -> str:
    """Say how many prompts lost their beginning, to be added to how a measure is found; nothing where none did."""
    cut = num_cut(answers)
    return f"; {cut} of {len(answers)} prompts lost their beginning to fit the model's context" if cut else ""


def _answer(
    scorer: Any, name: str, texts: Sequence[str], generation_kwargs: Mapping[str, Any]
) -> list[tuple[str, Written]]:
    """Return text and tokens of each answer."""
    with quiet():
        task = _task(
            name,
            [{"text": text} for text in texts],
            {
                "output_type": "generate_until",
                "doc_to_text": lambda row: row["text"],
                "doc_to_target": lambda row: "",
                "generation_kwargs": dict(generation_kwargs),
                "process_results": lambda row, results: {"answers": 1.0},
                "metric_list": [{"metric": "answers", "aggregation": _count, "higher_is_better": True}],
            },
        )
    samples = run_task(scorer, task, f"writes, {name}", requests=len(texts))["samples"]
    decoding = Decoding.of_request(generation_kwargs)
    return [
        (str(sample["filtered_resps"][0]), scorer.written[text, decoding])
        for text, sample in zip(texts, samples, strict=True)
    ]


def _refuse_long(scorer: Any, name: str, rankings: Sequence[Ranking]) -> None:
    longest = max(len(scorer.tok_encode(sentence)) for ranking in rankings for sentence in ranking.sentences)
    if longest > scorer.max_length:
        raise InputError(
            f"a sentence of {name} has {longest} tokens, and the model reads {scorer.max_length} at once; leave the "
            "suite out of evaluation.behaviour.suites"
        )


def _task(name: str, rows: Sequence[Mapping[str, Any]], form: Mapping[str, Any]) -> Any:
    """Build a task over rows held in memory; `form` is the part of lm-eval's description that differs."""
    from datasets import Dataset
    from lm_eval.api.task import ConfigurableTask

    source = {
        "task": name,
        "custom_dataset": lambda **_: {"test": Dataset.from_list([dict(row) for row in rows])},
        "test_split": "test",
        "num_fewshot": 0,
    }
    return ConfigurableTask(config={**source, **form})


def _count(values: Sequence[Any]) -> float:
    """Sum up for lm-eval, which wants one number a metric; figures are worked out from what was found of each row."""
    return float(len(values))
