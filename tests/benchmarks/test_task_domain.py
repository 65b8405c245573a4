"""The study of general text for one domain: what each way trains on, and that all are judged on the same text."""

import json
from pathlib import Path

import pytest
import yaml

from benchmarks import task_domain
from benchmarks.one_start import START
from stillhouse.recipe.recipe import load_recipe

ROOT = Path(__file__).parents[2]


def test_every_way_is_trained_from_one_start_and_judged_on_the_same_text(small_recipe, tmp_path, monkeypatch):
    path: Path = small_recipe(steps=3, warmup_steps=1)
    content = yaml.safe_load(path.read_text())
    content["data"]["sets"].append({"kind": "packaged", "name": "pubmed-abstracts", "limit": 60})
    content["data"]["selection"] = {"similar_to": {"set": "pubmed-abstracts", "share": 0.2}}
    path.write_text(yaml.safe_dump(content))
    monkeypatch.setattr(
        task_domain, "JUDGED", {"domain": ("pubmed-abstracts", 200), "general": ("boolq-passages", 200)}
    )
    monkeypatch.setattr(task_domain, "HELD_OUT_TOKENS", 8000)
    out = tmp_path / "task.json"
    options = [str(path), "--runs", str(tmp_path / "runs"), "--out", str(out), "--threads", "1", "--seeds", "0"]
    monkeypatch.setattr("sys.argv", ["task_domain", *options])
    task_domain.main()
    found = json.loads(out.read_text())
    ways = {one["way"]: one for one in found["students"]}
    assert list(ways) == [START, task_domain.AT_RANDOM, task_domain.LIKE, task_domain.ALL]
    assert len({one["key"] for one in ways.values()}) == 4
    assert len(list((tmp_path / "runs" / "store" / "prune_layers").glob("*/manifest.json"))) == 1
    for name, asked in (("domain", "pubmed-abstracts"), ("general", "boolq-passages")):
        read = [[each["document"] for each in one[name]["documents"]] for one in ways.values()]
        assert len(read[0]) > 1 and all(each == read[0] for each in read)
        assert all(each.startswith(asked) for each in read[0])
        like, other = (ways[way][name] for way in (task_domain.LIKE, task_domain.AT_RANDOM))
        for figure in task_domain.SHOWN:
            assert like["less"][figure][0] == pytest.approx(like["figures"][figure] - other["figures"][figure])
    page = out.with_suffix(".md").read_text()
    assert f"| {task_domain.LIKE} | 0 | " in page and "| start, not trained | " in page


def test_as_large_a_share_is_drawn_of_each_other_set():
    recipe = load_recipe(ROOT / "recipes" / "techniques" / "task.yaml")
    found = task_domain.ways(recipe)
    assert found[task_domain.LIKE] == recipe
    selection = found[task_domain.AT_RANDOM].data.selection
    assert selection is not None and selection.weights == {"boolq-passages": 0.2, "nq-open": 0.2}
    assert found[task_domain.ALL].data.selection is None
    with pytest.raises(ValueError, match="nothing to compare"):
        task_domain.ways(found[task_domain.ALL])
