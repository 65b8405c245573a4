"""Numbers and names as a reader wants them: units, sensible digits, one spelling in report and model card."""

import math
import re
from collections.abc import Callable, Iterable

from evaluation.results import Interval

LABELS = {
    "loss_ratio_to_own_round": "held-out loss over that after its own round",
    "parameters": "parameters",
    "layers": "layers",
    "held_out_loss_nats_per_token": "held-out loss",
    "bits_per_byte": "bits per byte",
    "held_out_loss_above_teacher_nats_per_token": "loss above teacher",
    "kl_to_teacher_nats_per_token": "KL to teacher",
    "top1_agreement_with_teacher": "top-1 agreement with teacher",
    "calibration_error": "calibration error of tokens",
    "tokens": "held-out tokens (n)",
    "documents": "held-out documents (n)",
    "size_bytes": "size on disk",
    "peak_memory_bytes": "peak memory",
    "peak_memory_above_imports_bytes": "peak memory above imports",
    "load_seconds": "load",
    "time_to_first_token_ms": "time to first token",
    "inter_token_latency_ms": "time between tokens",
    "inter_token_latency_p95_ms": "time between tokens, p95",
    "cold_start_seconds": "cold start to first token",
    "warm_start_seconds": "warm start to first token",
    "starts": "starts (n)",
    "prefill_tokens_per_second": "prefill",
    "decode_tokens_per_second": "decode",
    "kl_to_fp32": "KL to torch-fp32",
    "top1_agreement": "top-1 agreement with torch-fp32",
    "greedy_prefix_tokens": "greedy tokens equal to torch-fp32's",
    "bits_per_byte_ratio_to_fp32": "bits per byte over torch-fp32's",
    "parity_tokens": "parity tokens (n)",
    "validation_tokens": "validation tokens (n)",
    "repeats": "repeats (n)",
    "prompt_tokens": "prompt tokens of the headline",
    "difference_to_teacher": "difference to the teacher",
    "value": "score",
    "stderr": "standard error",
}
UNITS = {
    "nats_per_token": "nats per token",
    "kl_to_fp32": "nats per token",
    "tokens_per_second": "tokens/s",
    "_bytes": "bytes",
    "_ms": "ms",
    "_seconds": "s",
}
"""By the end of a figure's name; what has none is a count, a share or a ratio."""
SPELLED = ("_bytes", "_ms", "_seconds")
"""Units that `figure` writes beside the number, so that a heading need not name them."""
_SPACE = "\u00a0"
TO = "\u00a0to\u00a0"
MINUS = "\u2212"


def number(value: float | None, digits: int = 3) -> str:
    """`value` with `digits` significant digits, integers whole, thousands separated; `n/a` for None."""
    if value is None:
        return "n/a"
    if not math.isfinite(value):
        return "not finite"
    if isinstance(value, int) or value == 0:
        return f"{value:,.0f}".replace("-", MINUS)
    rounded = float(f"{value:.{digits - 1}e}")
    magnitude = math.floor(math.log10(abs(rounded)))
    if magnitude < -4:
        return re.sub(r"e-0*", "e-", f"{value:.{digits - 1}e}").replace("-", MINUS)
    return f"{value:,.{max(0, digits - 1 - magnitude)}f}".replace("-", MINUS)


def fixed(value: float, decimals: int = 3) -> str:
    """`value` with a fixed number of decimals, so that a column lines up; more where they would all be zero."""
    if not math.isfinite(value) or 0 < abs(value) < 0.5 * 10**-decimals:
        return number(value, 2)
    return f"{value:,.{decimals}f}".replace("-", MINUS)


def size(value_bytes: float) -> str:
    """Bytes in decimal kB, MB or GB."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if abs(value_bytes) >= scale:
            return f"{number(value_bytes / scale)}{_SPACE}{unit}"
    return f"{value_bytes:,.0f}{_SPACE}B"


def millions(count: int) -> str:
    """A count of parameters in thousands, millions or billions."""
    for letter, scale in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= scale:
            return f"{number(count / scale)}{letter}"
    return number(count)


def duration(seconds: float) -> str:
    """Seconds, or minutes and seconds, or hours and minutes."""
    if seconds < 59.5:
        return f"{number(float(seconds), 3 if seconds >= 10 else 2)}{_SPACE}s"
    if seconds < 3599.5:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes}{_SPACE}min {rest}{_SPACE}s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours}{_SPACE}h {minutes}{_SPACE}min"


def percent(share: float) -> str:
    """A share as a percentage with one decimal."""
    return f"{fixed(100 * share, 1)}%"


def factor(ratio: float) -> str:
    """A ratio as `4.1x`, with a sign of multiplication."""
    return f"{number(float(ratio), 2 if 1.5 <= ratio < 100 else 3)}\u00d7"


def signed(value: float) -> str:
    """A difference with its sign and three decimals."""
    return ("+" if value > 0 else "") + fixed(value)


def _divergence(nats: float) -> str:
    """A KL, small ones with two significant digits: between 8-bit variants, three decimals would tell nothing."""
    return number(float(nats), 2) if 0 < nats < 0.01 else fixed(nats)


_BY_ENDING: tuple[tuple[str, Callable[[float], str]], ...] = (
    ("nats_per_token", fixed),
    ("kl_to_fp32", _divergence),
    ("_ratio_to_fp32", fixed),
    ("bits_per_byte", fixed),
    ("_bytes", size),
    ("_seconds", duration),
    ("_ms", lambda value: f"{number(float(value))}{_SPACE}ms"),
    ("agreement_with_teacher", percent),
    ("top1_agreement", percent),
    ("greedy_prefix_tokens", lambda value: fixed(value, 1)),
)


def figure(name: str, value: float | None) -> str:
    """A figure of `results.json` in the unit that the ending of its name tells."""
    if value is None:
        return "n/a"
    if not math.isfinite(value):
        return "not finite"
    for ending, formatted in _BY_ENDING:
        if name.endswith(ending):
            return formatted(value)
    return number(value)


def interval(name: str, bounds: Interval | None) -> str:
    """A 95% interval of the figure `name`, as `0.61 to 0.66`; empty without one."""
    return "" if bounds is None else f"{figure(name, bounds[0])}{TO}{figure(name, bounds[1])}"


def unit(name: str) -> str:
    """Unit of a figure; empty for a count, a share or a ratio."""
    return next((found for ending, found in UNITS.items() if name.endswith(ending)), "")


def label(name: str) -> str:
    """What a figure's name means, as the head of a row or column."""
    text = LABELS.get(name, name.replace("_", " "))
    return f"{text} ({unit(name)})" if unit(name) and not name.endswith(SPELLED) else text


def listed(items: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *most, last = list(items) or ["none"]
    return f"{', '.join(most)} and {last}" if most else last


def plural(count: int, noun: str) -> str:
    """`1 gate`, `2 gates`."""
    return f"{number(count)} {noun}" + ("" if count == 1 else "s")


def short(key: str) -> str:
    """The first twelve characters of a key or digest; shorter words stay whole."""
    return key if len(key) <= 16 else key[:12]
