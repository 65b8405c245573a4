"""Letters that are to be written backwards, or in the order of the alphabet: two tasks with known answers.

What a language model is too large and too good a guesser to show of a way to teach, a model of some ten thousand
weights shows here in seconds. All trainings are the stage `distill` that every recipe runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from stillhouse.data.dataset import Split, write_split
from stillhouse.models.load import load_model, save_model
from stillhouse.recipe.compute import Compute
from stillhouse.recipe.distillation import Distillation
from stillhouse.training.distill import DistillSettings, distill

DOMAINS = ("backwards", "sorted")
LENGTH = 6
"""Letters of a question."""
_LETTERS = "abcdefghijkl"
_WORDS = [*_LETTERS, *(domain[0].upper() for domain in DOMAINS), "=", "<end>", "<pad>"]
_END, _PAD = _WORDS.index("<end>"), _WORDS.index("<pad>")
_ROW_TOKENS = 64


@dataclass(frozen=True)
class Size:
    """Of a model."""

    width: int = 64
    layers: int = 2


@dataclass(frozen=True)
class Lesson:
    """How long a training is, and what it follows."""

    steps: int
    alpha: float
    """0 is the text alone, 1 the teacher alone."""
    seed: int
    threads: int


def draw_questions(generator: np.random.Generator, number: int) -> list[str]:
    """Draw questions of `LENGTH` letters, some perhaps more than once."""
    letters = generator.integers(len(_LETTERS), size=(number, LENGTH))
    return ["".join(_LETTERS[each] for each in row) for row in letters.tolist()]


def answer(domain: str, letters: str) -> str:
    """What is to be written."""
    return letters[::-1] if domain == "backwards" else "".join(sorted(letters))


def _ids(domain: str, letters: str) -> list[int]:
    return [_WORDS.index(each) for each in (domain[0].upper(), *letters, "=")]


def write_dataset(folder: Path, texts: Mapping[str, Sequence[str]]) -> None:
    """Write training documents in turns, a tenth of them as validation; the answer counts and the question does not.

    Args:
        folder: Will hold the data set.
        texts: Questions by domain.
    """
    documents = [
        (domain, each) for row in zip(*texts.values(), strict=False) for domain, each in zip(texts, row, strict=True)
    ]
    tenth = len(documents) // 10
    for name, part in (("validation", documents[:tenth]), ("train", documents[tenth:])):
        asked = [_ids(*each) for each in part]
        said = [[*map(_WORDS.index, answer(*each)), _END] for each in part]
        ids = np.concatenate([[*question, *told] for question, told in zip(asked, said, strict=True)])
        counted = np.concatenate(
            [[False] * len(question) + [True] * len(told) for question, told in zip(asked, said, strict=True)]
        )
        lengths = np.array([len(question) + len(told) for question, told in zip(asked, said, strict=True)])
        names = tuple(f"{domain}/{number}" for number, (domain, _) in enumerate(part))
        starts = np.concatenate([[0], np.cumsum(lengths)])
        write_split(folder, name, Split(ids.astype(np.int32), counted, starts, lengths, names))


def start_model(folder: Path, size: Size, *, seed: int) -> Path:
    """Write a model of random weights that reads letters, and return its folder."""
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(_WORDS)}, "<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", pad_token="<pad>")
    config = LlamaConfig(
        vocab_size=len(_WORDS),
        hidden_size=size.width,
        intermediate_size=3 * size.width,
        num_hidden_layers=size.layers,
        num_attention_heads=4,
        max_position_embeddings=_ROW_TOKENS,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        save_model(LlamaForCausalLM(config), fast, folder)
    return folder


def teach(folder: Path, read: Mapping[str, Path], lesson: Lesson, ensemble: Mapping[str, Any] | None = None) -> None:
    """Train the model at `read["start"]` by the one at `read["teacher"]`, with the stage that every recipe runs.

    Args:
        folder: Will be made, and hold the student.
        read: What the stage reads: start, teacher, dataset, and the other teachers of an ensemble.
        lesson: Steps, seed, and whether text or teacher is followed.
        ensemble: Its section `knowledge`; `None` for one teacher.
    """
    settings = DistillSettings.model_validate(
        {
            "distillation": Distillation(
                alpha=lesson.alpha,
                temperature=1.0,
                steps=lesson.steps,
                batch_rows=16,
                learning_rate=3e-3,
                warmup_steps=min(50, lesson.steps - 1),
                validate_every=lesson.steps,
                checkpoint_every=lesson.steps,
            ),
            "sequence_length": _ROW_TOKENS,
            "compute": Compute(device="cpu", precision="fp32", threads=lesson.threads, seed=lesson.seed),
            **({} if ensemble is None else {"knowledge": ensemble}),
        }
    )
    folder.mkdir()
    distill(settings, read, folder)


@torch.inference_mode()
def share_right(model_folder: Path, asked: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """By domain, the share of questions that are answered without a mistake."""
    model: Any = load_model(model_folder, device="cpu", dtype="fp32")
    generation = GenerationConfig(max_new_tokens=LENGTH + 1, do_sample=False, eos_token_id=_END, pad_token_id=_PAD)
    found = {}
    for domain, questions in asked.items():
        ids = torch.tensor([_ids(domain, each) for each in questions])
        written = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=generation)
        wanted = torch.tensor([[*map(_WORDS.index, answer(domain, each)), _END] for each in questions])
        said = torch.nn.functional.pad(written[:, ids.shape[1] :], (0, LENGTH + 1), value=_PAD)[:, : LENGTH + 1]
        found[domain] = (said == wanted).all(-1).double().mean().item()
    return found
