"""A flow to be broken: its stages are toys (`toy_stages.py`), and everything around them is the real thing.

A worker runs it as the deployment `sweep/toy`, a terminal as `python -m toy RUNS SECONDS SEED`.
"""

import sys
from pathlib import Path
from typing import Any

import toy_stages
from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from toy_stages import ToySettings

from flows.attended import Outcome, attended, checked
from flows.work import Work, through_prefect
from stillhouse.store.artifact import Reference
from stillhouse.store.store import References, Stage, Store
from tasks.retries import can_help

TROUBLES = (
    *("memory", "memory of a child", "killed child", "diverged", "input"),
    *("disk", "disk by hand", "disk in a child", "disk in a child by hand"),
)


def _task(stage: Stage, *tags: str, retries: int = 0) -> Any:
    def body(store: Store, settings: ToySettings, inputs: References) -> Reference:
        return store.make(stage, settings, inputs)

    # As the real stages that read from a network have it.
    again = {"retries": retries, "retry_condition_fn": can_help} if retries else {}
    return task(name=stage.__name__, tags=list(tags), cache_policy=NO_CACHE, persist_result=False, **again)(body)


ALONE, IN_CHILD = _task(toy_stages.alone), _task(toy_stages.in_child)
TRAIN, TROUBLE = _task(toy_stages.train, "accelerator"), _task(toy_stages.trouble, retries=2)


# By a name of those whose heartbeats the server watches.
@flow(name="sweep", flow_run_name="toy-{seed}", persist_result=False)
def toy(runs: str, seconds: float = 3.0, seed: str = "", filling: str = "") -> dict[str, Any]:
    """Run the toy stages; a seed that is a trouble's name meets it."""
    return attended(lambda: _in_flow(Path(runs), seconds, seed))


def _in_flow(runs: Path, seconds: float, seed: str) -> Outcome:
    checked(lambda: runs.mkdir(parents=True, exist_ok=True))
    settings = ToySettings(seconds=seconds, seed=seed, journal=str(runs / "journal"))
    work = Work(Store(runs / "store"), through_prefect)
    first = work.make(ALONE, settings, {})
    second = work.make(IN_CHILD, settings, {"first": first})
    third = work.make(TRAIN, settings, {"second": second})
    if seed in TROUBLES:
        work.make(TROUBLE, settings, {"third": third})
    toy_stages.tell(settings.journal, "all done")
    return Outcome("Packaged", f"PACKAGED: a toy, {third}", {"verdict": "passed"})


if __name__ == "__main__":
    toy(runs=sys.argv[1], seconds=float(sys.argv[2]), seed=sys.argv[3])
