"""Is a student of one domain better for general text that is most like the domain?

`recipes/techniques/task.yaml` beside the same recipe with as much of its general text drawn without a look at the
domain, and with all of it: each student has the same number of training tokens, so that less general text is more of
the domain's. What counts is held-out text of the domain, which no student was trained on; general text stands beside
it. Everything runs through the store, so a killed study goes on and a repeated one is free.

    python -m benchmarks.task_domain recipes/techniques/task.yaml --out docs/benchmarks/task_domain.json
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import FIGURES, difference, over_seeds, write_study
from benchmarks.one_start import from_one_start
from benchmarks.other_text import OtherText, held_out_of, read_other_text
from benchmarks.techniques.rows import merged
from flows.preflight import prepare
from flows.work import Work, directly
from stillhouse import terminal
from stillhouse.recipe.recipe import Recipe, load_recipe, validated
from stillhouse.store.store import Store

LIKE = "the share most like the domain"
AT_RANDOM = "as large a share at random"
ALL = "all general text"
SHOWN = FIGURES[:2]
"""Loss above the teacher's, and KL."""
JUDGED: dict[str, tuple[str, int]] = {"domain": ("pubmed-abstracts", 900), "general": ("boolq-passages", 1350)}
"""Sets of held-out text, and how many of their documents there are, of which a twentieth is held out."""
HELD_OUT_TOKENS = 14_000


def main() -> None:
    """Train every way with every seed, and write what was found after each."""
    options = _parser().parse_args()
    recipe = load_recipe(options.recipe).model_copy(update={"threads": options.threads})
    store = Store(options.runs.resolve() / "store")
    with terminal.shown():
        base = options.recipe.resolve().parent
        asked = {way: prepare(each, base, store) for way, each in ways(recipe).items()}
        judging = {name: prepare(_judging(recipe, *told), base, store) for name, told in JUDGED.items()}
        found: dict[str, Any] = {"students": []}
        beside: dict[str, OtherText] = {}
        work = Work(store, directly)
        for student in from_one_start(asked, LIKE, work, options.seeds):
            own = {name: read_other_text(each, work, student.model, student.teacher) for name, each in judging.items()}
            references = {} if student.way == AT_RANDOM else beside
            told = {name: each.told(references.get(name)) for name, each in own.items()}
            beside = own if student.way == AT_RANDOM else beside
            found["students"].append(student.told() | told)
            if student.seed is not None:
                write_study(options.out, asked[LIKE], found, page)


def ways(recipe: Recipe) -> dict[str, Recipe]:
    """The recipe, with the general text chosen as it says, at random, and not at all.

    Raises:
        ValueError: If it does not choose text that is like a set.
    """
    content = recipe.model_dump(mode="json", exclude_none=True)
    chosen = content["data"].get("selection", {}).get("similar_to")
    if chosen is None:
        raise ValueError("the recipe has no data.selection.similar_to, so that there is nothing to compare")
    named = [each.get("name", each.get("path")) for each in content["data"]["sets"]]
    others = {name: chosen["share"] for name in named if name != chosen["set"]}
    # The share at random comes first: the others stand beside it.
    selections = {AT_RANDOM: {"weights": others}, LIKE: content["data"]["selection"], ALL: None}
    return {
        way: validated(Recipe, content | {"data": content["data"] | {"selection": selection}}, way)
        for way, selection in selections.items()
    }


def _judging(recipe: Recipe, name: str, documents: int) -> Recipe:
    """The recipe with one set, of which held-out text is read and nothing else."""
    data = held_out_of({"kind": "packaged", "name": name, "limit": documents}, tokens=HELD_OUT_TOKENS)
    content = recipe.model_dump(mode="json", exclude_none=True)
    return validated(Recipe, merged(content, {"data": data}) | {"gates": []}, name)


def page(found: dict[str, Any]) -> str:
    """The content of the JSON file as a page to read."""
    start, *students = found["students"]
    tokens = [each["tokens"] for each in students]
    share = found["recipe"]["data"]["selection"]["similar_to"]["share"]
    read = {name: start[name]["figures"] for name in JUDGED}
    texts = "; ".join(
        f"{name} text is {each['tokens']:,} tokens in {each['documents']} documents of {JUDGED[name][0]}"
        for name, each in read.items()
    )
    return f"""# General text for a student of one domain

From one start, on {min(tokens):,.0f} to {max(tokens):,.0f} counted tokens: texts of the domain, and of the general text
the {share:.0%} that is most like it (`similar_to`), as much of each set drawn at random (one draw, the same for every
seed), or all. Less general text is more of the domain's. Of held-out text none was trained on:
{texts}.
Loss above: nats per token above the teacher's, mean over seeds and each seed in its order.

| general text | domain: loss above | KL | general: loss above | KL |
|---|--:|--:|--:|--:|
{chr(10).join(_table(found["students"]))}

Less the share at random, at the same seed, with the 95% interval over documents:

| general text | seed | domain: loss | KL | general: loss | KL |
|---|--:|--:|--:|--:|--:|
{chr(10).join(_differences(students))}

{found["compute"]["precision"]} on {found["environment"]["processor"]}. Made by `python -m benchmarks.task_domain`;
every document's totals are in the JSON file beside this page.
"""


def _table(students: Sequence[dict[str, Any]]) -> Iterator[str]:
    for way in dict.fromkeys(each["way"] for each in students):
        own = [each for each in students if each["way"] == way]
        values = [[each[name]["figures"][figure] for each in own] for name in JUDGED for figure in SHOWN]
        cells = [over_seeds(each, "{:.3f}".format) for each in values]
        yield f"| {way} | {' | '.join(cells)} |"


def _differences(students: Sequence[dict[str, Any]]) -> Iterator[str]:
    for way in (LIKE, ALL):
        for each in (one for one in students if one["way"] == way):
            cells = [difference(*each[name]["less"][figure]) for name in JUDGED for figure in SHOWN]
            yield f"| {way} | {each['seed']} | {' | '.join(cells)} |"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path, help="whose domain, general text and training are taken")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="holds the store (default: runs)")
    parser.add_argument("--out", type=Path, required=True, help="a JSON file; a table is written beside it")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--threads", type=int, default=2)
    return parser


if __name__ == "__main__":
    main()
