"""A model or a package in, its scores out."""

import json
from pathlib import Path
from typing import Any

from prefect import flow

from evaluation.behaviour.check import check_behaviour
from evaluation.behaviour.evaluate import behaviour_settings
from evaluation.benchmark_files import check_benchmarks
from evaluation.capability import capability_settings
from flows.preflight import decide_compute
from flows.run_folder import new_folder, write_whole
from flows.subjects import Subjects, find_subjects
from flows.work import Call, Planner, Work, directly, through_prefect
from stillhouse.models.adopted import AdoptSettings
from stillhouse.models.teacher import LoadTeacherSettings
from stillhouse.recipe.compute import Compute
from stillhouse.recipe.conditions import Conditions
from stillhouse.recipe.evaluation import Behaviour, Evaluation
from stillhouse.recipe.recipe import validated
from stillhouse.store import collect
from stillhouse.store.artifact import Reference
from stillhouse.store.store import Store
from tasks.adopt import adopt_variant
from tasks.fetch_student import load_student
from tasks.score_behaviour import evaluate_behaviour
from tasks.score_benchmarks import evaluate_capability

SCORES = "evaluation.json"
Scores = dict[str, dict[str, Any]]


class EvaluationRequest(Conditions):
    """What is scored, on what, and where."""

    model: str
    """A package, a run that holds one, or a model: a hub id, a directory, a .gguf file, package:NAME."""
    variant: str | None = None
    """Only this variant of a package; all of them when left out."""
    evaluation: Evaluation = Evaluation()
    """Benchmarks, behaviour, and how many documents of each."""


@flow(name="evaluate", flow_run_name="evaluate-{request.model}", persist_result=False)
def evaluate(request: EvaluationRequest, runs: str = "runs") -> dict[str, str]:
    """Score a model, or the variants of a package, on benchmarks and behaviour.

    Args:
        request: What is scored, on what, and where.
        runs: Folder that holds all that runs make, the store included.
    """
    return {"run": str(run_evaluation(request, Path(runs), through_prefect))}


def request_of(options: Any) -> EvaluationRequest:
    """Turn the command line's options into a request.

    Raises:
        InputError: If a value is not allowed.
    """
    evaluation: dict[str, Any] = {"documents": options.limit, "benchmarks": options.benchmarks}
    asked = {key: value for key, value in evaluation.items() if value is not None}
    usual = Behaviour()
    # Typing errors are put into what is scored without them.
    with_typos = [name for name in usual.typo_benchmarks if name in asked.get("benchmarks", usual.typo_benchmarks)]
    suites = usual.suites if options.behaviour is None else options.behaviour
    if options.behaviour is None and not with_typos:
        suites = tuple(suite for suite in suites if suite != "typos")
    asked["behaviour"] = {"suites": suites, "typo_benchmarks": with_typos}
    content = {"model": options.model, "variant": options.variant, "device": options.device, "evaluation": asked}
    return validated(EvaluationRequest, content, "the command line")


def check_evaluation(request: EvaluationRequest) -> Subjects:
    """Refuse what cannot be scored, and find what is.

    Raises:
        InputError: If the request or what it names is wrong.
    """
    check_benchmarks(request.evaluation.benchmarks, request.evaluation.documents)
    check_behaviour(request.evaluation)
    return find_subjects(request.model, request.variant)


def run_evaluation(request: EvaluationRequest, runs: Path, call: Call) -> Path:
    """Score from preflight to a run's folder with `evaluation.json`; `call` is the way to run a stage.

    Raises:
        InputError: If the request or what it names is wrong, before any stage starts.
    """
    subjects = check_evaluation(request)
    store = Store(runs.resolve() / "store")
    compute, probe = decide_compute(request, store)
    with collect.held_off(store.root):
        planned = Work(Planner(store.root), directly)
        in_order(request, compute, subjects, planned)
        folder = new_folder(store.root.parent, "evaluate", (probe, *planned.artifacts))
    scores = in_order(request, compute, subjects, Work(store, call))
    write_whole(folder / SCORES, json.dumps(scores, indent=1))
    return folder


def in_order(request: EvaluationRequest, compute: Compute, subjects: Subjects, work: Work) -> Scores:
    """The order of work: bring each subject into the store, and score it."""
    scores: Scores = {}
    for name, subject in subjects.items():
        model = _bring(work, name, subject)
        # A variant's name says its precision; a model is run as the probe, or the request, decides.
        where = compute.model_copy(update={"precision": "fp32"}) if isinstance(subject, AdoptSettings) else compute
        scores[name] = {"reason": work.absent[name]} if model is None else _score(work, request, where, model)
    return scores


def _bring(work: Work, name: str, subject: AdoptSettings | LoadTeacherSettings) -> Reference | None:
    match subject:
        case AdoptSettings():
            return work.attempt([name], adopt_variant, subject, {})
        case LoadTeacherSettings():
            return work.attempt([name], load_student, subject, {})


def _score(work: Work, request: EvaluationRequest, compute: Compute, model: Reference) -> dict[str, Any]:
    """The scores of one model, named as in `results.json`."""
    capability = work.make(evaluate_capability, capability_settings(request.evaluation, compute), {"model": model})
    read = {"model": model, "capability": capability}
    behaviour = work.make(evaluate_behaviour, behaviour_settings(request.evaluation, compute), read)
    return {"capability": work.facts(capability), "behaviour": work.facts(behaviour)}


def table(scores: Scores) -> str:
    """The scores as lines to read: a measure a line, its standard error and n behind it."""
    lines = []
    for name, found in scores.items():
        lines.append(name if "reason" not in found else f"{name}: {found['reason']}")
        for room in ("capability", "behaviour"):
            for measure, score in found.get(room, {}).items():
                lines.append(f"  {measure:<40}{score['value']:>10.3f} +- {score['stderr']:.3f}  n {score['n']}")
    return "\n".join(lines)
