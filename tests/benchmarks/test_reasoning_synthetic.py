import json
import sys

import numpy as np

from benchmarks import reasoning_synthetic
from benchmarks.reasoning_synthetic import Effort
from stillhouse.reasoning.arithmetic import check_sum


def test_the_three_trainings_are_of_one_length_and_each_is_asked_what_it_learned(tmp_path, monkeypatch):
    monkeypatch.setattr(reasoning_synthetic, "_ASKED", 4)
    monkeypatch.setattr(reasoning_synthetic, "_SUMS", 300)
    place = tmp_path / "found.json"
    few = ["--seeds", "0", "--steps", "2", "--threads", "1"]
    monkeypatch.setattr(sys, "argv", ["study", *few, "--out", str(place)])
    reasoning_synthetic.main()
    found = json.loads(place.read_text())
    forms = {run["form"]: set(run) - {"form", "seed", "seconds", "weights"} for run in found["runs"]}
    after_steps = {"answers_after_steps", "right_steps", "sound"}
    assert forms == {
        "answer_only": {"answers_at_once"},
        "one_sequence": after_steps,
        "two_tasks": {"answers_at_once"} | after_steps,
    }
    assert found["tokens_of_each_training"] == 2 * 16 * 64
    page = place.with_suffix(".md").read_text()
    assert all(f"| {form} | " in page for form in forms)


def test_what_is_learned_passes_the_checker_and_two_tasks_share_the_loss():
    sums = reasoning_synthetic._sums(np.random.default_rng(0), Effort(terms=4, digits=2), 20)
    for each in sums:
        (_, answer), (_, reasoned) = reasoning_synthetic._texts(each, "two_tasks")
        trace = reasoning_synthetic._read(reasoned)
        assert trace.answer == answer == str(eval(each))  # noqa: S307  # digits and plus signs
        assert check_sum({"expression": each}, trace.steps).sound
    split = reasoning_synthetic._split(sums, "two_tasks")
    weighed = split.weights * np.add.reduceat(split.counted.astype(int), split.starts[:-1])
    assert np.isclose(weighed[::2].sum(), weighed[1::2].sum())
