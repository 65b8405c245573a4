"""Who answers which prompts: the recipe's own teacher, and others, each of the data sets that it serves."""

from collections.abc import Sequence
from dataclasses import dataclass

from flows.settings import SettingsOfDelivery
from flows.work import Work
from stillhouse.errors import InputError
from stillhouse.store.artifact import Reference
from tasks.answer import answer_prompts
from tasks.choose_prompts import choose_prompts
from tasks.choose_responses import choose_responses
from tasks.fetch import load_teacher
from tasks.sample_responses import sample_responses

References = dict[str, Reference]


@dataclass(frozen=True)
class Answered:
    """What the teachers said."""

    said: References
    """What is encoded: `answers`, and `responses` where there are several to a prompt; of the other teachers
    `answers_1`, `responses_1` and so on, in the recipe's order."""
    besides: References
    """What came before: `sampled`, and `prompts` where there are other teachers; of these `answering_1`, the model,
    `prompts_1` and `sampled_1` and so on."""


def answer(settings: SettingsOfDelivery, work: Work, read: References) -> Answered:
    """Let every teacher answer its prompts, one after the other, so that no two are in memory at once.

    Args:
        settings: Of every stage.
        work: Runs them.
        read: `teacher`, the recipe's own, and `documents`.

    Raises:
        InputError: If a set that another teacher serves turns out to have no prompt.
    """
    if settings.own_prompts is None:
        return _answer(settings, work, read)
    documents = {"documents": read["documents"]}
    own = work.make(choose_prompts, settings.own_prompts, documents)
    asked = [work.make(choose_prompts, other.prompts, documents) for other in settings.answering]
    _refuse_nothing_to_answer(work, asked)
    found = _answer(settings, work, read | {"documents": own})
    said, besides = found.said, found.besides | {"prompts": own}
    for number, (other, prompts) in enumerate(zip(settings.answering, asked, strict=True), start=1):
        teacher = work.make(load_teacher, other.teacher, {})
        found = _answer(settings, work, {"teacher": teacher, "documents": prompts})
        said |= {f"{name}_{number}": each for name, each in found.said.items()}
        made = {"answering": teacher, "prompts": prompts, **found.besides}
        besides |= {f"{name}_{number}": each for name, each in made.items()}
    return Answered(said, besides)


def _answer(settings: SettingsOfDelivery, work: Work, read: References) -> Answered:
    """One greedy answer to each prompt, and perhaps several responses to each training prompt, as far as trained on."""
    answers = work.make(answer_prompts, settings.answers, read)
    if settings.sampled is None:
        return Answered({"answers": answers}, {})
    sampled = work.make(sample_responses, settings.sampled, read)
    chosen = settings.responses
    taken = sampled if chosen is None else work.make(choose_responses, chosen, {"sampled": sampled})
    return Answered({"answers": answers, "responses": taken}, {"sampled": sampled})


def _refuse_nothing_to_answer(work: Work, asked: Sequence[Reference]) -> None:
    """Refuse a served set without prompts before anybody answers; nothing while a run is only planned."""
    for number, prompts in enumerate(asked):
        for name, found in work.facts(prompts).get("prompts", {}).items():
            if not found:
                raise InputError(
                    f"data.answers.others.{number}.serves names {name}, and none of its documents is a prompt; give "
                    "prompts, which end with the user's turn, or leave it out of serves"
                )
