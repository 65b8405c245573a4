"""What Prefect's UI is told of the stages: enough to watch, and never more than a server's database should hold."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from stillhouse import progress
from stillhouse.progress import Progress
from tasks import show_progress
from tasks.artifacts import Board, Run
from tasks.show_progress import ProgressInUi

RUN = Run(uuid4(), uuid4(), "Distil the student", "My_own")


class Clock:
    """A time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Server:
    """What Prefect's client would send, and a server that can go away."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.is_away = False
        self.tries: list[float] = []
        self.made: list[Any] = []
        self.changes: list[tuple[float, dict[str, Any]]] = []

    @contextmanager
    def opened(self) -> Iterator["Server"]:
        self.tries.append(self.clock())
        if self.is_away:
            raise ConnectionError("nobody there")
        yield self

    def create_artifact(self, artifact: Any) -> Any:
        self.made.append(artifact)
        return SimpleNamespace(id=uuid4())

    def request(self, method: str, path: str, json: dict[str, Any], path_params: dict[str, Any]) -> str:
        assert (method, path) == ("PATCH", "/artifacts/{id}")
        self.changes.append((self.clock(), json))
        return "taken"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(clock: Clock) -> Server:
    return Server(clock)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only the number of pictures matters: an hour's worth of them takes a quarter of a minute to draw."""
    monkeypatch.setattr(show_progress.TrainingCurve, "png", lambda self: b"")


@pytest.fixture
def listener(server: Server, clock: Clock, said: list[str], monkeypatch: pytest.MonkeyPatch) -> ProgressInUi:
    monkeypatch.setattr(show_progress, "current_run", lambda: RUN)
    # The stage's own pace, which says how much time is left, passes by the same clock.
    return ProgressInUi(Board(server.opened, clock), said.append, clock)


def train(listener: ProgressInUi, clock: Clock, steps: range, seconds: float, total: int) -> None:
    """As the stage `distill` tells it: every step, and now and then what validation says."""
    for number in steps:
        clock.now += seconds
        figures = {"loss": 4 / number + 1, "tokens/s": 1234.0}
        listener(Progress("distill", "distils", number, total, figures))
        if number % 50 == 0:
            listener(Progress("distill", "validates", number, total, {"validation loss": 5 / number + 2}))


def kinds(server: Server) -> list[str]:
    return [f"{artifact.type} {artifact.key}" for artifact in server.made]


def test_an_hour_of_training_is_two_artifacts_and_a_bounded_number_of_calls(listener, server, clock, said, undrawn):
    began = clock()
    listener(Progress("distill", "starts"))
    train(listener, clock, range(1, 7201), 0.5, 7200)
    clock.now += 1
    listener(Progress("distill", "done", 1, 1, {"seconds": clock() - began}))
    assert kinds(server) == ["markdown my-own-loss-curve", "progress None"]
    pictures = [at for at, change in server.changes if isinstance(change["data"], str)]
    bars = [at for at, change in server.changes if not isinstance(change["data"], str)]
    assert 3600 / 30 - 2 <= len(pictures) <= 3600 / 30 + 1
    assert 3600 / 15 - 2 <= len(bars) <= 3600 / 15 + 1
    # All but the last, which says that it is over.
    for times, seconds in ((pictures[:-1], 30), (bars[:-1], 15)):
        assert all(later - earlier >= seconds for earlier, later in zip(times, times[1:], strict=False))
    assert len(server.tries) == len(server.made) + len(server.changes)
    # A line every ten seconds; starts, distils, validates, and the ends of the last three besides.
    assert 350 <= len(said) <= 366


def test_a_short_stage_has_lines_and_no_artifact(listener, server, clock, said):
    listener(Progress("encode_documents", "starts"))
    for number in range(1, 101):
        clock.now += 0.1
        listener(Progress("encode_documents", "encodes documents", number, 100))
    listener(Progress("encode_documents", "done", 1, 1, {"seconds": 10.0}))
    assert server.tries == []
    assert [line.split(", ")[0] for line in said] == [
        f"Turn documents into tokens: {note}" for note in ("starts", "encodes documents", "encodes documents", "done")
    ]


def test_a_bar_says_what_is_done_how_fast_and_how_much_is_left(listener, server, clock):
    train(listener, clock, range(1, 41), 1.0, 100)
    bar = next(artifact for artifact in server.made if artifact.type == "progress")
    assert bar.data == 16.0 and (bar.flow_run_id, bar.task_run_id) == (RUN.flow_run_id, RUN.task_run_id)
    assert bar.description == "Distil the student: distils, 16/100, loss 1.25, tokens/s 1234, 1m24s left"
    listener(Progress("distill", "done", 1, 1, {"seconds": 40.0}))
    assert [change for _, change in server.changes][0:1] and server.changes[-2][1]["data"] == 100.0


def test_the_loss_is_drawn_while_the_student_trains_and_once_more_at_its_end(listener, server, clock):
    train(listener, clock, range(1, 61), 1.0, 60)
    page = next(artifact for artifact in server.made if artifact.key == "my-own-loss-curve")
    assert "training loss 1.667 at step 6" in page.data and "data:image/png;base64," in page.data
    listener(Progress("distill", "done", 1, 1, {"seconds": 60.0}))
    last = [change["data"] for _, change in server.changes if isinstance(change["data"], str)][-1]
    assert "validation loss 2.100 at step 50 (its lowest), training loss 1.067 at step 60" in last
    assert "The training is over." in last
    # The last drawing of a stage that did not get further is not sent again.
    assert len([change for _, change in server.changes if isinstance(change["data"], str)]) == 2


