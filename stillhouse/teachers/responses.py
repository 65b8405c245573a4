"""Stage: the teacher answers each training prompt several times, by sampling from its distribution.

A student of greedy answers learns the teacher's mode; one of samples learns what it says, as often as it says it.
"""

import hashlib
import json
import logging
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import PositiveFloat, PositiveInt
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from stillhouse import progress
from stillhouse.data.dataset import set_of
from stillhouse.data.document import Document, write_documents
from stillhouse.data.response_statistics import Response, summary
from stillhouse.data.verifiers import is_right, verifiable_sets
from stillhouse.models.continuing import continue_batch, end_tokens
from stillhouse.models.load import load_model, load_tokenizer
from stillhouse.recipe.compute import Compute
from stillhouse.recipe.data import Data
from stillhouse.recipe.settings import Settings
from stillhouse.serving.nucleus import draw, entropy
from stillhouse.store.artifact import FACTS, WORK, Inputs
from stillhouse.teachers.answers import Prompt, answered, fitting_prompts, read_prompts
from stillhouse.teachers.vocabulary import true_vocabulary_size

logger = logging.getLogger(__name__)


class SampleSettings(Settings):
    """How responses are drawn. Made by `sample_settings`."""

    samples: PositiveInt
    temperature: PositiveFloat
    top_p: float
    max_new_tokens: PositiveInt
    batch_size: PositiveInt
    """Responses written side by side; in the key because padding changes low bits."""
    verifiable: tuple[str, ...]
    """Names of the sets whose prompts have a verifier."""
    compute: Compute
    """Where the teacher runs; its seed decides the draws."""


@dataclass(frozen=True)
class _Asked:
    """A prompt, asked once more."""

    prompt: Prompt
    sample: int


@dataclass(frozen=True)
class _Teacher:
    """A loaded model that answers."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    vocabulary_size: int
    ends: frozenset[int]
    settings: SampleSettings


def sample_settings(data: Data, compute: Compute) -> SampleSettings | None:
    """The part of a recipe that decides its sampled responses; `None` where prompts have one answer."""
    answers, asked = data.answers, data.answers.sampled
    if asked is None:
        return None
    return SampleSettings(
        samples=asked.samples,
        temperature=asked.temperature,
        top_p=asked.top_p,
        max_new_tokens=answers.max_new_tokens,
        batch_size=answers.batch_size,
        verifiable=verifiable_sets(data),
        compute=compute,
    )


def sample_responses(settings: SampleSettings, inputs: Inputs, folder: Path) -> None:
    """Write `train.jsonl`: of each training prompt every response as a document, and their statistics to `facts.json`.

    What is drawn depends on seed, prompt and number of the sample alone, not on what is answered beside it; the last
    bits of the logits may, and with them a draw that falls within such a bit of a boundary. Each finished batch lies in
    `folder/work`. Empty responses, and prompts that leave the model no room, are left out and counted.

    Args:
        settings: How they are drawn.
        inputs: `teacher`, a model folder, and `documents`, whose training prompts are answered.
        folder: Gets the responses; may hold what a killed run finished.

    Raises:
        InputError: If there are prompts and the model has no chat template.
    """
    documents = read_prompts(inputs["documents"] / "train.jsonl")
    responses = _sample_all(settings, inputs["teacher"], documents, folder / WORK) if documents else []
    groups: dict[str, list[Response]] = defaultdict(list)
    for response in responses:
        groups[response.prompt].append(response)
    kept = [
        answered(document, response.text, ended=response.ended)
        for document in documents
        for response in groups.get(document.id, ())
        if response.text.strip()
    ]
    write_documents(folder / "train.jsonl", kept)
    if responses and not any(response.ended for response in responses):
        logger.warning("none of %d responses ended within %d tokens", len(responses), settings.max_new_tokens)
    facts = {
        "prompts": len(documents),
        "too_long": len(documents) - len(groups),
        "responses": len(responses),
        "empty": len(responses) - len(kept),
        **summary(list(groups.values())),
    }
    (folder / FACTS).write_text(json.dumps(facts, indent=1), encoding="utf-8")


def _sample_all(settings: SampleSettings, teacher: Path, documents: Sequence[Document], work: Path) -> list[Response]:
    """In the order of the prompts, a prompt's samples in theirs."""
    torch.set_num_threads(settings.compute.threads)
    tokenizer = load_tokenizer(teacher)
    prompts = fitting_prompts(teacher, tokenizer, documents, settings.max_new_tokens)
    asked = [_Asked(prompt, sample) for prompt in prompts for sample in range(settings.samples)]
    size = settings.batch_size
    batches = [asked[start : start + size] for start in range(0, len(asked), size)]
    work.mkdir(parents=True, exist_ok=True)
    files = [work / f"batch-{number:06d}.json" for number in range(len(batches))]
    missing = [number for number, file in enumerate(files) if not file.exists()]
    if missing:
        model = load_model(teacher, device=settings.compute.device, dtype=settings.compute.precision)
        vocabulary, ends = true_vocabulary_size(tokenizer), end_tokens(model, tokenizer)
        sampler = _Teacher(model, tokenizer, vocabulary, ends, settings)
        for done, number in enumerate(missing, start=len(files) - len(missing)):
            _sample_batch(sampler, batches[number], files[number], (done, len(files)))
    rows = [row for file in files for row in json.loads(file.read_text(encoding="utf-8"))]
    return [Response(**{**row, "ids": tuple(row["ids"])}) for row in rows]


