"""Markdown that shows a name or a reason as it is written, whatever characters it holds."""

import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from evaluation.report.tables import Cell, Table

_SPECIAL = re.compile(r"([\\`*\[\]<>|~$])|(?<![^\W_])(_)|(_)(?![^\W_])")


def environment(folder: Path) -> Environment:
    """Templates of a folder, in which every printed value is escaped, as `autoescape` does it for HTML."""
    made = Environment(
        loader=FileSystemLoader(folder),
        autoescape=False,
        finalize=escape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters["table"] = as_markdown
    return made


def escape(value: object) -> object:
    """Text that Markdown shows as it is, on one line; `Markup` passes unchanged."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return _SPECIAL.sub(r"\\\1\2\3", " ".join(value.split("\n")).replace("&", "&amp;"))


def as_markdown(table: Table) -> Markup:
    """The table in GitHub's form of Markdown."""
    lines = [
        [str(escape(column)) for column in table.columns],
        ["--:" if column in table.number_columns else "---" for column in range(len(table.columns))],
        *([cell for found in row for cell in _markdown_cells(found)] for row in table.rows),
    ]
    return Markup("\n".join("| " + " | ".join(line) + " |" for line in lines))


def _markdown_cells(cell: Cell) -> list[str]:
    note = f" ({cell.note})" if cell.note else ""
    return [str(escape(cell.text + note)), *[""] * (cell.span - 1)]


def fenced(text: str, language: str) -> Markup:
    """A fenced block whose fence is longer than any run of backticks inside."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return Markup(f"{fence}{language}\n{text.rstrip()}\n{fence}")
