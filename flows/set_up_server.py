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
_START_WATCH = "Runs whose process does not start are crashed"
_HEARTBEAT = "prefect.flow-run.heartbeat"
_STARTS = ("Pending", "Submitting")
"""Names of the states of a run whose process, or container, is being started: it owes a first heartbeat."""
_MAY_BE_SILENT = (
    *("Completed", "Failed", "Cancelled", "Crashed", "TimedOut"),
    *("Packaged", "Blocked", "Scored", "Skipped", "Compared"),
    *("Running", "Retrying", "Scheduled", "AwaitingRetry", "AwaitingConcurrencySlot", "Suspended"),
)
"""Names of the states of a run that owes none: it has ended, has no process yet, or was started without heartbeats."""
SILENCE = timedelta(seconds=90)
"""Three heartbeats (`PREFECT_FLOWS_HEARTBEAT_FREQUENCY`, 30 s): two may be lost on a busy machine."""
START = timedelta(seconds=900)
"""A container's image may have to be fetched before the first heartbeat."""


def set_up(
    accelerators: int | None = None,
    flows: tuple[str, ...] = FLOWS,
    silence: timedelta = SILENCE,
    start: timedelta = START,
) -> None:
    """Make whatever of it is not there yet, or is there in another form.

    Args:
        accelerators: How many stages that train or measure may work at once, over all workers; left out, what the
            server has, or one.
        flows: Names of the flows that are watched.
        silence: For how long a run may give no sign of life.
        start: How long a run's process may take to give its first.
    """
    with get_client(sync_client=True) as client:
        _make_pool(client)
        _limit_accelerators(client, accelerators)
        known = {automation.name: automation for automation in client.read_automations()}
        for watch in (_watch(flows, silence), _start_watch(flows, start)):
            before = known.get(watch.name)
            if before is None:
                client.create_automation(watch)
            elif not _is_the_same(before, watch):
                client.update_automation(before.id, watch)


def _make_pool(client: SyncPrefectClient) -> None:
    try:
        client.read_work_pool(POOL)
    except ObjectNotFound:
        client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))


def _limit_accelerators(client: SyncPrefectClient, accelerators: int | None) -> None:
    """Set the limit that is asked for, or see to it that there is one: somebody may have set another in the UI."""
    if accelerators is None:
        try:
            client.read_global_concurrency_limit_by_name(ACCELERATOR)
            return
        except ObjectNotFound:
            accelerators = 1
    client.upsert_global_concurrency_limit_by_name(ACCELERATOR, accelerators)


def _watch(flows: tuple[str, ...], silence: timedelta) -> AutomationCore:
    """A killed process cannot say that it was killed: its run would stay `Running` for ever."""
    seconds = f"{silence.total_seconds():g} seconds"
    # The next attempt has a process of its own, which may take longer to start.
    missed = _nothing_heard(flows, {_HEARTBEAT}, _events(_MAY_BE_SILENT + _STARTS), silence)
    return _automation(_WATCH, f"gave no sign of life for {seconds}", missed)


def _start_watch(flows: tuple[str, ...], start: timedelta) -> AutomationCore:
    """What ends before its first heartbeat, or never starts, would stay `Pending` for ever."""
    seconds = f"{start.total_seconds():g} seconds"
    missed = _nothing_heard(flows, _events(_STARTS), _events(_MAY_BE_SILENT), start)
    return _automation(_START_WATCH, f"did not start within {seconds}", missed)


def _events(states: tuple[str, ...]) -> set[str]:
    return {f"prefect.flow-run.{name}" for name in states}


def _nothing_heard(flows: tuple[str, ...], after: set[str], expect: set[str], within: timedelta) -> EventTrigger:
    """When one of a run's events was followed by none of those that are expected, nor by a heartbeat."""
    return EventTrigger(
        after=after,
        expect={_HEARTBEAT, *expect},
        match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
        match_related=ResourceSpecification({"prefect.resource.role": ["flow"], "prefect.resource.name": list(flows)}),
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=within,
    )


def _automation(name: str, told: str, missed: EventTrigger) -> AutomationCore:
    """Call a run crashed that was not heard of."""
    return AutomationCore(
        name=name,
        description=f"Its process {told}.",
        trigger=missed,
        actions=[
            ChangeFlowRunState(
                name=None,
                state=StateType.CRASHED,
                message=f"Its process {told}. Retry: it goes on from what is finished.",
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
    parser.add_argument(
        "--accelerators", type=int, help="stages that may train or measure at once (default: as it is, or 1)"
    )
    parser.add_argument(
        "--silence",
        type=int,
        default=round(SILENCE.total_seconds()),
        help="seconds that a run may give no sign of life (default: %(default)s)",
    )
    parser.add_argument(
        "--start",
        type=int,
        default=round(START.total_seconds()),
        help="seconds that a run's process or container may take to start (default: %(default)s)",
    )
    asked = parser.parse_args()
    set_up(asked.accelerators, silence=timedelta(seconds=asked.silence), start=timedelta(seconds=asked.start))


if __name__ == "__main__":
    main()
