"""The comparison of a sweep's runs in Prefect's UI."""

from functools import partial
from pathlib import Path

from prefect.client.schemas.actions import ArtifactCreate
from prefect.logging import get_run_logger

from evaluation.report.pictures import with_pictures_inside
from tasks.artifacts import MOST_CHARACTERS, Board, current_run, key_of, one_try

_PATIENCE_SECONDS = 20.0


def show_comparison(folder: Path) -> None:
    """Show `comparison.md` with its plots as an artifact of the current flow run; without one, do nothing.

    Whatever goes wrong with that is logged, for the work itself is done.
    """
    run = current_run()
    if run is None:
        return
    whole = folder.resolve() / "comparison.html"
    try:
        taken = Board(partial(one_try, _PATIENCE_SECONDS)).put(run, _page(folder, whole)) is not None
    except Exception:
        get_run_logger().warning("The comparison could not be shown here. It lies in %s", whole, exc_info=True)
        return
    if not taken:
        get_run_logger().warning("The server did not take the comparison. It lies in %s", whole)


def _page(folder: Path, whole: Path) -> ArtifactCreate:
    heading, _, rest = (folder / "comparison.md").read_text(encoding="utf-8").partition("\n")
    note = f"\n*The same as one HTML page, on the machine that ran this: `{whole}`*\n"
    room = MOST_CHARACTERS - len(heading) - len(note)
    return ArtifactCreate(
        key=key_of(folder.parent.name, "comparison"),
        type="markdown",
        description="The runs of the sweep beside each other, and which variants no other one beats.",
        data=f"{heading}\n{note}{with_pictures_inside(rest, folder, most_characters=room)}",
    )
