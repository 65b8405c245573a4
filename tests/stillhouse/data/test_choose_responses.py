import json
from math import log

import pytest
from pydantic import ValidationError

from stillhouse.data.choose_responses import choose_responses, choose_settings
from stillhouse.data.document import Document, read_documents, write_documents
from stillhouse.data.response_figures import Figures, write_figures
from stillhouse.errors import InputError
from stillhouse.recipe.data import Data, PackagedSet


def said(document_id, question, text, *, ended=True):
    turns = ({"role": "user", "content": question}, {"role": "assistant", "content": text})
    return Document(document_id, "messages", turns, ended=ended)


def of(tokens=5, entropy=1.0, distinct_2=1.0, right=None):
    return Figures(tokens, entropy, distinct_2, right)


RESPONSES = [
    said("nq/0", "where", "in the old town"),
    said("nq/0", "where", "In the  old town"),
    said("nq/0", "where", "in the old harbour", ended=False),
    said("nq/0", "where", "no idea"),
    said("nq/1", "when", "in 1907"),
]


@pytest.fixture
def choose(tmp_path):
    def run(documents=RESPONSES, sets=("nq-open",), figures=None, others=(), **sampled):
        for name in ("sampled", "chosen"):
            (tmp_path / name).mkdir(exist_ok=True)
        write_documents(tmp_path / "sampled" / "train.jsonl", documents)
        write_figures(tmp_path / "sampled", figures or [of(tokens=5)] * len(documents))
        data = Data(
            sets=[{"kind": "packaged", "name": name} for name in sets], answers={"sampled": sampled, "others": others}
        )
        choose_responses(choose_settings(data), {"sampled": tmp_path / "sampled"}, tmp_path / "chosen")
        found = list(read_documents(tmp_path / "chosen" / "train.jsonl"))
        return found, json.loads((tmp_path / "chosen" / "facts.json").read_text())

    return run


def texts(documents):
    return [(document.id, document.messages[-1]["content"]) for document in documents]


def test_ended_ones_are_kept_and_what_was_dropped_is_told(choose):
    found, facts = choose(keep={"ended": True})
    assert texts(found) == [pair for pair in texts(RESPONSES) if "harbour" not in pair[1]]
    assert (facts["responses"], facts["responses_left"], facts["prompts"], facts["prompts_left"]) == (5, 4, 2, 2)
    (row,) = facts["left_out"]
    assert row == {
        "set": "nq",
        "reason": "response not ended",
        "documents": 1,
        "examples": ["nq/0: in the old harbour"],
    }


def test_of_responses_that_say_the_same_the_first_stays(choose):
    found, _ = choose(keep={"distinct": True})
    assert texts(found) == texts([RESPONSES[place] for place in (0, 2, 3, 4)])


def test_those_that_agree_most_stay_in_their_order(choose):
    # The two that say the same agree most with all four, and "no idea" with nothing.
    assert texts(choose(keep={"most_agreed": 2})[0]) == texts([RESPONSES[0], RESPONSES[1], RESPONSES[4]])
    found, _ = choose(keep={"distinct": True, "most_agreed": 2})
    assert texts(found) == texts([RESPONSES[0], RESPONSES[2], RESPONSES[4]])


def test_a_response_counts_by_its_prompt_or_by_how_far_it_agrees(choose):
    assert [document.weight for document in choose(weigh="by_prompt")[0]] == [0.25] * 4 + [1]
    # 1 with its twin, 6 of 8 words with the third, none with the fourth; a lone response agrees with itself.
    first, third = (1 + 0.75 + 0) / 3, (0.75 + 0.75 + 0) / 3
    by_agreement = [document.weight for document in choose(weigh="by_agreement")[0]]
    assert by_agreement == pytest.approx([first, first, third, 0, 1])
    assert {document.weight for document in choose(keep={"distinct": True})[0]} == {None}


def test_where_nothing_ends_and_only_ended_ones_are_kept_it_stops(choose):
    endless = [said("nq/0", "where", f"on and on {number}", ended=False) for number in range(6)]
    with pytest.raises(InputError, match=r"none of 6 responses ended \(0%\).*on and on 0.*on and on 2.*on and on 4"):
        choose(endless, keep={"ended": True})
    # The same responses may be trained on otherwise.
    assert len(choose(endless, keep={"distinct": True})[0]) == 6


FIGURES = [of(5, 0.5), of(5, 3.0), of(2, 2.0, 0.25), of(9, 1.0, 0.5), of(1, log(4), None)]


@pytest.mark.parametrize(
    ("keep", "left", "reason", "number"),
    [
        ({"tokens_at_least": 5}, (0, 1, 3), "response with tokens below 5", 2),
        ({"tokens_at_most": 5}, (0, 1, 2, 4), "response with tokens above 5", 1),
        ({"token_entropy_nats_at_most": 2.0}, (0, 2, 3, 4), "response with token_entropy_nats above 2", 1),
        # One token has no pair that could repeat another.
        ({"distinct_2_at_least": 0.5}, (0, 1, 3, 4), "response with distinct_2 below 0.5", 1),
    ],
)
def test_responses_within_a_limit_are_kept_and_the_others_told(choose, keep, left, reason, number):
    found, facts = choose(figures=FIGURES, keep=keep)
    assert texts(found) == texts([RESPONSES[place] for place in left])
    (row,) = facts["left_out"]
    assert (row["reason"], row["documents"], len(row["examples"])) == (reason, number, number)


