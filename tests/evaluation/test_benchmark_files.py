from typing import get_args

import pytest

from evaluation.benchmark_files import (
    asked_of,
    benchmark,
    check_benchmarks,
    direction,
    is_share,
    known_benchmarks,
    spread_evenly,
    task_path,
)
from flows.asked import Benchmark
from stillhouse.errors import InputError


def test_every_file_names_a_task_file_of_lm_eval_and_its_task():
    assert {"arc_easy", "boolq", "hellaswag", "openbookqa", "piqa", "winogrande"} <= set(known_benchmarks())
    described = {name: path for name in known_benchmarks() if (path := task_path(benchmark(name))) is not None}
    # One description serves the 57 subjects of MMLU, and names none.
    template = described.pop("mmlu")
    assert "doc_to_choice" in template.read_text(encoding="utf-8")
    for name, path in described.items():
        assert f"task: {name}\n" in path.read_text(encoding="utf-8")


def test_names_in_the_form_are_those_of_the_files():
    assert set(get_args(Benchmark)) == set(known_benchmarks())


def test_only_shares_of_documents_are_shares_and_only_bits_are_better_when_fewer():
    shares = {name for name in known_benchmarks() if is_share(benchmark(name))}
    assert set(known_benchmarks()) - shares == {
        "gsm8k_bits_per_byte",
        "math_bits_per_byte",
        "squad",
        "reasoning_steps",
        "reasoning_sound",
    }
    fewer = {name for name in known_benchmarks() if direction(benchmark(name)) == "lower is better"}
    assert fewer == {"gsm8k_bits_per_byte", "math_bits_per_byte"}


def test_packaged_benchmarks_within_their_documents_are_accepted():
    check_benchmarks(("arc_easy", "piqa"), 570)


def test_documents_are_spread_evenly_from_the_first_on_and_are_all_where_all_are_wanted():
    assert spread_evenly(10, 4) == [0, 2, 5, 7]
    assert spread_evenly(7, 7) == list(range(7))


def test_more_documents_than_there_are_is_refused_with_both_numbers():
    with pytest.raises(InputError, match="evaluation.documents is 571, but arc_easy has 570"):
        check_benchmarks(("piqa", "arc_easy"), 571)


def test_a_benchmark_that_holds_fewer_is_asked_whole_where_that_is_said():
    check_benchmarks(("copa",), 200, fewer="all asked")
    assert asked_of(benchmark("copa"), 200) == 100
    assert asked_of(benchmark("piqa"), 200) == 200


def test_programs_are_refused_where_there_is_no_sandbox(monkeypatch):
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    check_benchmarks(("piqa",), 10)
    with pytest.raises(InputError, match="this is Darwin.*humaneval"):
        check_benchmarks(("piqa", "humaneval"), 10)


def test_a_benchmark_named_twice_is_refused():
    with pytest.raises(InputError, match="names piqa more than once"):
        check_benchmarks(("piqa", "piqa"), 10)


@pytest.mark.parametrize("name", ["logiqa", "wikitext"])
def test_a_task_of_lm_eval_without_packaged_data_is_told_from_an_unknown_name(name):
    with pytest.raises(InputError, match=f"'{name}': lm-eval has this task, but no package here carries its data"):
        check_benchmarks((name,), 10)


def test_an_unknown_name_is_refused_with_the_known_ones_and_the_nearest():
    with pytest.raises(InputError, match="packaged are .*arc_easy.*did you mean 'arc_easy'"):
        check_benchmarks(("arc_esay",), 10)
