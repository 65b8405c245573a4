"""Stage: choose among the responses to each prompt, and say what each of those that are left counts."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import exp
from pathlib import Path

from pydantic import Field

from stillhouse.data.document import Document, read_documents, write_documents
from stillhouse.data.hopeless import Said, none_ended, none_right
from stillhouse.data.response_figures import Figures, read_figures
from stillhouse.data.response_limits import Limit, limits_of, none_within
from stillhouse.data.response_statistics import agreements, repeats
from stillhouse.data.select import EXAMPLES
from stillhouse.errors import InputError
from stillhouse.recipe.data import Data
from stillhouse.recipe.responses import Keep, Weigh
from stillhouse.recipe.settings import Settings
from stillhouse.store.artifact import FACTS, Inputs


class ChooseSettings(Settings):
    """Which responses are trained on, and what they count. Made by `choose_settings`."""

    keep: Keep
    weigh: Weigh
    is_all: bool = Field(default=True, exclude=True)
    """Whether these are all responses that there are, and not those of one of several teachers: then `keep.verified`
    asks for a verifier among their prompts."""


@dataclass(frozen=True)
class _Choice:
    """A response that is still there."""

    document: Document
    figures: Figures
    agreement: float
    """With the prompt's other responses; 1 of a lone one."""

    @property
    def text(self) -> str:
        return self.document.messages[-1]["content"]

    @property
    def said(self) -> Said:
        return self.document.messages[-2]["content"], self.text


Dropped = dict[str, list[_Choice]]
"""By reason, in words."""


def choose_settings(data: Data) -> ChooseSettings | None:
    """The part of a recipe that decides which responses are trained on; `None` where all are, and alike."""
    asked = data.answers.sampled
    if asked is None or not asked.chooses:
        return None
    return ChooseSettings(keep=asked.keep, weigh=asked.weigh, is_all=not data.answers.others)


def choose_responses(settings: ChooseSettings, inputs: Inputs, folder: Path) -> None:
    """Write `train.jsonl` anew; `facts.json` says what was left out and why, and how many prompts have a response left.

    Args:
        settings: What is chosen.
        inputs: `sampled`, as `sample_responses` wrote them.
        folder: Gets the responses.

    Raises:
        InputError: If only ended responses are kept and none ended, only verified ones and none is right or can be, or
            only those within a limit that none is within.
    """
    before = _read(inputs["sampled"])
    dropped: Dropped = {}
    after = _kept(settings, before, dropped)
    write_documents(folder / "train.jsonl", [each for group in after for each in _weighed(group, settings.weigh)])
    facts = {
        "prompts": len(before),
        "prompts_left": sum(bool(group) for group in after),
        "responses": sum(map(len, before)),
        "responses_left": sum(map(len, after)),
        "left_out": [row for reason, choices in dropped.items() for row in _rows(reason, choices)],
    }
    (folder / FACTS).write_text(json.dumps(facts, indent=1), encoding="utf-8")


def _read(sampled: Path) -> list[list[_Choice]]:
    """The responses to each prompt."""
    groups: dict[str, list[tuple[Document, Figures]]] = {}
    for document, figures in zip(read_documents(sampled / "train.jsonl"), read_figures(sampled), strict=True):
        groups.setdefault(document.id, []).append((document, figures))
    return [_beside(group) for group in groups.values()]


def _beside(group: Sequence[tuple[Document, Figures]]) -> list[_Choice]:
    texts = [document.messages[-1]["content"] for document, _ in group]
    found = agreements(texts) if len(texts) > 1 else [1.0]
    return [_Choice(document, figures, one) for (document, figures), one in zip(group, found, strict=True)]


