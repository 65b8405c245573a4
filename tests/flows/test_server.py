"""Whether a Prefect server can be used, asked as Prefect asks it."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import pytest
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_CLIENT_CUSTOM_HEADERS, temporary_settings

from flows import server
from stillhouse import progress


@pytest.fixture
def listener() -> Iterator[SimpleNamespace]:
    """A server that answers every question with one status, and notes what it was asked."""
    told = SimpleNamespace(status=200, asked=[])

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802  # the library's name
            told.asked.append((self.path, dict(self.headers)))
            content = b'"3.8.8"'
            self.send_response(told.status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answers) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        told.api = f"http://127.0.0.1:{http.server_port}/api"
        yield told
        http.shutdown()


def test_it_is_asked_with_the_password_and_headers_that_prefect_uses(listener: SimpleNamespace):
    with temporary_settings({PREFECT_API_AUTH_STRING: "me:secret", PREFECT_CLIENT_CUSTOM_HEADERS: {"X-Team": "ours"}}):
        assert server.why_unusable(listener.api) is None
    ((path, headers),) = listener.asked
    # The server's `/health` answers without a password.
    assert path == "/api/admin/version"
    assert headers["Authorization"].startswith("Basic ") and headers["X-Team"] == "ours"


@pytest.mark.parametrize("status", [401, 403])
def test_one_that_wants_another_password_is_not_called_away(
    listener: SimpleNamespace, status: int, monkeypatch: pytest.MonkeyPatch
):
    listener.status = status
    monkeypatch.setenv("PREFECT_API_URL", listener.api)
    said: list[progress.Progress] = []
    with progress.listening(said.append):
        assert not server.is_usable()
    assert "refused: check PREFECT_API_AUTH_STRING" in said[0].note


def test_a_proxy_without_its_server_is_away_and_is_asked_once(listener: SimpleNamespace):
    listener.status = 502
    assert server.why_unusable(listener.api) == f"no Prefect server answers at {listener.api} (502)"
    assert len(listener.asked) == 1


def test_nobody_is_away():
    assert server.why_unusable("http://127.0.0.1:9/api") == "no Prefect server answers at http://127.0.0.1:9/api"
    assert server.why_unusable("no address") == "no Prefect server answers at no address"
