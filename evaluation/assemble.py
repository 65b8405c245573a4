"""The stage `assemble_results`: every figure of a run in one `results.json`, with its gates judged."""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from evaluation.comparison import Compared, compare_behaviour, compare_capability
from evaluation.forgetting import RATIO, domains_of
from evaluation.gates import blocks_run, judge, variants_left_out
from evaluation.measure_names import behaviour_measures, capability_measures
from evaluation.results import (
    Costs,
    Lineage,
    ModelFigures,
    NoiseFloor,
    Results,
    Score,
    StageRecord,
    VariantAbsent,
    VariantFigures,
)
from evaluation.run_evidence import evidence_of
from stillhouse.recipe.compute import Compute
from stillhouse.recipe.continual import Continual
from stillhouse.recipe.recipe import ExportRecipe, Recipe
from stillhouse.recipe.settings import Settings
from stillhouse.store.artifact import FACTS, Inputs, Manifest, read_manifest

_MODELS = ("teacher", "pruned", "student")
REFERENCE_VARIANT = "torch-fp32"
"""What the scores of the other variants are compared with."""
_LEFT = ("prompts_left", "responses_left")
BATCH_DEPENDENCE = "batch_dependence_nats"
"""The fact of `evaluate_capability` that is no benchmark's."""


class AssembleSettings(Settings):
    """What the artifacts themselves do not know of the run."""

    recipe: Recipe | ExportRecipe
    """The recipe, whole."""
    compute: Compute
    """Device, precision and threads after every `auto` was decided."""
    code: dict[str, str] = Field(exclude=True)
    """`commit` and `version`. Not in the key: what a commit changed is in the keys of the stages that it changed."""
    environment: dict[str, Any] = Field(exclude=True)
    """Python, operating system, processor, memory, accelerator, versions of the libraries; as little in the key."""
    absent: dict[str, str] = {}
    """Variants that could not be made or measured, each with the reason."""


def assemble_results(settings: AssembleSettings, inputs: Inputs, folder: Path) -> None:
    """Write `results.json` and `facts.json` from the manifests of a run's artifacts.

    Args:
        settings: The recipe and where it ran.
        inputs: `student`, `documents`, `dataset`, perhaps `teacher`, the other teachers of an ensemble as `teacher_1`
            and so on, those that answer prompts as `answering_1`, with their responses as `sampled_1` and
            `responses_1`, `contamination`, and any other artifact whose record belongs in the lineage; of each model
            `held_out_<model>`, `capability_<model>` and `behaviour_<model>`; of each student on the way
            `before_<name>`, what `measure_held_out` found; of each variant `variant_<name>`, `parity_<name>`,
            `efficiency_<name>` and perhaps `capability_<name>`; perhaps `noise_floor` and `efficiency_teacher`.
        folder: Where to write.

    `facts.json` holds the `verdict`, `passed` or `blocked`, and `left_out`, the variants that a gate keeps out of
    the package. A run whose every variant is left out or absent is blocked too: it has nothing to ship.
    """
    manifests = {name: read_manifest(path) for name, path in inputs.items()}
    asked, seed = settings.recipe.evaluation, settings.compute.seed
    measures = {"capability": capability_measures(asked), "behaviour": behaviour_measures(asked)}
    compared = {room: _compare(room, inputs, seed=seed) if names else {} for room, names in measures.items()}
    compared |= {"variants": _compare_variants(inputs, seed=seed)}
    route = settings.recipe.route if isinstance(settings.recipe, Recipe) else None
    domains = domains_of(route, inputs, seed=seed) if isinstance(route, Continual) else {}
    figures = Results(
        lineage=_lineage(settings, manifests, _data(inputs["documents"], manifests["dataset"])),
        models=_models(manifests),
        before={name: ModelFigures(**manifest.facts) for name, manifest in _of("before", manifests).items()},
        domains={name: one.figures for name, one in domains.items()},
        contamination=manifests["contamination"].facts if "contamination" in manifests else {},
        capability=_scores("capability", measures["capability"], manifests, compared["capability"]),
        behaviour=_scores("behaviour", measures["behaviour"], manifests, compared["behaviour"]),
        variants=_variants(settings, manifests, compared["variants"]),
        noise_floor=_noise_floor(manifests),
        teacher_costs=_teacher_costs(manifests),
        gates=[],
    )
    evidence = evidence_of(inputs, compared, seed=seed)
    for name, one in domains.items():
        if one.evidence is not None:
            evidence[f"domains.{name}.{RATIO}", "alone"] = one.evidence
    gates = judge(settings.recipe.gates, figures.model_dump(mode="json"), evidence)
    results = figures.model_copy(update={"gates": gates})
    left_out = variants_left_out(gates)
    ships = any(isinstance(found, VariantFigures) and name not in left_out for name, found in results.variants.items())
    verdict = "passed" if ships and not blocks_run(gates) else "blocked"
    _write(folder / "results.json", results.model_dump(mode="json"))
    _write(folder / FACTS, {"verdict": verdict, "left_out": left_out})


