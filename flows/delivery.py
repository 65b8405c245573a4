"""The part of the order of work that every package goes through, whatever its student comes from."""

from collections.abc import Mapping

from evaluation.gate_figures import check_documents
from flows.answering import answer
from flows.settings import SettingsOfDelivery
from flows.work import Made, Work
from stillhouse.models.own_tokenizer import TrainTokenizerSettings
from stillhouse.models.teacher import LoadTeacherSettings
from stillhouse.store.artifact import Reference
from tasks.assemble import assemble_results
from tasks.build_package import build_package
from tasks.choose import select_documents
from tasks.compare_variant import measure_parity
from tasks.convert import export_onnx
from tasks.encode import encode_documents
from tasks.encode_again import encode_for_teacher
from tasks.fetch_student import load_student
from tasks.find_noise_floor import measure_noise_floor
from tasks.gather import gather_documents
from tasks.keep_student import copy_student
from tasks.look_for_benchmarks import measure_contamination
from tasks.quantize_bnb import quantize_bnb
from tasks.quantize_int4 import quantize_int4
from tasks.quantize_int8 import quantize_int8
from tasks.score_behaviour import evaluate_behaviour
from tasks.score_benchmarks import evaluate_capability
from tasks.score_held_out import measure_held_out
from tasks.time_variant import measure_efficiency
from tasks.train_tokenizer import train_tokenizer
from tasks.write_rationales import write_rationales
from tasks.write_report import write_report

References = dict[str, Reference]
REFERENCE = "variant_torch-fp32"
"""What the other variants are compared with."""
SHOWN = ("pruned", "student", "behaviour_teacher", "behaviour_pruned", "behaviour_student")
"""What the report reads beside the results."""


def prepare_data(settings: SettingsOfDelivery, work: Work, teacher: Reference) -> References:
    """Documents without benchmarks in them, the teachers' answers to those that are prompts, and the ids of both.

    Where the recipe selects, what it leaves out is neither answered nor encoded.
    """
    documents = work.make(gather_documents, settings.documents, {})
    contamination = work.make(measure_contamination, settings.contamination, {"documents": documents})
    found = {"documents": documents, "contamination": contamination}
    if settings.select is not None:
        found["selected"] = work.make(select_documents, settings.select, {"documents": documents})
    read = {"teacher": teacher, "documents": found.get("selected", documents)}
    # Rationales first: a teacher that has no room for them, or none right, is found out before hours of answers.
    solved = _rationales(settings, work, read)
    answered = answer(settings, work, read)
    made = {**answered.said, **solved, **_own_tokenizer(settings, work, read)}
    dataset = work.make(encode_documents, settings.encode, {**read, **made})
    found |= {**answered.besides, **made, "dataset": dataset}
    if "tokenizer" in found:
        again = {"teacher": teacher, "dataset": found["dataset"]}
        found["dataset_teacher"] = work.make(encode_for_teacher, settings.encode_again, again)
    return found


def check_evidence(settings: SettingsOfDelivery, work: Work, dataset: Reference) -> None:
    """Refuse gates that the data cannot decide, as soon as these are encoded; nothing while a run is only planned."""
    held_out = work.facts(dataset).get("held_out")
    if held_out is not None:
        check_documents(settings.recipe, {name: own["documents"] for name, own in held_out["sets"].items()})


def _own_tokenizer(settings: SettingsOfDelivery, work: Work, read: References) -> References:
    """What holds the student's own tokenizer; nothing where it has its teacher's."""
    match settings.own_tokenizer:
        case TrainTokenizerSettings() as trained:
            return {"tokenizer": work.make(train_tokenizer, trained, read)}
        case LoadTeacherSettings() as existing:
            return {"tokenizer": work.make(load_student, existing, {})}
        case None:
            return {}


def _rationales(settings: SettingsOfDelivery, work: Work, read: References) -> References:
    """How problems are solved; nothing where the data hold none. A program that writes it all asks no teacher."""
    if (asked := settings.rationales) is None:
        return {}
    return {
        "rationales": work.make(write_rationales, asked, read if asked.compute else {"documents": read["documents"]})
    }


def score_models(
    settings: SettingsOfDelivery, work: Work, models: Mapping[str, Reference], data: Mapping[str, Reference]
) -> References:
    """Benchmarks, behaviour and held-out text: each model beside its teacher, or a student that has none alone.

    Beside a teacher with another tokenizer a student reads held-out text alone, and the teacher the same text in its
    own tokens: only bits per byte are of both.

    Args:
        settings: Of every stage.
        work: Runs them.
        models: By name.
        data: `documents` and `dataset`, and `dataset_teacher` where tokenizers differ.
    """
    teacher = models.get("teacher", models["student"])
    scores = {}
    for name, model in models.items():
        capability = work.make(evaluate_capability, settings.capability, {"model": model})
        scores[f"capability_{name}"] = capability
        read = {"model": model, "capability": capability}
        if "recitation" in settings.behaviour.behaviour.suites:
            read["documents"] = data.get("selected", data["documents"])
        scores[f"behaviour_{name}"] = work.make(evaluate_behaviour, settings.behaviour, read)
        compared = {"model": model, "teacher": teacher, "dataset": data["dataset"]}
        if "dataset_teacher" in data:
            own = data["dataset_teacher"] if name == "teacher" else data["dataset"]
            compared = {"model": model, "teacher": model, "dataset": own}
        scores[f"held_out_{name}"] = work.make(measure_held_out, settings.held_out, compared)
    return scores


