"""The figures of `benchmarks.distillation_step` as a page to read."""

from statistics import median
from typing import Any

MARKS = (
    ("online", "trl", 2.4),
    ("cached", "trl", 3.4),
    ("online", "plain", 1.45),
    ("cached", "plain", 2.1),
)
"""Arm, peer, and how many times its tokens a second are asked for."""
_WITH_TEACHER = ("trl", "plain", "online", "online eager")


def page(found: dict[str, Any], arms: dict[str, str]) -> str:
    """The content of the JSON file in Markdown."""
    settings, environment = found["settings"], found["environment"]
    tokens = settings["rows"] * settings["length"]
    by_arm: dict[str, list[dict[str, Any]]] = {}
    for run in found["runs"]:
        by_arm.setdefault(run["arm"], []).append(run)
    roofs = by_arm.pop("roof", [])
    speeds = {arm: [tokens / median(run["seconds"]) for run in runs] for arm, runs in by_arm.items()}
    return "\n".join(
        [
            "# A distillation step beside TRL and a plain loop",
            "",
            f"{settings['rows']} rows of {settings['length']} tokens, bf16 autocast over fp32 weights, fused AdamW, "
            f"{_where(settings, environment)}. Processes an arm: "
            f"{len(next(iter(speeds.values())))}, in turns, with {settings['steps']} timed steps each.",
            "",
            "| arm | tokens/s, median (range) | x TRL | x plain loop | activations, loss, MiB | of TRL's | of roof |",
            "|---|--:|--:|--:|--:|--:|--:|",
            *(_row(arm, arms[arm], speeds, by_arm, roofs, tokens) for arm in by_arm),
            "",
            *_marks(speeds, by_arm, roofs, tokens),
            *_utilisation(settings, speeds, roofs, tokens),
            "",
        ]
    )


def _where(settings: dict[str, Any], environment: dict[str, Any]) -> str:
    if settings.get("device", "cpu") != "cpu":
        return str(environment["accelerator"])
    return f"{settings['threads']} threads of {environment['processor']}"


def _row(
    arm: str,
    name: str,
    speeds: dict[str, list[float]],
    runs: dict[str, list[dict[str, Any]]],
    roofs: list[dict[str, Any]],
    tokens: int,
) -> str:
    own = speeds[arm]
    ratios = [_ratio(arm, peer, speeds) for peer in ("trl", "plain")]
    memory = _memory(runs[arm])
    of_trl = f"{memory / _memory(runs['trl']):.2f}" if "trl" in runs else ""
    share = f"{_share(arm, own, roofs, tokens):.0%}" if roofs else ""
    cells = [name, f"{median(own):.0f} ({min(own):.0f} to {max(own):.0f})"]
    cells += [f"{ratio:.2f}" if ratio else "" for ratio in ratios]
    return "| " + " | ".join([*cells, f"{memory / 2**20:,.0f}", of_trl, share]) + " |"


def _ratio(arm: str, peer: str, speeds: dict[str, list[float]]) -> float | None:
    return median(speeds[arm]) / median(speeds[peer]) if arm in speeds and peer in speeds else None


def _memory(runs: list[dict[str, Any]]) -> float:
    return median(run["activation_bytes"] for run in runs)


def _share(arm: str, speeds: list[float], roofs: list[dict[str, Any]], tokens: int) -> float:
    needs_teacher = arm in _WITH_TEACHER
    seconds = median(roof["online_seconds" if needs_teacher else "cached_seconds"] for roof in roofs)
    return median(speeds) * seconds / tokens


def _marks(
    speeds: dict[str, list[float]], runs: dict[str, list[dict[str, Any]]], roofs: list[dict[str, Any]], tokens: int
) -> list[str]:
    """Each mark, and whether it is met."""
    lines = []
    for arm, peer, least in MARKS:
        ratio = _ratio(arm, peer, speeds)
        if ratio is not None:
            lines.append(f"- {arm} against {peer}: {ratio:.2f}, asked {least}: {_met(ratio >= least)}.")
    if {"online", "trl"} <= set(runs):
        share = _memory(runs["online"]) / _memory(runs["trl"])
        lines.append(
            f"- Activations and loss of online against TRL's: {share:.2f}, asked 0.33: {_met(share <= 1 / 3)}."
        )
    if {"cached", "text"} <= set(speeds):
        cost = median(speeds["text"]) / median(speeds["cached"])
        lines.append(f"- A cached step against cross-entropy with the same head: {cost:.2f} times, asked 1.10: "
                     f"{_met(cost <= 1.10)}.")  # fmt: skip
    for arm in ("online", "cached") if roofs else ():
        if arm in speeds:
            share = _share(arm, speeds[arm], roofs, tokens)
            lines.append(f"- Share of the roof of {arm}: {share:.0%}, the goal is 60%: {_met(share >= 0.6)}.")
    if roofs:
        online, cached = (median(roof[name] for roof in roofs) for name in ("online_seconds", "cached_seconds"))
        lines.append(
            f"- Roof: the products alone take {online:.2f} s a step with the teacher ({tokens / online:.0f} "
            f"tokens/s) and {cached:.2f} s without ({tokens / cached:.0f}); the teacher's share bounds what a cache "
            f"can save to {online / cached:.2f} times."
        )
    return lines


def _utilisation(
    settings: dict[str, Any], speeds: dict[str, list[float]], roofs: list[dict[str, Any]], tokens: int
) -> list[str]:
    """Model FLOP utilisation of each arm, where the device's peak is told: products of linear layers, no attention."""
    peak = settings.get("peak_teraflops")
    if not peak or not roofs:
        return []
    lines = []
    for arm, own in speeds.items():
        needs_teacher = arm in _WITH_TEACHER
        operations = roofs[0]["online_operations" if needs_teacher else "cached_operations"]
        share = operations * median(own) / tokens / (peak * 1e12)
        lines.append(f"- Model FLOP utilisation of {arm}: {share:.1%} of {peak:g} teraflops.")
    return lines


def _met(holds: bool) -> str:
    return "met" if holds else "missed"
