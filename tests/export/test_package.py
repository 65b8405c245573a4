from importlib.metadata import version
from pathlib import Path

from export.package import _facts
from stillhouse.recipe.export import Export


def test_every_variant_that_a_recipe_may_ask_for_names_what_opens_it():
    names = Export().variants
    facts = _facts("demo", {name: Path(name) for name in names}, {})
    assert set(facts["variants"]) == set(names)
    for name, variant in facts["variants"].items():
        assert variant["folder"] == f"variants/{name}"
        assert ("stillhouse" in variant["loaders"]) == name.startswith("onnx")
        assert ("transformers" in variant["loaders"]) == name.startswith(("torch", "bnb"))


def test_versions_hold_what_a_bitsandbytes_variant_needs():
    found = _facts("demo", {}, {})["runtime_versions"]
    assert {name: found[name] for name in ("bitsandbytes", "accelerate", "transformers", "torch")} == {
        name: version(name) for name in ("bitsandbytes", "accelerate", "transformers", "torch")
    }
