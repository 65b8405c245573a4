"""Smoke prompts: a few prompts, and the tokens that each ONNX variant must answer them with on any processor."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from stillhouse import child
from stillhouse.data.dataset import Split, read_split
from stillhouse.serving.decoder import Decoder

SMOKE = "smoke.json"
_CANDIDATES = 24
_PROMPT_TOKENS = 12
_NEW_TOKENS = 6


@dataclass(frozen=True)
class _Answers:
    """What one variant says to every candidate."""

    prompts: list[dict[str, Any]]
    """`text` and the `ids` that it encodes to."""
    tokens: list[list[int]]
    margins: list[float]
    """Smallest gap between the best and the second-best logit over an answer's tokens."""


def choose_smoke_prompts(
    variants: Mapping[str, Path], dataset: Path, *, num_prompts: int, threads: int
) -> dict[str, Any]:
    """Ask every ONNX variant the same candidates and keep those that no variant answers narrowly.

    Candidates are beginnings of validation documents, of conversations those of answers. Processors round
    differently, so an answer whose best token barely wins on one may lose on another; the prompts with the widest
    margins are the same everywhere.

    Returns:
        The content of `smoke.json`: `new_tokens`, and `prompts` with `text`, `ids`, and the answers by variant.
    """
    split = read_split(dataset, "validation")
    candidates = _candidates(split)
    answers = {name: _ask(folder, candidates, threads) for name, folder in variants.items()}
    if not answers:
        return {"new_tokens": _NEW_TOKENS, "prompts": []}
    some = next(iter(answers.values()))
    margin = [min(answer.margins[i] for answer in answers.values()) for i in range(len(some.prompts))]
    widest = sorted(range(len(margin)), key=lambda index: -margin[index])[:num_prompts]
    prompts = [
        some.prompts[index]
        | {"margin": round(margin[index], 3)}
        | {"tokens": {name: answer.tokens[index] for name, answer in answers.items()}}
        for index in widest
    ]
    return {"new_tokens": _NEW_TOKENS, "prompts": prompts}


def _candidates(split: Split) -> list[list[int]]:
    """Different beginnings: what a chat template puts before every conversation would be one prompt many times."""
    found: dict[tuple[int, ...], None] = {}
    for start, end in pairwise(split.starts.tolist()):
        targets = np.flatnonzero(split.counted[start:end])
        # The token before the first target, which in a text is its first.
        begins = start + max(int(targets[0]) - 1, 0) if len(targets) else start
        found.setdefault(tuple(split.ids[begins:end][:_PROMPT_TOKENS].tolist()))
        if len(found) == _CANDIDATES:
            break
    return [list(each) for each in found]


def _ask(folder: Path, candidates: Sequence[Sequence[int]], threads: int) -> _Answers:
    payload = {"folder": str(folder), "candidates": candidates, "threads": threads}
    return _Answers(**child.run("export.smoke:answer_candidates", payload, threads=threads))


def answer_candidates(payload: dict[str, Any]) -> dict[str, Any]:
    """Answer every candidate greedily; runs in a process without torch, as a serving team's would."""
    decoder = Decoder.open(Path(payload["folder"]), threads=payload["threads"])
    prompts, tokens, margins = [], [], []
    for ids in payload["candidates"]:
        text = decoder.decode(ids)
        # The prompt is what its text encodes to: `verify` starts from the text, to check the tokenizer too.
        encoded = decoder.encode(text)
        generation = decoder.generate_with_margins(encoded, max_new_tokens=_NEW_TOKENS)
        prompts.append({"text": text, "ids": encoded})
        tokens.append(generation.ids)
        margins.append(min(generation.margins))
    return {"prompts": prompts, "tokens": tokens, "margins": margins}
