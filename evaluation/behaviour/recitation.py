"""Recitation: how much of what a model writes stands word for word in the texts it was trained on.

Runs of eight words, case and punctuation aside; that a model repeats a long run word for word is what memorisation
means in Carlini et al. (2023, arXiv:2202.07646). Only the few runs of the answers are kept in memory, so the training
texts can be of any size.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluation.behaviour.measures import About, Measure, mean_measure
from evaluation.behaviour.prompts import LICENCE

RUN = 8
"""Words of the shortest run that counts as recited."""
_WORD = re.compile(r"\w+")
_METHOD = (
    f"the answers of the suite generations, looked up in all training documents: runs of {RUN} words, case and "
    "punctuation aside; an answer of fewer words has none"
)
Place = tuple[int, int]
"""Number of an answer, and of the word in it."""


def measure_recitation(rows: Sequence[Mapping[str, Any]], documents: Path) -> dict[str, Measure]:
    """Return the share of an answer's runs that stand in the training documents, and the longest run in words.

    Args:
        rows: What `measure_generations` found of each prompt.
        documents: What `gather_documents` made; its training split is read.
    """
    from stillhouse.data.document import read_documents, words

    answers = [_words(str(row[mode])) for row in rows for mode in ("greedy", "sampled")]
    texts = (words(document) for document in read_documents(documents / "train.jsonl"))
    shares, longest = recited(answers, map(_words, texts))
    share = About("runs of 8 words that stand in the training texts", "0 to 1", "lower is better", LICENCE, _METHOD)
    length = About("longest run that stands in the training texts", "words", "lower is better", LICENCE, _METHOD)
    # A prompt is one document: its two answers are no two pieces of evidence.
    pairs = list(zip(shares[::2], shares[1::2], strict=True))
    ends = list(zip(longest[::2], longest[1::2], strict=True))
    return {
        "recitation_share": mean_measure([sum(pair) / 2 for pair in pairs], share),
        "recitation_longest": mean_measure([float(max(pair)) for pair in ends], length),
    }


def recited(answers: Sequence[Sequence[str]], texts: Iterable[Sequence[str]]) -> tuple[list[float], list[int]]:
    """Return of each answer the share of its runs that stand in a text, and the words of the longest such run.

    Args:
        answers: Words of each answer.
        texts: Words of each training text, read once.
    """
    places: dict[tuple[str, ...], list[Place]] = defaultdict(list)
    for number, answer in enumerate(answers):
        for start in range(len(answer) - RUN + 1):
            places[tuple(answer[start : start + RUN])].append((number, start))
    openings = {run[0] for run in places}
    found: set[Place] = set()
    longest = [0] * len(answers)
    for text in texts:
        for start in range(len(text) - RUN + 1):
            if text[start] not in openings:
                continue
            for number, place in places.get(tuple(text[start : start + RUN]), ()):
                found.add((number, place))
                longest[number] = max(longest[number], _common(answers[number], place, text, start))
    counts = [len(answer) - RUN + 1 for answer in answers]
    hits = [sum(number == each for each, _ in found) for number in range(len(answers))]
    return [hit / count if count > 0 else 0.0 for hit, count in zip(hits, counts, strict=True)], longest


def _common(answer: Sequence[str], place: int, text: Sequence[str], start: int) -> int:
    """Return how many words answer and text share from these places on."""
    most = min(len(answer) - place, len(text) - start)
    return next((step for step in range(RUN, most) if answer[place + step] != text[start + step]), most)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())
