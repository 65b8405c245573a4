"""A server of a real model with OpenAI's completions protocol, as far as vLLM tells the log-probabilities of a prompt.

As there: entry 0 is null, entry i holds the likeliest tokens at place i of the prompt and the prompt's own token beside
them, `prompt_logprobs` names tokens by id, and `echo` by their text unless it is asked for `token_id:N`.
"""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import torch

from stillhouse.models.load import load_model, load_tokenizer


@dataclass
class CompletionsServer:
    """What the server answers, and what it was asked."""

    model: torch.nn.Module
    tokenizer: object
    url: str = ""
    failures: list[int] = field(default_factory=list)
    """Statuses of the next answers; 0 closes the connection without one."""
    delay_seconds: float = 0.0
    most: int = 20
    """Log-probabilities that it gives at most, as vLLM's `--max-logprobs`."""
    names_by_id: bool = True
    adds_start: bool = False
    """Puts a token before every prompt, as servers do with texts."""
    raw: bytes | None = None
    """Sent instead of any answer."""
    requests: list[dict] = field(default_factory=list)
    headers: list[dict] = field(default_factory=list)

    def answer(self, body: dict) -> dict:
        asked = body.get("prompt_logprobs") or body.get("logprobs") or 0
        choices = [
            self._choice(body, prompt, index, min(asked, self.most)) for index, prompt in enumerate(body["prompt"])
        ]
        # Not in the order of the prompts: the index says which is which.
        return {"object": "text_completion", "model": body["model"], "choices": choices[::-1]}

    def _choice(self, body: dict, prompt: list[int], index: int, most: int) -> dict:
        ids = [self.tokenizer.bos_token_id, *prompt] if self.adds_start else prompt
        entries = self._entries(ids, most)[: len(prompt)]
        choice = {"index": index, "text": "", "finish_reason": "length", "logprobs": None, "prompt_logprobs": None}
        if "prompt_logprobs" in body:
            choice["prompt_logprobs"] = [
                entry
                and {str(token): {"logprob": value, "rank": 1, "decoded_token": "?"} for token, value in entry.items()}
                for entry in entries
            ]
        elif body.get("echo"):
            by_id = body.get("return_tokens_as_token_ids") and self.names_by_id
            name = (lambda token: f"token_id:{token}") if by_id else (lambda token: self.tokenizer.decode([token]))
            top = [entry and {name(token): value for token, value in entry.items()} for entry in entries]
            generated = {name(5): -0.5}
            choice["logprobs"] = {"tokens": [name(token) for token in ids], "top_logprobs": [*top, generated]}
        return choice

    @torch.no_grad()
    def _entries(self, ids: list[int], most: int) -> list[dict[int, float] | None]:
        log_probabilities = self.model(input_ids=torch.tensor([ids])).logits[0].log_softmax(dim=-1)
        entries: list[dict[int, float] | None] = [None]
        for before, token in zip(log_probabilities, ids[1:], strict=False):
            best = before.topk(most)
            entry = {token: before[token].item()}
            entry |= dict(zip(best.indices.tolist(), best.values.tolist(), strict=True))
            entries.append(entry)
        return entries


@contextmanager
def serving(model: Path) -> Iterator[CompletionsServer]:
    """Serve a model folder on a free port of this machine."""
    state = CompletionsServer(load_model(model, device="cpu", dtype="fp32"), load_tokenizer(model))
    # One at a time, as the tests send them: torch's threads are few.
    busy = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with busy:
                state.requests.append(body)
                state.headers.append(dict(self.headers))
                failure = state.failures.pop(0) if state.failures else None
            if failure == 0:
                self.close_connection = True
                return
            if self.path != "/v1/completions":
                return self._send(404, b'{"error": "not found"}')
            if failure is not None:
                return self._send(failure, b'{"error": {"message": "the prompt is too long"}}')
            time.sleep(state.delay_seconds)
            with busy:
                self._send(200, state.raw if state.raw is not None else json.dumps(state.answer(body)).encode())

        def _send(self, status: int, content: bytes) -> None:
            try:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            except (BrokenPipeError, ConnectionResetError):
                # The other side had waited long enough.
                self.close_connection = True

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