def test_a_loss_curve_stays_small_however_long_the_training(listener, server, clock):
    train(listener, clock, range(1, 20_001), 0.01, 20_000)
    listener(Progress("distill", "done", 1, 1))
    sizes = [len(artifact.data) for artifact in server.made if artifact.type == "markdown"]
    sizes += [len(change["data"]) for _, change in server.changes if isinstance(change["data"], str)]
    assert max(sizes) < 60_000


def test_a_stage_that_names_every_file_does_not_flood_the_log(listener, clock, said):
    for number in range(2000):
        clock.now += 0.01
        listener(Progress("load_teacher", f"hashing shard {number}", number, 2000))
    assert len(said) <= 30 + 2


def test_work_that_stays_at_its_end_is_said_to_end_once(listener, said):
    for _ in range(500):
        listener(Progress("evaluate_capability", "answers", 100, 100))
    assert len(said) == 1


def test_a_server_that_is_away_is_left_alone_and_tried_again(listener, server, clock, said, undrawn):
    server.is_away = True
    train(listener, clock, range(1, 3601), 1.0, 100_000)
    # An hour of it: after one minute, then every two.
    assert len(server.tries) <= 32
    waits = [later - earlier for earlier, later in zip(server.tries, server.tries[1:], strict=False)]
    assert waits == pytest.approx([60.0, *[120.0] * (len(waits) - 1)], abs=16)
    server.is_away = False
    train(listener, clock, range(3601, 3760), 1.0, 100_000)
    assert sorted(kinds(server)) == ["markdown my-own-loss-curve", "progress None"]
    assert len(said) > 370


def test_whatever_a_server_answers_nothing_is_raised(clock, monkeypatch):
    class Broken(Server):
        def create_artifact(self, artifact: Any) -> Any:
            raise ValueError("422: what is this?")

    server = Broken(clock)
    monkeypatch.setattr(show_progress, "current_run", lambda: RUN)
    train(ProgressInUi(Board(server.opened, clock), lambda _: None, clock), clock, range(1, 100), 1.0, 100)
    assert 0 < len(server.tries) < 4


def test_a_picture_that_cannot_be_drawn_does_not_end_the_training(listener, server, clock, said, monkeypatch, caplog):
    def no_fonts(curve: object) -> bytes:
        raise OSError("no fonts")

    monkeypatch.setattr(show_progress.TrainingCurve, "png", no_fonts)
    train(listener, clock, range(1, 100), 1.0, 100)
    assert server.made == [] and len(caplog.records) == 1 and len(said) == 1


def test_stages_side_by_side_keep_their_own_pace(listener, server, clock, said, monkeypatch):
    runs = [Run(RUN.flow_run_id, uuid4()) for _ in range(2)]
    for number in range(1, 61):
        clock.now += 0.5
        for run in runs:
            monkeypatch.setattr(show_progress, "current_run", lambda run=run: run)
            listener(Progress("measure_parity", "compares", number, 1000))
    assert sorted(artifact.task_run_id for artifact in server.made) == sorted(run.task_run_id for run in runs)
    assert len(said) == 2 * 3


def test_a_run_in_a_process_of_its_own_is_not_shown_a_second_time(listener, server, clock, said):
    for number in range(1, 101):
        clock.now += 1
        listener(Progress("layers-4", "distils", number, 100, {"loss": 1.0}))
    assert server.tries == [] and said == []


def test_outside_of_a_run_a_step_does_nothing(server, clock, said):
    listener = ProgressInUi(Board(server.opened, clock), said.append, clock)
    train(listener, clock, range(1, 200), 1.0, 200)
    assert server.tries == [] and said == []


def test_whoever_listened_before_still_hears_every_step():
    heard: list[str] = []
    with progress.listening(lambda step: heard.append(step.note)), show_progress.shown_in_ui():
        progress.step("starts")
        progress.step("goes on")
    assert heard == ["starts", "goes on"]


def test_a_flow_and_its_tasks_show_their_steps_on_a_server(monkeypatch):
    """The real thing, but for the patience: a stage that is shown after seconds is shown at once."""
    from prefect import flow, task
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import LogFilter, LogFilterLevel
    from prefect.logging.handlers import APILogHandler
    from prefect.settings import PREFECT_LOGGING_TO_API_ENABLED, PREFECT_SERVER_ANALYTICS_ENABLED, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    for patience in ("_BAR_SECONDS", "_FIRST_CURVE_SECONDS"):
        monkeypatch.setattr(show_progress, patience, 0.0)

    @task(name="Distil the student", task_run_name="Distil the student")
    def distil() -> None:
        with progress.of_stage("distill"):
            for number in range(1, 5):
                progress.step("distils", number, 4, {"loss": 1 / number, "tokens/s": 99.0})
            progress.step("done", 1, 1, {"seconds": 1.0})

    @flow
    def train_it() -> None:
        with show_progress.shown_in_ui():
            progress.step("looks around")
            distil()

    settings = {PREFECT_LOGGING_TO_API_ENABLED: True, PREFECT_SERVER_ANALYTICS_ENABLED: False}
    with temporary_settings(settings), prefect_test_harness(server_startup_timeout=120):
        train_it()
        APILogHandler().flush()
        with get_client(sync_client=True) as client:
            (task_run,) = client.read_task_runs()
            found = client.read_artifacts()
            lines = client.read_logs(LogFilter(level=LogFilterLevel(ge_=20)))
    assert {artifact.task_run_id for artifact in found} == {task_run.id}
    shown = {artifact.type: artifact for artifact in found}
    assert shown["progress"].data == 100.0
    assert "Training loss 0.250 at step 4" in str(shown["markdown"].description)
    messages = {(line.message, line.task_run_id) for line in lines}
    assert {("looks around", None), ("Distil the student: done, seconds 1", task_run.id)} <= messages
