"""What a server is told once. That it does what it is told is seen in tests/faults."""

from contextlib import contextmanager
from datetime import timedelta

import pytest
from prefect.exceptions import ObjectNotFound

from flows import set_up_server
from flows.set_up_server import ACCELERATOR, set_up


class Server:
    """Remembers what it is told."""

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self.automations = {}
        self.updates = 0

    def read_work_pool(self, name: str) -> None:
        pass

    def read_global_concurrency_limit_by_name(self, name: str) -> None:
        assert name == ACCELERATOR
        if self.limit is None:
            raise ObjectNotFound(http_exc=ValueError())

    def upsert_global_concurrency_limit_by_name(self, name: str, limit: int) -> None:
        assert name == ACCELERATOR
        self.limit = limit

    def read_automations(self) -> list:
        return list(self.automations.values())

    def create_automation(self, automation) -> None:
        self.automations[automation.name] = automation.model_copy(update={"id": automation.name})

    def update_automation(self, key, automation) -> None:
        self.updates += 1
        self.automations[key] = automation


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch):
    """Set up a server and give it."""

    def run(server: Server, **asked) -> Server:
        @contextmanager
        def client(sync_client: bool):
            yield server

        monkeypatch.setattr(set_up_server, "get_client", client)
        set_up(**asked)
        return server

    return run


@pytest.mark.parametrize(
    ("before", "asked", "after"), [(None, None, 1), (4, None, 4), (None, 2, 2), (4, 2, 2), (4, 4, 4)]
)
def test_a_limit_that_somebody_set_stays_unless_another_is_asked_for(told, before, asked, after):
    assert told(Server(before), accelerators=asked).limit == after


def test_a_run_that_starts_has_more_time_than_one_that_works(told):
    starts, works = sorted(told(Server()).automations.values(), key=lambda one: -one.trigger.within)
    assert (starts.trigger.within, works.trigger.within) == (timedelta(seconds=900), timedelta(seconds=90))
    assert works.trigger.after == {"prefect.flow-run.heartbeat"}
    assert starts.trigger.after == {"prefect.flow-run.Pending", "prefect.flow-run.Submitting"}
    # Whatever a run tells ends the wait; that it is started again ends the wait for a heartbeat, and begins the other.
    assert works.trigger.expect == starts.trigger.expect | starts.trigger.after
    assert {"prefect.flow-run.heartbeat", "prefect.flow-run.Running"} <= starts.trigger.expect


def test_what_is_there_already_is_not_written_anew(told):
    """A trigger that is written anew forgets whom it waits for."""
    server = told(Server())
    assert told(server).updates == 0
    assert told(server, start=timedelta(seconds=90)).updates == 1