def test_limits_come_one_after_the_other_and_before_what_the_rest_agrees_on(choose):
    keep = {"tokens_at_least": 2, "token_entropy_nats_at_most": 2, "distinct": True}
    found, facts = choose(figures=FIGURES, keep=keep)
    # Its twin of more entropy is gone before the two are compared.
    assert texts(found) == texts([RESPONSES[place] for place in (0, 2, 3)])
    assert [row["documents"] for row in facts["left_out"]] == [1, 1]


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        (
            {"tokens_at_least": 20},
            "tokens_at_least is 20, and none of 5.*tokens is from 1 to 9, half .* up to 5: .*lower",
        ),
        ({"token_entropy_nats_at_most": 0.25}, "none of 5 responses is within it .0%.*from 0.5 to 3, .*raise it"),
        ({"tokens_at_most": 2, "distinct_2_at_least": 0.5, "token_entropy_nats_at_most": 0.1}, "none of 2 responses"),
    ],
)
def test_a_limit_that_leaves_nothing_stops_the_run_with_what_there_is_and_examples(choose, keep, message):
    with pytest.raises(InputError, match=message) as caught:
        choose(figures=FIGURES, keep=keep)
    assert 2 <= str(caught.value).count("it wrote") <= 3


def test_a_response_counts_by_how_few_tokens_the_teacher_had_to_choose_from(choose):
    weights = [document.weight for document in choose(figures=FIGURES, weigh="by_entropy")[0]]
    # A mean entropy of ln 4 is that of four tokens that are equally likely.
    assert weights[4] == pytest.approx(1 / 4)
    assert weights[0] / weights[1] == pytest.approx(2.718281828**2.5)


def test_only_right_ones_are_kept_where_there_is_a_verifier(choose):
    documents = [
        said("nq-open/0", "where", "in the old town"),
        said("reasoning-gym/0", "how many", "seven"),
        said("reasoning-gym/0", "how many", "a million"),
    ]
    figures = [of(), of(right=True), of(right=False)]
    found, facts = choose(documents, ("nq-open", "reasoning-gym"), figures, keep={"verified": True})
    assert texts(found) == texts(documents[:2])
    assert facts["left_out"][0]["reason"] == "response not verified"


def test_a_verifier_that_rejects_everything_stops_the_run_with_the_rate_and_three_examples(choose):
    documents = [said("reasoning-gym/0", "how many", f"a million and {number}") for number in range(9)]
    documents.append(said("nq-open/0", "where", "in the old town"))
    figures = [of(right=False)] * 9 + [of()]
    with pytest.raises(InputError, match=r"of 9 responses it is with none \(0%\), and 1 is needed") as caught:
        choose(documents, ("nq-open", "reasoning-gym"), figures, keep={"verified": True})
    assert str(caught.value).count("it wrote") == 3


def test_where_no_prompt_has_a_verifier_verified_responses_are_refused(choose):
    with pytest.raises(InputError, match="none of the 2 training prompts has a verifier"):
        choose(sets=("reasoning-gym",), keep={"verified": True})


def test_of_several_teachers_one_may_have_prompts_that_no_verifier_judges(choose):
    others = [{"teacher": "org/other", "serves": ["nq-open"]}]
    found, facts = choose(sets=("reasoning-gym", "nq-open"), others=others, keep={"verified": True})
    assert texts(found) == texts(RESPONSES) and facts["responses_left"] == 5


@pytest.mark.parametrize(
    ("sampled", "message"),
    [
        ({"keep": {"verified": True}}, "no set has prompts with a verifier; sets are nq-open"),
        ({"samples": 1, "weigh": "by_agreement"}, "samples is 1, and agreement is between"),
        ({"samples": 1, "keep": {"most_agreed": 1}}, "samples is 1, and agreement is between"),
        ({"samples": 2, "keep": {"most_agreed": 3}}, "keep 2 or fewer"),
        ({"keep": {"tokens_at_least": 9, "tokens_at_most": 8}}, "tokens_at_least is 9 and tokens_at_most is 8"),
        ({"keep": {"tokens_at_least": 49}}, "tokens_at_least is 49, but answers.max_new_tokens is 48"),
        ({"keep": {"token_entropy_nats_at_most": 0}}, "greater than 0"),
        ({"keep": {"distinct_2_at_least": 1.5}}, "less than or equal to 1"),
        ({"temperature": 0}, "greater than 0"),
        ({"top_p": 0}, "greater than 0"),
    ],
)
def test_what_cannot_be_chosen_is_refused(sampled, message):
    with pytest.raises(ValidationError, match=message):
        Data(sets=[{"kind": "packaged", "name": "nq-open"}], answers={"sampled": sampled})


def test_without_a_choice_there_is_no_stage_for_it():
    sets = (PackagedSet(name="reasoning-gym"), PackagedSet(name="nq-open"), PackagedSet(name="reasoning-gym"))
    assert choose_settings(Data(sets=sets)) is None
    assert choose_settings(Data(sets=sets, answers={"sampled": {}})) is None
    # A length that every response may have is a choice, and the shortest that is possible none that is refused.
    assert choose_settings(Data(sets=sets, answers={"sampled": {"keep": {"tokens_at_least": 48}}})) is not None
