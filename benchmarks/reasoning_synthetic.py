"""Do rationales help a small model? Chain sums with known answers, learned from answers alone and in both forms.

A fresh model of a few hundred thousand weights, characters as tokens, reads sums of a few numbers. Three trainings
of the same length, in tokens with prompts and padding, differ in nothing but their text: the answer alone, the
rationale and then the answer (`one_sequence`), and both questions (`two_tasks`, each with half of the loss). Asked are
sums that no training has, and rationales are read by the checker of `stillhouse.reasoning`.

    python -m benchmarks.reasoning_synthetic --seeds 0 1 2 --out docs/benchmarks/reasoning_synthetic.json
"""

import argparse
import json
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch.optim import AdamW
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from benchmarks.figures import shares, write_synthetic
from stillhouse.data.dataset import Split
from stillhouse.data.packing import pack
from stillhouse.losses.chunked import FactoredLogits, chunked_loss
from stillhouse.reasoning.arithmetic import check_sum, write_sum
from stillhouse.reasoning.steps import Trace
from stillhouse.training.batches import make_batch, rows_for_step

Form = Literal["answer_only", "one_sequence", "two_tasks"]
_LETTERS = "0123456789+-=;#AR"
"""`A` asks for the answer and `R` for a rationale; `;` ends a step and `#` stands before the answer."""
_PAD, _END = len(_LETTERS), len(_LETTERS) + 1
_ROW_TOKENS = 64
_ROWS = 16
_SUMS = 20_000
_ASKED = 200
_FIGURES = {
    "answers_at_once": "answers at once",
    "answers_after_steps": "answers after steps",
    "right_steps": "steps",
    "sound": "answers with sound steps",
}


@dataclass(frozen=True)
class Effort:
    """How long the sums are and how much is trained."""

    terms: int = 4
    digits: int = 2
    steps: int = 3000
    """With 800, nothing is learned of such sums; sums of one digit are learned without steps too."""
    width: int = 96
    layers: int = 2


def measure(form: Form, seed: int, effort: Effort) -> dict[str, float]:
    """Train one model and ask it; accuracies and shares from 0 to 1."""
    started = time.perf_counter()
    generator = np.random.default_rng(seed)
    asked = _sums(generator, effort, _ASKED)
    known = set(asked)
    training = [each for each in _sums(generator, effort, _SUMS) if each not in known]
    split = _split(training, form)
    model = _train(split, seed, effort)
    found: dict[str, float] = {"seconds": time.perf_counter() - started, "weights": model.num_parameters()}
    if form != "one_sequence":
        said = _ask(model, "A", asked)
        found["answers_at_once"] = _mean([text == f"{_total(each)}" for each, text in zip(asked, said, strict=True)])
    if form != "answer_only":
        found |= _judge(asked, _ask(model, "R", asked))
    return found


def _judge(asked: Sequence[str], said: Sequence[str]) -> dict[str, float]:
    traces = [_read(text) for text in said]
    checked = [check_sum({"expression": each}, trace.steps) for each, trace in zip(asked, traces, strict=True)]
    right = [trace.answer == str(_total(each)) for each, trace in zip(asked, traces, strict=True)]
    needed = len(write_sum({"expression": asked[0]}))
    return {
        "answers_after_steps": _mean(right),
        "right_steps": _mean([sum(one.right) / max(len(one.right), needed) for one in checked]),
        "sound": _mean([answer and one.sound for answer, one in zip(right, checked, strict=True)]),
    }


def _sums(generator: np.random.Generator, effort: Effort, number: int) -> list[str]:
    numbers = generator.integers(10 ** (effort.digits - 1), 10**effort.digits, size=(number, effort.terms))
    return [" + ".join(map(str, row)) for row in numbers.tolist()]


def _total(expression: str) -> int:
    return sum(map(int, expression.split(" + ")))


def _texts(expression: str, form: Form) -> list[tuple[str, str]]:
    """What is asked and what is to be said, a pair a document."""
    question, answer = f"{expression.replace(' ', '')}=", str(_total(expression))
    steps = ";".join(write_sum({"expression": expression})).replace(" ", "")
    at_once, reasoned = (f"A{question}", answer), (f"R{question}", f"{steps}#{answer}")
    match form:
        case "answer_only":
            return [at_once]
        case "one_sequence":
            return [reasoned]
        case "two_tasks":
            return [at_once, reasoned]


def _read(text: str) -> Trace:
    rationale, found, answer = text.partition("#")
    steps = tuple(re.sub(r"([+=-])", r" \1 ", step) for step in rationale.split(";"))
    return Trace(steps, answer if found else None)


