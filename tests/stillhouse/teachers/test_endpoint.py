"""A teacher behind HTTP, asked over a real socket."""

import socket

import pytest
import torch
import torch.nn.functional as F

from stillhouse.errors import InputError
from stillhouse.losses.top_k_with_tail import top_k_with_tail
from stillhouse.recipe.knowledge import Endpoint
from stillhouse.teachers.endpoint import EndpointFailed, EndpointTeacher, try_endpoint
from stillhouse.teachers.local import open_local
from tests.stillhouse.teachers.captures import COMPUTE
from tests.stillhouse.teachers.completions_server import serving

WAYS = ("prompt_logprobs", "echo")


@pytest.fixture
def server(tiny_model):
    with serving(tiny_model) as running:
        yield running


@pytest.fixture
def ask(server, batch):
    def targets(vocabulary_size: int = 300, **changes):
        plain = {"url": server.url, "model": "tiny", "k": 6, "batch_samples": 3, "retry_seconds": 0.01, "retries": 2}
        return EndpointTeacher(Endpoint(**plain | changes), vocabulary_size).targets(batch)

    return targets


@pytest.fixture(scope="module")
def batch(batches):
    """The one with most prompts, which nothing is wanted of."""
    return min(batches, key=lambda each: each.num_counted)


@pytest.fixture(scope="module")
def online(tiny_model):
    return open_local(tiny_model, COMPUTE)


@pytest.mark.parametrize("way", WAYS)
def test_an_endpoint_gives_what_the_model_gives_online(ask, online, batch, server, way):
    """The same ids and log-probabilities at the same positions: no shift by one, no padding, no prompt."""
    found = ask(ask_by=way).distribution
    rows, positions = (batch.labels != -100).nonzero(as_tuple=True)
    expected = F.log_softmax(online.targets(batch).distribution.at(rows, positions), dim=-1).topk(6, dim=-1)
    torch.testing.assert_close(found.log_probabilities[rows, positions], expected.values)
    torch.testing.assert_close(found.ids[rows, positions], expected.indices)
    assert sum(len(request["prompt"]) for request in server.requests) == sum(map(len, batch.names)) > 3
    assert max(len(request["prompt"]) for request in server.requests) == 3


def test_a_student_that_is_the_model_behind_the_endpoint_has_nothing_to_learn(ask, online, batch):
    said, found = online.targets(batch).distribution, ask().distribution
    loss = top_k_with_tail(said.hidden @ said.head.T, found.ids, found.log_probabilities, batch.labels)
    assert float(loss) == pytest.approx(0, abs=1e-5)


def test_a_failing_network_or_server_is_asked_again(ask, server):
    server.failures = [503, 0]
    assert ask().distribution.ids.any()
    server.failures = [429, 500, 0]
    with pytest.raises(EndpointFailed, match="failed 3 times, the last time with RemoteProtocolError"):
        ask()


def test_an_answer_that_takes_too_long_is_not_waited_for(ask, server):
    server.delay_seconds = 0.4
    with pytest.raises(EndpointFailed, match="failed 1 times, the last time with ReadTimeout"):
        ask(timeout_seconds=0.1, retries=0)


def test_nobody_there(ask):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(EndpointFailed, match="ConnectError"):
            ask(url=f"http://127.0.0.1:{taken.getsockname()[1]}/v1", retries=0)


def test_a_refusal_is_passed_on_and_not_repeated(ask, server):
    server.failures = [400]
    with pytest.raises(InputError, match="refused the request with status 400: .*the prompt is too long"):
        ask()
    assert len(server.requests) == 1
    with pytest.raises(InputError, match="status 404"):
        ask(url=server.url.removesuffix("/v1"))


def test_tokens_named_by_their_text_are_refused(ask, server):
    server.names_by_id = False
    with pytest.raises(InputError, match=r"names tokens by their text \(.*--return-tokens-as-token-ids"):
        ask(ask_by="echo")


def test_a_server_that_moves_the_positions_is_refused(ask, server):
    server.adds_start = True
    with pytest.raises(InputError, match="its places are not those of the ids that it was sent"):
        ask()


def test_a_server_that_gives_fewer_than_asked_is_refused(ask, server):
    server.most = 3
    with pytest.raises(InputError, match=r"where 6 were asked for; lower knowledge.k, .*--max-logprobs"):
        ask()


def test_another_tokenizer_is_refused(ask):
    with pytest.raises(InputError, match=r"gave token \d+, and the teacher's tokenizer has 40: it serves a model with"):
        ask(vocabulary_size=40)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"<html>", "something that is no JSON object: '<html>'"),
        (b'{"choices": []}', "was asked about 3 texts and answered with 0 choices"),
        (b"{}", "answered with no choices"),
        (b'{"choices": [{"index": 0}, {"index": 1}, {"index": 2}]}', "gave no log-probabilities of a prompt of"),
    ],
)
def test_an_answer_without_log_probabilities_is_refused(ask, server, raw, said):
    server.raw = raw
    with pytest.raises(InputError, match=said):
        ask()


def test_a_key_comes_from_the_environment(ask, server, monkeypatch):
    monkeypatch.setenv("TEACHER_KEY", "secret")
    ask(api_key_variable="TEACHER_KEY")
    assert server.headers[0]["Authorization"] == "Bearer secret"
    monkeypatch.delenv("TEACHER_KEY")
    with pytest.raises(InputError, match="environment variable TEACHER_KEY, which knowledge.api_key_variable names"):
        ask(api_key_variable="TEACHER_KEY")


@pytest.mark.parametrize("way", WAYS)
def test_a_server_that_can_be_asked_passes_a_trial_with_one_short_request(server, way, caplog):
    try_endpoint(Endpoint(url=server.url, model="tiny", k=6, ask_by=way), 300)
    assert len(server.requests) == 1 and len(server.requests[0]["prompt"][0]) == 8
    assert not caplog.text


def test_what_a_server_cannot_give_shows_in_the_trial(server):
    with pytest.raises(InputError, match=r"where 30 were asked for; lower knowledge.k"):
        try_endpoint(Endpoint(url=server.url, model="tiny", k=30), 300)
    with pytest.raises(InputError, match="it serves a model with another tokenizer"):
        try_endpoint(Endpoint(url=server.url, model="tiny", k=6), 20)
    with pytest.raises(InputError, match="status 404"):
        try_endpoint(Endpoint(url=server.url.removesuffix("/v1"), model="tiny", k=6), 300)


def test_a_server_that_is_not_there_yet_is_told_of_and_waited_for_no_longer(caplog):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        try_endpoint(Endpoint(url=f"http://127.0.0.1:{taken.getsockname()[1]}/v1", model="tiny", k=6), 300)
    assert "failed 1 times" in caplog.text and "see that it answers by then" in caplog.text