def measure_before(
    settings: SettingsOfDelivery,
    work: Work,
    before: Mapping[str, Reference],
    models: Mapping[str, Reference],
    data: Mapping[str, Reference],
) -> References:
    """The students that taught on the way, and held-out text beside the first teacher; nothing on a direct route."""
    read = {"teacher": models["teacher"], "dataset": data["dataset"]}
    found = {}
    for name, model in before.items():
        found[f"student_{name}"] = model
        found[f"before_{name}"] = work.make(measure_held_out, settings.held_out, {"model": model, **read})
    return found


def deliver(settings: SettingsOfDelivery, work: Work, found: References) -> Made:
    """Make, measure, judge and package the variants of `found["student"]`.

    Args:
        settings: Of every stage.
        work: Runs them.
        found: Models, data and scores, by the names that `assemble_results` knows.
    """
    variants = make_variants(settings, work, found["student"], found["dataset"])
    measured = measure_variants(settings, work, variants, found["dataset"])
    measured |= measure_beside(settings, work, measured, found.get("teacher"))
    results = work.make(assemble_results, settings.assemble(work.absent), {**found, **measured})
    shown = {name: found[name] for name in SHOWN if name in found}
    report = work.make(write_report, settings.report, {"results": results, **shown})
    ships = {name: each for name, each in measured.items() if name.startswith("variant_")}
    read = {"results": results, "report": report, "dataset": found["dataset"], **ships}
    blocked = work.facts(results).get("verdict") == "blocked"
    package = None if blocked else work.make(build_package, settings.package, read)
    # What the work stands on belongs to it, whoever made it: `gc` must keep it for this run too.
    artifacts = dict.fromkeys((settings.probe, *found.values(), *work.artifacts))
    return Made(tuple(artifacts), results, report, package)


def make_variants(settings: SettingsOfDelivery, work: Work, student: Reference, dataset: Reference) -> References:
    """The deployable forms, by `variant_<name>`; one that cannot be made, or fails at it, is noted with its reason."""
    made: dict[str, Reference | None] = {
        REFERENCE: work.make(copy_student, settings.copy_student, {"student": student})
    }
    asked = settings.variants
    for kind in ("bnb-int8", "bnb-nf4"):
        if kind in asked:
            told = settings.quantize_bnb(kind)
            made[f"variant_{kind}"] = work.endure([kind], quantize_bnb, told, {"student": student})
    graphs = [name for name in asked if name.startswith("onnx")]
    onnx = work.endure(graphs, export_onnx, settings.export_onnx, {"student": student}) if graphs else None
    if onnx is not None:
        read = {"onnx": onnx, "dataset": dataset}
        if "onnx-fp32" in asked:
            made["variant_onnx-fp32"] = onnx
        if "onnx-int8" in asked:
            made["variant_onnx-int8"] = work.endure(["onnx-int8"], quantize_int8, settings.quantize_int8, read)
        if "onnx-int4" in asked:
            made["variant_onnx-int4"] = work.endure(["onnx-int4"], quantize_int4, settings.quantize_int4, read)
    return {name: variant for name, variant in made.items() if variant is not None}


def measure_variants(settings: SettingsOfDelivery, work: Work, variants: References, dataset: Reference) -> References:
    """The variants that run here, with the quality, speed, memory and scores of each, from its saved bytes.

    One that fails at any of it is noted with its failure, and the others go on; but for the reference, without which
    nothing is known of the others.
    """
    measured: References = {}
    for name, variant in variants.items():
        read = {"variant": variant, "reference": variants[REFERENCE], "dataset": dataset}
        found = _measured(settings, work, name, read)
        measured |= {f"{kind}_{name.removeprefix('variant_')}": each for kind, each in found.items()}
    return measured


def _measured(settings: SettingsOfDelivery, work: Work, name: str, read: References) -> References:
    """What was measured of one variant; nothing where it failed at any of it."""
    asked = (
        ("parity", measure_parity, settings.parity, read),
        ("efficiency", measure_efficiency, settings.efficiency, {"variant": read["variant"]}),
        ("capability", evaluate_capability, settings.capability_of_variants, {"model": read["variant"]}),
    )
    found = {"variant": read["variant"]}
    for kind, stage, told, inputs in asked:
        if name == REFERENCE:
            made: Reference | None = work.make(stage, told, inputs)
        else:
            made = work.endure([name.removeprefix("variant_")], stage, told, inputs)
        if made is None:
            return {}
        found[kind] = made
    return found


def measure_beside(
    settings: SettingsOfDelivery, work: Work, measured: References, teacher: Reference | None
) -> References:
    """What the variants' speed is read beside: the teacher's, where it is asked for, and the noise floor.

    The floor comes last, so that between the first variant's two measurements lie those of all the others.
    """
    asked, beside = settings.recipe.benchmark, References()
    if asked.teacher and teacher is not None:
        beside["efficiency_teacher"] = work.make(measure_efficiency, settings.efficiency, {"variant": teacher})
    first = next((name.removeprefix("variant_") for name in measured if name.startswith("variant_")), None)
    if asked.noise_floor and first is not None:
        read = {name: measured[f"{name}_{first}"] for name in ("variant", "efficiency")}
        # It is of the time that all of them took: with another variant beside them it is measured anew.
        read |= {name: each for name, each in measured.items() if name.startswith("efficiency_")}
        beside["noise_floor"] = work.make(measure_noise_floor, settings.efficiency, read)
    return beside