def _of(prefix: str, manifests: Mapping[str, Manifest]) -> dict[str, Manifest]:
    """Pick the inputs called `<prefix>_<name>`, by name."""
    start = f"{prefix}_"
    return {name.removeprefix(start): found for name, found in manifests.items() if name.startswith(start)}


def _of_number(prefix: str, manifests: Mapping[str, Manifest]) -> list[Manifest]:
    """The inputs called `<prefix>_1`, `<prefix>_2` and so on, in this order."""
    numbered = {name: manifest for name, manifest in _of(prefix, manifests).items() if name.isdecimal()}
    return [numbered[name] for name in sorted(numbered, key=int)]


def _lineage(settings: AssembleSettings, manifests: Mapping[str, Manifest], data: list[dict[str, Any]]) -> Lineage:
    return Lineage(
        recipe=settings.recipe.model_dump(mode="json"),
        # A model that is exported as it came has no teacher but itself.
        teacher=manifests.get("teacher", manifests["student"]).facts,
        other_teachers=_other_teachers(settings, manifests),
        data=data,
        left_out=[
            row
            for manifest in (
                *(manifests[name] for name in ("selected", "responses") if name in manifests),
                *_of_number("responses", manifests),
            )
            for row in manifest.facts.get("left_out", ())
        ],
        answers=manifests["answers"].facts if "answers" in manifests else {},
        responses=_responses(manifests),
        code=settings.code,
        environment=settings.environment,
        seed=settings.recipe.seed,
        compute=settings.compute.model_dump(mode="json"),
        stages=[
            StageRecord(**{name: getattr(manifest, name) for name in StageRecord.model_fields})
            for manifest in _in_order(manifests.values())
        ],
    )


def _other_teachers(settings: AssembleSettings, manifests: Mapping[str, Manifest]) -> list[dict[str, Any]]:
    """Those that are mixed, then those that answer prompts: of these, which sets, and what their responses are like."""
    found = [manifest.facts for manifest in _of_number("teacher", manifests)]
    answering = zip(settings.recipe.data.answers.others, _of_number("answering", manifests), strict=True)
    for number, (asked, manifest) in enumerate(answering, start=1):
        responses = _responses(manifests, f"_{number}")
        told = {"answered": list(asked.serves)} | ({"responses": responses} if responses else {})
        found.append(manifest.facts | told)
    return found


def _responses(manifests: Mapping[str, Manifest], ending: str = "") -> dict[str, int | float | None]:
    """What `sample_responses` found of all of them, and how many `choose_responses` left; nothing without either.

    `ending` is the number of another teacher, as it stands in the inputs' names.
    """
    if f"sampled{ending}" not in manifests:
        return {}
    chosen = manifests[f"responses{ending}"].facts
    return {**manifests[f"sampled{ending}"].facts, **{name: chosen[name] for name in _LEFT if name in chosen}}


def _in_order(manifests: Collection[Manifest]) -> list[Manifest]:
    """Put every artifact after those it was made from, and each one once."""
    given = {manifest.key: manifest for manifest in manifests}
    ordered: dict[str, Manifest] = {}

    def visit(manifest: Manifest) -> None:
        for key in manifest.inputs.values():
            if key in given:
                visit(given[key])
        ordered[manifest.key] = manifest

    for manifest in given.values():
        visit(manifest)
    return list(ordered.values())


def _data(documents: Path, dataset: Manifest) -> list[dict[str, Any]]:
    """Say of each set which bytes were read, and how many of its documents and tokens were taken."""
    settings = read_manifest(documents).settings
    # The manifest sorts names; the stage's own file has the sets in the recipe's order, as the settings do.
    facts = json.loads((documents / FACTS).read_text(encoding="utf-8"))
    sources = iter(settings["sources"])
    rows = []
    for asked, (name, gathered) in zip(settings["sets"], facts["sets"].items(), strict=True):
        row = {"name": name, **gathered, "digest": next(sources)["digest"]}
        if asked.get("held_out"):
            row["held_out_digest"] = next(sources)["digest"]
        for split, encoded in dataset.facts.items():
            # Documents from a set's own held-out file bear its name with this ending.
            members = [encoded["sets"].get(each, {}) for each in (name, f"{name}/held-out")]
            row[f"{split}_tokens"] = sum(member.get("tokens", 0) for member in members)
        rows.append(row)
    return rows


