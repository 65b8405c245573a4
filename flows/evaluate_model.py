"""A model or a package in, its scores out."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from prefect import flow
from pydantic import Field

from evaluation.behaviour.check import check_behaviour
from evaluation.behaviour.evaluate import behaviour_settings
from evaluation.benchmark_files import check_benchmarks
from evaluation.capability import capability_settings
from flows import server
from flows.asked import Benchmark, name_of_run
from flows.attended import Outcome, attended, checked
from flows.preflight import decide_compute
from flows.run_folder import new_folder, write_whole
from flows.subjects import Subjects, find_subjects
from flows.work import Call, Planner, Work, directly, through_prefect
from stillhouse.models.adopted import AdoptSettings
from stillhouse.models.teacher import LoadTeacherSettings
from stillhouse.recipe.compute import Compute
from stillhouse.recipe.conditions import Conditions
from stillhouse.recipe.evaluation import BehaviourSuite, Evaluation
from stillhouse.recipe.export import VariantName
from stillhouse.recipe.recipe import validated
from stillhouse.store import collect
from stillhouse.store.artifact import Reference
from stillhouse.store.store import Store
from tasks.adopt import adopt_variant
from tasks.fetch_student import load_student
from tasks.score_behaviour import evaluate_behaviour
from tasks.score_benchmarks import evaluate_capability
from tasks.show_run import show_scores

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


@flow(name="evaluate", flow_run_name=name_of_run, persist_result=False)
def evaluate(
    model: str,
    variant: Literal["all", VariantName] = "all",
    benchmarks: tuple[Benchmark, ...] = get_args(Benchmark),
    documents: Annotated[int, Field(ge=2)] = 100,
    behaviour: tuple[BehaviourSuite, ...] = get_args(BehaviourSuite),
    device: str = "auto",
    runs: str = "runs",
) -> dict[str, Any]:
    """Score a model, or the variants of a package, on benchmarks and behaviour.

    Args:
        model: A package, a run's folder, or a model: a hub id, a directory, a .gguf file, package:NAME.
        variant: Which one of a package; a model has none.
        benchmarks: Questions with answers to choose from, asked by lm-eval.
        documents: How many questions of each benchmark, spread evenly over its file.
        behaviour: stereoset: bias. typos: what misspelling costs. generations: do answers end, do they repeat.
        device: A torch device; auto takes a GPU where there is one.
        runs: Folder on the worker's machine that holds all that runs make, the store included.
    """
    asked = (model, None if variant == "all" else variant, benchmarks, documents, behaviour, device)
    return attended(lambda: _in_flow(request_of(*asked), Path(runs)))


def _in_flow(request: EvaluationRequest, runs: Path) -> Outcome:
    subjects = checked(partial(check_evaluation, request))
    folder = run_evaluation(request, subjects, runs, through_prefect)
    server.wait_until_back()
    show_scores(json.loads((folder / SCORES).read_text(encoding="utf-8")))
    return Outcome("Scored", f"{len(subjects)} scored, in {folder}", {"run": str(folder)})


def request_of(
    model: str,
    variant: str | None,
    benchmarks: Sequence[str] | None,
    documents: int | None,
    behaviour: Sequence[str] | None,
    device: str,
) -> EvaluationRequest:
    """Turn what a form or a command line asks into a request; `None` stands for what is usual.

    Raises:
        InputError: If a value is not allowed.
    """
    usual = Evaluation()
    asked = usual.benchmarks if benchmarks is None else tuple(benchmarks)
    # Typing errors are put into what is scored without them.
    with_typos = tuple(name for name in usual.behaviour.typo_benchmarks if name in asked)
    suites = usual.behaviour.suites if behaviour is None else tuple(behaviour)
    if not with_typos and suites == usual.behaviour.suites:
        suites = tuple(suite for suite in suites if suite != "typos")
    told = {"suites": suites, "typo_benchmarks": with_typos}
    number = usual.documents if documents is None else documents
    evaluation = {"benchmarks": asked, "documents": number, "behaviour": told}
    content = {"model": model, "variant": variant, "device": device, "evaluation": evaluation}
    return validated(EvaluationRequest, content, "the request")


def check_evaluation(request: EvaluationRequest) -> Subjects:
    """Refuse what cannot be scored, and find what is.

    Raises:
        InputError: If the request or what it names is wrong.
    """
    check_benchmarks(request.evaluation.benchmarks, request.evaluation.documents)
    check_behaviour(request.evaluation)
    return find_subjects(request.model, request.variant)


def run_evaluation(request: EvaluationRequest, subjects: Subjects, runs: Path, call: Call) -> Path:
    """Score what `check_evaluation` found, into a run's folder with `evaluation.json`; `call` runs a stage."""
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
