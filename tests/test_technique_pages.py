"""Every recipe snippet of the pages on techniques is a recipe, put into one that is whole."""

import re
from pathlib import Path

import pytest
import yaml

from stillhouse.recipe.recipe import Recipe

PAGES = sorted((Path(__file__).parents[1] / "docs" / "techniques").glob("*.md"))
WHOLE = {
    "name": "mine",
    "teacher": "org/model",
    "data": {"sets": [{"kind": "packaged", "name": "boolq-passages"}]},
    "student": {"kind": "depth", "layers": 3},
}
SNIPPETS = [
    pytest.param(text, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, text in enumerate(re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL))
]


@pytest.mark.parametrize("text", SNIPPETS)
def test_a_snippet_fits_the_schema(text: str):
    content = yaml.safe_load(text)
    recipe = Recipe.model_validate(WHOLE | content)
    for section in content:
        assert getattr(recipe, section) != getattr(Recipe.model_validate(WHOLE), section)
