"""What a model writes: whether it comes to an end, at what length, and how often it repeats itself.

Every prompt is answered greedily and by sampling from a fixed seed. The answers themselves are kept, for a person to
read beside those of another model.
"""

from collections.abc import Sequence
from typing import Any

from evaluation.behaviour.measures import About, Direction, Measure, mean_measure
from evaluation.behaviour.own_tasks import Answer, answer, cut_words, num_cut
from evaluation.behaviour.prompts import LICENCE, Prompt, all_prompts, spell, template_words
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
        InputError: If an answer alone would fill the model's context.
    """
    prompts = all_prompts()[: behaviour.prompts]
    texts = [spell(prompt, scorer.tokenizer) for prompt in prompts]
    measures: dict[str, Measure] = {}
    rows: list[dict[str, Any]] = [_row(prompt) for prompt in prompts]
    for mode, kwargs in _modes(behaviour, seed).items():
        answers = answer(scorer, f"generations_{mode}", texts, kwargs)
        for row, written in zip(rows, answers, strict=True):
            row |= {
                mode: written.text,
                f"{mode}_tokens": len(written.ids),
                f"{mode}_ended": written.ended,
                f"{mode}_repetition": repetition(written.ids),
                f"{mode}_cut": written.cut,
            }
        method = f"{_method(mode, behaviour)}, {template_words(scorer.tokenizer)}{cut_words(answers)}"
        for name, values in _figures(answers).items():
            description, unit, direction = _ABOUT[name]
            about = About(f"{mode} answers: {description}", unit, direction, LICENCE, method)
            measures[f"generations_{mode}_{name}"] = mean_measure(values, about, cut=num_cut(answers))
    return measures, rows


def repetition(ids: Sequence[int]) -> float:
    """Share of an answer's runs of four tokens that stood there before; 0 for an answer too short to have any."""
    runs = [tuple(ids[start : start + NGRAM]) for start in range(len(ids) - NGRAM + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


_ABOUT: dict[str, tuple[str, str, Direction]] = {
    "ends_itself": ("share that the model ends itself", "share of prompts", "higher is better"),
    "tokens": ("mean length", "tokens, the end token included", "no direction"),
    "repetition": ("share of runs of 4 tokens that stood there before", "0 to 1", "lower is better"),
}


def _figures(answers: Sequence[Answer]) -> dict[str, list[float]]:
    """Return one number an answer, by the names of `_ABOUT`."""
    return {
        "ends_itself": [float(written.ended) for written in answers],
        "tokens": [float(len(written.ids)) for written in answers],
        "repetition": [repetition(written.ids) for written in answers],
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
    return {"kind": prompt.kind, "edge": prompt.edge, "system": prompt.system, "prompt": prompt.prompt}
