import json
from importlib.metadata import version
from pathlib import Path

from export.package import _facts, _loaders
from stillhouse.recipe.export import Export


def test_every_variant_that_a_recipe_may_ask_for_names_what_opens_it(tmp_path: Path):
    names = Export().variants
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    facts = _facts("demo", {name: tmp_path for name in names}, {}, dict.fromkeys(names, {}))
    assert set(facts["variants"]) == set(names)
    for name, variant in facts["variants"].items():
        assert variant["folder"] == f"variants/{name}"
        assert ("stillhouse" in variant["loaders"]) == name.startswith("onnx")
        assert ("transformers" in variant["loaders"]) == name.startswith(("torch", "bnb"))


def test_versions_hold_what_a_bitsandbytes_variant_needs():
    found = _facts("demo", {}, {}, {})["runtime_versions"]
    assert {name: found[name] for name in ("bitsandbytes", "accelerate", "transformers", "torch")} == {
        name: version(name) for name in ("bitsandbytes", "accelerate", "transformers", "torch")
    }


def test_optimum_is_no_loader_where_heads_are_not_as_wide_as_it_takes_them_for(tmp_path: Path):
    sizes = {"hidden_size": 48, "num_attention_heads": 4, "head_dim": 16}
    for name, config in (("wide", sizes), ("usual", sizes | {"head_dim": 12}), ("gpt2", {"n_embd": 48})):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(config), encoding="utf-8")
    found = {name: "optimum" in _loaders("onnx-fp32", tmp_path / name) for name in ("wide", "usual", "gpt2")}
    assert found == {"wide": False, "usual": True, "gpt2": True}


def test_a_variant_may_be_batched_only_where_it_was_measured_that_batches_change_nothing(tmp_path: Path):
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    measured = {"onnx-fp32": 2e-6, "onnx-int8": 0.4, "onnx-int4": None}
    figures = {name: {"batch_dependence_nats": nats} for name, nats in measured.items()}
    facts = _facts("demo", dict.fromkeys(measured, tmp_path), {}, figures)
    batched = {name: variant["batched"] for name, variant in facts["variants"].items()}
    assert batched == {"onnx-fp32": True, "onnx-int8": False, "onnx-int4": False}
