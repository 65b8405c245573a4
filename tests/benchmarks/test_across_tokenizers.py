"""The study of a teacher with other tokens: from one start, beside the text alone."""

import json
from pathlib import Path

import pytest
import yaml

from benchmarks.across_tokenizers import apart, main
from stillhouse.errors import InputError


def test_every_alpha_and_seed_begins_alike_and_is_read_in_its_own_tokens(small_recipe, tmp_path, monkeypatch):
    path: Path = small_recipe(steps=3, warmup_steps=1)
    content = yaml.safe_load(path.read_text())
    content["student"] = {"kind": "fresh", "layers": 2, "tokenizer": {"kind": "trained", "vocabulary": 600}}
    content["distillation"] |= {"loss": {"kind": "universal_logit_distance"}, "temperature": 1.0}
    path.write_text(yaml.safe_dump(content))
    out = tmp_path / "across.json"
    options = [str(path), "--runs", str(tmp_path / "runs"), "--out", str(out), "--threads", "1", "--seeds", "0", "1"]
    monkeypatch.setattr("sys.argv", ["across_tokenizers", *options])
    main()
    found = json.loads(out.read_text())
    models = found["models"]
    assert found["recipe"]["distillation"]["alpha"] == 0.5, "the page tells another recipe than it was given"
    assert len(list((tmp_path / "runs" / "store" / "make_fresh_student").glob("*/manifest.json"))) == 1
    students = [model for model in models if model["model"] == "student"]
    assert [model["model"] for model in models[:2]] == ["teacher", "start"]
    assert [(one["seed"], one["alpha"]) for one in students] == [(0, 0.0), (0, 0.3), (1, 0.0), (1, 0.3)]
    assert len({one["bits_per_byte"] for one in models}) == 6, "a seed or an alpha changed nothing"
    # A seed decides the order, and so which rows three steps read; both alphas read the same.
    assert [one["tokens"] for one in students[::2]] == [one["tokens"] for one in students[1::2]]
    # However cut into tokens, the same bytes.
    assert len({sum(document["bytes"] for document in one["documents"]) for one in models}) == 1
    page = out.with_suffix(".md").read_text()
    assert "| teacher | | " in page and "| **alpha 0.3** | mean of 2 |" in page
    (line,) = (line for line in page.splitlines() if line.startswith("| alpha 0.3 | 1 |"))
    assert f"{students[3]['bits_per_byte'] - students[2]['bits_per_byte']:+.3f} (" in line


def test_bits_are_compared_over_the_same_bytes_of_the_same_documents():
    easy = [{"document": f"d/{number}", "bytes": 100, "loss_nats": 80.0 + number} for number in range(6)]
    hard = [one | {"loss_nats": one["loss_nats"] + 69.3147} for one in easy]
    value, bounds = apart(hard, easy)
    assert value == pytest.approx(1.0, abs=1e-5) and bounds == pytest.approx((1.0, 1.0), abs=1e-5)
    with pytest.raises(ValueError, match="different documents"):
        apart(hard, easy[:5])
    with pytest.raises(ValueError, match="different parts"):
        apart(hard, [*easy[:5], easy[5] | {"bytes": 99}])


def test_a_student_with_its_teachers_tokens_has_the_control(small_recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["across_tokenizers", str(small_recipe()), "--out", str(tmp_path / "out.json")])
    with pytest.raises(InputError, match=r"take benchmarks\.control"):
        main()
