"""Stage: the teacher answers each training prompt several times, by sampling from its distribution.

A student of greedy answers learns the teacher's mode; one of samples learns what it says, as often as it says it.
"""

import hashlib
import json
import logging
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, PositiveInt
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from stillhouse import progress
from stillhouse.data.document import Document, write_documents
from stillhouse.data.hopeless import ENOUGH, Said, none_ended, none_right
from stillhouse.data.response_figures import figures_of, write_figures
from stillhouse.data.response_statistics import Response, summary
from stillhouse.data.verifiers import scored_sets, verdict
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
    scored: tuple[str, ...]
    """Names of the sets whose prompts reasoning-gym scores; a prompt's own tests come with it."""
    compute: Compute
    """Where the teacher runs; its seed decides the draws."""
    needs_ended: bool = Field(default=False, exclude=True)
    """Whether only ended responses will be kept: where none of the first `ENOUGH` ended, no more are drawn. Not in the
    key, since no response is another one for it: another choice finds those that were drawn."""
    needs_verified: bool = Field(default=False, exclude=True)
    """Likewise, whether only those that a verifier is content with."""


@dataclass(frozen=True)
class _Asked:
    """A prompt, asked once more."""

    document: Document
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


@dataclass
class _Tally:
    """What the responses so far are like: a person watches it, and it may show that none will be kept."""

    written: list[Response] = field(default_factory=list)
    """In the order in which they were drawn."""
    prompts: set[str] = field(default_factory=set)
    """Ids of those that have a response."""
    judged_prompts: set[str] = field(default_factory=set)
    """Ids of those whose responses a verifier judges."""
    ended: int = 0
    judged: int = 0
    right: int = 0

    def add(self, responses: Sequence[Response]) -> None:
        self.written += responses
        self.prompts |= {response.prompt for response in responses}
        self.judged_prompts |= {response.prompt for response in responses if response.right is not None}
        self.ended += sum(response.ended for response in responses)
        self.judged += sum(response.right is not None for response in responses)
        self.right += sum(response.right is True for response in responses)

    def shares(self) -> dict[str, float]:
        verified = {"verified": self.right / self.judged} if self.judged else {}
        return {"ended": self.ended / len(self.written), **verified}


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
        scored=scored_sets(data),
        compute=compute,
        needs_ended=asked.keep.ended,
        needs_verified=asked.keep.verified,
    )


