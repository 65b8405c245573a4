"""The study of rationales in a distilled student's text."""

import json
from pathlib import Path

import pytest
import yaml

from benchmarks import reasoning_students
from benchmarks.one_start import START
from benchmarks.reasoning_students import BENCHMARKS, FORMS, WITHOUT
from stillhouse.recipe.recipe import load_recipe


def test_both_forms_stand_beside_plain_text_from_one_start(small_recipe, tmp_path, monkeypatch):
    path: Path = small_recipe(steps=2, warmup_steps=1)
    content = yaml.safe_load(path.read_text())
    content["data"]["sets"].append({"kind": "reasoning", "families": ["chain_sum", "gcd"], "tasks": 20})
    path.write_text(yaml.safe_dump(content))
    out = tmp_path / "reasoned.json"
    options = [str(path), "--runs", str(tmp_path / "runs"), "--out", str(out), "--documents", "6", "--threads", "1"]
    monkeypatch.setattr("sys.argv", ["reasoning_students", *options])
    reasoning_students.main()
    models = json.loads(out.read_text())["models"]
    assert [one["way"] for one in models] == ["teacher", START, WITHOUT, *FORMS]
    assert len({one["key"] for one in models[1:]}) == 4
    assert len(list((tmp_path / "runs" / "store" / "prune_layers").glob("*/manifest.json"))) == 1
    for one in models:
        assert all(0 <= one[name] <= 1 for name in BENCHMARKS)
    for one in models[3:]:
        for name in BENCHMARKS:
            assert one["less"][name][0] == pytest.approx(one[name] - models[2][name])
    page = out.with_suffix(".md").read_text()
    assert f"| {WITHOUT} | " in page and "| one_sequence | 1 | " in page


def test_a_recipe_without_tasks_has_nothing_to_compare(small_recipe):
    with pytest.raises(ValueError, match="a set of kind reasoning"):
        reasoning_students.ways(load_recipe(small_recipe()), 6)
