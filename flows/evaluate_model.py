"""A model or a package in, its scores out."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from prefect import flow
from pydantic import Field

from evaluation.assemble import BATCH_DEPENDENCE, REFERENCE_VARIANT
from evaluation.batch_dependence import LIMIT_NATS
from evaluation.behaviour.check import check_behaviour
from evaluation.behaviour.evaluate import BehaviourSettings, behaviour_settings
from evaluation.behaviour.question_changes import OPTION_ORDER
from evaluation.benchmark_files import ChoiceBenchmark, benchmark, check_benchmarks, known_benchmarks
from evaluation.capability import NOT_SCORED, CapabilitySettings, capability_settings
from evaluation.comparison import compare_behaviour, compare_capability
from evaluation.hub_tasks import HubTask, find_hub_tasks
from evaluation.results import Score
from flows import server
from flows.asked import Benchmark, name_of_run
from flows.attended import Outcome, attended, checked
from flows.preflight import check_answers, decide_compute
from flows.run_folder import new_folder, write_whole
from flows.subjects import Subjects, find_subjects
from flows.work import Call, Planner, Work, directly, through_prefect
from stillhouse.models.adopted import AdoptSettings
from stillhouse.models.sources import describe
from stillhouse.models.teacher import LoadTeacherSettings
from stillhouse.recipe.compute import Compute
from stillhouse.recipe.conditions import Conditions
from stillhouse.recipe.evaluation import Behaviour, BehaviourSuite, Evaluation
from stillhouse.recipe.export import VariantName
from stillhouse.recipe.recipe import validated
from stillhouse.store import collect
from stillhouse.store.artifact import Reference
from stillhouse.store.store import References, Store
from tasks.adopt import adopt_variant
from tasks.fetch_student import load_student
from tasks.score_behaviour import evaluate_behaviour
from tasks.score_benchmarks import evaluate_capability
from tasks.show_run import show_scores

SCORES = "evaluation.json"
CUT = "cut"
PRECISION = "precision"
Scores = dict[str, dict[str, Any]]
_FEWEST_OF_BEHAVIOUR = {"prompts": 2, "bias_documents": 4, "harm_prompts": 4}
"""What `limit` reaches beside the documents of benchmarks, and the fewest of it that the schema allows."""


class EvaluationRequest(Conditions):
    """What is scored, on what, and where."""

    model: str
    """A package, a run that holds one, or a model: a hub id, a directory, a .gguf file, package:NAME."""
    variant: str | None = None
    """Only this variant of a package; all of them when left out."""
    evaluation: Evaluation = Evaluation()
    """Benchmarks, behaviour, and how many documents of each."""


@dataclass(frozen=True)
class Wish:
    """What a form or a command line asks of `evaluate`; what it leaves open is `None`."""

    model: str
    variant: str | None = None
    suite: str | None = None
    """Stands under all that is said beside it."""
    benchmarks: tuple[str, ...] | None = None
    documents: int | None = None
    limit: int | None = None
    """Most documents of each benchmark, prompts, and documents of bias and harm, however many the suite asks for."""
    behaviour: tuple[str, ...] | None = None
    device: str = "auto"


@flow(name="evaluate", flow_run_name=name_of_run, persist_result=False)
def evaluate(
    model: str,
    variant: Literal["all", VariantName] = "all",
    suite: Literal["none", "quick", "standard", "full"] = "none",
    benchmarks: tuple[Literal[Benchmark, "none"], ...] = (),
    tasks: tuple[str, ...] = (),
    documents: Annotated[int, Field(ge=0)] = 0,
    limit: Annotated[int, Field(ge=0)] = 0,
    behaviour: tuple[Literal[BehaviourSuite, "none"], ...] = (),
    device: str = "auto",
    runs: str = "runs",
) -> dict[str, Any]:
    """Score a model, or the variants of a package, on benchmarks and behaviour.

    Args:
        model: A package, a run's folder, or a model: a hub id, a directory, a .gguf file, package:NAME.
        variant: Which one of a package; a model has none.
        suite: A file of recipes/suites; what is filled in below goes before it.
        benchmarks: Questions asked by lm-eval. Empty: those of the suite, or the usual six.
        tasks: Names of further tasks that lm-eval knows, with data of its own; a hub must be within reach.
        documents: How many questions of each benchmark, spread evenly over its file. 0: the suite's, or 100.
        limit: At most so many, and of prompts, of bias and of harm too, whatever the suite says. 0: no limit.
        behaviour: Suites of behaviour. Empty: those of the suite, or the usual ones.
        device: A torch device; auto takes a GPU where there is one.
        runs: Folder on the worker's machine that holds all that runs make, the store included.
    """
    wish = Wish(
        model=model,
        variant=None if variant == "all" else variant,
        suite=None if suite == "none" else suite,
        benchmarks=_told((*benchmarks, *tasks)),
        documents=documents or None,
        limit=limit or None,
        behaviour=_told(behaviour),
        device=device,
    )
    return attended(lambda: _in_flow(request_of(wish), Path(runs)))


def flow_parameters(wish: Wish) -> dict[str, Any]:
    """The flow's parameters that ask the same."""
    asked = {name: value for name, value in asdict(wish).items() if value is not None}
    if wish.benchmarks is not None:
        packaged = tuple(name for name in wish.benchmarks if name in get_args(Benchmark))
        asked["tasks"] = tuple(name for name in wish.benchmarks if name not in packaged)
        asked["benchmarks"] = packaged or (() if asked["tasks"] else ("none",))
    if wish.behaviour is not None:
        asked["behaviour"] = wish.behaviour or ("none",)
    return asked


