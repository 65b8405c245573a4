"""Which prompts may become smoke prompts."""

from pathlib import Path

import numpy as np

from export.smoke import _candidates
from stillhouse.data.dataset import Split, read_split, write_split


def split_of(tmp_path: Path, documents: list[tuple[list[int], int]]) -> Split:
    """Documents, each with the place of its first target."""
    ids = np.concatenate([np.asarray(tokens, dtype=np.int32) for tokens, _ in documents])
    counted = np.concatenate([np.arange(len(tokens)) >= first for tokens, first in documents])
    starts = np.cumsum([0, *(len(tokens) for tokens, _ in documents)])
    names = [f"set/{number}" for number in range(len(documents))]
    write_split(tmp_path, "validation", Split(ids, counted, starts, np.ones(len(ids), dtype=np.int32), names))
    return read_split(tmp_path, "validation")


def test_what_a_template_puts_before_every_conversation_is_no_prompt(tmp_path):
    template = list(range(100, 120))
    texts = [([*range(30)], 1), ([*range(30)], 1), ([*range(5, 40)], 1)]
    chats = [([*template, 7, 8, 9], 20), ([*template, 7, 8, 10], 20)]
    found = _candidates(split_of(tmp_path, texts + chats))
    assert found == [[*range(12)], [*range(5, 17)], [119, 7, 8, 9], [119, 7, 8, 10]]
