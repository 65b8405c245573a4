"""Which start is best for a student of half its teacher's parameters?

The teacher is cut in several ways to one number of parameters, and each start is trained on the same tokens with the
same settings, but for a rate that its name tells, once a seed (which decides the order of the data). A start of low
rank is measured as its layers were trained, one by one, since a distillation would not keep the rank. Through a student
between, both are trained for half of the steps. What is chosen, is chosen by validation text; held-out text is only
reported. Everything runs through the store, so a killed study goes on and a repeated one is free.

    python -m benchmarks.student_starts benchmarks/starts.yaml --out docs/benchmarks/student_starts.json
"""

import argparse
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from safetensors import safe_open

from benchmarks.figures import SPLITS, cells, measure, write_study
from flows.delivery import prepare_data
from flows.preflight import prepare
from flows.route import make_start, teach
from flows.settings import SettingsOfStages
from flows.work import Work, directly
from stillhouse import terminal
from stillhouse.errors import InputError
from stillhouse.recipe import load_recipe
from stillhouse.recipe.distillation import Distillation
from stillhouse.recipe.low_rank import LowRank
from stillhouse.recipe.pruned import DepthPruned
from stillhouse.recipe.recipe import Recipe, validated
from stillhouse.recipe.refit import Refit
from stillhouse.recipe.route import Intermediate, Progressive
from stillhouse.recipe.student import Student
from stillhouse.store.artifact import Reference, read_manifest
from stillhouse.store.store import Store
from tasks.distill import distill
from tasks.fetch import load_teacher


@dataclass(frozen=True)
class Asked:
    """How a start is made."""

    student: dict[str, Any]
    """The recipe's section, but for its size."""
    refit: Refit | None = None
    """Whether it is fitted to the teacher before it is trained."""
    learning_rate: float | None = None
    """The recipe's when left out."""
    is_trained: bool = True
    """Whether it is distilled."""
    through_share: float | None = None
    """Of the layers that go on the way to this one, those that go before a student between is trained."""


STARTS = {
    "depth, drop-one": Asked({"kind": "depth", "ranking": "drop_one"}),
    "depth, greedy": Asked({"kind": "depth", "ranking": "greedy"}),
    "width": Asked({"kind": "width"}),
    "depth and width": Asked({"kind": "depth_and_width", "ranking": "drop_one"}),
    # A start that is nearer to the teacher has more to lose by long steps: on validation text of the demo's recipe
    # (15 layers, seed 0) 4e-4 was better for it than 6e-4, and for the one that is cut only worse.
    "depth, greedy, refitted, rate 4e-4": Asked({"kind": "depth", "ranking": "greedy"}, Refit(), 4e-4),
    "low rank, layer by layer": Asked({"kind": "low_rank"}, is_trained=False),
    "depth, greedy, through a student between": Asked({"kind": "depth", "ranking": "greedy"}, through_share=0.5),
}


