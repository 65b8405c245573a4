"""Does a distilled student reason better for rationales in its text?

`recipes/techniques/reasoning.yaml` in both of its forms beside the same recipe with plain text in the place of the
tasks: one start, as many tokens of rows (questions, which are read and not learned, among them), and the benchmarks of
reasoning on tasks that no training had, for the teacher and the start as well. Everything runs through the store, so a
killed study goes on and a repeated one is free.

    python -m benchmarks.reasoning_students recipes/techniques/reasoning.yaml --out reasoning_students.json
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import difference, shares, write_study
from benchmarks.one_start import from_one_start
from benchmarks.techniques.rows import merged
from evaluation.comparison import compare_capability
from evaluation.score_files import read_capability
from flows.preflight import prepare
from flows.work import Work, directly
from stillhouse import terminal
from stillhouse.recipe.recipe import Recipe, load_recipe, validated
from stillhouse.store.store import Store
from tasks.score_benchmarks import evaluate_capability

WITHOUT = "plain text alone"
FORMS = ("one_sequence", "two_tasks")
BENCHMARKS = {
    "reasoning_gym": "answers at once",
    "reasoning_answers": "answers after steps",
    "reasoning_steps": "right steps",
    "reasoning_sound": "answer and every step right",
}
"""And what a column calls them."""
_PLAIN_DOCUMENTS = 600
"""Of plain text where there are no tasks, enough for the budget of tokens."""


def main() -> None:
    """Train every way with every seed, and write what was found after each."""
    options = _parser().parse_args()
    recipe = load_recipe(options.recipe).model_copy(update={"threads": options.threads})
    store = Store(options.runs.resolve() / "store")
    with terminal.shown():
        asked = {
            way: prepare(each, options.recipe.resolve().parent, store)
            for way, each in ways(recipe, options.documents).items()
        }
        found: dict[str, Any] = {"documents": options.documents, "models": []}
        without: Path | None = None
        work, capability = Work(store, directly), asked[WITHOUT].capability
        for student in from_one_start(asked, WITHOUT, work, options.seeds):
            if not found["models"]:
                teacher = work.make(evaluate_capability, capability, {"model": student.teacher})
                found["models"].append({"way": "teacher", "seed": None} | _told(work.store.folder(teacher)))
            own = work.store.folder(work.make(evaluate_capability, capability, {"model": student.model}))
            reference = None if student.way == WITHOUT else without
            found["models"].append(student.told() | _told(own, reference, seed=recipe.seed))
            without = own if student.way == WITHOUT else without
            if student.seed is not None:
                write_study(options.out, asked[WITHOUT], found, page)


def ways(recipe: Recipe, documents: int) -> dict[str, Recipe]:
    """The recipe with plain text alone, and with its tasks in both forms.

    Raises:
        ValueError: If it has no reasoning set, or no other.
    """
    content = recipe.model_dump(mode="json", exclude_none=True)
    sets = content["data"]["sets"]
    texts = [each for each in sets if each["kind"] != "reasoning"]
    tasks = [each for each in sets if each["kind"] == "reasoning"]
    if not texts or not tasks:
        raise ValueError("the recipe needs a set of kind reasoning, and one of plain text beside it")
    evaluation = {
        "benchmarks": list(BENCHMARKS),
        "documents": documents,
        "variant_documents": 0,
        "behaviour": {"suites": [], "typo_benchmarks": []},
    }
    found = {WITHOUT: [each | {"limit": _PLAIN_DOCUMENTS} for each in texts]}
    for form in FORMS:
        # The weight of a second task is of two tasks alone.
        left_out = {"rationale_weight"} if form == "one_sequence" else set()
        asked = [{key: each[key] for key in each if key not in left_out} | {"form": form} for each in tasks]
        found[form] = asked + texts
    return {
        way: validated(Recipe, merged(content, {"data": {"sets": each}, "evaluation": evaluation}), way)
        for way, each in found.items()
    }


def _told(own: Path, reference: Path | None = None, *, seed: int = 0) -> dict[str, Any]:
    """Shares of right answers and steps, and the differences to a reference on the same tasks."""
    scores = read_capability(own)
    found: dict[str, Any] = {
        name: float(scores[name].values.sum() / scores[name].denominators.sum()) for name in BENCHMARKS
    }
    if reference is None:
        return found
    beside = compare_capability(own, reference, seed=seed)
    return found | {"less": {name: [beside[name].difference, beside[name].interval] for name in BENCHMARKS}}


def page(found: dict[str, Any]) -> str:
    """The content of the JSON file as a page to read."""
    students = [one for one in found["models"] if one["seed"] is not None]
    return f"""# Students that were shown rationales

From one start: plain text alone, or tasks of reasoning-gym with rationales that were checked, in both forms, beside
plain text, on as many tokens of rows. Of a task the question is read and not learned, so fewer of them are counted.
{found["documents"]} tasks that no training had, shares in percent; behind the mean each seed in its order.

| | {" | ".join(BENCHMARKS.values())} | counted tokens |
|---|{"--:|" * (len(BENCHMARKS) + 1)}
{chr(10).join(_table(found["models"]))}

Less plain text alone at the same seed, in points, with the 95% interval over tasks:

| | seed | {" | ".join(BENCHMARKS.values())} |
|---|--:|{"--:|" * len(BENCHMARKS)}
{chr(10).join(_differences(students))}

{found["compute"]["precision"]} on {found["environment"]["processor"]}. Made by
`python -m benchmarks.reasoning_students`.
"""


def _table(models: Sequence[dict[str, Any]]) -> Iterator[str]:
    for way in dict.fromkeys(one["way"] for one in models):
        own = [one for one in models if one["way"] == way]
        counted = f"{own[0]['tokens']:,.0f}" if own[0]["seed"] is not None else ""
        yield f"| {way} | {' | '.join(shares([one[name] for one in own]) for name in BENCHMARKS)} | {counted} |"


def _differences(students: Sequence[dict[str, Any]]) -> Iterator[str]:
    for each in students:
        if each["way"] != WITHOUT:
            cells = [difference(*each["less"][name], digits=1, scale=100) for name in BENCHMARKS]
            yield f"| {each['way']} | {each['seed']} | {' | '.join(cells)} |"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path, help="whose tasks, text and training are taken")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="holds the store (default: runs)")
    parser.add_argument("--out", type=Path, required=True, help="a JSON file; a table is written beside it")
    parser.add_argument("--documents", type=int, default=150, help="tasks asked of each model (default: 150)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--threads", type=int, default=2)
    return parser


if __name__ == "__main__":
    main()
