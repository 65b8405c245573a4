"""What of the behaviour section can be refused before anything runs."""

from evaluation.behaviour.prompts import all_prompts
from evaluation.behaviour.stereoset import ARCHIVE, TRIPLES
from evaluation.benchmark_files import benchmark
from stillhouse.errors import InputError
from stillhouse.recipe.evaluation import Behaviour, Evaluation


def check_behaviour(evaluation: Evaluation) -> None:
    """Refuse suites that cannot be measured.

    Raises:
        InputError: If a suite stands there twice or its data cannot be found, if typing errors are asked for in a
            benchmark that is not scored without them, or if there are fewer documents or prompts than asked for.
    """
    asked = evaluation.behaviour
    for name in ("suites", "typo_benchmarks"):
        _refuse_twice(name, getattr(asked, name))
    if "stereoset" in asked.suites:
        _check_stereoset(evaluation.documents)
    if "typos" in asked.suites:
        _check_typos(evaluation)
    if "generations" in asked.suites:
        _check_generations(asked)


def _refuse_twice(name: str, values: tuple[str, ...]) -> None:
    twice = sorted({value for value in values if values.count(value) > 1})
    if twice:
        raise InputError(f"evaluation.behaviour.{name} names {', '.join(twice)} more than once; name each once")


def _check_stereoset(documents: int) -> None:
    from stillhouse.data.archives import archive

    if documents > TRIPLES:
        raise InputError(
            f"evaluation.documents is {documents}, but the suite stereoset has {TRIPLES} triples; ask for {TRIPLES} or "
            "fewer, or leave stereoset out of evaluation.behaviour.suites"
        )
    try:
        archive(ARCHIVE)
    except InputError as error:
        raise InputError(
            f"the suite stereoset has no data: {error}; or leave stereoset out of evaluation.behaviour.suites"
        ) from None


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
        if not benchmark(name).question:
            raise InputError(
                f"evaluation.behaviour.typo_benchmarks has {name!r}, where the question is part of what is scored; "
                "typing errors would change the answers; choose another benchmark"
            )


def _check_generations(asked: Behaviour) -> None:
    there = len(all_prompts())
    if asked.prompts > there:
        raise InputError(
            f"evaluation.behaviour.prompts is {asked.prompts}, but there are {there}; ask for {there} or fewer"
        )
