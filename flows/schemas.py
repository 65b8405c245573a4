"""Publish what people and editors read of recipes and results: `python -m flows.schemas` writes into docs/.

The JSON Schemas, and a page made from each: every key, its type, its default and what it means.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from evaluation.results import Results
from stillhouse.recipe import ExportRecipe, Recipe
from stillhouse.store.fingerprint import PROJECT_ROOT

FOLDER = PROJECT_ROOT / "docs"
_RECIPE = """# The recipe

Made from the schema (`make schemas`); the same as JSON Schema: [recipe.schema.json](schemas/recipe.schema.json), which
editors read for completion. Unknown keys are refused. Relative paths start from the recipe's own folder.

`recipes/demo.yaml`, `recipes/tiny.yaml` and `recipes/own-data.yaml` (your own JSON Lines) are commented examples;
`recipes/smollm2-1.7b-to-360m.yaml` needs a hub and a GPU. `stillhouse export` reads an [ExportRecipe](#exportrecipe),
`recipes/export.yaml`: the same keys but for `teacher`, `student` and `distillation`, and one of its own
([JSON Schema](schemas/export-recipe.schema.json)).
"""
_RESULTS = """# results.json

Made from the schema (`make schemas`); the same as JSON Schema: [results.schema.json](schemas/results.schema.json).
A gate's `figure` is a path in this file, as in `models.student.held_out_loss_nats_per_token`,
`variants.onnx-int4.inter_token_latency_ms.p50`, `variants.onnx-int4.by_prompt_tokens.1024.time_to_first_token_ms.p95`,
`capability.pooled.student.value` or `behaviour.stereoset_icat.student.value`.
"""
_HEAD = "| key | type | default | meaning |\n|---|---|---|---|\n"


def main() -> None:
    """Write schemas and pages."""
    for path, text in published().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def published() -> dict[Path, str]:
    """Every file that is made from the models, with today's content."""
    recipe, export, results = (_schema(model) for model in (Recipe, ExportRecipe, Results))
    schemas = {"recipe": recipe, "export-recipe": export, "results": results}
    files = {
        FOLDER / "schemas" / f"{name}.schema.json": json.dumps(schema, indent=1) + "\n"
        for name, schema in schemas.items()
    }
    # Of the recipe of an export only what is not in the other one.
    alone = {"title": export["title"], "description": export["description"], "$defs": {}}
    alone["properties"] = {"model": export["properties"]["model"]}
    pages = {
        "recipe": _RECIPE + "".join(_sections(recipe)) + "".join(_sections(alone)),
        "results": _RESULTS + "".join(_sections(results)),
    }
    return files | {FOLDER / f"{name}.md": text for name, text in pages.items()}


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema()


def _sections(schema: dict[str, Any]) -> Iterator[str]:
    for name, part in ((schema["title"], schema), *schema["$defs"].items()):
        yield f"\n## {name}\n\n{part.get('description', '').strip()}\n\n{_HEAD}"
        fields = part.get("properties", {}).items()
        # What must be given comes first.
        for key, field in sorted(fields, key=lambda item: "default" in item[1]):
            default = _default(field)
            meaning = " ".join(field.get("description", "").split())
            yield f"| `{key}` | {_type(field)} | {_cell(default)} | {_cell(meaning)} |\n"


def _default(field: dict[str, Any]) -> str:
    """A section's defaults stand in its own table."""
    if "default" not in field:
        return "required"
    return "its own" if isinstance(field["default"], dict) and field["default"] else f"`{json.dumps(field['default'])}`"


def _type(field: dict[str, Any]) -> str:
    """A type in a few words; a section by its name."""
    if "$ref" in field:
        return field["$ref"].rsplit("/", 1)[1]
    for union in ("anyOf", "oneOf"):
        if union in field:
            return " or ".join(_type(one) for one in field[union])
    if "enum" in field or "const" in field:
        return " or ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    if field.get("type") == "array" and "items" in field:
        return f"list of {_type(field['items'])}"
    return str(field.get("type", "any"))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    main()
