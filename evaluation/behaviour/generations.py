"""What a model writes: whether it comes to an end, at what length, and how often it repeats itself.

Every prompt is answered greedily and by sampling from a fixed seed. The answers themselves are kept, for a person to
read beside those of another model.
"""

from collections.abc import Sequence
from typing import Any

from evaluation.behaviour.measures import About, Direction, Measure, mean_measure
from evaluation.behaviour.prompts import LICENCE, Prompt, all_prompts, spell
from evaluation.decoding import Decoding, Written
from evaluation.lm_eval_tasks import quiet, run_task
from stillhouse.errors import InputError
from stillhouse.recipe.evaluation import Behaviour

NGRAM = 4
"""Tokens of the runs whose repetition is counted."""


def measure_generations(
    scorer: Any, behaviour: Behaviour, *, seed: int
) -> tuple[dict[str, Measure], list[dict[str, Any]]]:
    """Return the measures of both ways of answering, and the answers side by side.

    Args:
        scorer: An lm-eval model that notes what it writes.
        behaviour: How many prompts, how long the answers, and how the sampled ones are drawn.
        seed: Of the draws.

    Raises:
        InputError: If a prompt and its answer are longer than the model's context.
    """
    prompts = all_prompts()[: behaviour.prompts]
    texts = [spell(prompt, scorer.tokenizer) for prompt in prompts]
    _refuse_no_room(scorer, texts, behaviour.new_tokens)
    measures: dict[str, Measure] = {}
    rows: list[dict[str, Any]] = [_row(prompt) for prompt in prompts]
    for mode, kwargs in _modes(behaviour, seed).items():
        with quiet():
            task = _task(scorer, f"generations_{mode}", texts, kwargs)
        samples = run_task(scorer, task, f"writes, {mode}", requests=len(texts))["samples"]
        for row, sample in zip(rows, samples, strict=True):
            row |= {
                mode: sample["filtered_resps"][0],
                f"{mode}_tokens": int(sample["tokens"]),
                f"{mode}_ended": bool(sample["ends_itself"]),
                f"{mode}_repetition": sample["repetition"],
            }
        for name, (description, unit, direction) in _FIGURES.items():
            about = About(f"{mode} answers: {description}", unit, direction, LICENCE, _method(mode, behaviour))
            measures[f"generations_{mode}_{name}"] = mean_measure([sample[name] for sample in samples], about)
    return measures, rows


def repetition(ids: Sequence[int]) -> float:
    """Share of an answer's runs of four tokens that stood there before; 0 for an answer too short to have any."""
    runs = [tuple(ids[start : start + NGRAM]) for start in range(len(ids) - NGRAM + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


_FIGURES: dict[str, tuple[str, str, Direction]] = {
    "ends_itself": ("share that the model ends itself", "share of prompts", "higher is better"),
    "tokens": ("mean length", "tokens, the end token included", "no direction"),
    "repetition": ("share of runs of 4 tokens that stood there before", "0 to 1", "lower is better"),
}


def _modes(behaviour: Behaviour, seed: int) -> dict[str, dict[str, Any]]:
    """Return lm-eval's `generation_kwargs` of each way of answering."""
    either = {"until": [], "max_gen_toks": behaviour.new_tokens}
    drawn = {"do_sample": True, "temperature": behaviour.temperature, "top_p": behaviour.top_p, "seed": seed}
    return {"greedy": {**either, "do_sample": False}, "sampled": {**either, **drawn}}


def _method(mode: str, behaviour: Behaviour) -> str:
    drawn = f"sampled at temperature {behaviour.temperature:g}, top-p {behaviour.top_p:g}, from a fixed seed"
    how = "the most likely token each time" if mode == "greedy" else drawn
    return f"{behaviour.prompts} prompts of our own, {how}, cut at {behaviour.new_tokens} tokens"


def _row(prompt: Prompt) -> dict[str, Any]:
    return {"kind": prompt.kind, "system": prompt.system, "prompt": prompt.prompt}


def _refuse_no_room(scorer: Any, texts: Sequence[str], new_tokens: int) -> None:
    longest = max(len(scorer.tok_encode(text)) for text in texts)
    if longest + new_tokens > scorer.max_length:
        raise InputError(
            f"a prompt of the generations suite has {longest} tokens and evaluation.behaviour.new_tokens is "
            f"{new_tokens}, but the model's context holds {scorer.max_length}; ask for fewer new_tokens, or leave "
            "generations out of evaluation.behaviour.suites"
        )


def _task(scorer: Any, name: str, texts: Sequence[str], generation_kwargs: dict[str, Any]) -> Any:
    """Build the lm-eval task."""
    from datasets import Dataset
    from lm_eval.api.task import ConfigurableTask

    decoding = Decoding.of_request(generation_kwargs)

    def process_results(document: dict[str, str], results: list[str]) -> dict[str, float]:
        written: Written = scorer.written[document["text"], decoding]
        return {
            "ends_itself": float(written.ended),
            "tokens": float(len(written.ids)),
            "repetition": repetition(written.ids),
        }

    return ConfigurableTask(
        config={
            "task": name,
            "custom_dataset": lambda **_: {"test": Dataset.from_list([{"text": text} for text in texts])},
            "test_split": "test",
            "output_type": "generate_until",
            "doc_to_text": lambda document: document["text"],
            "doc_to_target": lambda document: "",
            "generation_kwargs": generation_kwargs,
            "process_results": process_results,
            "metric_list": [
                {"metric": metric, "aggregation": "mean", "higher_is_better": direction == "higher is better"}
                for metric, (_, _, direction) in _FIGURES.items()
            ],
            "num_fewshot": 0,
        }
    )
