"""What runs beside the reference: the variant's own logits and greedy tokens, in a process without torch."""

from pathlib import Path
from typing import Any

import numpy as np

from evaluation.variant import open_variant
from stillhouse import progress
from stillhouse.serving.language_model import NotFinite


def answer(payload: dict[str, Any]) -> dict[str, Any]:
    """Write the logits of each request to a file, and continue each prompt greedily.

    Args:
        payload: `variant` (folder), `threads`, `device`; `requests`, each with `ids`, the `positions` whose
            logits are wanted and the `file` that gets them, `[P, V]` float32; `prompts` and `new_tokens`.

    Returns:
        `continuations`, one list of tokens a prompt; `None` for one where a token could not be chosen. Which document
        that comes from, the logits tell.
    """
    model = open_variant(Path(payload["variant"]), threads=payload["threads"], device=payload["device"])
    requests, prompts = payload["requests"], payload["prompts"]
    for done, request in enumerate(requests):
        progress.step("reads held-out text with the variant", done, len(requests))
        np.save(request["file"], model.logits(request["ids"])[request["positions"]])
    continuations: list[list[int] | None] = []
    for done, prompt in enumerate(prompts):
        progress.step("continues prompts with the variant", done, len(prompts))
        try:
            continuations.append(model.generate_with_margins(prompt, max_new_tokens=payload["new_tokens"]).ids)
        except NotFinite:
            continuations.append(None)
    return {"continuations": continuations}
