"""Models as lm-eval asks them: model folders through transformers, and any open variant, ONNX graphs included.

lm-eval hands back texts and keeps no tokens. What a model wrote is therefore also noted in `written`, token by
token, for tasks that measure more than the text.

Shapes: T = tokens, V = vocabulary.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from lm_eval.api.model import TemplateLM

from evaluation.decoding import (
    Decoding,
    Written,
    all_end_ids,
    draw_token,
    generator_of,
    log_softmax,
    text_of,
    until_end,
)
from evaluation.lm_eval_tasks import quiet
from evaluation.transformers_scorer import Request, TransformersScorer
from evaluation.variant import holds_graph, open_decoder
from stillhouse.recipe.compute import Compute
from stillhouse.serving.language_model import LanguageModel


def scorer_of(folder: Path, *, compute: Compute, batch_size: int) -> Any:
    """Open a variant as an lm-eval model: in ONNX Runtime where it holds a graph, else in transformers.

    Args:
        folder: A model folder, or one with `model.onnx`.
        compute: Device, threads and, for a model folder, the precision.
        batch_size: Requests side by side; an ONNX graph reads one after the other.
    """
    from stillhouse.models.load import is_quantized, load_model, load_tokenizer

    tokenizer = load_tokenizer(folder)
    if holds_graph(folder):
        decoder = open_decoder(folder, threads=compute.threads, device=compute.device)
        return VariantScorer(decoder, tokenizer, context_tokens=decoder.context_tokens, end_ids=decoder.stop_ids)
    import torch

    torch.set_num_threads(compute.threads)
    model = load_model(folder, device=compute.device, dtype=compute.precision)
    if is_quantized(folder):
        # transformers has imported them by itself; named here, their versions are in the key of what is scored.
        import accelerate  # noqa: F401
        import bitsandbytes  # noqa: F401
    with quiet():
        return TransformersScorer(model, tokenizer, batch_size=batch_size)


class VariantScorer(TemplateLM):
    """Any open variant as an lm-eval model, one sequence after the other, in float64 after the logits."""

    def __init__(self, model: LanguageModel, tokenizer: Any, *, context_tokens: int, end_ids: Sequence[int]):
        super().__init__()
        self.tokenizer = tokenizer
        self.written: dict[tuple[str, Decoding], Written] = {}
        self._model = model
        self._max_length = context_tokens
        self._end_ids = all_end_ids(tokenizer, end_ids)

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

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Return the tokens of a text; special ones are not put before a text that begins with one already."""
        if add_special_tokens is None:
            add_special_tokens = not string.startswith(self.tokenizer.decode([self.prefix_token_id]))
        ids: list[int] = self.tokenizer.encode(string, add_special_tokens=add_special_tokens)
        return ids

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """Refuse: whole texts are scored by `evaluation.held_out`."""
        raise NotImplementedError("a variant scores answers and writes texts; held-out text is measured by held_out")

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """Answer prompts, each drawn from its own seed: the one asked for and the request's number."""
        texts = []
        for number, request in enumerate(requests):
            prompt, decoding = request.args[0], Decoding.of_request(request.args[1])
            ids = self.tok_encode(prompt)[-(self.max_length - decoding.new_tokens) :]
            drawn = partial(draw_token, decoding=decoding, generator=generator_of(decoding, number))
            generation = self._model.generate_with_margins(
                ids,
                max_new_tokens=decoding.new_tokens,
                stop_ids=self._end_ids,
                choose=drawn if decoding.temperature > 0 else None,
            )
            answer = until_end(generation.ids, self._end_ids)
            self.written[prompt, decoding] = answer
            texts.append(text_of(self.tokenizer, answer, decoding))
            self.cache_hook.add_partial("generate_until", request.args, texts[-1])
        return texts

    def _loglikelihood_tokens(self, requests: list[Request], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Score continuations; those that the same tokens lead up to (yes and no) share one pass."""
        read = [tuple((context + answer)[-(self.max_length + 1) :][:-1]) for _, context, answer in requests]
        sharing: dict[tuple[int, ...], list[int]] = {}
        for number, ids in enumerate(read):
            sharing.setdefault(ids, []).append(number)
        found: list[tuple[float, bool]] = [(0.0, False)] * len(requests)
        for ids, numbers in sharing.items():
            longest = max(len(requests[number][2]) for number in numbers)
            log_probs_TV = log_softmax(self._model.logits(ids)[-longest:])
            for number in numbers:
                strings, _context, answer = requests[number]
                ending_TV = log_probs_TV[-len(answer) :]
                total = float(ending_TV[np.arange(len(answer)), answer].sum())
                found[number] = total, bool((ending_TV.argmax(axis=-1) == answer).all())
                self.cache_hook.add_partial("loglikelihood", strings, found[number])
        return found
