import json

import pytest

from stillhouse.data.sources import check_data, needs_chat_template, read_sets
from stillhouse.errors import InputError
from stillhouse.recipe.data import Data, HubSet, JsonLines, PackagedSet


def write(path, *rows):
    lines = (row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows)
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def data_of(**fields):
    return Data(sets=(JsonLines(**fields),))


def read(data, base):
    return read_sets(data.sets, check_data(data, base))


def chat(*turns):
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def with_tests(tests):
    return json.dumps({**chat(("user", "write add")), "tests": tests}).encode()


def test_texts_answered_conversations_and_prompts_are_told_apart(tmp_path):
    write(
        tmp_path / "mine.jsonl",
        {"text": "plain", "other": 1},
        chat(("system", "be brief"), ("user", "hi"), ("assistant", "hello")),
        chat(("user", "hi?")),
    )
    (mine,) = read(data_of(path="mine.jsonl", licence="CC0-1.0"), tmp_path)
    assert [document.kind for document in mine.documents] == ["text", "messages", "prompt"]
    assert [document.id for document in mine.documents] == ["mine/1", "mine/2", "mine/3"]
    assert mine.licence == "CC0-1.0"
    assert mine.held_out is None


def test_a_prompt_may_have_tests_and_what_is_no_prompt_does_not_read_them(tmp_path):
    write(
        tmp_path / "mine.jsonl",
        with_tests("assert add(1, 2) == 3"),
        with_tests(None),
        with_tests("assert '\\d'"),
        with_tests(["assert add(1, 2) == 3", "assert add(0, 0) == 0"]),
        with_tests(" "),
        with_tests([]),
        {**chat(("user", "hi"), ("assistant", "hello")), "tests": 3},
        {"text": "plain", "tests": "no Python"},
    )
    (mine,) = read(data_of(path="mine.jsonl"), tmp_path)
    assert [document.tests for document in mine.documents] == [
        "assert add(1, 2) == 3",
        None,
        "assert '\\d'",
        "assert add(1, 2) == 3\nassert add(0, 0) == 0",
        None,
        None,
        None,
        None,
    ]


def test_byte_order_mark_carriage_returns_and_blank_lines_are_tolerated(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "one"}\r\n\r\n{"text": "t\xc3\xbco"}\r\n')
    (found,) = read(data_of(path="a.jsonl"), tmp_path)
    assert [(document.id, document.content) for document in found.documents] == [("a/1", "one"), ("a/3", "tüo")]


def test_a_limit_reads_the_first_documents(tmp_path):
    write(tmp_path / "a.jsonl", {"text": "one"}, {"text": "two"}, b"not read")
    (found,) = read(data_of(path="a.jsonl", limit=2), tmp_path)
    assert len(found.documents) == 2


def test_a_source_is_named_by_its_bytes_and_not_by_its_place(tmp_path):
    for name in ("a.jsonl", "b.jsonl"):
        write(tmp_path / name, {"text": "same"})
    (first,), (second,) = (check_data(data_of(path=name), tmp_path) for name in ("a.jsonl", "b.jsonl"))
    assert first.model_dump() == second.model_dump()
    assert first.location != second.location


