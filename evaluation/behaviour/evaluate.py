"""The stage `evaluate_behaviour`: how a model behaves, each suite asked through lm-eval."""

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any, assert_never

from pydantic import Field, PositiveInt

from evaluation.apart import score_model, work_apart
from evaluation.behaviour.measures import Measure, as_fact, as_record
from stillhouse.errors import InputError
from stillhouse.recipe.compute import Compute
from stillhouse.recipe.evaluation import Behaviour, BehaviourSuite, Evaluation
from stillhouse.recipe.settings import Settings
from stillhouse.store.artifact import FACTS, WORK, Inputs

GENERATIONS = "generations.json"
"""The answers to the prompts."""

logger = logging.getLogger(__name__)


class BehaviourSettings(Settings):
    """What is measured, and where."""

    behaviour: Behaviour
    """The recipe's section."""
    documents: int = Field(ge=2)
    """Documents of each benchmark, and triples of StereoSet."""
    batch_size: PositiveInt
    """Requests side by side."""
    compute: Compute
    """Where, in which precision; its seed decides typing errors, draws and resamples."""


def behaviour_settings(asked: Evaluation, compute: Compute) -> BehaviourSettings:
    """The part of the section `evaluation` that decides behaviour."""
    return BehaviourSettings(
        behaviour=asked.behaviour, documents=asked.documents, batch_size=asked.batch_size, compute=compute
    )


def evaluate_behaviour(settings: BehaviourSettings, inputs: Inputs, folder: Path) -> None:
    """Measure one model; write `behaviour.json` and `facts.json`, and what single suites found of each text.

    `facts.json` holds value, standard error and number of documents of each measure; `behaviour.json` one number a
    document and what the measure is; `generations.json` the answers to the prompts, greedy and sampled;
    `responses.json` several to each prompt; `stereoset.json` what was preferred in each triple; `harm.json` what was
    found of each text, which it names by file, row and digest and does not quote.

    Args:
        settings: What is measured.
        inputs: `model`, a model folder; `capability`, what `evaluate_capability` found of the same model, which
            answers with typing errors are compared with, and calibration is read off; perhaps `documents`, what
            `gather_documents` made for its training, without which recitation is not measured.
        folder: Gets the files.

    Raises:
        InputError: If an answer alone would fill the model's context, or recitation is asked for without generations.
        ChildError: If the model is a graph or quantized, and the process that asks it failed.
    """
    score_model(f"{__name__}:measure_apart", _measure_all, settings, settings.compute, inputs, folder)


def measure_apart(payload: dict[str, Any]) -> dict[str, Any]:
    """Measure in a process of its own, for `score_model`."""
    return work_apart(_measure_all, BehaviourSettings, payload)


def _measure_all(settings: BehaviourSettings, inputs: Inputs, folder: Path) -> None:
    from evaluation.lm_eval_model import scorer_of

    scorer = scorer_of(inputs["model"], compute=settings.compute, batch_size=settings.batch_size)
    measures: dict[str, Measure] = {}
    for suite in settings.behaviour.suites:
        measures |= _measure(suite, settings, scorer, inputs, folder)
    _write(folder / "behaviour.json", {name: as_record(measure) for name, measure in measures.items()})
    _write(folder / FACTS, {name: as_fact(measure) for name, measure in measures.items()})


def _measure(
    suite: BehaviourSuite, settings: BehaviourSettings, scorer: Any, inputs: Inputs, folder: Path
) -> dict[str, Measure]:
    """Measure one suite, and write what it found of each text."""
    behaviour, seed = settings.behaviour, settings.compute.seed
    match suite:
        case "stereoset":
            from evaluation.behaviour.stereoset import TRIPLES, measure_stereoset
            from evaluation.behaviour.stereoset_scores import FILE

            scores, triples = measure_stereoset(scorer, documents=min(settings.documents, TRIPLES), seed=seed)
            _write(folder / FILE, asdict(triples))
            return scores
        case "typos":
            return _typos(settings, scorer, inputs["capability"], folder)
        case "generations":
            from evaluation.behaviour.generations import measure_generations

            written, answers = measure_generations(scorer, behaviour, seed=seed)
            _write(folder / GENERATIONS, answers)
            return written
        case "calibration":
            from evaluation.behaviour.calibration import measure_calibration

            return measure_calibration(inputs["capability"], seed=seed)
        case "bias":
            return _bias(scorer, behaviour, seed)
        case "harm":
            from evaluation.behaviour.harm import FILE as HARM
            from evaluation.behaviour.harm import measure_harm

            found, rows = measure_harm(scorer, behaviour, seed=seed)
            _write(folder / HARM, rows)
            return found
        case "robustness":
            from evaluation.behaviour.robustness import measure_robustness

            return measure_robustness(scorer, behaviour, folder / WORK / "robustness")
        case "recitation":
            return _recitation(inputs, folder)
        case "responses":
            from evaluation.behaviour.responses import FILE as RESPONSES
            from evaluation.behaviour.responses import measure_responses

            said, texts = measure_responses(scorer, behaviour, seed=seed)
            _write(folder / RESPONSES, texts)
            return said
        case _:
            assert_never(suite)


def _typos(settings: BehaviourSettings, scorer: Any, capability: Path, folder: Path) -> dict[str, Measure]:
    from evaluation.behaviour.typos import measure_typos

    measures: dict[str, Measure] = {}
    for name in settings.behaviour.typo_benchmarks:
        work, compute = folder / WORK / name, settings.compute
        measures |= measure_typos(scorer, name, capability, work, documents=settings.documents, compute=compute)
    return measures


def _bias(scorer: Any, behaviour: Behaviour, seed: int) -> dict[str, Measure]:
    from evaluation.behaviour.bbq import measure_bbq
    from evaluation.behaviour.sentence_pairs import measure_crows_pairs, measure_pronouns

    documents = behaviour.bias_documents
    return {
        **measure_bbq(scorer, documents=documents, seed=seed),
        **measure_crows_pairs(scorer, documents=documents),
        **measure_pronouns(scorer, documents=documents),
    }


def _recitation(inputs: Inputs, folder: Path) -> dict[str, Measure]:
    from evaluation.behaviour.recitation import measure_recitation

    if "documents" not in inputs:
        logger.warning("recitation is not measured: the documents that the model was trained on are not at hand")
        return {}
    answers = folder / GENERATIONS
    if not answers.is_file():
        raise InputError("the suite recitation reads what generations wrote; name generations before it in the suites")
    return measure_recitation(json.loads(answers.read_text(encoding="utf-8")), inputs["documents"])


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
