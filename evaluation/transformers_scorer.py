"""A model folder as lm-eval asks it, through transformers.

Shapes: B = batch, T = tokens, V = vocabulary.
"""

from collections.abc import Callable, Sequence
from typing import Any

from lm_eval.models.huggingface import HFLM

from evaluation.decoding import Decoding, Written, all_end_ids, draw_token, generator_of, text_of, until_end

Request = tuple[tuple[str, str], list[int], list[int]]
"""A question and an answer: their texts, and the tokens of each."""


class TransformersScorer(HFLM):
    """lm-eval's own model over transformers; it predicts answers only, and notes the tokens that it writes."""

    def __init__(self, model: Any, tokenizer: Any, *, batch_size: int):
        super().__init__(
            pretrained=model,
            tokenizer=tokenizer,
            backend="causal",
            batch_size=batch_size,
            # In bf16 two answers' sums would often be the same number.
            softmax_dtype="float32",
        )
        self.written: dict[tuple[str, Decoding], Written] = {}
        self._positions = 0
        stated = model.generation_config.eos_token_id if model.generation_config else None
        self._end_ids = all_end_ids(tokenizer, [stated] if isinstance(stated, int) else stated or [])

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """Answer prompts side by side, those of like length together; each is drawn from its own seed."""
        prompts = [request.args[0] for request in requests]
        decodings = [Decoding.of_request(request.args[1]) for request in requests]
        texts = [""] * len(requests)
        for decoding in dict.fromkeys(decodings):
            chosen = [number for number, each in enumerate(decodings) if each == decoding]
            chosen.sort(key=lambda number: -len(self.tok_encode(prompts[number])))
            for start in range(0, len(chosen), int(self.batch_size)):
                batch = chosen[start : start + int(self.batch_size)]
                answers = self._answer([prompts[number] for number in batch], decoding, batch)
                for number, answer in zip(batch, answers, strict=True):
                    self.written[prompts[number], decoding] = answer
                    texts[number] = text_of(self.tokenizer, answer, decoding)
                    self.cache_hook.add_partial("generate_until", requests[number].args, texts[number])
        return texts

    def _loglikelihood_tokens(
        self, requests: list[Request], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        """Score continuations as lm-eval does, batch by batch, so that `_model_call` knows where answers begin.

        Predicting and normalizing every token of every question would take most of the time and memory.
        """
        found: list[tuple[float, bool]] = [(0.0, False)] * len(requests)
        for batch in _batches(requests, int(self.batch_size)):
            ends = [min(len(requests[number][1] + requests[number][2]) - 1, self.max_length) for number in batch]
            starts = [end - len(requests[number][2]) for end, number in zip(ends, batch, strict=True)]
            self._positions = max(ends) - min(starts)
            scored = super()._loglikelihood_tokens([requests[number] for number in batch], disable_tqdm=True)
            for number, score in zip(batch, scored, strict=True):
                found[number] = score
        return found

    def _model_call(self, inps: Any, attn_mask: Any = None, labels: Any = None) -> Any:
        """Return the logits of the last positions; lm-eval counts positions from the end."""
        import torch

        with torch.inference_mode():
            return self.model(inps, use_cache=False, logits_to_keep=self._positions).logits

    def _answer(self, prompts: Sequence[str], decoding: Decoding, numbers: Sequence[int]) -> list[Written]:
        """Answer one batch; `numbers` are those of the requests, which decide what is drawn."""
        import torch
        from transformers import GenerationConfig

        ids_BT, mask_BT = self.tok_batch_encode(
            list(prompts), left_truncate_len=self.max_length - decoding.new_tokens, truncation=False
        )
        generation = GenerationConfig(
            max_new_tokens=decoding.new_tokens,
            do_sample=False,
            eos_token_id=sorted(self._end_ids),
            pad_token_id=self.tokenizer.pad_token_id,
        )
        with torch.inference_mode():
            found_BT = self.model.generate(
                input_ids=ids_BT.to(self.device),
                attention_mask=mask_BT.to(self.device),
                generation_config=generation,
                logits_processor=[_drawing(decoding, numbers)] if decoding.temperature > 0 else [],
                # A model's own sampling settings and penalties are for chatting.
                use_model_defaults=False,
            )
        return [until_end(row, self._end_ids) for row in found_BT[:, ids_BT.shape[1] :].tolist()]


def _drawing(decoding: Decoding, numbers: Sequence[int]) -> Callable[[Any, Any], Any]:
    """Give what transformers calls before it takes the most likely token: it leaves the drawn one alone."""
    generators = [generator_of(decoding, number) for number in numbers]

    def draw(ids_BT: Any, scores_BV: Any) -> Any:
        drawn_BV = scores_BV.new_full(scores_BV.shape, float("-inf"))
        for row, (logits_V, generator) in enumerate(zip(scores_BV.float().cpu().numpy(), generators, strict=True)):
            drawn_BV[row, draw_token(logits_V, decoding, generator)] = 0.0
        return drawn_BV

    return draw


def _batches(requests: Sequence[Request], size: int) -> list[list[int]]:
    """Numbers of the requests in batches, the longest first; those that read the same tokens count as one."""
    sharing: dict[tuple[int, ...], list[int]] = {}
    for number, (_, context, answer) in enumerate(requests):
        sharing.setdefault(tuple((context + answer)[:-1]), []).append(number)
    groups = [sharing[read] for read in sorted(sharing, key=lambda read: (-len(read), read))]
    return [sum(groups[start : start + size], []) for start in range(0, len(groups), size)]
