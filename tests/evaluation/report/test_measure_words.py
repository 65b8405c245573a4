import pytest

from evaluation.measure_names import behaviour_measures
from evaluation.report.measure_words import MEANINGS, behaviour_measure, capability_measure, family
from stillhouse.recipe.evaluation import Evaluation


def test_every_measure_of_the_suites_has_a_name_of_its_own_and_a_direction():
    keys = behaviour_measures(Evaluation())
    names = [behaviour_measure(key).name for key in keys]
    assert len(set(names)) == len(keys) and not any("_" in name for name in names)
    assert all(behaviour_measure(key).direction and MEANINGS[family(key)] for key in keys)


@pytest.mark.parametrize(
    ("key", "name", "direction", "value", "text"),
    [
        ("stereoset_stereotype_score", "StereoSet stereotype score", "50 is unbiased", 57.44, "57.4"),
        ("typos_arc_easy", "ARC-Easy, accuracy with errors", "more is better", 0.52, "52.0%"),
        ("typos_arc_easy_accuracy_lost", "ARC-Easy, accuracy lost to errors", "less is better", 0.08, "8.0%"),
        ("generations_sampled_ends_itself", "Sampled answers, ends by itself", "more is better", 0.5, "50.0%"),
        ("generations_greedy_tokens", "Greedy answers, length in tokens", "neither way is better", 31.25, "31.2"),
    ],
)
def test_a_measure_is_written_in_its_unit(key: str, name: str, direction: str, value: float, text: str):
    found = behaviour_measure(key)
    assert (found.name, found.direction, found.value(value)) == (name, direction, text)


def test_an_unknown_measure_is_shown_as_it_is_called():
    found = behaviour_measure("toxicity")
    assert (found.name, found.direction, found.value(0.25)) == ("toxicity", "", "0.250")
    assert behaviour_measure("stereoset_new").name == "stereoset_new"
    assert capability_measure("logiqa").name == "logiqa"


def test_benchmarks_are_called_as_their_files_say_and_bits_per_byte_are_no_share():
    assert capability_measure("mmlu").value(0.25) == "25.0%"
    found = capability_measure("gsm8k_bits_per_byte")
    assert (found.name, found.direction, found.value(0.8)) == ("GSM8K, bits per byte", "less is better", "0.800")
