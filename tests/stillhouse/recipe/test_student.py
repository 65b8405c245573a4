"""The kinds of student that a recipe can ask for, and how what does not go together is refused."""

import pytest
from pydantic import TypeAdapter, ValidationError

from stillhouse.recipe.pruned import DepthAndWidthPruned, DepthPruned, WidthPruned
from stillhouse.recipe.student import Fresh, Student

STUDENT = TypeAdapter(Student)


def read(**content):
    return STUDENT.validate_python(content)


def test_each_kind_by_its_name():
    assert isinstance(read(kind="depth", layers=3, ranking="greedy"), DepthPruned)
    assert isinstance(read(kind="width", hidden_size=64), WidthPruned)
    assert isinstance(read(kind="depth_and_width", parameters_share=0.5), DepthAndWidthPruned)
    assert isinstance(read(kind="fresh", layers=3), Fresh)


@pytest.mark.parametrize(
    ("words", "count"), [("67M", 67_000_000), ("1.5B", 1_500_000_000), ("120k", 120_000), (67_000_000, 67_000_000)]
)
def test_a_number_of_parameters_may_be_given_in_words(words, count):
    assert read(kind="width", parameters=words).parameters == count


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"kind": "width"}, "nothing is said to become narrower"),
        ({"kind": "width", "parameters": "67 M"}, "valid integer"),
        ({"kind": "width", "parameters": 0}, "greater than 0"),
        ({"kind": "width", "parameters_share": 1}, "less than 1"),
        ({"kind": "width", "parameters": "1M", "parameters_share": 0.5}, "both set the size"),
        (
            {"kind": "width", "parameters": "1M", "hidden_size": 8, "feed_forward_size": 8, "key_value_heads": 1},
            "nothing is left to be found",
        ),
        ({"kind": "width", "layers": 3, "hidden_size": 8}, "Extra inputs"),
        ({"kind": "depth_and_width", "hidden_size": 8}, "give layers, or parameters"),
        ({"kind": "depth_and_width", "layers": 2}, "nothing is said to become narrower"),
        (
            {
                "kind": "depth_and_width",
                "layers": 2,
                "parameters": "1M",
                "hidden_size": 8,
                "feed_forward_size": 8,
                "key_value_heads": 1,
            },
            "nothing is left to be found",
        ),
        ({"kind": "fresh", "tokenizer": "org/other"}, "teacher"),
        ({"kind": "fresh", "config": {"hidden_size": 8}}, "names no architecture"),
        ({"kind": "fresh", "config": {"model_type": "gpt2"}, "layers": 3}, "layers are given beside config"),
        ({"kind": "depth", "layers": 3, "ranking": "random"}, "'drop_one' or 'greedy'"),
    ],
)
def test_what_does_not_go_together_is_refused_in_words(content, said):
    with pytest.raises(ValidationError, match=said):
        read(**content)
