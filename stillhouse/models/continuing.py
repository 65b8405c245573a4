"""Texts that a transformers model goes on with, side by side, keys and values of earlier tokens kept.

Shapes: B = sequences, P = tokens so far.
"""

from collections.abc import Collection, Sequence

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from stillhouse.serving.batches import Continuations, Padded, pad_left
from stillhouse.serving.language_model import Choose, Generation, OnStep


@torch.no_grad()
def continue_batch(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    stop_ids: Collection[int] = (),
    choose: Sequence[Choose] | None = None,
    on_step: OnStep | None = None,
) -> list[Generation]:
    """Continue prompts; see `LanguageModel.generate_batch`."""
    continuations = Continuations(
        len(prompts), max_new_tokens=max_new_tokens, stop_ids=stop_ids, choose=choose, on_step=on_step
    )
    step, cache = pad_left(prompts), None
    mask_BP, positions = step.mask, step.positions
    while any(continuations.going):
        found = model(
            torch.from_numpy(step.ids).to(model.device),
            attention_mask=torch.from_numpy(mask_BP).to(model.device),
            position_ids=torch.from_numpy(positions).to(model.device),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        tokens = continuations.take(found.logits[:, -1].float().cpu().numpy())
        mask_BP = np.pad(mask_BP, ((0, 0), (0, 1)), constant_values=1)
        step, positions = Padded(tokens[:, None], mask_BP[:, -1:]), positions[:, -1:] + 1
        cache = found.past_key_values
    return continuations.found


def end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> frozenset[int]:
    """Tokens that end a turn: the tokenizer's, and what the model's folder declares."""
    declared = model.generation_config.eos_token_id if model.generation_config else None
    return frozenset({tokenizer.eos_token_id} | set([declared] if isinstance(declared, int) else declared or []))
