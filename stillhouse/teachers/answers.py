"""Stage: the teacher answers the prompts, and its answers become documents to learn from.

Training a student on the teacher's own greedy answers is sequence-level distillation (Kim and Rush, 2016).
"""

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from transformers import AutoConfig, GenerationConfig, PreTrainedModel, PreTrainedTokenizerFast

from stillhouse import progress
from stillhouse.data.chat import render
from stillhouse.data.document import Document, read_documents, write_documents
from stillhouse.data.splits import SPLITS
from stillhouse.errors import InputError
from stillhouse.models.continuing import end_tokens
from stillhouse.models.load import load_model, load_tokenizer
from stillhouse.recipe.compute import Compute
from stillhouse.recipe.data import Answers
from stillhouse.recipe.settings import Settings
from stillhouse.store.artifact import FACTS, WORK, Inputs

logger = logging.getLogger(__name__)


class AnswerSettings(Settings):
    """How prompts are answered; how many there are, the recipe says with the limit of each set."""

    answers: Answers
    """Longest answer and batch size; the batch size is in the key because padding changes low bits."""
    compute: Compute
    """Where the teacher runs, in which precision."""


@dataclass(frozen=True)
class Prompt:
    """A prompt, ready for the teacher."""

    id: str
    text: str
    num_tokens: int


@dataclass(frozen=True)
class _Answer:
    """What the teacher said."""

    id: str
    """Of the prompt."""
    text: str
    num_tokens: int
    """Generated tokens, the one that ends the turn included."""
    ended: bool
    """Whether the teacher ended its turn itself."""


@dataclass(frozen=True)
class _Teacher:
    """A loaded model that answers."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    generation: GenerationConfig
    ends: frozenset[int]
    """Tokens that end a turn."""


def answer_prompts(settings: AnswerSettings, inputs: Inputs, folder: Path) -> None:
    """Write `<split>.jsonl` of answered prompts, greedy, in the order of the prompts.

    Batches hold prompts of like length. Each finished batch lies in `folder/work`, so a killed run repeats no more
    than one. Empty answers, and prompts that leave the model no room, are left out and counted in `facts.json`.

    Args:
        settings: How they are answered.
        inputs: `teacher`, a model folder, and `documents`, whose prompts are answered.
        folder: Gets the answers; may hold what a killed run finished.

    Raises:
        InputError: If there are prompts and the model has no chat template, or none of them leaves room.
    """
    asked = {split: read_prompts(inputs["documents"] / f"{split}.jsonl") for split in SPLITS}
    documents = [document for split in SPLITS for document in asked[split]]
    answers = _answer_all(settings, inputs["teacher"], documents, folder / WORK) if documents else []
    said = {answer.id: answer for answer in answers if answer.text.strip()}
    for split in SPLITS:
        found = [(document, said[document.id]) for document in asked[split] if document.id in said]
        documents_said = (answered(document, answer.text, ended=answer.ended) for document, answer in found)
        write_documents(folder / f"{split}.jsonl", documents_said)
    too_long, ended = len(documents) - len(answers), [answer.ended for answer in answers]
    if answers and not any(ended):
        logger.warning("none of %d answers ended within %d tokens", len(answers), settings.answers.max_new_tokens)
    facts = {
        "prompts": len(documents),
        "answers": len(said),
        "empty": len(answers) - len(said),
        "too_long": too_long,
        "mean_tokens": _mean([answer.num_tokens for answer in answers]),
        "ended_share": _mean(ended),
    }
    (folder / FACTS).write_text(json.dumps(facts, indent=1), encoding="utf-8")


def read_prompts(path: Path) -> list[Document]:
    """Each prompt once, however often it is to be seen."""
    return list({document.id: document for document in read_documents(path) if document.kind == "prompt"}.values())


def _answer_all(settings: AnswerSettings, teacher: Path, documents: Sequence[Document], work: Path) -> list[_Answer]:
    """Answer the prompts that leave room for it, the longest first: what does not fit in memory shows at once."""
    torch.set_num_threads(settings.compute.threads)
    tokenizer = load_tokenizer(teacher)
    longest_answer = settings.answers.max_new_tokens
    prompts = fitting_prompts(teacher, tokenizer, documents, longest_answer)
    size = settings.answers.batch_size
    batches = [prompts[start : start + size] for start in range(0, len(prompts), size)]
    work.mkdir(parents=True, exist_ok=True)
    files = [work / f"batch-{number:06d}.json" for number in range(len(batches))]
    missing = [number for number, file in enumerate(files) if not file.exists()]
    if missing:
        model = load_model(teacher, device=settings.compute.device, dtype=settings.compute.precision)
        answerer = _teacher(model, tokenizer, longest_answer)
        for done, number in enumerate(missing, start=len(files) - len(missing)):
            _answer_batch(answerer, batches[number], files[number], (done, len(files)))
    return [_Answer(**answer) for file in files for answer in json.loads(file.read_text(encoding="utf-8"))]


def fitting_prompts(
    teacher: Path, tokenizer: PreTrainedTokenizerFast, documents: Sequence[Document], longest_answer: int
) -> list[Prompt]:
    """The prompts that leave room for an answer, the longest first; the others are told of at once.

    Args:
        teacher: A model folder, which says how much the model reads.
        tokenizer: Its own.
        documents: Prompts.
        longest_answer: Tokens of room.

    Raises:
        InputError: If the model has no chat template, or no prompt leaves room.
    """
    context = context_of(teacher)
    room = context - longest_answer
    every = _render(tokenizer, documents)
    prompts = [prompt for prompt in every if prompt.num_tokens <= room]
    if every and not prompts:
        raise InputError(
            f"all {len(every)} prompts are too long: the shortest takes "
            f"{min(prompt.num_tokens for prompt in every)} tokens, and the teacher's context holds {context}, of which "
            f"data.answers.max_new_tokens takes {longest_answer}; lower that, take shorter prompts, or leave them out"
        )
    if len(prompts) < len(every):
        logger.warning(
            "%d of %d prompts leave the teacher's context no room for %d tokens of answer, and are left out",
            len(every) - len(prompts),
            len(every),
            longest_answer,
        )
    return sorted(prompts, key=lambda prompt: -prompt.num_tokens)


def context_of(teacher: Path) -> int:
    """Tokens that a model reads, prompt and answer together."""
    config = AutoConfig.from_pretrained(teacher, local_files_only=True).get_text_config(decoder=True)
    return int(config.max_position_embeddings)


def lengths_of(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> list[int]:
    """Tokens of each rendered prompt."""
    return [len(ids) for ids in tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]]


def _render(tokenizer: PreTrainedTokenizerFast, documents: Sequence[Document]) -> list[Prompt]:
    texts = [render(tokenizer, document.messages, answer_next=True) for document in documents]
    lengths = lengths_of(tokenizer, texts)
    return [Prompt(document.id, text, length) for document, text, length in zip(documents, texts, lengths, strict=True)]


def _teacher(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, longest_answer: int) -> _Teacher:
    """Greedy and nothing else: a model's own sampling settings and penalties are for chatting."""
    ends = end_tokens(model, tokenizer)
    generation = GenerationConfig(
        max_new_tokens=longest_answer,
        do_sample=False,
        eos_token_id=sorted(ends),
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )
    return _Teacher(model, tokenizer, generation, ends)


