"""A variant as lm-eval asks it: one adapter for every runtime, in batches, and no request asked twice.

lm-eval hands back texts and keeps no tokens. What a model wrote is therefore also noted in `written`, token by
token, for tasks that measure more than the text.
"""

from collections.abc import Callable, Sequence
from dataclasses import astuple
from functools import cached_property, partial
from math import isfinite
from pathlib import Path
from typing import Any

from lm_eval.api.model import TemplateLM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from evaluation.batch_dependence import PROBES, limit_nats, measure_batch_dependence
from evaluation.decoding import Decoding, Written, all_end_ids, draw_token, generator_of, text_of, until_end
from evaluation.scored_requests import ScoredRequests, request_key
from evaluation.token_scores import Pair, TokenScore, batches_of, score_pairs
from evaluation.variant import holds_graph, open_variant
from stillhouse.errors import InputError
from stillhouse.models.tokenizer import opening_ids
from stillhouse.recipe.compute import Compute
from stillhouse.serving.decoder import context_tokens, read_config, stop_ids
from stillhouse.serving.language_model import LanguageModel, NotFinite
from stillhouse.serving.nucleus import entropy
from stillhouse.store.fingerprint import library_versions, source_hashes


def scorer_of(folder: Path, *, compute: Compute, batch_size: int) -> "VariantScorer":
    """Open a variant as an lm-eval model: in ONNX Runtime where it holds a graph, else in transformers.

    The weights are read when the first request needs them: where all are known, never.

    Args:
        folder: A model folder, or one with `model.onnx`.
        compute: Device, threads and, for a model folder that is not quantized, the precision.
        batch_size: Requests side by side, where their number does not decide what is answered.
    """
    from stillhouse.models.load import is_quantized, load_tokenizer

    if is_quantized(folder):
        # transformers would import them by itself; named here, their versions are in the key of what is scored.
        import accelerate  # noqa: F401
        import bitsandbytes  # noqa: F401
    graph = holds_graph(folder)
    # A graph and quantized weights are run as they ship.
    precision = "fp32" if graph or is_quantized(folder) else compute.precision
    config = read_config(folder)
    # In bf16 a score depends on what is asked beside it, so there the size of a batch decides it too.
    together = {"batch_size": batch_size} if precision == "bf16" else {}
    decided = {
        **together,
        "runtime": "onnxruntime" if graph else "transformers",
        "precision": precision,
        "device": compute.device.partition(":")[0],
        "threads": compute.threads,
        "code": source_hashes(Path(__file__)),
        "libraries": library_versions(Path(__file__)),
    }
    return VariantScorer(
        partial(open_variant, folder, threads=compute.threads, device=compute.device, precision=precision),
        load_tokenizer(folder),
        context_tokens=context_tokens(config),
        end_ids=stop_ids(config),
        batch_size=batch_size,
        limit_nats=limit_nats(precision),
        requests=ScoredRequests.of_model(folder, decided),
    )


