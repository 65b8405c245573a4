"""What is lost when a teacher's answers are stored in a few dozen bytes: the gradient's angle, and the student's KL.

Angle: between the gradient of all parameters for the whole distribution and for what is stored of it, over the same
tokens; draws are repeated with several seeds. Students: the recipe's start, trained on the same tokens with each,
alpha 1 at temperature 1, and measured on held-out text. Everything else runs through the store, so a killed study goes
on and a repeated one is free.

    python -m benchmarks.stored_targets benchmarks/starts.yaml --out docs/benchmarks/stored_targets.json
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.figures import write_study
from flows.delivery import prepare_data
from flows.knowledge import gather_knowledge
from flows.preflight import prepare
from flows.route import make_start
from flows.settings import SettingsOfStages
from flows.work import Work, directly
from stillhouse import terminal
from stillhouse.losses.chunked import Chunking
from stillhouse.models.load import load_model, load_tokenizer
from stillhouse.recipe import Recipe, load_recipe
from stillhouse.recipe.distillation import Distillation
from stillhouse.recipe.knowledge import Cached, Online, SampledTargets, TopKTargets
from stillhouse.store.artifact import Reference, read_manifest
from stillhouse.store.store import Store
from stillhouse.teachers.local import open_local
from stillhouse.teachers.targets import Dense, Distribution, Draws, Factored, Targets, TopK
from stillhouse.training.batches import Batch
from stillhouse.training.coefficients import Coefficients
from stillhouse.training.objective import Objective
from stillhouse.training.text import open_text
from tasks.distill import distill
from tasks.fetch import load_teacher
from tasks.score_held_out import measure_held_out

KINDS: dict[str, Online | Cached] = {
    "whole distribution, online": Online(),
    "50 draws": Cached(targets=SampledTargets(draws=50)),
    "top 12 and tail": Cached(targets=TopKTargets(k=12)),
    "top 50 and tail": Cached(targets=TopKTargets(k=50)),
}
STORED = 12
PLAIN = Distillation(alpha=1.0, temperature=1.0)


def main() -> None:
    """Measure angles, then train a student with each kind and seed, and write what was found after each."""
    options = _parser().parse_args()
    recipe = load_recipe(options.recipe)
    data = recipe.data.model_copy(update={"train_tokens": options.train_tokens})
    recipe = recipe.model_copy(update={"threads": options.threads, "data": data})
    store = Store(options.runs.resolve() / "store")
    with terminal.shown():
        settings = _settings(recipe, Online(), options, store, seed=0)
        work = Work(store, directly)
        teacher = work.make(load_teacher, settings.teacher, {})
        read = {"teacher": teacher, "dataset": prepare_data(settings, work, teacher)["dataset"]}
        start = make_start(settings, work, read)
        found: dict[str, Any] = {"angles": _angles(settings, store, read, start, options), "students": []}
        for seed in options.seeds:
            for name, knowledge in KINDS.items():
                told = _settings(recipe, knowledge, options, store, seed)
                found["students"].append({"kind": name, "seed": seed} | _student(told, work, read, start))
                write_study(options.out, settings, found, page)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path, help="whose teacher, text and start are taken")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="holds the store (default: runs)")
    parser.add_argument("--out", type=Path, required=True, help="a JSON file; a page is written beside it")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--train-tokens", type=int, default=40_000)
    parser.add_argument("--angle-rows", type=int, default=5, help="of 256 tokens (default: 5)")
    parser.add_argument("--threads", type=int, default=2)
    return parser


def _settings(
    recipe: Recipe, knowledge: Online | Cached, options: argparse.Namespace, store: Store, seed: int
) -> SettingsOfStages:
    changed = recipe.distillation.model_copy(update=PLAIN.model_dump(include={"alpha", "temperature"}))
    told = recipe.model_copy(update={"knowledge": knowledge, "distillation": changed, "seed": seed})
    settings = prepare(told, options.recipe.resolve().parent, store)
    # The seed is that of training alone: data and start are the same for all.
    return settings


def _student(settings: SettingsOfStages, work: Work, read: dict[str, Reference], start: Reference) -> dict[str, Any]:
    knowledge = gather_knowledge(settings, work, read["teacher"], read["dataset"])
    student = work.make(distill, settings.distill, {"start": start, **read, **knowledge})
    measured = work.facts(work.make(measure_held_out, settings.held_out, {"model": student, **read}))
    made = read_manifest(work.store.folder(student))
    cache = work.facts(knowledge["cache"]) if knowledge else {}
    return {
        "kl_to_teacher_nats_per_token": measured["kl_to_teacher_nats_per_token"],
        "intervals": measured["intervals"]["kl_to_teacher_nats_per_token"],
        "training_tokens": made.facts["tokens"],
        "training_seconds": made.seconds,
        "bytes_per_target": cache.get("bytes_per_record"),
    }


def _angles(
    settings: SettingsOfStages, store: Store, read: dict[str, Reference], start: Reference, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Degrees between gradients, and the ratio of their sizes, over one batch."""
    torch.set_num_threads(options.threads)
    folder = store.folder(read["teacher"])
    compute = settings.compute.model_copy(update={"precision": "fp32"})
    tokenizer = load_tokenizer(folder)
    layout: dict[str, Any] = {"sequence_length": settings.recipe.data.sequence_length, "pad_id": tokenizer.pad_token_id}
    text = open_text(
        store.folder(read["dataset"]), "train", **layout, batch_rows=options.angle_rows, device=compute.device
    )
    batch = next(text.batches(text.rows))
    teacher = open_local(folder, compute)
    whole = _logits(teacher.targets(batch).distribution)
    student = load_model(store.folder(start), device=compute.device, dtype="fp32")
    objective = Objective(student, PLAIN, teacher.vocabulary_size, "fp32", Chunking())
    dense = _gradient(objective, batch, Dense(whole))
    rows = []
    for name, stored in _stored(whole):
        found = _gradient(objective, batch, stored)
        # Half the chord, and not the cosine: near 1 that is all rounding.
        apart = (found / found.norm() - dense / dense.norm()).norm()
        degrees = 2 * torch.rad2deg(torch.arcsin((apart / 2).clamp(max=1))).item()
        rows.append({"kind": name, "degrees": degrees, "size": (found.norm() / dense.norm()).item()})
    return [row | {"tokens": batch.num_counted} for row in rows]