def sample_responses(settings: SampleSettings, inputs: Inputs, folder: Path) -> None:
    """Write `train.jsonl`: of each training prompt every response as a document, and their statistics to `facts.json`.

    `figures.jsonl` has the figures of each, line by line: what `choose_responses` chooses by.

    What is drawn depends on seed, prompt and number of the sample alone, not on what is answered beside it; the last
    bits of the logits may, and with them a draw that falls within such a bit of a boundary. Each finished batch lies in
    `folder/work`. Empty responses, and prompts that leave the model no room, are left out and counted.

    Args:
        settings: How they are drawn.
        inputs: `teacher`, a model folder, and `documents`, whose training prompts are answered.
        folder: Gets the responses; may hold what a killed run finished.

    Raises:
        InputError: If there are prompts and the model has no chat template; or if what a response needs to be kept is
            what none to the first `ENOUGH` prompts has.
    """
    documents = read_prompts(inputs["documents"] / "train.jsonl")
    responses = _sample_all(settings, inputs["teacher"], documents, folder / WORK) if documents else []
    groups: dict[str, list[Response]] = defaultdict(list)
    for response in responses:
        groups[response.prompt].append(response)
    kept = [
        (answered(document, response.text, ended=response.ended), response)
        for document in documents
        for response in groups.get(document.id, ())
        if response.text.strip()
    ]
    write_documents(folder / "train.jsonl", (document for document, _ in kept))
    write_figures(folder, (figures_of(response) for _, response in kept))
    too_long = len(documents) - len(groups)
    if responses and not any(response.ended for response in responses):
        logger.warning("none of %d responses ended within %d tokens", len(responses), settings.max_new_tokens)
    facts = {
        "prompts": len(documents),
        "too_long": too_long,
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
    by_id = {document.id: document for document in documents}
    asked = [_Asked(by_id[prompt.id], prompt, sample) for prompt in prompts for sample in range(settings.samples)]
    size = settings.batch_size
    batches = [asked[start : start + size] for start in range(0, len(asked), size)]
    work.mkdir(parents=True, exist_ok=True)
    files = [work / f"batch-{number:06d}.json" for number in range(len(batches))]
    order = _order(len(batches), settings.compute.seed)
    sampler: _Teacher | None = None
    tally = _Tally()
    for place, number in enumerate(order, start=1):
        if files[number].exists():
            tally.add(_read_batch(files[number]))
        else:
            sampler = sampler or _load(settings, teacher, tokenizer)
            _sample_batch(sampler, batches[number], files[number], tally, (place, len(files)))
        _refuse_hopeless(settings, tally, by_id, is_all=place == len(files))
    return [response for file in files for response in _read_batch(file)]


def _order(num_batches: int, seed: int) -> list[int]:
    """The order in which batches are drawn: the longest prompts, and then all lengths mixed.

    What does not fit in memory shows at once. And what the first responses are like should hold of the rest, while long
    prompts are often of one kind.
    """
    rest = np.random.default_rng([seed, num_batches]).permutation(np.arange(1, num_batches))
    return [0, *rest.tolist()][:num_batches]


def _load(settings: SampleSettings, teacher: Path, tokenizer: PreTrainedTokenizerFast) -> _Teacher:
    model = load_model(teacher, device=settings.compute.device, dtype=settings.compute.precision)
    return _Teacher(model, tokenizer, true_vocabulary_size(tokenizer), end_tokens(model, tokenizer), settings)


def _read_batch(file: Path) -> list[Response]:
    rows = json.loads(file.read_text(encoding="utf-8"))
    return [Response(**{**row, "ids": tuple(row["ids"])}) for row in rows]


def _sample_batch(
    teacher: _Teacher, asked: Sequence[_Asked], file: Path, tally: _Tally, place: tuple[int, int]
) -> None:
    """Answer one batch and put it on disk in one rename, so that a kill leaves no half of it."""
    started = time.perf_counter()
    responses = _sample(teacher, asked)
    partial_file = file.with_suffix(".partial")
    partial_file.write_text(json.dumps([asdict(response) for response in responses]), encoding="utf-8")
    partial_file.replace(file)
    tally.add(responses)
    rate = sum(len(response.ids) for response in responses) / (time.perf_counter() - started)
    figures = {"tokens/s": rate, **tally.shares()}
    progress.step("the teacher answers prompts several times", place[0], place[1], figures)


def _refuse_hopeless(settings: SampleSettings, tally: _Tally, prompts: Mapping[str, Document], *, is_all: bool) -> None:
    """Stop where what is asked of a response that is to be kept is what none has, before hours are spent."""
    if settings.needs_ended and not tally.ended and len(tally.prompts) >= ENOUGH:
        raise none_ended(_said(tally.written, prompts), is_all=is_all)
    if settings.needs_verified and not tally.right and len(tally.judged_prompts) >= ENOUGH:
        judged = [response for response in tally.written if response.right is not None]
        raise none_right(_said(judged, prompts), is_all=is_all)


def _said(responses: Sequence[Response], prompts: Mapping[str, Document]) -> list[Said]:
    return [(prompts[response.prompt].messages[-1]["content"], response.text) for response in responses]


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
        _response(teacher, each.document, found.ids, noted)
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


def _response(teacher: _Teacher, prompt: Document, ids: list[int], entropies: Sequence[float]) -> Response:
    ended = ids[-1] in teacher.ends
    spoken = ids[:-1] if ended else ids
    text = teacher.tokenizer.decode(spoken, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    right = verdict(prompt, text, teacher.settings.scored)
    return Response(prompt.id, text, tuple(ids), ended, sum(entropies) / len(entropies), right)
