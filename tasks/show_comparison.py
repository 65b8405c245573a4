"""The comparison of a sweep's runs in Prefect's UI."""

import re
from functools import partial
from pathlib import Path

from prefect.client.schemas.actions import ArtifactCreate
from prefect.logging import get_run_logger

from evaluation.report.pictures import with_pictures_inside
from tasks.artifacts import MOST_CHARACTERS, Board, current_run, one_try

_PATIENCE_SECONDS = 20.0


def show_comparison(folder: Path) -> None:
    """Show `comparison.md` with its plots as an artifact of the current flow run; without one, do nothing."""
    run = current_run()
    if run is None:
        return
    whole = folder.resolve() / "comparison.html"
    heading, _, rest = (folder / "comparison.md").read_text(encoding="utf-8").partition("\n")
    note = f"\n*The same as one HTML page, on the machine that ran this: `{whole}`*\n"
    room = MOST_CHARACTERS - len(heading) - len(note)
    page = ArtifactCreate(
        key=re.sub("[^a-z0-9]+", "-", f"{folder.parent.name}-comparison"),
        type="markdown",
        description="The runs of the sweep beside each other, and which variants no other one beats.",
        data=f"{heading}\n{note}{with_pictures_inside(rest, folder, most_characters=room)}",
    )
    if Board(partial(one_try, _PATIENCE_SECONDS)).put(run, page) is None:
        get_run_logger().warning("The server did not take the comparison. It lies in %s", whole)
