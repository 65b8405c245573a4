"""The package: one immutable directory that a serving team verifies, opens and serves."""

import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import PositiveInt

from evaluation.batch_dependence import LIMIT_NATS
from export.card import model_card
from export.smoke import SMOKE, choose_smoke_prompts
from stillhouse import progress
from stillhouse.recipe.settings import Settings
from stillhouse.store.artifact import FACTS, Inputs, read_manifest
from stillhouse.store.links import content_files, link_file, link_tree

VARIANTS = "variants"
_LOADERS = {
    "torch": {"transformers": "transformers.AutoModelForCausalLM"},
    "bnb": {"transformers": "transformers.AutoModelForCausalLM"},
    "onnx": {
        "stillhouse": "stillhouse.serving.decoder.Decoder",
        "onnxruntime": "onnxruntime.InferenceSession",
        "optimum": "optimum.onnxruntime.ORTModelForCausalLM",
    },
}
_RUNTIMES = (
    "onnxruntime-gpu",
    "onnxruntime",
    "tokenizers",
    "numpy",
    "transformers",
    "optimum",
    "optimum-onnx",
    "torch",
    "bitsandbytes",
    "accelerate",
)


class PackageSettings(Settings):
    """What a package is called, and how it is checked."""

    name: str
    """The recipe's name."""
    smoke_prompts: PositiveInt
    """Prompts that `verify` asks."""
    threads: PositiveInt
    """CPU threads of the process that answers them."""


def build_package(settings: PackageSettings, inputs: Inputs, folder: Path) -> None:
    """Link the variants that passed their gates, and write what a serving team needs beside them.

    Inputs are `results`, `report`, `dataset` and `variant_<name>` for each variant that was made. The artifact's
    `manifest.json` is the package's: checksums of every file, and in `facts` the loaders and runtime versions.
    """
    text = (inputs["results"] / "results.json").read_text(encoding="utf-8")
    left_out = dict(read_manifest(inputs["results"]).facts["left_out"])
    made = {name.removeprefix("variant_"): path for name, path in inputs.items() if name.startswith("variant_")}
    ships = {name: path for name, path in made.items() if name not in left_out}
    for name, path in ships.items():
        progress.step(f"adds {name}")
        for file in content_files(path):
            link_file(file, folder / VARIANTS / name / file.relative_to(path))
    onnx = {name: path for name, path in ships.items() if _family(name) == "onnx"}
    smoke = choose_smoke_prompts(onnx, inputs["dataset"], num_prompts=settings.smoke_prompts, threads=settings.threads)
    _write_json(folder / SMOKE, smoke)
    link_file(inputs["results"] / "results.json", folder / "results.json")
    link_file(inputs["report"] / "report.html", folder / "report.html")
    link_tree(inputs["report"] / "plots", folder / "plots")
    facts = _facts(settings.name, ships, left_out, json.loads(text)["variants"])
    opens_with = {name: tuple(variant["loaders"]) for name, variant in facts["variants"].items()}
    (folder / "README.md").write_text(model_card(json.loads(text), opens_with), encoding="utf-8")
    _write_json(folder / FACTS, facts)


def _facts(
    name: str, ships: dict[str, Path], left_out: dict[str, str], figures: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """What the manifest says to whoever opens the package."""
    return {
        "name": name,
        "variants": {
            variant: {
                "folder": f"{VARIANTS}/{variant}",
                "loaders": _loaders(variant, folder),
                "batched": _may_be_batched(figures[variant]),
            }
            for variant, folder in ships.items()
        },
        "left_out": left_out,
        "runtime_versions": {runtime: found for runtime in _RUNTIMES if (found := _version(runtime))},
    }


def _loaders(variant: str, folder: Path) -> dict[str, str]:
    """What opens a variant, by the name of the library."""
    loaders = _LOADERS[_family(variant)]
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    hidden, heads, head_size = (config.get(key) for key in ("hidden_size", "num_attention_heads", "head_dim"))
    if hidden and heads and head_size and head_size != hidden // heads:
        # optimum lays out its key-value cache for hidden_size / num_attention_heads channels a head.
        return {library: name for library, name in loaders.items() if library != "optimum"}
    return loaders


def _may_be_batched(figures: dict[str, Any]) -> bool:
    """Whether requests may be answered side by side; only where it was measured that none changes another's answer."""
    dependence = figures.get("batch_dependence_nats")
    return dependence is not None and dependence <= LIMIT_NATS


def _family(variant: str) -> str:
    return variant.split("-")[0]


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
