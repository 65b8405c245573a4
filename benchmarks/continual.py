"""What is forgotten when domains come one after the other: naive fine-tuning, replay, and the student before.

Every way trains on the same rounds, from the same start; `all at once` is one training on all text, which has nothing
to forget. Stages come from the store where they are there already, so that a study goes on where it was.

    python -m benchmarks.continual recipes/techniques/continual.yaml --seeds 0 1 2 --out docs/benchmarks/continual.json
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.figures import write_study
from evaluation.forgetting import domains_of
from flows.delivery import measure_before, prepare_data
from flows.knowledge import gather_knowledge
from flows.preflight import prepare
from flows.route import Taught, make_start, teach
from flows.settings import SettingsOfStages
from flows.work import Work, directly
from stillhouse import terminal
from stillhouse.errors import InputError
from stillhouse.recipe import load_recipe
from stillhouse.recipe.continual import Continual, Round
from stillhouse.recipe.recipe import Recipe
from stillhouse.store.artifact import Reference, read_manifest
from stillhouse.store.store import Store
from tasks.choose_round import choose_round
from tasks.distill import distill
from tasks.fetch import load_teacher
from tasks.score_held_out import measure_held_out

WAYS: dict[str, dict[str, Any]] = {
    "naive": {"replay": 0.0, "previous_student": "none"},
    "replay": {"previous_student": "none"},
    "replay, taught by the student before": {"previous_student": "replayed"},
    "no replay, the student before everywhere": {"replay": 0.0, "previous_student": "everywhere"},
}
"""What each way sets in `route`; the share of replay is the recipe's."""
AT_ONCE = "all at once"


def main() -> None:
    """Train every way with every seed, and write what was found after each."""
    options = _parser().parse_args()
    recipe = load_recipe(options.recipe).model_copy(update={"threads": options.threads})
    assert isinstance(recipe.route, Continual), "the recipe's route must be continual"
    own = [told.teacher for told in recipe.route.rounds if told.teacher is not None]
    if AT_ONCE in options.ways and (recipe.curriculum is not None or own):
        raise InputError(f"{AT_ONCE!r} is one training by one teacher in no order; name other --ways for this recipe")
    store = Store(options.runs.resolve() / "store")
    found: dict[str, Any] = {"runs": []}
    with terminal.shown():
        base = options.recipe.resolve().parent
        ways = {way: prepare(_asked(recipe, recipe.route, way), base, store) for way in options.ways}
        for seed in options.seeds:
            for way, settings in ways.items():
                found["runs"].append({"way": way, "seed": seed} | _train(settings, recipe.route, way, store, seed))
                write_study(options.out, replace(settings, recipe=recipe), found, page)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path, help="whose teacher, data, rounds and training are taken")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="holds the store (default: runs)")
    parser.add_argument("--out", type=Path, required=True, help="a JSON file; a table is written beside it")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the trainings (default: 0 1 2)")
    parser.add_argument("--ways", nargs="+", choices=(*WAYS, AT_ONCE), default=[*WAYS, AT_ONCE])
    parser.add_argument("--threads", type=int, default=2)
    return parser


def _asked(recipe: Recipe, route: Continual, way: str) -> Recipe:
    return recipe.model_copy(update={"route": Continual(**route.model_dump() | WAYS.get(way, {})), "gates": ()})


