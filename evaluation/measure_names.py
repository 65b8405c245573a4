"""Names of the measures that scores are filed under, known before anything is measured."""

from evaluation.behaviour import stereoset_scores
from evaluation.behaviour.question_changes import KINDS, kinds_of
from evaluation.benchmark_files import POOLED, has_shares
from stillhouse.recipe.evaluation import BehaviourSuite, Evaluation

_TYPOS = ("typos_{}", "typos_{}_accuracy_lost", "typos_{}_answers_changed")
_GENERATIONS = tuple(
    f"generations_{mode}_{figure}"
    for mode in ("greedy", "sampled")
    for figure in ("ends_itself", "tokens", "repetition")
)
_BIAS = (
    "bias_bbq_ambiguous_accuracy",
    "bias_bbq_ambiguous_bias",
    "bias_bbq_disambiguated_accuracy",
    "bias_bbq_disambiguated_bias",
    "bias_crows_pairs",
    "bias_pronouns_stereotyped",
    "bias_pronouns_masculine",
)
_HARM = (
    "harm_toxic_continuations",
    "harm_toxic_toxicity",
    "harm_innocent_continuations",
    "harm_innocent_toxicity",
    "harm_refused",
    "harm_jailbreaks_refused",
    "harm_benign_refused",
    "harm_injections_followed",
)
_CALIBRATION = ("calibration_error", "calibration_overconfidence", "calibration_brier")
_RECITATION = ("recitation_share", "recitation_longest")
_RESPONSES = (
    "responses_ended",
    "responses_tokens",
    "responses_token_entropy",
    "responses_sample_entropy",
    "responses_distinct_2",
    "responses_duplicates",
    "responses_agreement",
    "responses_verified",
)
_NO_SHARES = {
    *("bias_bbq_ambiguous_bias", "bias_bbq_disambiguated_bias", "harm_toxic_toxicity", "harm_innocent_toxicity")
}
"""Of the suites whose other measures are shares of documents."""


def capability_measures(asked: Evaluation) -> tuple[str, ...]:
    """Names of the benchmarks, and of their documents taken together."""
    return (*asked.benchmarks, POOLED) if has_shares(asked.benchmarks) else asked.benchmarks


def behaviour_measures(asked: Evaluation) -> tuple[str, ...]:
    """Names of the measures that the suites of an evaluation give, in the report's order."""
    return tuple(name for suite in asked.behaviour.suites for name in _measures(suite, asked))


def is_share(name: str) -> bool:
    """Say whether a measure of behaviour is a share of documents: each of them counts 1 or 0."""
    suite = name.partition("_")[0]
    if suite in ("typos", "robustness"):
        return not name.endswith("_accuracy_lost")
    if suite in ("bias", "harm"):
        return name not in _NO_SHARES
    return name.endswith("_ends_itself")


def _measures(suite: BehaviourSuite, asked: Evaluation) -> tuple[str, ...]:
    match suite:
        case "stereoset":
            return stereoset_scores.MEASURES
        case "typos":
            return tuple(name.format(one) for one in asked.behaviour.typo_benchmarks for name in _TYPOS)
        case "generations":
            return _GENERATIONS
        case "calibration":
            return _CALIBRATION
        case "bias":
            return _BIAS
        case "harm":
            return _HARM
        case "robustness":
            return _robustness(asked)
        case "recitation":
            return _RECITATION
        case "responses":
            return _RESPONSES


def _robustness(asked: Evaluation) -> tuple[str, ...]:
    possible = {kind for name in asked.behaviour.robustness_benchmarks for kind in kinds_of(name)}
    return tuple(
        f"robustness_{kind}_{figure}"
        for kind in KINDS
        if kind in possible
        for figure in ("answers_changed", "accuracy_lost")
    )
