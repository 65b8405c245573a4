"""One small decoder on ONNX Runtime: text to ids, ids to logits, new tokens with a key-value cache.

It needs numpy, tokenizers and onnxruntime and nothing else, so what it opens, a serving team can open. It
reads what a model wants from the session: any causal model with inputs `input_ids`, `attention_mask`,
perhaps `position_ids`, `past_key_values.N.key` and `.value`, and outputs `logits`, `present.N.key` and
`.value`, the names that optimum's export writes.

Shapes: B = sequences, T = tokens, V = vocabulary, H = key-value heads, P = cached tokens, D = head dimension.
"""

import json
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from stillhouse.errors import InputError
from stillhouse.serving.batches import Continuations, Padded, pad_left, pad_right
from stillhouse.serving.language_model import Choose, Generation, OnStep
from stillhouse.serving.opening import opening_of

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
FILES = ("model.onnx", "tokenizer.json", "config.json")
ELEMENTS = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class Decoder:
    """A variant that is open: its session, its tokenizer and the length of its context."""

    def __init__(self, session: onnxruntime.InferenceSession, tokenizer: Tokenizer, config: dict[str, Any]):
        self._session = session
        self._tokenizer = tokenizer
        plain, whole = (tokenizer.encode("a", add_special_tokens=added).ids for added in (False, True))
        self._opening = opening_of(plain, whole)
        self._input_types = {given.name: given for given in session.get_inputs()}
        self._outputs = [given.name for given in session.get_outputs()]
        self._device = "cuda" if session.get_providers()[0] == CUDA else "cpu"
        self.context_tokens = context_tokens(config)
        self.vocabulary_size: int = config["vocab_size"]
        self.stop_ids = stop_ids(config)

    @classmethod
    def open(cls, folder: Path, *, threads: int, providers: tuple[str, ...] = (CPU,)) -> "Decoder":
        """Open a variant folder.

        Args:
            folder: `model.onnx` (with external data or without), `tokenizer.json`, `config.json` and, for
                the stop tokens, `generation_config.json`.
            threads: CPU threads inside one operator.
            providers: ONNX Runtime's execution providers, the preferred one first.

        Raises:
            InputError: When a file is missing or the preferred provider does not start.
        """
        for name in FILES:
            if not (folder / name).is_file():
                raise InputError(f"not a variant folder: {folder} has no {name}; it needs {', '.join(FILES)}")
        config = read_config(folder)
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return cls(_open_session(folder / "model.onnx", threads, providers), tokenizer, config)

    def encode(self, text: str, *, of_template: bool = False) -> list[int]:
        """Return the tokens of a text as the model read it in training.

        Args:
            text: A text, which stands behind the special tokens that the tokenizer puts before texts.
            of_template: Whether a chat template wrote it: then it has all its special tokens, and gets no other.
        """
        ids = list(self._tokenizer.encode(text, add_special_tokens=False).ids)
        named = of_template or ids[:1] == self._opening[:1]
        return ids if named else self._opening + ids

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of the tokens, special tokens left out."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def logits(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Return `[T, V]`: what each position predicts next, in one pass over the whole sequence.

        Raises:
            InputError: When the sequence is empty, longer than the context or holds an unknown token.
        """
        return self.outputs(ids, ["logits"])["logits"][0].astype(np.float32, copy=False)

    def logits_of(self, batch: Sequence[Sequence[int]], *, last: int | None = None) -> list[NDArray[np.float32]]:
        """Return `[T, V]` of each sequence, or of its `last` positions, in one pass; see `LanguageModel`.

        Raises:
            InputError: As `logits` does.
        """
        for ids in batch:
            self._check(ids, 0)
        padded = pad_right(batch)
        logits_BTV = self._step(padded, padded.mask, {}, ["logits"])["logits"].numpy()
        firsts = [0 if last is None else max(0, len(ids) - last) for ids in batch]
        return [
            logits_BTV[row, first : len(ids)].astype(np.float32, copy=False)
            for row, (first, ids) in enumerate(zip(firsts, batch, strict=True))
        ]

    def outputs(self, ids: Sequence[int], names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Return any of the graph's outputs, as the graph shapes them, after one pass over the whole sequence.

        Raises:
            InputError: As `logits` does.
        """
        self._check(ids, 0)
        padded = pad_right([ids])
        return {name: value.numpy() for name, value in self._step(padded, padded.mask, {}, names).items()}

    def generate(
        self,
        ids: Sequence[int],
        *,
        max_new_tokens: int,
        stop_ids: Collection[int] = (),
        on_token: Callable[[int], None] | None = None,
    ) -> list[int]:
        """Return the greedy tokens of `generate_with_margins`."""
        return self.generate_with_margins(ids, max_new_tokens=max_new_tokens, stop_ids=stop_ids, on_token=on_token).ids

    def generate_with_margins(
        self,
        ids: Sequence[int],
        *,
        max_new_tokens: int,
        stop_ids: Collection[int] = (),
        on_token: Callable[[int], None] | None = None,
        choose: Choose | None = None,
    ) -> Generation:
        """Continue the prompt, the keys and values of earlier tokens kept in ONNX Runtime.

        Args:
            ids: The prompt.
            max_new_tokens: Where to stop if no stop token is met.
            stop_ids: Tokens that end the continuation; `self.stop_ids` are the model's own.
            on_token: Told each token as soon as it is known.
            choose: Says which token follows, from its logits; without it the most likely one does.

        Raises:
            InputError: When the prompt is empty, holds an unknown token or leaves no room in the context.
        """
        continuations = Continuations(
            1,
            max_new_tokens=max_new_tokens,
            stop_ids=stop_ids,
            choose=None if choose is None else [choose],
            on_step=None if on_token is None else _telling(on_token),
        )
        return self._continue([ids], max_new_tokens, continuations)[0]

    def generate_batch(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        stop_ids: Collection[int] = (),
        choose: Sequence[Choose] | None = None,
        on_step: OnStep | None = None,
    ) -> list[Generation]:
        """Continue prompts side by side; see `LanguageModel`.

        A graph without `position_ids` would count what was filled up, so its prompts of several lengths go one by one.

        Raises:
            InputError: As `generate_with_margins` does.
            NotFinite: If a token cannot be chosen.
        """
        if "position_ids" not in self._input_types and len({len(ids) for ids in prompts}) > 1:
            return [
                self._continue(
                    [ids],
                    max_new_tokens,
                    Continuations(
                        1,
                        max_new_tokens=max_new_tokens,
                        stop_ids=stop_ids,
                        choose=None if choose is None else [choose[row]],
                        on_step=None if on_step is None else _of_row(on_step, row),
                    ),
                )[0]
                for row, ids in enumerate(prompts)
            ]
        continuations = Continuations(
            len(prompts), max_new_tokens=max_new_tokens, stop_ids=stop_ids, choose=choose, on_step=on_step
        )
        return self._continue(prompts, max_new_tokens, continuations)

    def _continue(
        self, prompts: Sequence[Sequence[int]], max_new_tokens: int, continuations: Continuations
    ) -> list[Generation]:
        """Run the model until every continuation has ended, the keys and values kept where the session computes."""
        for ids in prompts:
            self._check(ids, max_new_tokens)
        step = pad_left(prompts)
        mask_BP, positions = step.mask, step.positions
        cache = dict[str, onnxruntime.OrtValue]()
        while any(continuations.going):
            found = self._step(step, mask_BP, cache, self._outputs, positions)
            logits_BV = found["logits"].numpy()[:, -1].astype(np.float32, copy=False)
            tokens = continuations.take(logits_BV)
            mask_BP = np.pad(mask_BP, ((0, 0), (0, 1)), constant_values=1)
            step, positions = Padded(tokens[:, None], mask_BP[:, -1:]), positions[:, -1:] + 1
            cache = {_past_name(name): value for name, value in found.items() if name != "logits"}
        return continuations.found

    def _check(self, ids: Sequence[int], max_new_tokens: int) -> None:
        if not ids:
            raise InputError("the prompt is empty: a model continues at least 1 token; give it some text")
        if len(ids) + max_new_tokens > self.context_tokens:
            raise InputError(
                f"prompt and continuation are longer than the context: {len(ids)} + {max_new_tokens} tokens, "
                f"{self.context_tokens} allowed; shorten one of them"
            )
        if min(ids) < 0 or max(ids) >= self.vocabulary_size:
            raise InputError(
                f"unknown token: ids from {min(ids)} to {max(ids)} were given, 0 to "
                f"{self.vocabulary_size - 1} are allowed; encode the text with this folder's tokenizer"
            )

    def _step(
        self,
        step: Padded,
        mask_BP: NDArray[np.int64],
        cache: dict[str, onnxruntime.OrtValue],
        wanted: Sequence[str],
        positions_BT: NDArray[np.int64] | None = None,
    ) -> dict[str, onnxruntime.OrtValue]:
        """Run the model over new tokens behind cached ones; `mask_BP` is of both.

        The outputs stay OrtValues, bound where the session computes: passed through numpy, the cache would
        be copied twice a token.
        """
        binding = self._session.io_binding()
        given = {
            "input_ids": step.ids,
            "attention_mask": mask_BP,
            "position_ids": np.ascontiguousarray(step.positions if positions_BT is None else positions_BT),
        }
        for name, kind in self._input_types.items():
            if name in given:
                binding.bind_cpu_input(name, given[name])
            elif name in cache:
                binding.bind_ortvalue_input(name, cache[name])
            else:
                binding.bind_cpu_input(name, _empty_cache(kind, len(step.ids)))
        for name in wanted:
            binding.bind_output(name, self._device if name.startswith("present") else "cpu")
        self._session.run_with_iobinding(binding)
        return dict(zip(wanted, binding.get_outputs(), strict=True))


