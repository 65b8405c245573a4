"""What of the behaviour section can be refused before anything runs."""

from typing import assert_never

from evaluation.behaviour.bbq import SMALLEST as BBQ
from evaluation.behaviour.harm_texts import ARCHIVES, INNOCENT_TEXTS
from evaluation.behaviour.prompts import all_prompts
from evaluation.behaviour.stereoset import ARCHIVE, TRIPLES
from evaluation.benchmark_files import ChoiceBenchmark, benchmark, known_benchmarks
from stillhouse.errors import InputError
from stillhouse.recipe.evaluation import Behaviour, BehaviourSuite, Evaluation


def check_behaviour(evaluation: Evaluation) -> None:
    """Refuse suites that cannot be measured.

    Raises:
        InputError: If a suite stands there twice or its data cannot be found, if typing errors are asked for in a
            benchmark that is not scored without them, or if there are fewer documents or prompts than asked for.
    """
    asked = evaluation.behaviour
    for name in ("suites", "typo_benchmarks", "robustness_benchmarks"):
        _refuse_twice(name, getattr(asked, name))
    for suite in asked.suites:
        match suite:
            case "stereoset":
                if evaluation.fewer_documents == "refused":
                    _refuse_more("evaluation.documents", evaluation.documents, suite, TRIPLES, "triples")
                _need_data(suite, (ARCHIVE,))
            case "typos":
                _check_typos(evaluation)
            case "generations" | "responses":
                _check_prompts(asked)
            case "calibration":
                _check_calibration(evaluation)
            case "bias":
                documents = asked.bias_documents
                _refuse_more("evaluation.behaviour.bias_documents", documents, suite, BBQ, "of BBQ's rarer kind")
                _need_data(suite, (ARCHIVE,))
            case "harm":
                _check_harm(asked)
            case "robustness":
                _check_robustness(evaluation)
            case "recitation":
                _check_recitation(asked)
            case _:
                assert_never(suite)


def _refuse_twice(name: str, values: tuple[str, ...]) -> None:
    twice = sorted({value for value in values if values.count(value) > 1})
    if twice:
        raise InputError(f"evaluation.behaviour.{name} names {', '.join(twice)} more than once; name each once")


def _refuse_more(setting: str, asked: int, suite: BehaviourSuite, there: int, words: str) -> None:
    if asked > there:
        raise InputError(
            f"{setting} is {asked}, but the suite {suite} has {there} {words}; ask for {there} or fewer, or leave "
            f"{suite} out of evaluation.behaviour.suites"
        )


def _need_data(suite: BehaviourSuite, archives: tuple[str, ...]) -> None:
    from stillhouse.data.archives import archive

    for name in archives:
        try:
            archive(name)
        except InputError as error:
            raise InputError(
                f"the suite {suite} has no data: {error}; or leave {suite} out of evaluation.behaviour.suites"
            ) from None


def _check_calibration(evaluation: Evaluation) -> None:
    packaged = [benchmark(name) for name in evaluation.benchmarks if name in known_benchmarks()]
    if not any(isinstance(file, ChoiceBenchmark) for file in packaged):
        raise InputError(
            "the suite calibration is read off benchmarks with choices, and evaluation.benchmarks has none; add one "
            "there, or leave calibration out of evaluation.behaviour.suites"
        )


def _check_harm(asked: Behaviour) -> None:
    _refuse_more("evaluation.behaviour.harm_prompts", asked.harm_prompts, "harm", INNOCENT_TEXTS, "innocent texts")
    _need_data("harm", ARCHIVES)


def _check_robustness(evaluation: Evaluation) -> None:
    asked = evaluation.behaviour
    if not asked.robustness_benchmarks:
        raise InputError(
            "evaluation.behaviour.robustness_benchmarks is empty; name some benchmarks, or leave robustness out of "
            "evaluation.behaviour.suites"
        )
    for name in asked.robustness_benchmarks:
        if name not in evaluation.benchmarks:
            raise InputError(
                f"evaluation.behaviour.robustness_benchmarks has {name!r}, which is not among evaluation.benchmarks "
                f"({', '.join(evaluation.benchmarks)}), so nobody looked for it in the training data; choose among "
                "these, or add it there"
            )
        file = benchmark(name)
        if not isinstance(file, ChoiceBenchmark) or not file.question:
            raise InputError(
                f"evaluation.behaviour.robustness_benchmarks has {name!r}, which has no choices or whose question is "
                "part of what is scored; changes would change the answers; choose another benchmark"
            )
        if asked.robustness_documents > file.documents:
            raise InputError(
                f"evaluation.behaviour.robustness_documents is {asked.robustness_documents}, but {name} has "
                f"{file.documents}; ask for {file.documents} or fewer, or leave {name} out of robustness_benchmarks"
            )


def _check_recitation(asked: Behaviour) -> None:
    order = asked.suites
    if "generations" not in order or order.index("generations") > order.index("recitation"):
        raise InputError(
            "the suite recitation reads what generations wrote; name generations before it in "
            "evaluation.behaviour.suites"
        )


def _check_typos(evaluation: Evaluation) -> None:
    asked = evaluation.behaviour.typo_benchmarks
    if not asked:
        raise InputError(
            "evaluation.behaviour.typo_benchmarks is empty; name some of evaluation.benchmarks, or leave typos out of "
            "evaluation.behaviour.suites"
        )
    for name in asked:
        if name not in evaluation.benchmarks:
            raise InputError(
                f"evaluation.behaviour.typo_benchmarks has {name!r}, which is not scored without typing errors; "
                f"evaluation.benchmarks are {', '.join(evaluation.benchmarks)}; choose among these, or add it there"
            )
        file = benchmark(name)
        if not isinstance(file, ChoiceBenchmark) or not file.question:
            raise InputError(
                f"evaluation.behaviour.typo_benchmarks has {name!r}, where the question is part of what is scored, or "
                "which has no choices; typing errors would change the answers; choose another benchmark"
            )


def _check_prompts(asked: Behaviour) -> None:
    there = len(all_prompts())
    if asked.prompts > there:
        raise InputError(
            f"evaluation.behaviour.prompts is {asked.prompts}, but there are {there}; ask for {there} or fewer"
        )
