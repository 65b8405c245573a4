"""How a model's responses to one prompt are spread, by the statistics that the teacher's own were chosen by.

Prompts are those of our own and tasks of reasoning-gym that no training has, whose verifiers say what is right. Each is
answered several times, by sampling. Every measure is one number a prompt, so that models are compared prompt by prompt.
"""

from collections.abc import Sequence
from typing import Any

from evaluation.behaviour.measures import About, Direction, Measure, mean_measure
from evaluation.behaviour.own_tasks import Answer, answer, cut_words, num_cut
from evaluation.behaviour.prompts import Prompt, all_prompts, spell, template_words
from stillhouse.data.response_statistics import Response, summary
from stillhouse.reasoning.problems import Problem, held_out_problems, is_right
from stillhouse.reasoning.steps import read
from stillhouse.recipe.evaluation import Behaviour

FILE = "responses.json"
"""Of each prompt its responses."""
_LICENCE = "Apache-2.0"
_SEEDS = 1_000
"""As many as there are responses to a prompt at most: no two seeds draw the same ones."""
_ABOUT: dict[str, tuple[str, str, str, Direction]] = {
    "ended": ("ended_share", "responses that the model ends itself", "share of responses", "higher is better"),
    "tokens": ("tokens_mean", "mean length", "tokens, the end token included", "no direction"),
    "token_entropy": ("token_entropy_nats", "mean entropy of the next token while it wrote", "nats", "no direction"),
    "sample_entropy": ("sample_entropy_nats", "entropy of what a prompt's responses say", "nats", "no direction"),
    "distinct_2": ("distinct_2", "different pairs of tokens among a prompt's responses", "0 to 1", "no direction"),
    "duplicates": ("duplicate_share", "responses that an earlier one said", "share of responses", "no direction"),
    "agreement": ("agreement", "mean F1 of the words of two responses", "0 to 1", "no direction"),
    "verified": ("verified_share", "responses that a verifier calls right", "share of responses", "higher is better"),
}
"""By the measure: its name in `summary`, and what it is."""


def measure_responses(
    scorer: Any, behaviour: Behaviour, *, seed: int
) -> tuple[dict[str, Measure], list[dict[str, Any]]]:
    """Return the measures, and the responses by prompt.

    Args:
        scorer: An lm-eval model that notes what it writes.
        behaviour: How many prompts and responses, how long, and how they are drawn.
        seed: Of the draws.

    Raises:
        InputError: If a response alone would fill the model's context.
    """
    problems: list[Problem | None] = [None] * behaviour.prompts
    asked = [*all_prompts()[: behaviour.prompts], *map(_prompt, held_out_problems(behaviour.prompts))]
    problems += held_out_problems(behaviour.prompts)
    texts = [spell(prompt, scorer.tokenizer) for prompt in asked]
    drawn = [_answers(scorer, texts, behaviour, seed=seed * _SEEDS + number) for number in range(behaviour.responses)]
    groups = [
        [_response(scorer, text, problem, each[place], behaviour) for each in drawn]
        for place, (text, problem) in enumerate(zip(texts, problems, strict=True))
    ]
    method = (
        f"{len(asked)} prompts, half of our own and half of reasoning-gym, {behaviour.responses} responses to each at "
        f"temperature {behaviour.temperature:g}, top-p {behaviour.top_p:g}, from fixed seeds, cut at "
        f"{behaviour.new_tokens} tokens, {template_words(scorer.tokenizer)}{cut_words(drawn[0])}"
    )
    return _measures(groups, method, num_cut(drawn[0])), [
        _row(prompt, group) for prompt, group in zip(asked, groups, strict=True)
    ]


def _measures(groups: Sequence[Sequence[Response]], method: str, cut: int) -> dict[str, Measure]:
    found = [summary([group]) for group in groups]
    # Of a prompt to which nothing longer than a token was said, no pair is different.
    found = [{**each, "distinct_2": each["distinct_2"] or 0.0} for each in found]
    measures = {}
    for name, (figure, description, unit, direction) in _ABOUT.items():
        about = About(f"several responses: {description}", unit, direction, _LICENCE, method)
        # A prompt without a verifier says nothing of what is right.
        values = [each[figure] for each in found]
        measures[f"responses_{name}"] = mean_measure([value for value in values if value is not None], about, cut=cut)
    return measures


def _prompt(problem: Problem) -> Prompt:
    return Prompt(problem.family, problem.question)


def _answers(scorer: Any, texts: Sequence[str], behaviour: Behaviour, *, seed: int) -> list[Answer]:
    kwargs = {
        "until": [],
        "max_gen_toks": behaviour.new_tokens,
        "do_sample": True,
        "temperature": behaviour.temperature,
        "top_p": behaviour.top_p,
        "seed": seed,
    }
    return answer(scorer, "responses", texts, kwargs)


def _response(scorer: Any, text: str, problem: Problem | None, written: Answer, behaviour: Behaviour) -> Response:
    right = None if problem is None else any(is_right(problem, each) for each in _stated(written.text))
    # Behind as much of its prompt as it was written after.
    spread = scorer.mean_entropy(text, written.ids, room=scorer.max_length - behaviour.new_tokens)
    return Response(text, written.text, written.ids, written.ended, spread, right)


def _stated(text: str) -> tuple[str | None, ...]:
    """The whole response, and the answer that a line of it states."""
    return text.strip(), read(text).answer


def _row(prompt: Prompt, group: Sequence[Response]) -> dict[str, Any]:
    said = [{"text": each.text, "tokens": len(each.ids), "ended": each.ended, "right": each.right} for each in group]
    return {"kind": prompt.kind, "system": prompt.system, "prompt": prompt.prompt, "responses": said}
