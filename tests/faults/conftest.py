"""What faults are done to, and the list of what came of them."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from house import ROOT, House, Journal, free_port  # noqa: E402
from soak_results import Case, Results  # noqa: E402

_results = Results()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A server with Stillhouse's and the toy's deployments, and no worker yet."""
    house = House(tmp_path_factory.mktemp("house"), free_port())
    try:
        house.start_server()
        set_up = f"import deploy; deploy.everything({str(ROOT)!r})"
        done = house.call(sys.executable, "-c", set_up)
        assert done.returncode == 0, done.stderr
        yield house
    finally:
        house.close()


@pytest.fixture(scope="session")
def deployed(server: House) -> House:
    """The same with the deployments of prefect.yaml."""
    done = server.call(sys.executable, "-m", "prefect", "deploy", "--all")
    assert done.returncode == 0, done.stdout + done.stderr
    return server


@pytest.fixture
def house(server: House) -> Iterator[House]:
    """A server that is there, with one worker."""
    if not server.is_there():
        server.start_server()
    server.keep_one_worker()
    yield server


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def journal(runs: Path) -> Journal:
    return Journal(runs / "journal")


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Case:
    """Where a test says what it did and what came of it."""
    return _results.begin(request.node.name)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    outcome = yield
    report = outcome.get_result()
    if "case" in getattr(item, "fixturenames", ()) and (report.when == "call" or report.failed):
        why = call.excinfo.exconly() if call.excinfo else ""
        _results.end(item.name, report.passed, report.duration, why)


def pytest_sessionfinish(session: pytest.Session) -> None:
    folder = os.environ.get("SOAK_RESULT")
    if folder:
        _results.write(Path(folder))