def test_two_files_of_one_name_keep_their_documents_apart(tmp_path):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "a.jsonl", {"text": folder})
    data = Data(sets=(JsonLines(path="x/a.jsonl"), JsonLines(path="y/a.jsonl")))
    assert [document.id for each in read(data, tmp_path) for document in each.documents] == ["a/1", "a-2/1"]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b"{text: 1}", r"line 2 is not JSON"),
        (b"[" * 100_000, r"line 2 is not JSON"),
        (b"[1, 2]", r"line 2 holds a JSON list, not an object"),
        (b'"words"', r"line 2 holds a JSON string"),
        (b"null", r"line 2 holds a JSON null"),
        (b"\xff\xfe{}", r"line 2 is not UTF-8 \(byte 1"),
        (b'{"txt": "a"}', r"line 2 has neither text nor messages, only \['txt'\]"),
        (b'{"text": "a", "messages": []}', r"line 2 has both text and messages"),
        (b'{"text": 3}', r"line 2: text is a JSON number, not a string"),
        (b'{"text": null}', r"line 2: text is a JSON null"),
        (b'{"text": " \\n"}', r"line 2: text is empty"),
        (b'{"text": "\\ud800"}', r"line 2: text holds half of a surrogate pair"),
        (b'{"messages": []}', r"line 2: messages is an empty list"),
        (b'{"messages": "hi"}', r"line 2: messages is a JSON string"),
        (b'{"messages": ["hi"]}', r"line 2: message 1 is a JSON string"),
        (b'{"messages": [{"from": "user", "value": "hi"}]}', r"message 1 has only \['from', 'value'\]"),
        (b'{"messages": [{"role": "human", "content": "hi"}]}', r"role 'human'; allowed are system, user, assistant"),
        (b'{"messages": [{"role": ["user"], "content": "hi"}]}', r"role \['user'\]; allowed are"),
        (b'{"messages": [{"role": "user", "content": ["hi"]}]}', r"message 1: content is a JSON list"),
        (b'{"messages": [{"role": "user", "content": ""}]}', r"message 1: content is empty"),
        (b'{"messages": [{"role": "system", "content": "be kind"}]}', r"last message is the system's"),
        (
            with_tests("assert add(1, 2) = 3"),
            r"line 2: tests is no Python \(.*\): 'assert add\(1, 2\) = 3'; it is run after",
        ),
        (with_tests("a\0b"), r"line 2: tests is no Python"),
        (with_tests("(" * 5000), r"line 2: tests is no Python"),
        (with_tests("# none yet\n"), r"line 2: tests runs nothing, so that every response would pass"),
        (
            with_tests("def check(candidate):\n    assert candidate(1, 2) == 3"),
            r"only defines check and runs nothing of it",
        ),
        (with_tests("import unittest\n\n\nclass T(unittest.TestCase):\n    pass"), r"only defines T and runs nothing"),
        (
            with_tests("def test_add():\n    assert 1\n\n\nif __name__ == '__main__':\n    test_add()"),
            r"only defines test_add and runs nothing of it, .*; call it at the end",
        ),
        (with_tests("THREE = 3"), r"only defines something and runs nothing"),
        (with_tests("return"), r"line 2: tests is no Python \('return' outside function"),
        (with_tests("from __future__ import annotations\nassert f()"), r"line 2: tests is no Python \(from __future__"),
        (with_tests(["assert 1", 2]), r"line 2: tests is a JSON list, not a string"),
        (with_tests("def f():\n    import numpy as np"), r"line 2: tests imports numpy, and programs are run with"),
        (with_tests("from yaml.loader import Loader"), r"line 2: tests imports yaml"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, complaint):
    write(tmp_path / "bad.jsonl", {"text": "fine"}, line)
    with pytest.raises(InputError, match=complaint) as refused:
        check_data(data_of(path="bad.jsonl"), tmp_path)
    assert str(tmp_path / "bad.jsonl") in str(refused.value)


def test_a_missing_file_is_named_with_the_folder_it_was_looked_for_in(tmp_path):
    with pytest.raises(InputError, match=r"no data file at .*absent\.jsonl \(the recipe says 'absent\.jsonl'"):
        check_data(data_of(path="absent.jsonl"), tmp_path)


def test_a_folder_is_no_data_file(tmp_path):
    with pytest.raises(InputError, match="is not a file"):
        check_data(data_of(path="."), tmp_path)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf\r\n"])
def test_a_file_without_a_document_is_refused(tmp_path, content):
    (tmp_path / "empty.jsonl").write_bytes(content)
    with pytest.raises(InputError, match=r"empty\.jsonl holds no document"):
        check_data(data_of(path="empty.jsonl"), tmp_path)


def test_a_held_out_text_that_is_trained_on_is_refused_with_both_lines(tmp_path):
    write(tmp_path / "train.jsonl", {"text": "one"}, {"text": "The  Cat"})
    write(tmp_path / "test.jsonl", {"text": "three"}, {"text": "four"}, {"text": "the cat\n"})
    with pytest.raises(InputError, match=r"test\.jsonl line 3 says the same as train\.jsonl line 2"):
        check_data(data_of(path="train.jsonl", held_out="test.jsonl"), tmp_path)


def test_a_held_out_text_of_one_set_may_not_be_trained_on_in_another(tmp_path):
    write(tmp_path / "a.jsonl", {"text": "one"})
    write(tmp_path / "b.jsonl", {"text": "two"})
    write(tmp_path / "test.jsonl", {"text": "two"})
    data = Data(sets=(JsonLines(path="a.jsonl", held_out="test.jsonl"), JsonLines(path="b.jsonl")))
    with pytest.raises(InputError, match=r"test\.jsonl line 1 says the same as b\.jsonl line 1"):
        check_data(data, tmp_path)


def test_a_held_out_file_is_read_apart(tmp_path):
    write(tmp_path / "train.jsonl", {"text": "one"})
    write(tmp_path / "test.jsonl", {"text": "two"})
    (found,) = read(data_of(path="train.jsonl", held_out="test.jsonl"), tmp_path)
    assert [document.id for document in found.held_out] == ["train/held-out/1"]


def test_a_file_that_changes_after_the_check_is_not_read(tmp_path):
    path = write(tmp_path / "a.jsonl", {"text": "one"})
    data = data_of(path="a.jsonl")
    sources = check_data(data, tmp_path)
    write(path, {"text": "two"})
    with pytest.raises(InputError, match=r"a\.jsonl was changed or removed after this run was planned"):
        read_sets(data.sets, sources)


@pytest.mark.parametrize("columns", [{}, {"text_column": "text", "messages_column": "messages"}])
def test_a_hub_set_names_exactly_one_column(tmp_path, columns):
    with pytest.raises(InputError, match="exactly one of text_column and messages_column"):
        check_data(Data(sets=(HubSet(path="org/name", **columns),)), tmp_path)