def _train(settings: SettingsOfStages, route: Continual, way: str, store: Store, seed: int) -> dict[str, Any]:
    work = Work(store, directly)
    teacher = work.make(load_teacher, settings.teacher, {})
    read = {"teacher": teacher, "dataset": prepare_data(settings, work, teacher)["dataset"]}
    if way == AT_ONCE:
        taught = _at_once(settings, work, read, seed)
        # One round, which has all sets.
        every = tuple(name for told in route.rounds for name in told.sets)
        route = route.model_copy(update={"rounds": (Round(sets=every),)})
    else:
        taught = teach(settings, work, read, seed=seed)
    models = {"pruned": taught.start, "student": taught.student}
    measured = measure_before(settings, work, taught.before, models | read, read)
    for name, model in models.items():
        measured[f"held_out_{name}"] = work.make(measure_held_out, settings.held_out, {"model": model, **read})
    domains = domains_of(
        route, {name: store.folder(each) for name, each in measured.items()}, seed=settings.recipe.seed
    )
    trainings = [read_manifest(store.folder(each)) for each in (*taught.before.values(), taught.student)]
    return {
        "domains": {name: one.figures.model_dump(mode="json") for name, one in domains.items()},
        "tokens": sum(each.facts["tokens"] for each in trainings),
        "steps": [each.facts["steps"] for each in trainings],
        "training_seconds": sum(each.seconds for each in trainings),
    }


def _at_once(settings: SettingsOfStages, work: Work, read: dict[str, Reference], seed: int) -> Taught:
    """One training on all text, from the start that the rounds have: cut by the text of the first."""
    first = work.make(choose_round, settings.rounds[0], {"dataset": read["dataset"]})
    start = make_start(settings, work, {"teacher": read["teacher"], "dataset": first})
    knowledge = gather_knowledge(settings, work, read["teacher"], read["dataset"])
    seeded = replace(settings, compute=settings.compute.model_copy(update={"seed": seed}))
    student = work.make(distill, seeded.distill, {"start": start, **read, **knowledge})
    return Taught(start, student, {}, knowledge)


def page(found: dict[str, Any]) -> str:
    """The content of the JSON file as a page to read."""
    first, rounds = found["runs"][0]["domains"], found["recipe"]["route"]["rounds"]
    names = [name for told in rounds for name in told["sets"] if name in first]
    earlier = [name for name in names if name not in rounds[-1]["sets"]]
    heads = ["way", "seed", *(f"{name}, after its round" for name in names)]
    heads += [f"{name}, at the end" for name in earlier] + [f"{name}, end over own round" for name in earlier]
    heads += ["counted tokens", "training, s"]
    lines = [_row(heads), _row(["---", *["--:"] * (len(heads) - 1)])]
    lines += [_row(_cells(run, names, earlier)) for run in found["runs"]]
    documents = ", ".join(f"{name} {one['documents']}" for name, one in first.items())
    order = "; then ".join(", ".join(told["sets"]) for told in rounds)
    return f"""# Domains one after the other: {found["recipe"]["name"]}

Rounds: {order}. Held-out loss in nats per token, set by set; in brackets the 95% interval of the ratio, by bootstrap
over held-out documents ({documents}). Every seed is a row. {AT_ONCE} is one training on all text, which has no rounds:
its losses are what could be had. {found["compute"]["precision"]} on {found["environment"]["processor"]}, threads:
{found["compute"]["threads"]}.

{chr(10).join(lines)}

Made by `python -m benchmarks.continual`.
"""


def _cells(run: dict[str, Any], names: list[str], earlier: list[str]) -> list[str]:
    domains = run["domains"]
    own = [_after_own_round(domains[name]) for name in names]
    last = [f"{domains[name]['loss_nats_per_token']['student']:.3f}" for name in earlier]
    ratios = [_ratio(domains[name]) for name in earlier]
    return [run["way"], str(run["seed"]), *own, *last, *ratios, f"{run['tokens']:,}", f"{run['training_seconds']:.0f}"]


def _after_own_round(domain: dict[str, Any]) -> str:
    student = "student" if domain["loss_ratio_to_own_round"] is None else f"round-{domain['round']}"
    return f"{domain['loss_nats_per_token'][student]:.3f}"


def _ratio(domain: dict[str, Any]) -> str:
    ratio, bounds = domain["loss_ratio_to_own_round"], domain["intervals"].get("loss_ratio_to_own_round")
    if ratio is None:
        return ""
    return f"{ratio:.3f}" + ("" if bounds is None else f" ({bounds[0]:.3f} to {bounds[1]:.3f})")


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