def read_config(folder: Path) -> dict[str, Any]:
    """Return what a model's `config.json` says, and over it what its `generation_config.json` does."""
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    # A model that also sees or hears keeps what concerns text in a part of its own.
    config = config.get("text_config", {}) | config
    generation = folder / "generation_config.json"
    return config | (json.loads(generation.read_text(encoding="utf-8")) if generation.is_file() else {})


def context_tokens(config: dict[str, Any]) -> int:
    """Positions that a model was made for, as its `config.json` says.

    Raises:
        InputError: When it does not say.
    """
    for name in ("max_position_embeddings", "n_positions"):
        if name in config:
            return int(config[name])
    raise InputError("config.json states no context: neither max_position_embeddings nor n_positions is there")


def stop_ids(config: dict[str, Any]) -> tuple[int, ...]:
    """Tokens that end a text as a config has them: none, one or several."""
    stated: int | list[int] | None = config.get("eos_token_id")
    if stated is None:
        return ()
    return (stated,) if isinstance(stated, int) else tuple(stated)


def _open_session(model: Path, threads: int, providers: tuple[str, ...]) -> onnxruntime.InferenceSession:
    allowed = onnxruntime.get_available_providers()
    if missing := set(providers) - set(allowed):
        raise InputError(
            f"unknown execution provider: {', '.join(sorted(missing))}; this build of ONNX Runtime has "
            f"{', '.join(allowed)}"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(model), options, providers=list(providers))
    # ONNX Runtime goes on without a provider that fails to start; a setting must not be dropped in silence.
    started = session.get_providers()[0]
    if started != providers[0]:
        raise InputError(
            f"execution provider did not start: {providers[0]} was asked for, {started} came; "
            "install its libraries or leave it out"
        )
    return session


def _empty_cache(kind: Any, rows: int) -> NDArray[Any]:
    """Return `[B, H, 0, D]`: the cache before the first token, typed as the session wants it."""
    _, heads, _, dimension = kind.shape
    return np.zeros((rows, heads, 0, dimension), dtype=ELEMENTS[kind.type])


def _telling(on_token: Callable[[int], None]) -> OnStep:
    def told(row: int, token: int) -> bool:
        on_token(token)
        return True

    return told


def _of_row(on_step: OnStep, row: int) -> OnStep:
    return lambda _, token: on_step(row, token)


def _past_name(present: str) -> str:
    return present.replace("present", "past_key_values", 1)
