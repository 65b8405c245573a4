"""The special tokens that a tokenizer puts before a text; needs no library, so that whoever serves can ask too."""

from collections.abc import Sequence


def opening_of(plain: Sequence[int], whole: Sequence[int]) -> list[int]:
    """What stands before a text: one token of Llama and Gemma, none of GPT-2, Qwen and SmolLM2.

    Args:
        plain: The tokens of some text, without special ones.
        whole: The same text's with those that the tokenizer adds; what it puts behind a text is no part of the answer.
    """
    places = range(len(whole) - len(plain) + 1)
    found = next((place for place in places if list(whole[place : place + len(plain)]) == list(plain)), 0)
    return list(whole[:found])