def _kept(settings: ChooseSettings, groups: Sequence[list[_Choice]], dropped: Dropped) -> list[list[_Choice]]:
    """What the filters leave of each prompt's responses."""
    keep = settings.keep
    if keep.verified and settings.is_all:
        _refuse_unjudged(groups)
    if keep.ended:
        groups = _filtered("not ended", groups, lambda choice: choice.document.ended, dropped)
        _refuse_endless(groups, dropped)
    if keep.verified:
        # Where there is no verifier, a response stays.
        groups = _filtered("not verified", groups, lambda choice: choice.figures.right is not False, dropped)
        _refuse_all_wrong(groups, dropped["not verified"])
    for limit in limits_of(keep):
        groups = _within(limit, groups, dropped)
    if keep.distinct:
        groups = [_distinct(group, dropped) for group in groups]
    if keep.most_agreed is not None:
        groups = [_most_agreed(group, keep.most_agreed, dropped) for group in groups]
    return list(groups)


def _filtered(
    reason: str, groups: Sequence[list[_Choice]], stays: Callable[[_Choice], bool], dropped: Dropped
) -> list[list[_Choice]]:
    marked = [[(choice, stays(choice)) for choice in group] for group in groups]
    dropped[reason] = [choice for group in marked for choice, good in group if not good]
    return [[choice for choice, good in group if good] for group in marked]


def _within(limit: Limit, groups: Sequence[list[_Choice]], dropped: Dropped) -> list[list[_Choice]]:
    kept = _filtered(limit.reason, groups, lambda choice: limit.allows(choice.figures), dropped)
    beyond = dropped[limit.reason]
    if beyond and not any(kept):
        raise none_within(limit, [choice.figures for choice in beyond], [choice.said for choice in beyond])
    return kept


def _distinct(group: list[_Choice], dropped: Dropped) -> list[_Choice]:
    marked = list(zip(group, repeats([choice.text for choice in group]), strict=True))
    dropped.setdefault("says what another one says", []).extend(choice for choice, again in marked if again)
    return [choice for choice, again in marked if not again]


def _most_agreed(group: list[_Choice], most: int, dropped: Dropped) -> list[_Choice]:
    best = sorted(range(len(group)), key=lambda place: (-group[place].agreement, place))
    dropped.setdefault("agrees less", []).extend(group[place] for place in sorted(best[most:]))
    return [group[place] for place in sorted(best[:most])]


def _weighed(group: Sequence[_Choice], weigh: Weigh) -> list[Document]:
    match weigh:
        case "alike":
            return [choice.document for choice in group]
        case "by_prompt":
            return [replace(choice.document, weight=1 / len(group)) for choice in group]
        case "by_agreement":
            return [replace(choice.document, weight=choice.agreement) for choice in group]
        case "by_entropy":
            # The exponential of an entropy is the number of equally likely choices that have the same one.
            return [replace(choice.document, weight=exp(-choice.figures.token_entropy_nats)) for choice in group]


def _refuse_endless(groups: Sequence[list[_Choice]], dropped: Dropped) -> None:
    endless = dropped["not ended"]
    if endless and not any(groups):
        raise none_ended([choice.said for choice in endless], is_all=True)


def _refuse_unjudged(groups: Sequence[list[_Choice]]) -> None:
    if groups and all(choice.figures.right is None for group in groups for choice in group):
        raise InputError(
            "data.answers.sampled.keep.verified is true, but none of the "
            f"{len(groups)} training prompts has a verifier; give prompts tests, add the packaged set reasoning-gym, "
            "or leave keep.verified out"
        )


def _refuse_all_wrong(groups: Sequence[list[_Choice]], wrong: Sequence[_Choice]) -> None:
    if wrong and not any(choice.figures.right for group in groups for choice in group):
        raise none_right([choice.said for choice in wrong], is_all=True)


def _rows(reason: str, choices: Sequence[_Choice]) -> list[dict[str, object]]:
    """As `select_documents` tells what it left out."""
    rows: list[dict[str, object]] = []
    for name in sorted({choice.document.set_name for choice in choices}):
        own = [choice for choice in choices if choice.document.set_name == name]
        shown = [f"{choice.document.id}: {' '.join(choice.text.split())[:80]}" for choice in own[:EXAMPLES]]
        rows.append({"set": name, "reason": f"response {reason}", "documents": len(own), "examples": shown})
    return rows
