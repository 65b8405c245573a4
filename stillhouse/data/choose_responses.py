"""Stage: choose among the responses to each prompt, and say what each of those that are left counts."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from stillhouse.data.document import Document, read_documents, write_documents
from stillhouse.data.hopeless import Said, none_ended, none_right
from stillhouse.data.response_statistics import agreements, repeats
from stillhouse.data.select import EXAMPLES
from stillhouse.data.verifiers import is_right, verifiable_sets
from stillhouse.recipe.data import Data
from stillhouse.recipe.responses import Keep, Weigh
from stillhouse.recipe.settings import Settings
from stillhouse.store.artifact import FACTS, Inputs


class ChooseSettings(Settings):
    """Which responses are trained on, and what they count. Made by `choose_settings`."""

    keep: Keep
    weigh: Weigh
    verifiable: tuple[str, ...]
    """Names of the sets whose prompts have a verifier."""


@dataclass(frozen=True)
class _Choice:
    """A response that is still there."""

    document: Document
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
    return ChooseSettings(keep=asked.keep, weigh=asked.weigh, verifiable=verifiable_sets(data))


def choose_responses(settings: ChooseSettings, inputs: Inputs, folder: Path) -> None:
    """Write `train.jsonl` anew; `facts.json` says what was left out and why, and how many prompts have a response left.

    Args:
        settings: What is chosen.
        inputs: `sampled`, as `sample_responses` wrote them.
        folder: Gets the responses.

    Raises:
        InputError: If only ended responses are kept and none ended, or only verified ones and none is right.
    """
    groups: dict[str, list[Document]] = {}
    for document in read_documents(inputs["sampled"] / "train.jsonl"):
        groups.setdefault(document.id, []).append(document)
    before = [_beside(group) for group in groups.values()]
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


def _beside(group: Sequence[Document]) -> list[_Choice]:
    texts = [document.messages[-1]["content"] for document in group]
    found = agreements(texts) if len(texts) > 1 else [1.0]
    return [_Choice(document, one) for document, one in zip(group, found, strict=True)]


def _kept(settings: ChooseSettings, groups: Sequence[list[_Choice]], dropped: Dropped) -> list[list[_Choice]]:
    """What the filters leave of each prompt's responses."""
    keep = settings.keep
    if keep.ended:
        groups = _filtered("not ended", groups, lambda choice: choice.document.ended, dropped)
        _refuse_endless(groups, dropped)
    if keep.verified:
        groups = _filtered("not verified", groups, lambda choice: _may_stay(settings, choice.document), dropped)
        _refuse_all_wrong(settings, groups, dropped.get("not verified", ()))
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


def _may_stay(settings: ChooseSettings, document: Document) -> bool:
    """Whether a verifier is content, or there is none."""
    return document.set_name not in settings.verifiable or is_right(document.id, document.messages[-1]["content"])


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


def _refuse_endless(groups: Sequence[list[_Choice]], dropped: Dropped) -> None:
    endless = dropped["not ended"]
    if endless and not any(groups):
        raise none_ended([choice.said for choice in endless], is_all=True)


def _refuse_all_wrong(settings: ChooseSettings, groups: Sequence[list[_Choice]], wrong: Sequence[_Choice]) -> None:
    right = sum(choice.document.set_name in settings.verifiable for group in groups for choice in group)
    if wrong and not right:
        raise none_right([choice.said for choice in wrong], is_all=True)


def _rows(reason: str, choices: Sequence[_Choice]) -> list[dict[str, object]]:
    """As `select_documents` tells what it left out."""
    rows: list[dict[str, object]] = []
    for name in sorted({choice.document.set_name for choice in choices}):
        own = [choice for choice in choices if choice.document.set_name == name]
        shown = [f"{choice.document.id}: {' '.join(choice.text.split())[:80]}" for choice in own[:EXAMPLES]]
        rows.append({"set": name, "reason": f"response {reason}", "documents": len(own), "examples": shown})
    return rows