def _models(manifests: Mapping[str, Manifest]) -> dict[Any, ModelFigures]:
    return {name: ModelFigures(**manifest.facts) for name, manifest in _of("held_out", manifests).items()}


def _compare(room: str, inputs: Inputs, *, seed: int) -> dict[str, dict[str, Compared]]:
    """Set each model's scores beside its teacher's, by model and measure; empty without a teacher."""
    folders = {model: inputs[f"{room}_{model}"] for model in _MODELS if f"{room}_{model}" in inputs}
    compare = compare_capability if room == "capability" else compare_behaviour
    return {
        model: compare(folder, folders["teacher"], seed=seed)
        for model, folder in folders.items()
        if "teacher" in folders and model != "teacher"
    }


def _compare_variants(inputs: Inputs, *, seed: int) -> dict[str, dict[str, Compared]]:
    """Set each variant's scores beside those of `torch-fp32`; empty where they were not scored."""
    names = [name.removeprefix("variant_") for name in inputs if name.startswith("variant_")]
    reference = inputs.get(f"capability_{REFERENCE_VARIANT}")
    return {
        name: compare_capability(inputs[f"capability_{name}"], reference, seed=seed)
        for name in names
        if reference is not None and name != REFERENCE_VARIANT and f"capability_{name}" in inputs
    }


def _scores(
    room: str,
    measures: Sequence[str],
    manifests: Mapping[str, Manifest],
    compared: Mapping[str, Mapping[str, Compared]],
) -> dict[str, dict[str, Score]]:
    """Turn each model's scores by measure into each measure's scores by model, with what sets it off the teacher."""
    facts = {model: manifests[f"{room}_{model}"].facts for model in _MODELS if f"{room}_{model}" in manifests}
    return {
        name: {model: _score(found[name], compared.get(model, {}).get(name)) for model, found in facts.items()}
        for name in measures
    }


def _score(facts: Mapping[str, Any], compared: Compared | None) -> Score:
    return Score(**facts, **({} if compared is None else compared.as_score()))


def _variants(
    settings: AssembleSettings, manifests: Mapping[str, Manifest], compared: Mapping[str, Mapping[str, Compared]]
) -> dict[str, VariantFigures | VariantAbsent]:
    """Join what was found of each variant by its export, its parity, its efficiency and its benchmarks."""
    variants: dict[str, VariantFigures | VariantAbsent] = {}
    for name in _of("variant", manifests):
        parts = [manifests[f"{prefix}_{name}"].facts for prefix in ("variant", "parity", "efficiency")]
        joined = {key: value for part in parts for key, value in part.items() if key in VariantFigures.model_fields}
        intervals = {key: bounds for part in parts for key, bounds in part.get("intervals", {}).items()}
        scored = _scores_of_variant(name, manifests, compared.get(name, {}))
        variants[name] = VariantFigures(**joined | scored | {"intervals": intervals})
    return variants | {name: VariantAbsent(reason=reason) for name, reason in settings.absent.items()}


def _noise_floor(manifests: Mapping[str, Manifest]) -> NoiseFloor | None:
    """What `measure_noise_floor` found, and of which variant."""
    found = manifests.get("noise_floor")
    if found is None:
        return None
    names = {manifest.key: name for name, manifest in _of("variant", manifests).items()}
    return NoiseFloor(variant=names[found.inputs["variant"]], **found.facts)


def _teacher_costs(manifests: Mapping[str, Manifest]) -> Costs | None:
    found = manifests.get("efficiency_teacher")
    return None if found is None else Costs(**found.facts)


def _scores_of_variant(
    name: str, manifests: Mapping[str, Manifest], compared: Mapping[str, Compared]
) -> dict[str, Any]:
    """What `evaluate_capability` found of a variant, as fields of `VariantFigures`; nothing where it was not asked."""
    if f"capability_{name}" not in manifests:
        return {}
    facts = dict(manifests[f"capability_{name}"].facts)
    dependence = facts.pop(BATCH_DEPENDENCE, None)
    scores = {measure: _score(found, compared.get(measure)) for measure, found in facts.items()}
    return {"capability": scores, BATCH_DEPENDENCE: dependence}


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
