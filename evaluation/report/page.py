"""Pages in the look of the report: one HTML file each, its style inside it, nothing fetched from anywhere."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

HERE = Path(__file__).parent
STYLE, MACROS = "style.css.jinja", "macros.html.jinja"


def environment(folder: Path) -> Environment:
    """Templates of a folder, in which every printed value is escaped; `macros` set out tables, plots and tiles."""
    made = Environment(
        loader=FileSystemLoader([folder, HERE]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["style"] = Markup((HERE / STYLE).read_text(encoding="utf-8"))
    made.globals["macros"] = made.get_template(MACROS)
    return made
