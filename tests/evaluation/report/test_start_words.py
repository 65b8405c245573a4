"""How a student's start is told, for every kind that a recipe can ask for."""

import pytest

from evaluation.report.start_words import dropped, narrowed, start
from stillhouse.recipe.low_rank import LowRank, RanksByEnergy
from stillhouse.recipe.pruned import DepthAndWidthPruned, DepthPruned, WidthPruned
from stillhouse.recipe.student import ExistingModel, Fresh


@pytest.mark.parametrize(
    ("student", "said"),
    [
        (
            DepthPruned(layers=15, ranking="drop_one"),
            "the teacher with 15 of its layers: each layer was left out in turn on 2,048",
        ),
        (DepthPruned(layers=15, ranking="greedy"), "and what was left was measured again."),
        (WidthPruned(parameters="67M"), "made narrower (at most 67,000,000 parameters)."),
        (WidthPruned(hidden_size=384), "made narrower (384 hidden channels)."),
        (WidthPruned(parameters_share=0.5), "have the largest root mean square on 8,192 training tokens"),
        (DepthAndWidthPruned(layers=20, parameters_share=0.5), "(20 layers and at most 50% of its parameters)."),
        (LowRank(), "with linear layers of low rank, 80% of their parameters, each trained by itself to what the"),
        (
            LowRank(cut=DepthPruned(layers=15), ranks=RanksByEnergy(share=0.9)),
            "Then its linear layers were cut to a low rank, 90% of their output, each trained by itself to what the",
        ),
        (Fresh(), "with random weights and the teacher's tokenizer, in the teacher's architecture."),
        (Fresh(layers=4, hidden_size=64), "in the teacher's architecture with 4 layers and 64 hidden channels."),
        (Fresh(config={"model_type": "gpt2"}), "as a model of type gpt2."),
        (ExistingModel(source="org/small"), "as org/small, a model that shares"),
    ],
)
def test_every_start_is_told(student, said):
    text = " ".join(start(student.model_dump(mode="json"))).replace("\u00a0", " ")
    assert text.startswith("The student starts") and said in text


def test_a_start_that_was_refitted_is_told_as_such():
    told = list(start(DepthPruned(layers=15).model_dump(mode="json"), {"tokens": 16_384}))
    assert "by least squares" in told[-1] and told[-1].replace("\u00a0", " ").endswith("on 16,384 training tokens.")


def test_nothing_is_told_of_no_student():
    assert list(start({})) == []


def test_why_layers_went():
    assert dropped("greedy") != dropped("drop_one")


def test_what_is_left_of_every_width():
    before = {"layers": 30, "hidden_size": 576, "feed_forward_size": 1536, "key_value_heads": 3, "queries_per_head": 3}
    after = before | {"hidden_size": 384, "feed_forward_size": 1024}
    text = narrowed({"teacher": before, "student": after}).replace("\u00a0", " ")
    assert "hidden channels 384 of 576, feed-forward channels a layer 1,024 of 1,536, key/value heads a layer 3" in text
    assert narrowed(None) == ""