def test_a_hub_that_does_not_answer_is_said_to(tmp_path, monkeypatch):
    def unreachable(self, repo_id):
        raise ConnectionError("no route to host")

    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", unreachable)
    with pytest.raises(InputError, match="cannot find data set org/name on the hub: no route to host"):
        check_data(Data(sets=(HubSet(path="org/name", text_column="text"),)), tmp_path)


@pytest.fixture
def hub(monkeypatch):
    """A hub whose one set has three rows, at commit abc."""
    rows = [
        {"body": "one", "turns": [{"role": "user", "content": "hi"}]},
        {"body": "", "turns": []},
        {"body": "two", "turns": [{"role": "human", "content": "hi"}]},
    ]
    monkeypatch.setattr("stillhouse.data.sources.commit_of", lambda hub_set: "abc")
    monkeypatch.setattr("datasets.load_dataset", lambda *args, **options: iter(rows))


def test_hub_rows_become_documents_and_empty_ones_are_passed_over(tmp_path, hub):
    (found,) = read(Data(sets=(HubSet(path="org/name", text_column="body"),)), tmp_path)
    assert [document.id for document in found.documents] == ["org/name/0", "org/name/2"]
    assert found.documents[0].set_name == "org/name"
    assert found.credit == "org/name at commit abc"


def test_a_bad_hub_row_is_named(tmp_path, hub):
    with pytest.raises(InputError, match="org/name, row 2: message 1 has the role 'human'"):
        read(Data(sets=(HubSet(path="org/name", messages_column="turns"),)), tmp_path)


def test_a_column_that_is_not_there_is_named_with_those_that_are(tmp_path, hub):
    with pytest.raises(InputError, match=r"no column 'text', only \['body', 'turns'\]"):
        read(Data(sets=(HubSet(path="org/name", text_column="text"),)), tmp_path)


TESTED_HUB = HubSet(path="org/name", messages_column="turns", tests_column="checks")


def test_a_column_of_tests_is_read_with_the_prompts(tmp_path, hub, monkeypatch):
    turns = [{"role": "user", "content": "write add"}]
    rows = [{"turns": turns, "checks": "assert add(1, 2) == 3"}, {"turns": turns, "checks": None}]
    monkeypatch.setattr("datasets.load_dataset", lambda *args, **options: iter(rows))
    (found,) = read(Data(sets=(TESTED_HUB,)), tmp_path)
    assert [document.tests for document in found.documents] == ["assert add(1, 2) == 3", None]
    monkeypatch.setattr("datasets.load_dataset", lambda *args, **options: iter(rows[1:]))
    with pytest.raises(InputError, match="names tests_column 'checks', but no prompt of it has tests"):
        read(Data(sets=(TESTED_HUB,)), tmp_path)


def test_a_column_of_tests_that_is_not_there_or_is_of_texts_is_refused(tmp_path, hub):
    with pytest.raises(InputError, match=r"no column 'checks', only \['body', 'turns'\]"):
        read(Data(sets=(TESTED_HUB,)), tmp_path)
    of_texts = HubSet(path="org/name", text_column="body", tests_column="checks")
    with pytest.raises(InputError, match="a text has no response to test"):
        check_data(Data(sets=(of_texts,)), tmp_path)


def test_only_data_in_chat_form_need_a_chat_template(tmp_path):
    write(tmp_path / "text.jsonl", {"text": "one"})
    write(tmp_path / "chat.jsonl", {"text": "two"}, chat(("user", "hi")))

    def needs(*sets):
        data = Data(sets=sets)
        return needs_chat_template(data.sets, check_data(data, tmp_path))

    assert not needs(PackagedSet(name="boolq-passages"), JsonLines(path="text.jsonl"))
    assert needs(PackagedSet(name="nq-open"))
    assert needs(JsonLines(path="text.jsonl", held_out="chat.jsonl"))


@pytest.mark.parametrize("held_out", [None, "held.jsonl"])
def test_a_served_file_without_a_prompt_is_refused_and_one_prompt_is_enough(tmp_path, held_out):
    said = chat(("user", "hi"), ("assistant", "hello"))
    write(tmp_path / "a.jsonl", {"text": "one"}, said)
    write(tmp_path / "held.jsonl", {"text": "two"})
    sets = ({"kind": "jsonl", "path": "a.jsonl", "held_out": held_out}, {"kind": "packaged", "name": "nq-open"})
    others = [{"teacher": "org/a", "serves": ["a"]}]
    data = Data(sets=sets, answers={"others": others})
    with pytest.raises(InputError, match=r"lets a teacher answer the prompts of a, and .*a\.jsonl has none"):
        check_data(data, tmp_path)
    check_data(Data(sets=sets), tmp_path)
    write(tmp_path / "a.jsonl", {"text": "one"}, said, chat(("user", "who?")))
    check_data(data, tmp_path)