class VariantScorer(TemplateLM):
    """Any variant as an lm-eval model."""

    def __init__(
        self,
        opener: Callable[[], LanguageModel],
        tokenizer: Any,
        *,
        context_tokens: int,
        end_ids: Sequence[int],
        batch_size: int,
        limit_nats: float,
        requests: ScoredRequests,
    ):
        super().__init__()
        self.tokenizer = tokenizer
        self._opening = opening_ids(tokenizer)
        self.written: dict[tuple[str, Decoding], Written] = {}
        self.cut = 0
        """Requests so far whose beginnings were cut, since the model does not read so much at once."""
        self._opener = opener
        self._max_length = context_tokens
        self._end_ids = all_end_ids(tokenizer, end_ids)
        self._asked_batch_size = batch_size
        self._limit_nats = limit_nats
        self._requests = requests

    @cached_property
    def model(self) -> LanguageModel:
        """The variant itself, opened when it is first needed."""
        return self._opener()

    @property
    def asked(self) -> int:
        """Requests that the model itself answered, and not an earlier scoring of it."""
        return self._requests.asked

    @cached_property
    def batch_dependence_nats(self) -> float:
        """How far a score moves, at most, when other requests are asked beside it."""
        key = request_key("batch dependence", PROBES)
        found = self._requests.get(key)
        if found is None:
            pairs = [self._pair(*probe) for probe in PROBES]
            found = measure_batch_dependence(lambda some: score_pairs(self.model, some, self._max_length), pairs)
            self._requests.keep({key: found})
        return float(found)

    @property
    def batch_size(self) -> int:
        """Requests side by side: as asked, or one where a score depends on what is asked beside it."""
        try:
            return 1 if self.batch_dependence_nats > self._limit_nats else self._asked_batch_size
        except NotFinite:
            # The requests themselves are about to say at which of them it is seen.
            return 1

    @property
    def max_length(self) -> int:
        """Tokens that the model reads at once."""
        return self._max_length

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """What stands before a text that has no context, as in lm-eval's model over transformers."""
        first = self.tokenizer.bos_token_id
        return self.eot_token_id if first is None else int(first)

    @property
    def tokenizer_name(self) -> str:
        """What lm-eval files requests under that hold a chat template; here the log of requests does that."""
        return ""

    @property
    def has_chat_template(self) -> bool:
        """Whether the model was taught to chat."""
        return bool(self.tokenizer.chat_template)

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """Write a conversation as the model was taught to read it.

        Raises:
            InputError: If the model has no chat template.
        """
        if not self.tokenizer.chat_template:
            raise InputError(
                "a chat task was asked of a model without a chat template; ask it as plain text, or take a model that "
                "was trained to chat"
            )
        written: str = self.tokenizer.apply_chat_template(
            chat_history,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        )
        return written

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Return the tokens of a text, behind those that stand before every text unless it begins with them already.

        What a tokenizer puts behind a text is left out: a question is followed by its answer.
        """
        ids: list[int] = self.tokenizer.encode(string, add_special_tokens=False)
        if add_special_tokens is None:
            add_special_tokens = ids[: len(self._opening)] != self._opening
        return [*self._opening, *ids] if add_special_tokens else ids

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Score continuations; those that the same tokens lead up to share one pass.

        Raises:
            InputError: If a continuation is empty, or longer than what the model reads at once.
            FloatingPointError: If a score is not a number; the message names the request.
        """
        pairs = [self._checked_pair(request) for request in requests]
        self.cut += sum(len(pair.context) + len(pair.answer) > self._max_length + 1 for pair in pairs)
        keys = [request_key("loglikelihood", *request.args) for request in requests]

        def score(numbers: Sequence[int]) -> list[Any]:
            return list(self._score([requests[number] for number in numbers], [pairs[number] for number in numbers]))

        batches = self._batches([pair.read(self._max_length) for pair in pairs])
        found = self._through("loglikelihood", requests, keys, batches, score)
        return [(float(log_prob), bool(is_greedy)) for log_prob, is_greedy in found]

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """Score whole texts, each token once; a text that the model cannot read at once is read in pieces.

        Returns:
            Log-probabilities in nats; 0 for an empty text.
        """
        windows = [self._windows(request.args[0]) for request in requests]
        keys = [request_key("loglikelihood_rolling", *request.args) for request in requests]

        def score(numbers: Sequence[int]) -> list[Any]:
            (number,) = numbers
            size = self.batch_size
            pieces = [windows[number][start : start + size] for start in range(0, len(windows[number]), size)]
            return [sum(one.log_prob for some in pieces for one in self._score([requests[number]] * len(some), some))]

        # A text's pieces are as long as the model reads, and there are few of them: texts go one by one.
        return self._through("loglikelihood_rolling", requests, keys, [[number] for number in range(len(keys))], score)

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """Answer prompts side by side, each drawn from its own seed: the one asked for and the request's number.

        Raises:
            InputError: If an answer may become as long as all that the model reads.
            FloatingPointError: If a token cannot be chosen; the message names the request.
        """
        prompts = [request.args[0] for request in requests]
        decodings = [Decoding.of_request(request.args[1]) for request in requests]
        reads = [self._prompt(prompt, decoding) for prompt, decoding in zip(prompts, decodings, strict=True)]
        keys = [
            request_key("generate_until", prompt, astuple(decoding), number if decoding.temperature > 0 else None)
            for number, (prompt, decoding) in enumerate(zip(prompts, decodings, strict=True))
        ]

        def write(numbers: Sequence[int]) -> list[Any]:
            decoding = decodings[numbers[0]]
            answers = self._write(
                [requests[number] for number in numbers], [reads[n] for n in numbers], decoding, numbers
            )
            return [astuple(answer) for answer in answers]

        batches = []
        for decoding in dict.fromkeys(decodings):
            chosen = [number for number, each in enumerate(decodings) if each == decoding]
            batches += [[chosen[place] for place in batch] for batch in self._batches([reads[n] for n in chosen])]
        texts = []
        found = self._through("generate_until", requests, keys, batches, write)
        for prompt, decoding, (ids, ended) in zip(prompts, decodings, found, strict=True):
            self.written[prompt, decoding] = Written(tuple(ids), ended)
            texts.append(text_of(self.tokenizer, self.written[prompt, decoding], decoding))
        return texts

    def mean_entropy(self, prompt: str, ids: Sequence[int], *, room: int) -> float:
        """Return the mean entropy of the next token while an answer was written, in nats, by reading it again.

        lm-eval has no request of this kind; as of one, the answer is kept, so that a killed evaluation goes on.

        Args:
            prompt: What was answered.
            ids: The answer's tokens, at least one.
            room: Most tokens of the prompt, of which the last were read.

        Raises:
            FloatingPointError: If it is not a number.
        """
        key = request_key("entropy", prompt, list(ids), room)
        found = self._requests.get(key)
        if found is None:
            reads = (self.tok_encode(prompt) or [self.prefix_token_id])[-room:]
            (logits,) = self.model.logits_of([[*reads, *ids[:-1]]], last=len(ids))
            found = sum(entropy(row[: len(self.tokenizer)]) for row in logits) / len(ids)
            if not isfinite(found):
                raise FloatingPointError(f"the entropy of what was written is {found}; seen at {prompt[:60]!r}")
            self._requests.keep({key: found})
        return float(found)

    def _loglikelihood_tokens(self, requests: list[Any], **_: Any) -> list[tuple[float, bool]]:
        """Not asked: `loglikelihood` scores by itself, since a request is named by its texts."""
        raise NotImplementedError

    def _through(
        self,
        kind: str,
        requests: Sequence[Any],
        keys: Sequence[str],
        batches: Sequence[Sequence[int]],
        answer: Callable[[Sequence[int]], list[Any]],
    ) -> list[Any]:
        """Answer requests batch by batch, and of each batch those that no earlier scoring answered.

        The batches are of all requests, known or not, so that an evaluation that goes on asks as one that was never
        stopped would have.
        """
        found: list[Any] = [None] * len(requests)
        for batch in batches:
            missing = [number for number in batch if self._requests.get(keys[number]) is None]
            if missing:
                answers = answer(missing)
                self._requests.keep({keys[number]: each for number, each in zip(missing, answers, strict=True)})
            for number in batch:
                found[number] = self._requests.get(keys[number])
                self.cache_hook.add_partial(kind, requests[number].args, found[number])
        return found

    def _batches(self, reads: Sequence[tuple[int, ...]]) -> list[list[int]]:
        return batches_of(reads, self.batch_size, len(self.tokenizer)) if reads else []

    def _score(self, requests: Sequence[Any], pairs: Sequence[Pair]) -> list[TokenScore]:
        try:
            return score_pairs(self.model, pairs, self._max_length)
        except NotFinite as error:
            raise FloatingPointError(f"{error}; seen at {_name(requests[error.row])}") from None

    def _write(
        self, requests: Sequence[Any], reads: Sequence[tuple[int, ...]], decoding: Decoding, numbers: Sequence[int]
    ) -> list[Written]:
        """Answer one batch; `numbers` decide what is drawn."""
        written: list[list[int]] = [[] for _ in reads]

        def goes_on(row: int, token: int) -> bool:
            written[row].append(token)
            text = self.tokenizer.decode(written[row], skip_special_tokens=True) if decoding.until else ""
            return not any(stop in text for stop in decoding.until)

        drawn = [partial(draw_token, decoding=decoding, generator=generator_of(decoding, number)) for number in numbers]
        try:
            self.model.generate_batch(
                reads,
                max_new_tokens=decoding.new_tokens,
                stop_ids=self._end_ids,
                choose=drawn if decoding.temperature > 0 else None,
                on_step=goes_on,
            )
        except NotFinite as error:
            raise FloatingPointError(f"{error}; seen at {_name(requests[error.row])}") from None
        return [until_end(ids, self._end_ids) for ids in written]

    def _prompt(self, prompt: str, decoding: Decoding) -> tuple[int, ...]:
        """Return the tokens of a prompt, its beginning cut where the answer would not fit behind it."""
        room = self._max_length - decoding.new_tokens
        if room < 1:
            raise InputError(
                f"an answer of up to {decoding.new_tokens} tokens is asked for, and the model reads {self._max_length} "
                "at once, prompt and answer together; ask for a shorter answer"
            )
        ids = self.tok_encode(prompt) or [self.prefix_token_id]
        self.cut += len(ids) > room
        return tuple(ids[-room:])

    def _checked_pair(self, request: Any) -> Pair:
        pair = self._pair(*request.args)
        if not pair.answer:
            raise InputError(f"there is nothing to score at {_name(request)}: the answer is empty; leave it out")
        if len(pair.answer) > self._max_length:
            raise InputError(
                f"the answer at {_name(request)} has {len(pair.answer)} tokens, and the model reads "
                f"{self._max_length} at once; leave it out"
            )
        return pair

    def _pair(self, context: str, answer: str) -> Pair:
        """Return question and answer as tokens, as lm-eval splits them."""
        if context:
            before, behind = self._encode_pair(context, answer)
            return Pair(tuple(before), tuple(behind))
        first, ids = self.prefix_token_id, tuple(self.tok_encode(answer, add_special_tokens=False))
        return Pair(ids[:1], ids[1:]) if ids[:1] == (first,) else Pair((first,), ids)

    def _windows(self, text: str) -> list[Pair]:
        windows = get_rolling_token_windows(
            token_list=self.tok_encode(text),
            prefix_token=self.prefix_token_id,
            max_seq_len=self._max_length,
            context_len=1,
        )
        return [Pair(*map(tuple, make_disjoint_window(window))) for window in windows]


def _name(request: Any) -> str:
    """Say which request it is, so that a person finds it."""
    text = str(request.args[0]).strip() or "an empty text"
    begins = f"{text[:60]!r}" + (" and so on" if len(text) > 60 else "")
    task = f"document {request.doc_id} of {request.task_name}, " if request.task_name is not None else ""
    return f"{task}which begins {begins}"
