"""The stage `evaluate_behaviour`: how a model behaves, each suite asked through lm-eval."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import assert_never

from pydantic import Field, PositiveInt

from evaluation.behaviour.measures import Measure, as_fact, as_record
from stillhouse.recipe.compute import Compute
from stillhouse.recipe.evaluation import Behaviour, Evaluation
from stillhouse.recipe.settings import Settings
from stillhouse.store.artifact import FACTS, WORK, Inputs


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
    """Measure one model; write `behaviour.json`, `generations.json` and `facts.json`.

    `facts.json` holds value, standard error and number of documents of each measure; `behaviour.json` one number a
    document and what the measure is; `generations.json` the answers to the prompts, greedy and sampled;
    `stereoset.json` what was preferred in each triple.

    Args:
        settings: What is measured.
        inputs: `model`, a model folder, and `capability`, what `evaluate_capability` found of the same model, which
            answers with typing errors are compared with.
        folder: Gets the files.

    Raises:
        InputError: If prompt and answer, or an answer of a benchmark, are longer than the model's context.
    """
    from evaluation.behaviour.generations import measure_generations
    from evaluation.behaviour.stereoset import measure_stereoset
    from evaluation.behaviour.stereoset_scores import FILE
    from evaluation.behaviour.typos import measure_typos
    from evaluation.lm_eval_model import scorer_of

    compute, documents = settings.compute, settings.documents
    scorer = scorer_of(inputs["model"], compute=compute, batch_size=settings.batch_size)
    measures: dict[str, Measure] = {}
    for suite in settings.behaviour.suites:
        match suite:
            case "stereoset":
                scores, triples = measure_stereoset(scorer, documents=documents, seed=compute.seed)
                measures |= scores
                _write(folder / FILE, asdict(triples))
            case "typos":
                for name in settings.behaviour.typo_benchmarks:
                    work = folder / WORK / name
                    measures |= measure_typos(
                        scorer, name, inputs["capability"], work, documents=documents, compute=compute
                    )
            case "generations":
                written, answers = measure_generations(scorer, settings.behaviour, seed=compute.seed)
                measures |= written
                _write(folder / "generations.json", answers)
            case _:
                assert_never(suite)
    _write(folder / "behaviour.json", {name: as_record(measure) for name, measure in measures.items()})
    _write(folder / FACTS, {name: as_fact(measure) for name, measure in measures.items()})


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