def _stored(whole: Tensor) -> Iterator[tuple[str, Distribution]]:
    """The same distribution in the forms that are stored, [B, T, V] logits in."""
    log_p = whole.log_softmax(-1)
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        draws = torch.multinomial(log_p.exp().flatten(0, 1), 50, replacement=True, generator=generator)
        ids = draws.view(*whole.shape[:2], 50)
        yield "50 draws", Draws(ids, torch.ones_like(ids))
    values, ids = log_p.topk(STORED, dim=-1)
    yield f"top {STORED} and tail", TopK(ids, values)
    # Weights need not be counts: this is the usual top-k, which forgets that there is a rest.
    yield f"top {STORED} alone", Draws(ids, values.exp())
    values, ids = log_p.topk(50, dim=-1)
    yield "top 50 and tail", TopK(ids, values)
    yield "top 50 alone", Draws(ids, values.exp())


def _logits(distribution: Distribution) -> Tensor:
    match distribution:
        case Factored(hidden, head):
            return (hidden @ head.T).float()
        case Dense(logits):
            return logits.float()
        case _:
            raise TypeError("a local teacher gives its whole distribution")


def _gradient(objective: Objective, batch: Batch, distribution: Distribution) -> Tensor:
    objective.zero_grad(set_to_none=True)
    objective(batch, Targets(distribution), Coefficients(alpha=1.0, temperature=1.0)).loss.backward()
    # A sum over a hundred million squares in fp32 is off by more than the angle.
    return torch.cat([each.grad.double().flatten() for each in objective.parameters() if each.grad is not None])


def page(found: dict[str, Any]) -> str:
    """The content of the JSON file as a page to read."""
    origin = (
        f"Teacher and start of `{found['recipe']['name']}`, trained in {found['compute']['precision']} on "
        f"{found['environment']['processor']}."
    )
    return "\n".join(
        [
            "# What storing a teacher's answers costs",
            "",
            f"{origin} Angle and size: of the gradient of all parameters over {found['angles'][0]['tokens']} targets, "
            "against that of the whole distribution.",
            "",
            *_angle_table(found["angles"]),
            "",
            "Students after equal tokens, alpha 1 at temperature 1: KL to the teacher on held-out text, nats a token.",
            "",
            *_student_table(found["students"]),
            "",
        ]
    )


def _angle_table(rows: list[dict[str, Any]]) -> Iterator[str]:
    yield "| stored | angle, degrees | size |"
    yield "|---|--:|--:|"
    for kind, same in _by_kind(rows).items():
        degrees, sizes = [row["degrees"] for row in same], [row["size"] for row in same]
        yield f"| {kind} | {_range(degrees, 1)} | {_range(sizes, 2)} |"


def _student_table(rows: list[dict[str, Any]]) -> Iterator[str]:
    yield "| knowledge | KL, by seed | against online | bytes a target |"
    yield "|---|--:|--:|--:|"
    online = {row["seed"]: row["kl_to_teacher_nats_per_token"] for row in rows if "online" in row["kind"]}
    for kind, same in _by_kind(rows).items():
        found = {row["seed"]: row["kl_to_teacher_nats_per_token"] for row in same}
        ratios = [value / online[seed] - 1 for seed, value in found.items() if seed in online]
        size = same[0]["bytes_per_target"]
        cells = [kind, ", ".join(f"{value:.4f}" for value in found.values())]
        cells += [", ".join(f"{ratio:+.1%}" for ratio in ratios), f"{size:.1f}" if size else ""]
        yield f"| {' | '.join(cells)} |"


def _by_kind(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["kind"], []).append(row)
    return found


def _range(values: list[float], digits: int) -> str:
    low, high = min(values), max(values)
    return f"{low:.{digits}f}" if len(values) == 1 else f"{low:.{digits}f} to {high:.{digits}f}"


if __name__ == "__main__":
    main()
