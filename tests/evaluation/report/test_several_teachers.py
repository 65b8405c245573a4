"""What the report says of several teachers, and of a loss that follows the agreement with one."""

from evaluation.report import distillation_words
from evaluation.report.lineage import facts_table, say_table

ENSEMBLE = {"kind": "ensemble", "members": [{"teacher": {"source": "org/code"}}]}


def test_the_say_of_each_teacher_is_a_row_a_data_set():
    say = {"law": {"tokens": 200, "shares": [150.0, 50.0]}, "never": {"tokens": 0, "shares": [0.0, 0.0]}}
    table = say_table(say, {"teacher": {"source": "org/law"}, "knowledge": ENSEMBLE})
    assert table.columns == ("data set", "tokens", "org/law", "org/code")
    assert [cell.text for cell in table.rows[0]] == ["law", "200", "75.0%", "25.0%"]
    assert table.rows[1][-1].text == "none"


def test_the_weighting_is_told():
    said = [
        distillation_words.knowledge(ENSEMBLE | weighting, is_asked=True)
        for weighting in ({}, {"weighting": {"kind": "by_domain"}}, {"weighting": {"kind": "by_confidence"}})
    ]
    assert said[0] == "The distributions of 2 teachers were mixed, by their weights."
    assert "serve its data set" in said[1] and "how sure each was" in said[2]


def test_an_alpha_that_follows_the_agreement_is_told():
    alpha = {"shape": "agreement", "start": 0.9, "end": 0.1, "enough": 0.5}
    said = distillation_words.loss({"alpha": alpha, "temperature": 2.0})
    assert "weight 0.9 moving to 0.1 (as the share of tokens" in said and "rises to 0.5)" in said


def test_what_another_teacher_answered_and_how_is_in_its_table():
    facts = {"source": "org/code", "answered": ["code", "law"], "responses": {"responses": 12, "ended_share": 0.25}}
    rows = [[cell.text for cell in row] for row in facts_table("Other teacher: org/code", facts).rows]
    assert rows[1:] == [["answered", "code, law"], ["responses.responses", "12"], ["responses.ended_share", "0.250"]]
