from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from evaluation.behaviour import robustness
from evaluation.behaviour.measures import as_fact
from evaluation.behaviour.question_changes import kinds_of
from evaluation.behaviour.robustness import measure_robustness
from stillhouse.recipe.evaluation import Behaviour

SCORER = SimpleNamespace(max_length=64, tok_encode=str.split)


def asked(*benchmarks: str) -> Behaviour:
    return Behaviour(robustness_benchmarks=benchmarks, robustness_documents=4, long_tokens=40)


def found(answers: list[int], *, cut: int = 0, clusters: list[int] | None = None) -> dict[str, Any]:
    return {"answers": answers, "correct": [answer == 1 for answer in answers], "cut": cut, "clusters": clusters}


def test_changed_answers_and_lost_accuracy_are_counted_against_the_same_documents(monkeypatch, tmp_path):
    def score(scorer, file, documents, folder, *, change=None):
        return found([1, 1, 2, 0] if folder.name in ("unchanged", "emoji") else [0, 1, 1, 2])

    monkeypatch.setattr(robustness, "score_benchmark", score)
    measures = measure_robustness(SCORER, asked("arc_easy", "piqa"), tmp_path)
    assert len(measures) == 2 * len(kinds_of("arc_easy"))
    assert measures["robustness_emoji_answers_changed"].value == 0
    upper = measures["robustness_upper_case_answers_changed"]
    assert upper.values == (1.0, 0.0, 1.0, 1.0) * 2 and upper.n == 8
    assert measures["robustness_upper_case_accuracy_lost"].values == (1.0, 0.0, -1.0, 0.0) * 2


def test_templates_replace_the_prompt_and_changes_the_question(monkeypatch, tmp_path):
    seen: dict[str, Any] = {}

    def score(scorer, file, documents, folder, *, change=None):
        row = {"question": "Why?", "goal": "Tea"}
        seen[folder.name] = file.overrides.get("doc_to_text"), change and change(row, 0)
        return found([1] * 4)

    monkeypatch.setattr(robustness, "score_benchmark", score)
    measure_robustness(SCORER, asked("arc_easy"), tmp_path)
    assert seen["unchanged"] == (None, None)
    assert seen["template_plain"] == ("Q: {{question}}\nA:", None)
    assert seen["upper_case"] == (None, {"question": "WHY?"})
    # 40 words of filler, of which a context of 64 words takes half.
    (_, long) = seen["long"]
    assert 20 <= len(long["question"].split()) <= 34


def test_a_choice_that_moved_is_the_same_choice(monkeypatch, tmp_path):
    def score(scorer, file, documents, folder, *, change=None):
        return found([0, 1, 4, 2] if folder.name != "option_order" else [1, 2, 0, 2])

    monkeypatch.setattr(robustness, "score_benchmark", score)
    measures = measure_robustness(SCORER, asked("commonsense_qa"), tmp_path)
    assert measures["robustness_option_order_answers_changed"].values == (0.0, 0.0, 0.0, 1.0)


def test_questions_that_were_cut_are_told(monkeypatch, tmp_path):
    monkeypatch.setattr(robustness, "score_benchmark", lambda *_, **__: found([1] * 4, cut=3))
    measures = measure_robustness(SCORER, asked("piqa"), tmp_path)
    assert as_fact(measures["robustness_long_accuracy_lost"])["cut"] == 3
    assert "3 questions were cut" in measures["robustness_long_accuracy_lost"].about.method


def test_groups_of_two_benchmarks_stay_apart(monkeypatch, tmp_path):
    def score(scorer, file, documents, folder, *, change=None):
        return found([1] * 4, clusters=[0, 0, 1, 1] if file.name == "arc_easy" else None)

    monkeypatch.setattr(robustness, "score_benchmark", score)
    measures = measure_robustness(SCORER, asked("arc_easy", "piqa"), tmp_path)
    assert measures["robustness_emoji_accuracy_lost"].clusters == (0, 0, 1, 1, 2, 3, 4, 5)


@pytest.mark.parametrize("context", [128, 8192])
def test_filler_fits_the_length_asked_for_and_the_context(context):
    scorer = SimpleNamespace(max_length=context, tok_encode=str.split)
    words = len(robustness._filler(scorer, 768).split())
    assert words <= min(768, max(context - 256, context // 2)) + 5
    assert words >= min(700, context // 2 - 12)


def test_the_scratch_folders_of_two_kinds_differ(monkeypatch, tmp_path):
    folders: list[Path] = []

    def score(scorer, file, documents, folder, *, change=None):
        folders.append(folder)
        return found([1] * 4)

    monkeypatch.setattr(robustness, "score_benchmark", score)
    measure_robustness(SCORER, asked("arc_easy", "piqa"), tmp_path)
    assert len(set(folders)) == len(folders)