def _sample_batch(teacher: _Teacher, asked: Sequence[_Asked], file: Path, place: tuple[int, int]) -> None:
    """Answer one batch and put it on disk in one rename, so that a kill leaves no half of it."""
    started = time.perf_counter()
    responses = _sample(teacher, asked)
    partial_file = file.with_suffix(".partial")
    partial_file.write_text(json.dumps([asdict(response) for response in responses]), encoding="utf-8")
    partial_file.replace(file)
    rate = sum(len(response.ids) for response in responses) / (time.perf_counter() - started)
    progress.step("the teacher answers prompts several times", place[0] + 1, place[1], {"tokens/s": rate})


def _sample(teacher: _Teacher, asked: Sequence[_Asked]) -> list[Response]:
    tokenizer, settings = teacher.tokenizer, teacher.settings
    reads = tokenizer([each.prompt.text for each in asked], add_special_tokens=False)["input_ids"]
    entropies: list[list[float]] = [[] for _ in asked]
    written = continue_batch(
        teacher.model,
        reads,
        max_new_tokens=settings.max_new_tokens,
        stop_ids=teacher.ends,
        choose=[
            partial(_choose, teacher=teacher, generator=_generator(settings, each), entropies=noted)
            for each, noted in zip(asked, entropies, strict=True)
        ],
    )
    return [
        _response(teacher, each.prompt.id, found.ids, noted)
        for each, found, noted in zip(asked, written, entropies, strict=True)
    ]


def _choose(
    logits: NDArray[np.float32], *, teacher: _Teacher, generator: np.random.Generator, entropies: list[float]
) -> int:
    known = logits[: teacher.vocabulary_size]
    entropies.append(entropy(known))
    return draw(known, teacher.settings.temperature, teacher.settings.top_p, generator)


def _generator(settings: SampleSettings, asked: _Asked) -> np.random.Generator:
    digest = hashlib.sha256(asked.prompt.id.encode()).digest()
    return np.random.default_rng([settings.compute.seed, asked.sample, *np.frombuffer(digest, dtype="<u4").tolist()])


def _response(teacher: _Teacher, prompt: str, ids: list[int], entropies: Sequence[float]) -> Response:
    ended = ids[-1] in teacher.ends
    spoken = ids[:-1] if ended else ids
    text = teacher.tokenizer.decode(spoken, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    judged = set_of(prompt) in teacher.settings.verifiable
    right = is_right(prompt, text) if judged else None
    return Response(prompt, text, tuple(ids), ended, sum(entropies) / len(entropies), right)