def _told(names: Sequence[str]) -> tuple[str, ...] | None:
    """What a list of a form says: nothing, or names, of which the word none is no name."""
    return tuple(name for name in names if name != "none") if names else None


def _in_flow(request: EvaluationRequest, runs: Path) -> Outcome:
    found = checked(partial(check_evaluation, request))
    folder = run_evaluation(request, found, runs, through_prefect)
    server.wait_until_back()
    scores = json.loads((folder / SCORES).read_text(encoding="utf-8"))
    show_scores(scores)
    failed = failures(scores)
    told = f"; {', '.join(failed)} could not be scored" if failed else ""
    return Outcome("Scored", f"{len(scores) - len(failed)} scored, in {folder}{told}", {"run": str(folder)})


def request_of(wish: Wish) -> EvaluationRequest:
    """Fill a wish up with its suite, and with what is usual.

    Raises:
        InputError: If a value is not allowed, or there is no such suite.
    """
    usual = validated(Evaluation, {} if wish.suite is None else {"suite": wish.suite}, "the suite")
    asked = usual.benchmarks if wish.benchmarks is None else wish.benchmarks
    documents = usual.documents if wish.documents is None else wish.documents
    if wish.limit is not None:
        documents = min(documents, wish.limit)
    content = {
        **usual.model_dump(mode="json"),
        "benchmarks": asked,
        "documents": documents,
        "behaviour": _behaviour(usual.behaviour, asked, documents, wish),
        # Of variants of a run, and not of what is scored here.
        "variant_documents": 0,
    }
    told = {"model": wish.model, "variant": wish.variant, "device": wish.device, "evaluation": content}
    return validated(EvaluationRequest, told, "the request")


