"""What a Prefect server needs before it can run Stillhouse: a work pool, one slot an accelerator, and a watch on runs.

For a team's own server, with `PREFECT_API_URL` set: `python -m flows.set_up_server`, then `prefect deploy --all`.
"""

import argparse
from datetime import timedelta

from prefect.automations import Automation
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound

POOL = "stillhouse"
ACCELERATOR = "tag:accelerator"
"""Prefect's name for the limit on tasks with this tag."""
_WATCH = "Runs whose process is gone are crashed"
_HEARTBEAT = "prefect.flow-run.heartbeat"
_SILENCE = timedelta(seconds=90)
"""Three heartbeats (`PREFECT_FLOWS_HEARTBEAT_FREQUENCY`, 30 s): two may be lost on a busy machine."""
_ENDS = ("Completed", "Failed", "Cancelled", "Crashed", "TimedOut", "Packaged", "Blocked", "Scored", "Skipped")
"""Names of the states after which a run may be silent."""


def set_up(accelerators: int) -> None:
    """Make whatever of it is not there yet.

    Args:
        accelerators: How many stages that train or measure may work at once, over all workers.
    """
    with get_client(sync_client=True) as client:
        _make_pool(client)
        client.upsert_global_concurrency_limit_by_name(ACCELERATOR, accelerators)
        known = {automation.name for automation in client.read_automations()}
    if _WATCH not in known:
        _watch().create()


def _make_pool(client: SyncPrefectClient) -> None:
    try:
        client.read_work_pool(POOL)
    except ObjectNotFound:
        client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))


def _watch() -> Automation:
    """A killed process cannot say that it was killed: its run would stay `Running` for ever."""
    return Automation(
        name=_WATCH,
        description="No sign of life for 90 seconds.",
        trigger=EventTrigger(
            after={_HEARTBEAT},
            expect={_HEARTBEAT, *(f"prefect.flow-run.{end}" for end in _ENDS)},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=_SILENCE,
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED,
                message="Its process gave no sign of life for 90 seconds. Retry: it goes on from what is finished.",
            )
        ],
    )


def main() -> None:
    """Set up the server that `PREFECT_API_URL` names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accelerators", type=int, default=1, help="stages that may train or measure at once")
    set_up(parser.parse_args().accelerators)


if __name__ == "__main__":
    main()
