"""Stage: the prompts that one of several teachers answers, by the data sets that it serves."""

import json
from collections import Counter
from pathlib import Path

from stillhouse.data.document import read_documents, write_documents
from stillhouse.data.splits import SPLITS
from stillhouse.recipe.data import Data, names_of
from stillhouse.recipe.settings import Settings
from stillhouse.store.artifact import FACTS, Inputs


class ChoosePromptsSettings(Settings):
    """Whose prompts. Made by `prompts_of_own` and `prompts_of_others`."""

    sets: tuple[str, ...]
    """Names of data sets, sorted: their order decides nothing."""


def prompts_of_own(data: Data) -> ChoosePromptsSettings | None:
    """The part of a recipe that says what its own teacher answers; `None` where that is everything."""
    if not data.answers.others:
        return None
    served = {name for each in data.answers.others for name in each.serves}
    return ChoosePromptsSettings(sets=tuple(sorted(set(names_of(data.sets)) - served)))


def prompts_of_others(data: Data) -> tuple[ChoosePromptsSettings, ...]:
    """What each of the other teachers answers, in the recipe's order."""
    return tuple(ChoosePromptsSettings(sets=tuple(sorted(each.serves))) for each in data.answers.others)


def choose_prompts(settings: ChoosePromptsSettings, inputs: Inputs, folder: Path) -> None:
    """Write `<split>.jsonl` of the prompts of some data sets, in their order; `facts.json` counts them by set.

    Args:
        settings: Which sets.
        inputs: `documents`.
        folder: Gets the prompts.
    """
    # Documents from a set's own held-out file bear its name with this ending.
    sets = {f"{name}{ending}": name for name in settings.sets for ending in ("", "/held-out")}
    found: Counter[str] = Counter()
    for split in SPLITS:
        documents = read_documents(inputs["documents"] / f"{split}.jsonl")
        prompts = [each for each in documents if each.kind == "prompt" and each.set_name in sets]
        write_documents(folder / f"{split}.jsonl", prompts)
        found.update(sets[each.set_name] for each in prompts)
    facts = {"prompts": {name: found[name] for name in settings.sets}}
    (folder / FACTS).write_text(json.dumps(facts, indent=1), encoding="utf-8")
