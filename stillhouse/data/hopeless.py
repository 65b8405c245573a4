"""When nothing that was written may be kept: after how many prompts that is plain, and what is said."""

from collections.abc import Sequence

from stillhouse.errors import InputError

ENOUGH = 256
"""Prompts without a response that may be kept, after which no more are drawn.

Prompts and not responses, of which those to one prompt are much alike. Of a model that can answer one prompt in n, 256
are all without a right response with probability (1 - 1/n)^256: 0.6% at n = 50, 8% at 100, 60% at 500. From the last
one a drawing would be of little use: 499 prompts in 500 are thrown away.
"""
_EXAMPLES = 3
_SHOWN_CHARACTERS = 160

Said = tuple[str, str]
"""A question, and the response to it."""


def none_ended(said: Sequence[Said], *, is_all: bool) -> InputError:
    """What `keep.ended` says where no response ended.

    Args:
        said: Every response so far.
        is_all: Whether all are written.
    """
    return InputError(
        "data.answers.sampled.keep.ended keeps what the teacher ended itself, and none of "
        f"{_number(said, is_all)} responses ended (0%): {shown(said)}; raise data.answers.max_new_tokens, or leave "
        "keep.ended out"
    )


def none_right(said: Sequence[Said], *, is_all: bool) -> InputError:
    """What `keep.verified` says where no verifier is content.

    Args:
        said: Every response so far whose prompt has a verifier.
        is_all: Whether all are written.
    """
    return InputError(
        "data.answers.sampled.keep.verified keeps what a verifier is content with, and of "
        f"{_number(said, is_all)} responses it is with none (0%), and 1 is needed: {shown(said)}; take a stronger "
        "teacher, or leave keep.verified out"
    )


def shown(said: Sequence[Said]) -> str:
    """Three of them, spread."""
    some = said[:: max(1, len(said) // _EXAMPLES)][:_EXAMPLES]
    return "; ".join(
        f"asked {question[:_SHOWN_CHARACTERS]!r} it wrote {text[:_SHOWN_CHARACTERS]!r}" for question, text in some
    )


def _number(said: Sequence[Said], is_all: bool) -> str:
    return f"{len(said)}" if is_all else f"the first {len(said)}"
