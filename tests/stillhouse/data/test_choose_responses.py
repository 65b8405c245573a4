import json

import pytest
from pydantic import ValidationError

from stillhouse.data.choose_responses import choose_responses, choose_settings
from stillhouse.data.document import Document, read_documents, write_documents
from stillhouse.data.packaged import FAMILIES, read_packaged
from stillhouse.data.verifiers import _family, is_right, verifiable_sets
from stillhouse.errors import InputError
from stillhouse.recipe.data import Data, PackagedSet


def said(document_id, question, text, *, ended=True):
    turns = ({"role": "user", "content": question}, {"role": "assistant", "content": text})
    return Document(document_id, "messages", turns, ended=ended)


RESPONSES = [
    said("nq/0", "where", "in the old town"),
    said("nq/0", "where", "In the  old town"),
    said("nq/0", "where", "in the old harbour", ended=False),
    said("nq/0", "where", "no idea"),
    said("nq/1", "when", "in 1907"),
]


@pytest.fixture
def choose(tmp_path):
    def run(documents=RESPONSES, sets=("nq-open",), **sampled):
        for name in ("sampled", "chosen"):
            (tmp_path / name).mkdir(exist_ok=True)
        write_documents(tmp_path / "sampled" / "train.jsonl", documents)
        data = Data(sets=[{"kind": "packaged", "name": name} for name in sets], answers={"sampled": sampled})
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


def tasks():
    return read_packaged("reasoning-gym", "reasoning-gym", 24)


def right_answer(number):
    entry = _family(FAMILIES[number % len(FAMILIES)])[number // len(FAMILIES)]
    assert entry["question"] == tasks()[number].messages[0]["content"]
    return entry["answer"]


def test_the_verifier_of_a_prompt_is_that_of_its_own_task():
    for number in range(24):
        assert is_right(f"reasoning-gym/{number}", f" {right_answer(number)}\n")
        assert is_right(f"reasoning-gym-2/{number}", f"I work it out.\nAnswer: {right_answer(number)}")
        assert not is_right(f"reasoning-gym/{number}", "I do not know.")


def test_only_right_ones_are_kept_where_there_is_a_verifier(choose):
    question = tasks()[0].messages[0]["content"]
    documents = [
        said("nq-open/0", "where", "in the old town"),
        said("reasoning-gym/0", question, right_answer(0)),
        said("reasoning-gym/0", question, "a million"),
    ]
    found, facts = choose(documents, sets=("nq-open", "reasoning-gym"), keep={"verified": True})
    assert texts(found) == texts(documents[:2])
    assert facts["left_out"][0]["reason"] == "response not verified"


def test_a_verifier_that_rejects_everything_stops_the_run_with_the_rate_and_three_examples(choose):
    question = tasks()[0].messages[0]["content"]
    documents = [said("reasoning-gym/0", question, f"a million and {number}") for number in range(9)]
    documents.append(said("nq-open/0", "where", "in the old town"))
    with pytest.raises(InputError, match=r"of 9 responses it is with none \(0%\), and 1 is needed") as caught:
        choose(documents, sets=("nq-open", "reasoning-gym"), keep={"verified": True})
    assert str(caught.value).count("it wrote") == 3


@pytest.mark.parametrize(
    ("sampled", "message"),
    [
        ({"keep": {"verified": True}}, "no set has prompts with a verifier; sets are nq-open"),
        ({"samples": 1, "weigh": "by_agreement"}, "samples is 1, and agreement is between"),
        ({"samples": 1, "keep": {"most_agreed": 1}}, "samples is 1, and agreement is between"),
        ({"samples": 2, "keep": {"most_agreed": 3}}, "keep 2 or fewer"),
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
    assert verifiable_sets(Data(sets=sets)) == ("reasoning-gym", "reasoning-gym-2")
