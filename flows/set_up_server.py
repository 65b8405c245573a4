"""What a Prefect server needs before it can run Stillhouse: a work pool, one slot an accelerator, and a watch on runs.

For a team's own server, with `PREFECT_API_URL` set: `python -m flows.set_up_server`, then `prefect deploy --all`.
"""

import argparse
from datetime import timedelta

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound

POOL = "stillhouse"
ACCELERATOR = "tag:accelerator"
"""Prefect's name for the limit on tasks with this tag."""
FLOWS = ("compress", "evaluate", "export", "redistill", "sweep")
"""What is watched: a team's server may have other flows, with heartbeats that are slower or none."""
_WATCH = "Runs whose process is gone are crashed"
_HEARTBEAT = "prefect.flow-run.heartbeat"
_STARTS = ("Pending", "Submitting")
"""Names of the states of a run whose process is being started: it owes a first heartbeat."""
_MAY_BE_SILENT = (
    *("Completed", "Failed", "Cancelled", "Crashed", "TimedOut"),
    *("Packaged", "Blocked", "Scored", "Skipped", "Compared"),
    *("Running", "Retrying", "Scheduled", "AwaitingRetry", "AwaitingConcurrencySlot", "Suspended"),
)
"""Names of the states of a run that owes none: it has ended, has no process yet, or was started without heartbeats."""
SILENCE = timedelta(seconds=90)
"""Three heartbeats (`PREFECT_FLOWS_HEARTBEAT_FREQUENCY`, 30 s): two may be lost on a busy machine."""


def set_up(accelerators: int, flows: tuple[str, ...] = FLOWS, silence: timedelta = SILENCE) -> None:
    """Make whatever of it is not there yet, or is there in another form.

    Args:
        accelerators: How many stages that train or measure may work at once, over all workers.
        flows: Names of the flows that are watched.
        silence: For how long a run may give no sign of life.
    """
    watch = _watch(flows, silence)
    with get_client(sync_client=True) as client:
        _make_pool(client)
        client.upsert_global_concurrency_limit_by_name(ACCELERATOR, accelerators)
        before = next((known for known in client.read_automations() if known.name == _WATCH), None)
        if before is None:
            client.create_automation(watch)
        elif not _is_the_same(before, watch):
            client.update_automation(before.id, watch)


def _make_pool(client: SyncPrefectClient) -> None:
    try:
        client.read_work_pool(POOL)
    except ObjectNotFound:
        client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))


def _watch(flows: tuple[str, ...], silence: timedelta) -> AutomationCore:
    """A killed process cannot say that it was killed: its run would stay `Running` for ever."""
    seconds = f"{silence.total_seconds():g} seconds"
    return AutomationCore(
        name=_WATCH,
        description=f"No sign of life for {seconds}.",
        trigger=EventTrigger(
            after={_HEARTBEAT, *(f"prefect.flow-run.{name}" for name in _STARTS)},
            expect={_HEARTBEAT, *(f"prefect.flow-run.{name}" for name in _MAY_BE_SILENT)},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            match_related=ResourceSpecification(
                {"prefect.resource.role": ["flow"], "prefect.resource.name": list(flows)}
            ),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=silence,
        ),
        actions=[
            ChangeFlowRunState(
                name=None,
                state=StateType.CRASHED,
                message=f"Its process gave no sign of life for {seconds}. Retry: it goes on from what is finished.",
                force=False,
            )
        ],
    )


def _is_the_same(one: AutomationCore, other: AutomationCore) -> bool:
    """Whether nothing would change: a trigger that is written anew forgets whom it waits for."""
    kept = {"name", "description", "trigger", "actions"}
    left_out = {"trigger": {"id"}}
    return one.model_dump(include=kept, exclude=left_out) == other.model_dump(include=kept, exclude=left_out)


def main() -> None:
    """Set up the server that `PREFECT_API_URL` names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accelerators", type=int, default=1, help="stages that may train or measure at once")
    parser.add_argument(
        "--silence",
        type=int,
        default=round(SILENCE.total_seconds()),
        help="seconds without a sign of life, or to start",
    )
    asked = parser.parse_args()
    set_up(asked.accelerators, silence=timedelta(seconds=asked.silence))


if __name__ == "__main__":
    main()
