"""Publish the JSON Schemas of recipes and results: `python -m flows.schemas` writes docs/schemas/."""

import json

from evaluation.results import Results
from stillhouse.recipe import Recipe
from stillhouse.store.fingerprint import PROJECT_ROOT

FOLDER = PROJECT_ROOT / "docs" / "schemas"


def main() -> None:
    """Write both files."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, model in (("recipe", Recipe), ("results", Results)):
        text = json.dumps(model.model_json_schema(), indent=1) + "\n"
        (FOLDER / f"{name}.schema.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