def _answer_batch(teacher: _Teacher, prompts: Sequence[Prompt], file: Path, place: tuple[int, int]) -> None:
    """Answer one batch and put it on disk in one rename, so that a kill leaves no half of it."""
    started = time.perf_counter()
    answers = _generate(teacher, prompts)
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps([asdict(answer) for answer in answers]), encoding="utf-8")
    partial.replace(file)
    seconds = time.perf_counter() - started
    rate = sum(answer.num_tokens for answer in answers) / seconds
    figures = {"tokens/s": rate, "ended": _mean([answer.ended for answer in answers])}
    progress.step("the teacher answers prompts", place[0] + 1, place[1], figures)


@torch.inference_mode()
def _generate(teacher: _Teacher, prompts: Sequence[Prompt]) -> list[_Answer]:
    batch = teacher.tokenizer(
        [prompt.text for prompt in prompts],
        add_special_tokens=False,
        padding=True,
        padding_side="left",
        return_tensors="pt",
        return_token_type_ids=False,
    ).to(teacher.model.device)
    generated = teacher.model.generate(**batch, generation_config=teacher.generation, use_model_defaults=False)  # type: ignore[operator]
    new_ids: list[list[int]] = generated[:, batch["input_ids"].shape[1] :].tolist()
    return [_answer(teacher, prompt, ids) for prompt, ids in zip(prompts, new_ids, strict=True)]


def _answer(teacher: _Teacher, prompt: Prompt, ids: list[int]) -> _Answer:
    """Cut a row of generated tokens where the turn ends; what follows is padding."""
    end = next((place for place, token in enumerate(ids) if token in teacher.ends), None)
    text = teacher.tokenizer.decode(ids[:end], skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return _Answer(prompt.id, text, len(ids) if end is None else end + 1, end is not None)


def answered(document: Document, text: str, *, ended: bool) -> Document:
    """A prompt and what was said to it."""
    turns = (*document.messages, {"role": "assistant", "content": text})
    return Document(document.id, "messages", turns, ended=ended)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