def main() -> None:
    """Make every start, train it with every seed, and write what was found after each."""
    options = _parser().parse_args()
    asked = {name: STARTS[name] for name in options.starts}
    if all(each.through_share is not None or not each.is_trained for each in asked.values()):
        raise InputError("--starts names none that is trained directly, whose steps the others are held to; add one")
    recipe = load_recipe(options.recipe)
    data = recipe.data.model_copy(update={"train_tokens": options.train_tokens})
    recipe = recipe.model_copy(update={"threads": options.threads, "data": data})
    store = Store(options.runs.resolve() / "store")
    found: dict[str, Any] = {"starts": {}, "runs": []}
    with terminal.shown():
        settings = prepare(recipe, options.recipe.resolve().parent, store)
        work = Work(store, directly)
        teacher = work.make(load_teacher, settings.teacher, {})
        read = {"teacher": teacher, "dataset": prepare_data(settings, work, teacher)["dataset"]}
        starts = {name: _start(settings, work, read, each) for name, each in asked.items()}
        for name, start in starts.items():
            # That of a student between is cut from it, after each seed's training.
            if asked[name].through_share is None:
                facts = work.facts(start)
                parameters = facts.get("parameters_if_factorised", facts["parameters"])
                found["starts"][name] = {"parameters": parameters} | measure(settings, work, start, read)
        # Those that are trained directly first: the others take as many steps.
        in_order = sorted(starts, key=lambda name: asked[name].through_share is not None)
        for seed, name in product(options.seeds, in_order):
            if asked[name].is_trained:
                steps = next((run["steps"] for run in found["runs"]), None)
                student, cost = _trained(settings, work, read | {"start": starts[name]}, asked[name], seed, steps)
                found["runs"].append({"start": name, "seed": seed} | cost | measure(settings, work, student, read))
            write_study(options.out, settings, found, page)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path, help="whose teacher, data and training are taken")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="holds the store (default: runs)")
    parser.add_argument("--out", type=Path, required=True, help="a JSON file; a table is written beside it")
    parser.add_argument("--starts", nargs="+", choices=tuple(STARTS), default=list(STARTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--train-tokens", type=int, default=80_000)
    parser.add_argument("--threads", type=int, default=2)
    return parser


def _start(settings: SettingsOfStages, work: Work, read: dict[str, Reference], asked: Asked) -> Reference:
    """A student of at most half of the parameters; by depth, whose steps are whole layers, of the nearest number."""
    student = TypeAdapter(Student).validate_python(asked.student | _size(settings, work, read["teacher"], asked))
    recipe = settings.recipe.model_copy(update={"student": student, "refit": asked.refit})
    return make_start(prepare(recipe, Path.cwd(), work.store), work, read)


def _size(settings: SettingsOfStages, work: Work, teacher: Reference, asked: Asked) -> dict[str, Any]:
    half = work.facts(teacher)["parameters"] // 2
    match asked.student["kind"]:
        case "depth":
            return {"layers": _layers(work, teacher)}
        case "low_rank":
            linear = _linear_parameters(work.store.folder(teacher))
            share = (half - (work.facts(teacher)["parameters"] - linear)) / linear
            return {
                "ranks": {"kind": "parameters", "share": share},
                "train_tokens": settings.recipe.data.train_tokens,
                "steps": max(1, settings.recipe.data.train_tokens // LowRank().batch_tokens),
            }
        case _:
            return {"parameters": half}


def _linear_parameters(model: Path) -> int:
    """Of the matrices within the blocks."""
    sizes = []
    for path in model.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            shapes = [file.get_slice(name).get_shape() for name in file.keys() if ".layers." in name]  # noqa: SIM118
            sizes += [math.prod(shape) for shape in shapes if len(shape) == 2]
    return sum(sizes)


def _trained(
    settings: SettingsOfStages,
    work: Work,
    read: dict[str, Reference],
    asked: Asked,
    seed: int,
    steps: int | None,
) -> tuple[Reference, dict[str, Any]]:
    """The student of one seed, and what its trainings cost; through another one, half of `steps` each."""
    distillation = _training(settings.recipe, asked)
    if asked.through_share is None:
        compute = settings.compute.model_copy(update={"seed": seed})
        told = settings.distill.model_copy(update={"compute": compute, "distillation": distillation})
        made = [work.make(distill, told, read)]
    else:
        assert steps is not None, "one that is trained directly comes first"
        half = distillation.model_copy(update={"steps": steps // 2})
        last = _layers(work, read["teacher"])
        whole = _config(work, read["teacher"])["num_hidden_layers"]
        between = round(whole - asked.through_share * (whole - last))
        sized = [DepthPruned.model_validate(asked.student | {"layers": layers}) for layers in (between, last)]
        route = Progressive(through=(Intermediate(student=sized[0], steps=steps - steps // 2),))
        recipe = settings.recipe.model_copy(update={"student": sized[1], "route": route, "distillation": half})
        told = prepare(validated(Recipe, recipe.model_dump(mode="json"), "the study"), Path.cwd(), work.store)
        taught = teach(told, work, {name: each for name, each in read.items() if name != "start"}, seed=seed)
        made = [*taught.before.values(), taught.student]
    manifests = [read_manifest(work.store.folder(each)) for each in made]
    return made[-1], {
        "seconds": sum(each.seconds for each in manifests),
        "tokens": sum(each.facts["tokens"] for each in manifests),
        "steps": sum(each.facts["steps"] for each in manifests),
    }


def _training(recipe: Recipe, asked: Asked) -> Distillation:
    if asked.learning_rate is None:
        return recipe.distillation
    return recipe.distillation.model_copy(update={"learning_rate": asked.learning_rate})


def _config(work: Work, model: Reference) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((work.store.folder(model) / "config.json").read_text(encoding="utf-8"))
    return config


def _layers(work: Work, teacher: Reference) -> int:
    """Layers that, with the embedding, come nearest to half of the teacher from below."""
    config = _config(work, teacher)
    parameters, layers = work.facts(teacher)["parameters"], config["num_hidden_layers"]
    embedding = config["vocab_size"] * config["hidden_size"]
    return max(1, int((parameters / 2 - embedding) / ((parameters - embedding) / layers)))


def page(found: dict[str, Any]) -> str:
    """The content of the JSON file as a page to read."""
    run = found["runs"][0]
    return f"""# Starts of half the parameters: {found["recipe"]["name"]}

Each start is trained on the same {run["tokens"]:,.0f} counted tokens in {run["steps"]} steps, at a rate of
{found["recipe"]["distillation"]["learning_rate"]:g} where its name tells no other. The seed decides the order of the
data and nothing else. Loss above: nats per token above the teacher's. KL: to the teacher, nats per token. top-1: share
of positions with the teacher's most likely token. Refitted: the last linear layer of every block by least squares, on
training text. Low rank: parameters are those of the factors, and each layer was trained by itself on the same text.
Through a student between: halfway in layers, both trained for half of the steps.

{chr(10).join(_table(found))}

{found["compute"]["precision"]} on {found["environment"]["processor"]}, threads: {found["compute"]["threads"]}. Made by
`python -m benchmarks.student_starts`; every figure, with its interval over documents, is in the JSON file beside it.
"""


def _table(found: dict[str, Any]) -> Iterator[str]:
    """Each start before training, every seed, and the mean, as a Markdown table."""
    heads = [f"{split.replace('_', '-')}: {what}" for split in SPLITS for what in ("loss above", "KL", "top-1")]
    yield f"| start | parameters | seed | {' | '.join(heads)} | minutes |"
    yield "|---|--:|--:|" + "--:|" * (len(heads) + 1)
    for name, start in found["starts"].items():
        size = f"{start['parameters'] / 1e6:.1f}M"
        yield f"| {name} | {size} | untrained | {' | '.join(cells([start]))} | |"
        yield from _trained_rows(found, name, size)
    for name in dict.fromkeys(run["start"] for run in found["runs"]):
        if name not in found["starts"]:
            yield from _trained_rows(found, name, "")


def _trained_rows(found: dict[str, Any], name: str, size: str) -> Iterator[str]:
    rows = sorted((row for row in found["runs"] if row["start"] == name), key=lambda row: row["seed"])
    for row in rows:
        yield f"| {name} | {size} | {row['seed']} | {' | '.join(cells([row]))} | {row['seconds'] / 60:.1f} |"
    if rows:
        yield f"| **{name}** | {size} | mean of {len(rows)} | {' | '.join(cells(rows))} | |"


if __name__ == "__main__":
    main()