def _split(training: Sequence[str], form: Form) -> Split:
    documents = [each for expression in training for each in _texts(expression, form)]
    ids = [[*map(_LETTERS.index, question + said), _END] for question, said in documents]
    targets = np.array([len(said) + 1 for _, said in documents])
    starts = np.concatenate([[0], np.cumsum([len(each) for each in ids])])
    counted = np.zeros(starts[-1], dtype=np.bool_)
    for end, number in zip(starts[1:], targets, strict=True):
        counted[end - number : end] = True
    weights = np.ones(len(ids), dtype=np.float32)
    if form == "two_tasks":
        for task in (slice(0, None, 2), slice(1, None, 2)):
            weights[task] = 0.5 * targets.sum() / targets[task].sum()
    names = tuple(f"sums/{number}" for number in range(len(ids)))
    return Split(np.concatenate(ids).astype(np.int32), counted, starts, targets.astype(np.int64), names, weights)


def _train(split: Split, seed: int, effort: Effort) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=len(_LETTERS) + 2,
        hidden_size=effort.width,
        intermediate_size=3 * effort.width,
        num_hidden_layers=effort.layers,
        num_attention_heads=4,
        max_position_embeddings=_ROW_TOKENS,
        tie_word_embeddings=True,
        pad_token_id=_PAD,
        eos_token_id=_END,
        bos_token_id=None,
        attn_implementation="sdpa",
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    optimizer = AdamW(model.parameters(), lr=1.0, betas=(0.9, 0.98), weight_decay=0.01)
    rows = pack(split.starts, _ROW_TOKENS)
    for step in range(effort.steps):
        rate = 2e-3 * min((step + 1) / 100, max(0.05, 1 - step / effort.steps))
        for group in optimizer.param_groups:
            group["lr"] = rate
        chosen = [rows[row] for row in rows_for_step(len(rows), step, _ROWS, seed)]
        batch = make_batch(split, chosen, sequence_length=_ROW_TOKENS, pad_id=_PAD)
        hidden = model.model(**batch.inputs_of(model), use_cache=False).last_hidden_state
        logits = FactoredLogits(hidden, model.lm_head.weight)
        found = chunked_loss(logits, batch.labels, None, alpha=0.0, weights=batch.weights)
        optimizer.zero_grad(set_to_none=True)
        found.loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model.eval()


@torch.inference_mode()
def _ask(model: LlamaForCausalLM, task: str, asked: Sequence[str]) -> list[str]:
    """Greedy; all questions have one length, since all numbers have as many digits."""
    prompts = [[_LETTERS.index(letter) for letter in f"{task}{each.replace(' ', '')}="] for each in asked]
    generation = GenerationConfig(max_new_tokens=64, do_sample=False, eos_token_id=_END, pad_token_id=_PAD)
    ids = torch.tensor(prompts)
    written: Any = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=generation)
    said = written[:, ids.shape[1] :].tolist()
    return [
        "".join(_LETTERS[one] for one in row[: row.index(_END)] if one < _PAD) if _END in row else "" for row in said
    ]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def main() -> None:
    """Measure every form with every seed, and write what was found after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="a JSON file; a table is written beside it")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=Effort.steps, help="optimizer steps of each training")
    parser.add_argument("--terms", type=int, default=Effort.terms, help="numbers in a sum")
    parser.add_argument("--digits", type=int, default=Effort.digits, help="of each number")
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    effort = Effort(terms=asked.terms, digits=asked.digits, steps=asked.steps)
    tokens = effort.steps * _ROWS * _ROW_TOKENS
    found: dict[str, Any] = {"effort": asdict(effort), "tokens_of_each_training": tokens, "asked": _ASKED, "runs": []}
    for seed in asked.seeds:
        for form in get_args(Form):
            found["runs"].append({"form": form, "seed": seed, **measure(form, seed, effort)})
            sys.stdout.write(f"{json.dumps(found['runs'][-1])}\n")
            sys.stdout.flush()
            write_synthetic(asked.out, found, page)


def page(found: dict[str, Any]) -> str:
    """The content of the JSON file as a page to read."""
    effort, runs = found["effort"], found["runs"]
    lines = [f"| text | {' | '.join(_FIGURES.values())} |", "|---|" + "--:|" * len(_FIGURES)]
    for form in dict.fromkeys(run["form"] for run in runs):
        rows = [run for run in runs if run["form"] == form]
        cells = [shares([row[figure] for row in rows if figure in row]) for figure in _FIGURES]
        lines.append(f"| {form} | {' | '.join(cells)} |")
    return f"""# Rationales: a synthetic task

Sums of {effort["terms"]} numbers of {effort["digits"]} digit(s), learned by a fresh model of {runs[0]["weights"]:,}
weights from {found["tokens_of_each_training"]:,} tokens, prompts and padding included. Right answers, right steps, and
answers whose every step is right, of {found["asked"]} sums that no training has; mean, and each seed. This is a task
with known answers and no language: it shows what rationales do for a model that can learn the task, not what a language
model gains. On {found["environment"]["processor"]}.

{chr(10).join(lines)}

Made by `python -m benchmarks.reasoning_synthetic`.
"""


if __name__ == "__main__":
    main()
