import json
from pathlib import Path

from stillhouse.data.document import read_documents
from stillhouse.data.documents import gather_documents, gather_settings
from stillhouse.data.sources import check_data
from stillhouse.recipe.data import Data, JsonLines

SPLITS = ("train", "validation", "held_out")


def write(path, rows):
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def gather(data, base, seed=0):
    folder = base / f"gathered-{seed}"
    folder.mkdir(exist_ok=True)
    gather_documents(gather_settings(data, check_data(data, base), seed), {}, folder)
    facts = json.loads((folder / "facts.json").read_text())
    return {name: list(read_documents(folder / f"{name}.jsonl")) for name in SPLITS}, facts


def test_every_document_lands_in_exactly_one_split_and_duplicates_in_none(tmp_path):
    write(tmp_path / "a.jsonl", [{"text": f"Text {number % 100}"} for number in range(150)])
    splits, facts = gather(Data(sets=(JsonLines(path="a.jsonl"),)), tmp_path)
    texts = [document.content for name in SPLITS for document in splits[name]]
    assert sorted(texts) == sorted(f"Text {number}" for number in range(100))
    assert facts["sets"]["a"]["duplicates"] == 50
    assert facts["documents"] == {name: len(splits[name]) for name in SPLITS}


def test_the_tests_of_a_prompt_go_with_it_and_other_documents_have_no_such_field(tmp_path):
    asked = [{"messages": [{"role": "user", "content": f"Question {number}"}]} for number in range(60)]
    write(
        tmp_path / "a.jsonl",
        [{**each, "tests": "assert f()"} if number % 2 else each for number, each in enumerate(asked)],
    )
    splits, _ = gather(Data(sets=(JsonLines(path="a.jsonl"),)), tmp_path)
    documents = [document for name in SPLITS for document in splits[name]]
    assert {document.id: document.tests for document in documents} == {
        f"a/{number + 1}": "assert f()" if number % 2 else None for number in range(60)
    }
    rows = [json.loads(line) for line in (tmp_path / "gathered-0" / "train.jsonl").read_text().splitlines()]
    assert {"tests" in row for row in rows} == {True, False}
    assert all(row.get("tests", "assert f()") == "assert f()" for row in rows)


def test_the_same_seed_gives_the_same_bytes_and_another_another_order(tmp_path):
    write(tmp_path / "a.jsonl", [{"text": f"text {number}"} for number in range(100)])
    data = Data(sets=(JsonLines(path="a.jsonl"),))
    first, again, other = gather(data, tmp_path), gather(data, tmp_path), gather(data, tmp_path, seed=1)
    assert first == again
    assert first[0]["train"] != other[0]["train"]


def test_any_beginning_of_a_split_has_the_sets_in_proportion(tmp_path):
    write(tmp_path / "big.jsonl", [{"text": f"big {number}"} for number in range(900)])
    write(tmp_path / "small.jsonl", [{"text": f"small {number}"} for number in range(300)])
    splits, _ = gather(Data(sets=(JsonLines(path="big.jsonl"), JsonLines(path="small.jsonl"))), tmp_path)
    train = [document.set_name for document in splits["train"]]
    share = train.count("small") / len(train)
    for end in range(1, len(train)):
        assert abs(train[:end].count("small") - share * end) <= 1


def test_two_answers_to_one_question_share_a_split(tmp_path):
    rows = [
        {"messages": [{"role": "user", "content": f"q{q}"}, {"role": "assistant", "content": f"answer {a}"}]}
        for q in range(60)
        for a in range(3)
    ]
    write(tmp_path / "a.jsonl", rows)
    splits, _ = gather(Data(sets=(JsonLines(path="a.jsonl"),)), tmp_path)
    questions = [{document.messages[0]["content"] for document in splits[name]} for name in SPLITS]
    assert sum(map(len, questions)) == 60
    assert all(len(splits[name]) % 3 == 0 for name in SPLITS)


def test_a_held_out_file_is_all_of_the_held_out_split(tmp_path):
    write(tmp_path / "train.jsonl", [{"text": f"text {number}"} for number in range(200)])
    write(tmp_path / "test.jsonl", [{"text": "seen once"}, {"text": "seen  once"}, {"text": "seen twice"}])
    data = Data(sets=(JsonLines(path="train.jsonl", held_out="test.jsonl", licence="CC0-1.0"),))
    splits, facts = gather(data, tmp_path)
    assert {document.id for document in splits["held_out"]} == {"train/held-out/1", "train/held-out/3"}
    assert len(splits["train"]) + len(splits["validation"]) == 200
    assert facts["sets"]["train"]["held_out"] == 2
    assert facts["sets"]["train"]["duplicates"] == 1
    assert facts["sets"]["train"]["licence"] == "CC0-1.0"


def test_a_file_that_moved_keeps_the_settings_that_name_its_artifact(tmp_path):
    dumps = []
    for place in ("here", "there"):
        write(tmp_path / place / "a.jsonl", [{"text": f"text {number}"} for number in range(9)])
        data = Data(sets=(JsonLines(path=f"{place}/a.jsonl"),))
        settings = gather_settings(data, check_data(data, tmp_path), 0)
        assert Path(settings.sources[0].location) == tmp_path / place / "a.jsonl"
        dumps.append(settings.model_dump(mode="json"))
    assert dumps[0] == dumps[1]
