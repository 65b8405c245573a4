"""A teacher behind HTTP: a server with OpenAI's completions protocol that tells the log-probabilities of a prompt.

Texts go there as token ids and no text is tokenized anew, so both sides mean the same positions: entry i of the answer
is the distribution of token i given those before it, which is the target of position i - 1 here. Entry 0 has nothing
before it and is null.
"""

import logging
import math
import os
import time
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import torch

from stillhouse import progress
from stillhouse.errors import InputError
from stillhouse.losses.reduction import IGNORED
from stillhouse.recipe.knowledge import Endpoint
from stillhouse.teachers.samples import Sample, samples_of
from stillhouse.teachers.targets import Targets, TopK
from stillhouse.training.batches import Batch

_LONGEST_WAIT_SECONDS = 60.0
_TRIAL_SECONDS = 20.0
_TRIAL_TOKENS = 8
_PREFIX = "token_id:"
"""How a server that names tokens by id writes them where OpenAI writes their text."""


logger = logging.getLogger(__name__)


class EndpointFailed(RuntimeError):
    """The server or the way to it failed, and went on failing when asked again."""


@dataclass(frozen=True)
class EndpointTeacher:
    """A server that is asked for each batch; it gives the likeliest tokens, at temperature 1."""

    settings: Endpoint
    vocabulary_size: int
    """Of the recipe's teacher, whose tokenizer made the ids."""

    def targets(self, batch: Batch) -> Targets:
        """Ask for every sample of the batch.

        Raises:
            InputError: If the server refuses, or answers with something that these targets cannot be read from.
            EndpointFailed: If it cannot be reached or fails, time after time.
        """
        samples = [sample for sample in samples_of(batch) if sample.counted.any()]
        shape = (*batch.labels.shape, self.settings.k)
        ids, values = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.float32)
        size = self.settings.batch_samples
        with httpx.Client(timeout=self.settings.timeout_seconds, headers=_headers(self.settings)) as client:
            for start in range(0, len(samples), size):
                asked = samples[start : start + size]
                for sample, entries in zip(asked, self._ask(client, asked), strict=True):
                    place = sample.row, sample.start + np.flatnonzero(sample.counted)
                    ids[place], values[place] = self._read(sample, entries)
        device = batch.labels.device
        return Targets(TopK(torch.from_numpy(ids).to(device), torch.from_numpy(values).to(device)))

    def _ask(self, client: httpx.Client, samples: list[Sample]) -> list[list[Any]]:
        """For each sample, an entry a token: log-probabilities by the server's name of a token."""
        body: dict[str, Any] = {
            "model": self.settings.model,
            "prompt": [sample.ids.tolist() for sample in samples],
            # The fewest that every server takes; what is generated is not looked at.
            "max_tokens": 1,
            "temperature": 1.0,
        }
        if self.settings.ask_by == "prompt_logprobs":
            body |= {"prompt_logprobs": self.settings.k}
        else:
            body |= {"echo": True, "logprobs": self.settings.k, "return_tokens_as_token_ids": True}
        answer = _post(client, self.settings, body)
        choices = answer.get("choices")
        if not isinstance(choices, list) or len(choices) != len(samples):
            seen = len(choices) if isinstance(choices, list) else "no"
            raise InputError(f"{self._who()} was asked about {len(samples)} texts and answered with {seen} choices")
        ordered = sorted(choices, key=lambda choice: choice.get("index", 0))
        return [self._entries(choice, sample) for choice, sample in zip(ordered, samples, strict=True)]

    def _entries(self, choice: dict[str, Any], sample: Sample) -> list[Any]:
        if self.settings.ask_by == "prompt_logprobs":
            entries = choice.get("prompt_logprobs")
        else:
            entries = (choice.get("logprobs") or {}).get("top_logprobs")
        if not isinstance(entries, list) or len(entries) < len(sample.ids):
            other = "echo" if self.settings.ask_by == "prompt_logprobs" else "prompt_logprobs"
            raise InputError(
                f"{self._who()} gave {len(entries) if isinstance(entries, list) else 'no'} log-probabilities of a "
                f"prompt of {len(sample.ids)} tokens; set knowledge.ask_by to {other}, or take a server that gives them"
            )
        return entries

    def _read(self, sample: Sample, entries: list[Any]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Ids and log-probabilities [m, K] at the counted positions of a sample."""
        positions = np.flatnonzero(sample.counted)
        ids = np.zeros((len(positions), self.settings.k), dtype=np.int64)
        values = np.full(ids.shape, -np.inf, dtype=np.float32)
        for number, position in enumerate(positions.tolist()):
            given = self._log_probabilities(entries[position + 1])
            if int(sample.ids[position + 1]) not in given:
                raise InputError(
                    f"{self._who()} gave log-probabilities at place {position + 1} of {sample.name} without those of "
                    f"its token {sample.ids[position + 1]}: its places are not those of the ids that it was sent; see "
                    "whether it adds a token of its own at the start"
                )
            # The text's own token comes along where it is not among the K likeliest, and takes no part in the target.
            best = sorted(given.items(), key=lambda item: (-item[1], item[0]))[: self.settings.k]
            if len(best) < min(self.settings.k, self.vocabulary_size):
                raise InputError(
                    f"{self._who()} gave {len(best)} log-probabilities where {self.settings.k} were asked for; lower "
                    "knowledge.k, or raise the server's limit (vLLM: --max-logprobs)"
                )
            ids[number, : len(best)] = [token for token, _ in best]
            values[number, : len(best)] = [value for _, value in best]
        return ids, values

    def _log_probabilities(self, entry: Any) -> dict[int, float]:
        """One entry, by id."""
        if not isinstance(entry, dict) or not entry:
            raise InputError(f"{self._who()} gave no log-probabilities of a token in the middle of a prompt: {entry!r}")
        found = {}
        for name, value in entry.items():
            token = self._token(str(name))
            # vLLM tells more of each token than its log-probability.
            number = value.get("logprob") if isinstance(value, dict) else value
            if not isinstance(number, int | float) or math.isnan(number) or number > 1e-3:
                raise InputError(f"{self._who()} gave {value!r} as the log-probability of token {token}")
            found[token] = float(number)
        return found

    def _token(self, name: str) -> int:
        digits = name.removeprefix(_PREFIX)
        if not digits.isdigit() or (digits == name and self.settings.ask_by == "echo"):
            raise InputError(
                f"{self._who()} names tokens by their text ({name!r}), which two tokens may share, and not by id; with "
                "vLLM set knowledge.ask_by to prompt_logprobs, or start it with --return-tokens-as-token-ids"
            )
        if int(digits) >= self.vocabulary_size:
            raise InputError(
                f"{self._who()} gave token {digits}, and the teacher's tokenizer has {self.vocabulary_size}: it serves "
                "a model with another tokenizer"
            )
        return int(digits)

    def _who(self) -> str:
        return f"the endpoint {self.settings.url} with the model {self.settings.model}"


def try_endpoint(settings: Endpoint, vocabulary_size: int) -> None:
    """Ask about a short text, so that what the server cannot give is known before anything is made.

    One that is not there is told and no more: it may be started later, and a run that is taken up again may be past it.

    Args:
        settings: Complete, as `check_endpoint` wants it.
        vocabulary_size: Of the recipe's teacher.

    Raises:
        InputError: If the server refuses, or answers with something that targets cannot be read from.
    """
    briefly = {"retries": 0, "timeout_seconds": min(settings.timeout_seconds, _TRIAL_SECONDS)}
    teacher = EndpointTeacher(settings.model_copy(update=briefly), vocabulary_size)
    ids = torch.arange(_TRIAL_TOKENS) % vocabulary_size
    labels = torch.cat([ids[1:], torch.tensor([IGNORED])])
    text = Batch(ids[None], labels[None], torch.arange(_TRIAL_TOKENS)[None], torch.empty(0), (("a trial",),))
    try:
        teacher.targets(text)
    except EndpointFailed as error:
        logger.warning("%s; the training will ask it: see that it answers by then", error)


def check_endpoint(settings: Endpoint) -> None:
    """Refuse what could not be asked, before anything is made.

    Raises:
        InputError: If it is not said where the server is, or its key is not in the environment.
    """
    if settings.url is None:
        raise InputError(
            "knowledge.url is missing, and knowledge of kind endpoint is asked of a server: give its address, up to "
            "and with /v1"
        )
    _headers(settings)


def _headers(settings: Endpoint) -> dict[str, str]:
    if settings.api_key_variable is None:
        return {}
    key = os.environ.get(settings.api_key_variable)
    if not key:
        raise InputError(
            f"the environment variable {settings.api_key_variable}, which knowledge.api_key_variable names, is not "
            "set; put the endpoint's key into it"
        )
    return {"Authorization": f"Bearer {key}"}


def _post(client: httpx.Client, settings: Endpoint, body: dict[str, Any]) -> dict[str, Any]:
    """Send a request, again and again while the network or the server fails."""
    # Preflight refuses a training without one.
    assert settings.url is not None
    address = settings.url.rstrip("/") + "/completions"
    failure = ""
    for attempt in range(settings.retries + 1):
        if attempt:
            time.sleep(min(settings.retry_seconds * 2 ** (attempt - 1), _LONGEST_WAIT_SECONDS))
        try:
            response = client.post(address, json=body)
        except httpx.TransportError as error:
            failure = f"{type(error).__name__}: {error}"
        else:
            if response.is_success:
                return _decoded(response, address)
            failure = f"status {response.status_code}: {response.text[:300]}"
            if response.status_code not in (408, 429) and response.status_code < 500:
                raise InputError(f"the endpoint {address} refused the request with {failure}")
        progress.step(f"the endpoint failed, attempt {attempt + 1} of {settings.retries + 1}: {failure[:80]}")
    raise EndpointFailed(f"the endpoint {address} failed {settings.retries + 1} times, the last time with {failure}")


def _decoded(response: httpx.Response, address: str) -> dict[str, Any]:
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise InputError(
            f"{address} answered with something that is no JSON object: {response.text[:80]!r}; give the address of an "
            "OpenAI-compatible server, up to and with /v1"
        )
    return answer
