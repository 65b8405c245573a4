"""Several compressions of one recipe, each with changes of its own, side by side, and a comparison of what came out."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

from prefect import flow
from pydantic import Field

from flows import server
from flows.asked import Preset, name_of_run, recipe_path
from flows.attended import Outcome, attended, checked
from flows.side_by_side import Places, Runner, through_runner
from flows.sweep_entries import Sweep, check_sweep, run_sweep, summary_of
from flows.work import through_prefect
from stillhouse.recipe.changes import Changes
from tasks.show_comparison import show_comparison


@flow(name="sweep", flow_run_name=name_of_run, persist_result=False)
def sweep(
    preset: Preset = "demo",
    recipe: str = "",
    changes: Annotated[tuple[Changes, ...], Field(min_length=1)] = (),
    runner: Runner = "local",
    workers: Annotated[int, Field(ge=1)] = 1,
    scheduler: str = "",
    runs: str = "runs",
) -> dict[str, Any]:
    """Compress a teacher once for each entry of a list, and compare what comes out.

    Args:
        preset: A recipe that ships with Stillhouse.
        recipe: Path of a recipe of your own, on the worker's machine, instead of a preset.
        changes: What each run does otherwise than the recipe says, an entry a run.
        runner: Where the runs work. local: on the worker's machine. dask: on the machines of a Dask cluster.
        workers: Runs at once. They share this machine's cores where the recipe leaves its threads open.
        scheduler: Of a Dask cluster, as tcp://host:8786. Empty: a cluster of so many workers on the worker's machine.
        runs: Folder that holds all that runs make, the store included; all machines of a cluster must see it.
    """
    places = Places(runner, workers, scheduler)
    return attended(lambda: _in_flow(Sweep(recipe_path(preset, recipe), changes, places, Path(runs))))


def _in_flow(asked: Sweep) -> Outcome:
    entries = checked(partial(check_sweep, asked))
    swept = run_sweep(asked, entries, through_runner, through_prefect)
    # The comparison is worth waiting for: a server that is away just now would never show it.
    server.wait_until_back()
    show_comparison(swept.folder)
    swept.refuse_failures()
    message = f"{summary_of(swept.folder).splitlines()[0]}. Comparison in {swept.folder}"
    return Outcome("Compared", message, {"run": str(swept.folder)})
