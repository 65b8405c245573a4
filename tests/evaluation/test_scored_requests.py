import json
import logging
import multiprocessing
from pathlib import Path

import pytest

from evaluation.scored_requests import ScoredRequests, request_key

SCORER = {"runtime": "onnxruntime", "precision": "fp32"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "digest" / "requests.jsonl"


def test_what_was_kept_is_known_to_the_next_one_exactly(file: Path):
    answers = {"a": [-1.2345678901234567, True], "b": {"ids": [3, 4], "ended": False}, "c": "Straße, 🥃"}
    first = ScoredRequests(file)
    first.keep({"a": answers["a"]})
    first.keep({"b": answers["b"], "c": answers["c"]})
    again = ScoredRequests(file)
    assert {key: again.get(key) for key in answers} == answers
    assert (first.asked, again.asked, again.get("d")) == (3, 0, None)


def test_a_line_that_a_kill_tore_is_dropped_and_does_not_spoil_what_comes_after(file: Path, caplog):
    ScoredRequests(file).keep({"a": [-1.0, True], "b": [-2.0, False]})
    whole = file.read_bytes()
    for length in range(len(whole) - 2, len(whole) - 20, -1):
        file.write_bytes(whole[:length])
        found = ScoredRequests(file)
        assert (found.get("a"), found.get("b")) == ([-1.0, True], None)
        found.keep({"c": [-3.0, True]})
        again = ScoredRequests(file)
        assert (again.get("a"), again.get("b"), again.get("c")) == ([-1.0, True], None, [-3.0, True])
    assert "torn or damaged; their requests are asked again" in caplog.text


@pytest.mark.parametrize(
    "line",
    [
        b"[]",
        b'["key"]',
        b"17",
        b'{"key": 1}',
        b"\xff\xfe",
        b'["a", [-9.0, true], "00000000"]',
    ],
)
def test_a_damaged_line_is_told_of_and_changes_no_answer(file: Path, line: bytes, caplog):
    ScoredRequests(file).keep({"a": [-1.0, True]})
    file.write_bytes(file.read_bytes() + line + b"\n")
    with caplog.at_level(logging.WARNING):
        assert ScoredRequests(file).get("a") == [-1.0, True]
    assert f"1 lines of {file} are torn or damaged" in caplog.text


def test_a_number_that_the_disk_changed_is_asked_again(file: Path):
    ScoredRequests(file).keep({"a": [-1.25, True]})
    file.write_text(file.read_text().replace("-1.25", "-1.15"))
    assert ScoredRequests(file).get("a") is None


def _keep(file: Path, name: str) -> None:
    requests = ScoredRequests(file)
    for number in range(200):
        requests.keep({f"{name}-{number}-{part}": [number, "x" * 50] for part in range(5)})


def test_two_processes_write_whole_lines(file: Path):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_keep, args=(file, name)) for name in "pq"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert len({key for key, _, _ in lines}) == len(lines) == 2000


def test_a_request_is_named_by_all_that_decides_its_answer():
    keys = {
        request_key("loglikelihood", "a", "b"),
        request_key("loglikelihood", "ab", ""),
        request_key("generate_until", "a", "b"),
        request_key("generate_until", "a", "b", 1),
    }
    assert len(keys) == 4
    assert request_key("loglikelihood", "a", "b") in keys


def test_outside_of_a_store_nothing_is_kept(tmp_path: Path):
    ScoredRequests.of_model(tmp_path, SCORER).keep({"a": [-1.0, True]})
    assert list(tmp_path.iterdir()) == []