def _behaviour(usual: Behaviour, asked: Sequence[str], documents: int, wish: Wish) -> dict[str, Any]:
    """The section `behaviour`; what is read off benchmarks that are not asked is left out where nobody named it."""
    suites = usual.suites if wish.behaviour is None else wish.behaviour
    changed = {
        "typos": ("typo_benchmarks", usual.typo_benchmarks),
        "robustness": ("robustness_benchmarks", usual.robustness_benchmarks),
    }
    kept = {field: tuple(name for name in names if name in asked) for field, names in changed.values()}
    # Only where choices stand in the question can their order change.
    ordered = tuple(name for name in OPTION_ORDER if name in asked)[:1]
    if not set(kept["robustness_benchmarks"]) & set(OPTION_ORDER):
        kept["robustness_benchmarks"] += ordered
    if wish.behaviour is None:
        impossible = {suite for suite, (field, _) in changed.items() if not kept[field]}
        if not any(name in known_benchmarks() and isinstance(benchmark(name), ChoiceBenchmark) for name in asked):
            impossible.add("calibration")
        # Nobody knows here what a model was trained on.
        impossible.add("recitation")
        suites = tuple(suite for suite in suites if suite not in impossible)
    fewer = {"robustness_documents": min(usual.robustness_documents, documents)}
    if wish.limit is not None:
        counts = {name: getattr(usual, name) for name in _FEWEST_OF_BEHAVIOUR}
        fewer |= {name: min(count, max(wish.limit, _FEWEST_OF_BEHAVIOUR[name])) for name, count in counts.items()}
    return {**usual.model_dump(mode="json"), "suites": suites, **kept, **fewer}


@dataclass(frozen=True)
class Checked:
    """What is there to score, and on which tasks whose data a hub has."""

    subjects: Subjects
    hub_tasks: tuple[HubTask, ...] = ()


def check_evaluation(request: EvaluationRequest) -> Checked:
    """Refuse what cannot be scored, and find what is.

    Raises:
        InputError: If the request or what it names is wrong, or a task's data are neither packaged nor within reach.
    """
    asked = _packaged(request.evaluation)
    check_benchmarks(asked.benchmarks, asked.documents, fewer=asked.fewer_documents)
    check_behaviour(asked)
    others = [name for name in request.evaluation.benchmarks if name not in asked.benchmarks]
    subjects = find_subjects(request.model, request.variant)
    for subject in subjects.values():
        check_answers(asked, describe(subject.source).context_length)
    return Checked(subjects, find_hub_tasks(others))


def _packaged(asked: Evaluation) -> Evaluation:
    """The section without benchmarks whose data no package here carries."""
    known = known_benchmarks()
    return asked.model_copy(update={"benchmarks": tuple(name for name in asked.benchmarks if name in known)})


def run_evaluation(request: EvaluationRequest, there: Checked, runs: Path, call: Call) -> Path:
    """Score what `check_evaluation` found, into a run's folder with `evaluation.json`; `call` runs a stage."""
    store = Store(runs.resolve() / "store")
    compute, probe = decide_compute(request, store)
    with collect.held_off(store.root):
        planned = Work(Planner(store.root), directly)
        in_order(request, compute, there, planned)
        folder = new_folder(store.root.parent, "evaluate", (probe, *planned.artifacts))
    scores = in_order(request, compute, there, Work(store, call))
    write_whole(folder / SCORES, json.dumps(scores, indent=1))
    return folder


def in_order(request: EvaluationRequest, compute: Compute, there: Checked, work: Work) -> Scores:
    """The order of work: bring each subject into the store, and score it; one that fails stops no other."""
    found: dict[str, References] = {}
    ran: dict[str, dict[str, str]] = {}
    for name, subject in there.subjects.items():
        model = _bring(work, name, subject)
        # A variant's name says its precision; a model is run as the probe, or the request, decides.
        where = compute.model_copy(update={"precision": "fp32"}) if isinstance(subject, AdoptSettings) else compute
        asked = _settings(request, where, there)
        ran[name] = {} if isinstance(subject, AdoptSettings) else {PRECISION: where.precision}
        found[name] = {} if model is None else _score(work, name, model, *asked)
    return {name: ran[name] | _scores_of(work, name, found, seed=compute.seed) for name in found}


def _settings(
    request: EvaluationRequest, compute: Compute, there: Checked
) -> tuple[CapabilitySettings, BehaviourSettings]:
    """Of the two stages that score."""
    asked = _packaged(request.evaluation)
    capability = capability_settings(asked, compute).model_copy(update={"hub_tasks": there.hub_tasks})
    return capability, behaviour_settings(asked, compute)


