import json
import platform

import pytest

from stillhouse.data.check_verifiers import check_verifiers
from stillhouse.data.sources import check_data
from stillhouse.errors import InputError
from stillhouse.recipe.data import Data, HubSet, JsonLines, PackagedSet
from stillhouse.sandbox import run

VERIFIED = {"sampled": {"keep": {"verified": True}}}


@pytest.fixture(autouse=True)
def linux(monkeypatch):
    """The machine that these tests are about, whatever they run on."""
    monkeypatch.setattr(run, "run_program", lambda program: run.Outcome(passed=True, reason="passed"))
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")


def line(words, **more):
    return json.dumps({"messages": [{"role": "user", "content": words}], **more})


@pytest.fixture
def check(tmp_path, monkeypatch):
    (tmp_path / "plain.jsonl").write_text(f"{line('why')}\n{line('when', tests=None)}\n" + '{"text": "because"}\n')
    (tmp_path / "tested.jsonl").write_text(f"{line('how')}\n{line('write add', tests='assert add(1, 2) == 3')}\n")
    monkeypatch.setattr("stillhouse.data.sources.commit_of", lambda hub_set: "abc")

    def run_check(*sets, answers=VERIFIED):
        data = Data(sets=sets, answers=answers)
        check_verifiers(data, check_data(data, tmp_path))

    return run_check


PLAIN, TESTED = JsonLines(path="plain.jsonl"), JsonLines(path="tested.jsonl")
HUB = HubSet(path="org/name", messages_column="turns", tests_column="tests")
GYM = PackagedSet(name="reasoning-gym")


def test_verified_responses_are_refused_where_no_prompt_has_a_verifier(check):
    with pytest.raises(InputError, match="of 2 prompts none has a verifier; give prompts"):
        check(PLAIN)
    # Tests of what is only reported on, or of lines that the limit leaves out, judge no response that is trained on.
    for data_set in (JsonLines(path="plain.jsonl", held_out="tested.jsonl"), JsonLines(path="tested.jsonl", limit=1)):
        with pytest.raises(InputError, match="none has a verifier"):
            check(data_set)


@pytest.mark.parametrize("sets", [(PLAIN, TESTED), (PLAIN, GYM), (PLAIN, HUB)])
def test_one_set_with_a_verifier_is_enough(check, sets):
    check(*sets)


def test_sampling_where_no_file_has_a_prompt_is_refused(check, tmp_path):
    (tmp_path / "texts.jsonl").write_text('{"text": "because"}\n')
    texts = JsonLines(path="texts.jsonl")
    with pytest.raises(InputError, match="says how prompts are answered, and no file has one"):
        check(texts, PackagedSet(name="boolq-passages"), answers={"sampled": {}})
    for others in ((PLAIN,), (PackagedSet(name="nq-open"),), (HUB,)):
        check(texts, *others, answers={"sampled": {}})


def test_without_sampled_responses_or_their_verification_no_verifier_is_needed(check):
    check(PLAIN, answers={})
    check(PLAIN, answers={"sampled": {}})


@pytest.mark.parametrize("data_set", [TESTED, HUB])
@pytest.mark.parametrize("answers", [VERIFIED, {"sampled": {}}])
def test_tests_are_refused_where_there_is_no_sandbox_to_run_them(check, data_set, answers, monkeypatch):
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    with pytest.raises(InputError, match="this is Darwin.*take the tests out of the prompts"):
        check(data_set, answers=answers)
    # Where responses are not sampled, nothing is judged.
    check(data_set, answers={})
