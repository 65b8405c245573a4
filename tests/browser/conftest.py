"""Stillhouse as a person has it before them: `stillhouse ui` on a free port, seen in headless Chromium."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from stillhouse.store.links import link_tree

ROOT = Path(__file__).parents[2]
_START_SECONDS = 180
_END_SECONDS = 120


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a browser."""
    pytest.importorskip("playwright", reason="playwright is missing: pip install -c constraints.txt -e '.[dev]'")
    for path in filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))):
        # Where there is only a hint how to install it, that ends with an error.
        if subprocess.run([path, "--version"], capture_output=True).returncode == 0:
            return path
    pytest.skip("no Chromium on this machine; on Debian: apt-get install chromium")


@pytest.fixture(scope="module")
def ui(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A server, its deployments and a worker; ended as by Ctrl-C, after which none of their processes may live."""
    folder = tmp_path_factory.mktemp("ui")
    home, log = folder / "home", folder / "ui.log"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "stillhouse.cli", "ui", "--port", str(port), "--home", str(home)]
    # The server plans scheduled runs once a minute, if it is not told otherwise.
    environment = os.environ | {"PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "3"}
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + _START_SECONDS
        while "Ctrl-C" not in log.read_text():
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        address, resting = f"http://127.0.0.1:{port}", processes(home)
        assert len(resting) == 2, resting
        yield SimpleNamespace(address=address, processes=partial(processes, home), resting=resting)
        assert process.poll() is None, log.read_text()
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(_END_SECONDS)
    assert code == 0, log.read_text()
    assert processes(home) == {}


def processes(home: Path) -> dict[int, str]:
    """What runs for a server: every process that was given its home, however far from its parent it has got."""
    found = {}
    for process in psutil.process_iter():
        try:
            if process.environ().get("PREFECT_HOME") == str(home) and process.status() != psutil.STATUS_ZOMBIE:
                found[process.pid] = " ".join(process.cmdline()[1:])
        except psutil.Error:
            continue
    return found


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator:
    """Chromium. While it lives, so does Playwright's event loop, under which Prefect gives other tests coroutines."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Root has no sandbox; and what has no display has no use for a graphics card.
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-quic"]
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def page(browser, ui: SimpleNamespace) -> Iterator:
    """A page that reaches this machine and nothing else."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, base_url=ui.address)
    context.set_default_timeout(180_000)
    context.route(lambda url: not url.startswith((ui.address, "data:", "blob:")), lambda route: route.abort())
    yield context.new_page()
    context.close()


@pytest.fixture(scope="session")
def finished(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose store has all that the tiny recipe makes; other tests read `runs`, which stays as it is."""
    folder = tmp_path_factory.mktemp("finished")
    link_tree(runs / "store", folder / "store")
    return folder
