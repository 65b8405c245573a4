"""Names of the measures that scores are filed under, known before anything is measured."""

from evaluation.behaviour import stereoset_scores
from evaluation.benchmark_files import POOLED
from stillhouse.recipe.evaluation import BehaviourSuite, Evaluation

_TYPOS = ("typos_{}", "typos_{}_accuracy_lost", "typos_{}_answers_changed")
_GENERATIONS = tuple(
    f"generations_{mode}_{figure}"
    for mode in ("greedy", "sampled")
    for figure in ("ends_itself", "tokens", "repetition")
)


def capability_measures(asked: Evaluation) -> tuple[str, ...]:
    """Names of the benchmarks, and of their documents taken together."""
    return (*asked.benchmarks, POOLED) if asked.benchmarks else ()


def behaviour_measures(asked: Evaluation) -> tuple[str, ...]:
    """Names of the measures that the suites of an evaluation give, in the report's order."""
    return tuple(name for suite in asked.behaviour.suites for name in _measures(suite, asked))


def is_share(name: str) -> bool:
    """Say whether a measure of behaviour is a share of documents: each of them counts 1 or 0."""
    typed = name.startswith("typos_") and not name.endswith("_accuracy_lost")
    return typed or name.endswith("_ends_itself")


def _measures(suite: BehaviourSuite, asked: Evaluation) -> tuple[str, ...]:
    match suite:
        case "stereoset":
            return stereoset_scores.MEASURES
        case "typos":
            return tuple(name.format(one) for one in asked.behaviour.typo_benchmarks for name in _TYPOS)
        case "generations":
            return _GENERATIONS