def _bring(work: Work, name: str, subject: AdoptSettings | LoadTeacherSettings) -> Reference | None:
    match subject:
        case AdoptSettings():
            return work.attempt([name], adopt_variant, subject, {})
        case LoadTeacherSettings():
            return work.attempt([name], load_student, subject, {})


def _score(
    work: Work, name: str, model: Reference, capability: CapabilitySettings, behaviour: BehaviourSettings
) -> References:
    """The scores of one model, as far as it could be scored."""
    scores = work.endure([name], evaluate_capability, capability, {"model": model})
    if scores is None:
        return {}
    answers = work.endure([name], evaluate_behaviour, behaviour, {"model": model, "capability": scores})
    return {"capability": scores} if answers is None else {"capability": scores, "behaviour": answers}


def _scores_of(work: Work, name: str, found: Mapping[str, References], *, seed: int) -> dict[str, Any]:
    """What was found of one model, as in `results.json`, its differences those to `torch-fp32` where that was scored.

    Where something could not be scored, `reason` says why.
    """
    own, reference = found[name], found.get(REFERENCE_VARIANT, {}) if name != REFERENCE_VARIANT else {}
    scores: dict[str, Any] = {}
    missing = _not_scored(work, own) | _not_scored(work, reference)
    compare_scored = partial(compare_capability, not_scored=missing.keys())
    for room, compare in (("capability", compare_scored), ("behaviour", compare_behaviour)):
        facts = dict(work.facts(own[room])) if room in own else {}
        scores |= {name: facts.pop(name) for name in (BATCH_DEPENDENCE, NOT_SCORED) if name in facts}
        folders = [work.store.folder(each[room]) for each in (own, reference) if room in each]
        # While a run is planned there is nothing to compare.
        compared = compare(*folders, seed=seed) if facts and len(folders) == 2 else {}
        scores[room] = {
            measure: Score(
                **fact,
                **(compared[measure].as_score() if measure in compared else {}),
            ).model_dump(mode="json")
            for measure, fact in facts.items()
        }
    stated = [score for room in ("capability", "behaviour") for score in scores[room].items()]
    if cut := {measure: score["cut"] for measure, score in stated if score["cut"]}:
        scores[CUT] = cut
    return scores | ({"reason": work.absent[name]} if name in work.absent else {})


def _not_scored(work: Work, found: References) -> dict[str, str]:
    """Tasks of a hub that a model could not be scored on, with the reason."""
    stated: dict[str, str] = work.facts(found["capability"]).get(NOT_SCORED, {}) if "capability" in found else {}
    return stated


def failures(scores: Scores) -> list[str]:
    """Names of what could not be scored, or not on everything."""
    return [name for name, found in scores.items() if "reason" in found or NOT_SCORED in found]


def table(scores: Scores) -> str:
    """The scores as lines to read: a measure a line, its standard error and n behind it."""
    lines = []
    for name, found in scores.items():
        lines.append(name if "reason" not in found else f"{name}: {found['reason']}")
        dependence = found.get(BATCH_DEPENDENCE, 0.0)
        if dependence > LIMIT_NATS:
            why = "bf16 rounds so" if found.get(PRECISION) == "bf16" else "not to be served in batches"
            lines.append(f"  beside others a request's score moves by {dependence:.3f} nats: {why}")
        lines += [f"  {task} could not be scored: {reason}" for task, reason in found.get(NOT_SCORED, {}).items()]
        for measure, count in found.get(CUT, {}).items():
            lines.append(f"  {measure}: {count} requests were longer than the model reads; their beginnings were cut")
        for measure, score in found.get("capability", {}).items():
            if score.get("asked_as") == "plain text":
                lines.append(f"  {measure} is for a chat, and the model has no chat template: asked as plain text")
        for room in ("capability", "behaviour"):
            for measure, score in found.get(room, {}).items():
                lines.append(f"  {measure:<40}{score['value']:>10.3f} +- {score['stderr']:.3f}  n {score['n']}")
    return "\n".join(lines)
