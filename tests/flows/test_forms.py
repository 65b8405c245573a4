"""What a browser shows of a flow's parameters, and what the server refuses of them."""

import pytest
from prefect import Flow
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.validation import ValidationError, validate

from flows.compress import compress
from flows.evaluate_model import evaluate
from flows.export_model import export
from flows.redistill import redistill
from flows.sweep import sweep


def form(flow: Flow) -> dict:
    return parameter_schema(flow).model_dump()


@pytest.mark.parametrize("flow", [compress, evaluate, export, redistill, sweep], ids=lambda flow: flow.name)
def test_every_field_says_what_it_is_for_and_is_one_input(flow: Flow):
    """A union would be a row of tabs that are called `str` and `None`."""
    shown = form(flow)
    fields = [
        *shown["properties"].items(),
        *shown["definitions"].get("Changes", {"properties": {}})["properties"].items(),
    ]
    for name, field in fields:
        assert field.get("description"), name
        assert "type" in field or "$ref" in field, name
        # What the form starts with must be of the field's own type, or the server refuses what nobody typed.
        assert field.get("default", "") is not None, name


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"preset": "huge"}, "'preset'"),
        ({"changes": {"layers": 0}}, "'changes.layers'"),
        ({"changes": {"train_tokens": 1.5}}, "'changes.train_tokens'"),
        ({"changes": {"alpha": 7}}, "'changes.alpha'"),
        ({"changes": {"temperature": 0}}, "'changes.temperature'"),
        ({"changes": {"variants": ["onnx-fp64"]}}, "'changes.variants.0.'"),
        ({"changes": {"layer": 3}}, "'changes'.*'layer' was unexpected"),
        ({"at_most_hours": 0}, "'at_most_hours'"),
    ],
)
def test_the_server_refuses_a_wrong_value_by_its_fields_name(asked: dict, said: str):
    with pytest.raises(ValidationError, match=said):
        validate(asked, form(redistill), raise_on_error=True)


def test_the_server_takes_an_empty_value_whether_it_is_left_out_or_null():
    validate({"changes": {"layers": None, "teacher": None, "variants": []}}, form(redistill), raise_on_error=True)
    validate({}, form(redistill), raise_on_error=True)
