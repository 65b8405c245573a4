"""The rows of the table of techniques: what each lays over `base.yaml`."""

from dataclasses import dataclass
from typing import Any

PLAIN_KL = "plain KL"
UNTRAINED = "no training"
"""The start as it was cut."""
REFITTED = "refitted, no training"
"""The start of the rows that are refitted."""


@dataclass(frozen=True)
class Row:
    """One technique, alone."""

    changes: dict[str, Any]
    """Laid over the base recipe; sections are merged, all else is replaced."""
    technique: str = ""
    """Its page in `docs/techniques/`."""
    trains_as: str = "plain"
    """A step of rows with one name here is the same work but for a few sums over the vocabulary."""
    prepares_as: str = ""
    """Rows with one name here make the same before they are trained; empty: nothing."""


_REFIT: dict[str, Any] = {"refit": {"tokens": 16384}}
STARTS: dict[str, dict[str, Any]] = {UNTRAINED: {}, REFITTED: _REFIT}
"""Rows without a training, which have no seeds: by name, what each lays over the base."""
_SOFT_TO_HARD = {"shape": "linear", "start": 1.0, "end": 0.0}
_AGREEING = {"shape": "agreement", "enough": 0.5}
_LARGER = {"kind": "depth", "layers": 22, "ranking": "greedy", "ranking_tokens": 256}
"""The student on the way, cut as the base's."""


def _loss(kind: str, **settings: Any) -> Row:
    return Row({"distillation": {"loss": {"kind": kind, **settings}}})


def _distillation(technique: str = "", trains_as: str = "plain", **settings: Any) -> Row:
    return Row({"distillation": settings}, technique, trains_as)


def _cached(targets: dict[str, Any], **settings: Any) -> Row:
    name = f"cached {targets['kind']}"
    changes = {"knowledge": {"kind": "cached", "targets": targets}} | ({"distillation": settings} if settings else {})
    return Row(changes, trains_as=name, prepares_as=name)


def _order(kind: str) -> Row:
    return Row({"curriculum": {"order": {"kind": kind}}}, "curriculum", prepares_as="order by the teacher's loss")


def _refitted(**settings: Any) -> Row:
    return Row(_REFIT | {"distillation": {"learning_rate": 4.0e-4, **settings}}, prepares_as="refit")


def _selection(technique: str, **settings: Any) -> Row:
    return Row({"data": {"selection": settings}}, technique)


ROWS: dict[str, Row] = {
    PLAIN_KL: Row({}),
    "cross-entropy": _distillation(trains_as="text alone", alpha=0.0),
    "mixture, alpha 0.5, T 1": _distillation(alpha=0.5),
    "mixture, alpha 0.5, T 2": _distillation(alpha=0.5, temperature=2.0),
    "reverse KL": _loss("reverse_kl"),
    "Jensen-Shannon": _loss("jensen_shannon"),
    "skewed forward KL": _loss("skewed_forward_kl"),
    "skewed reverse KL": _loss("skewed_reverse_kl"),
    "total variation": _loss("total_variation"),
    "TAID": Row({"distillation": {"loss": {"kind": "taid"}}}, "taid"),
    "alpha, soft to hard": _distillation("taid", alpha=_SOFT_TO_HARD),
    "alpha, hard to soft": _distillation("taid", alpha={"shape": "linear", "start": 0.0, "end": 1.0}),
    "T from 4 to 1": _distillation("taid", temperature={"shape": "linear", "start": 4.0, "end": 1.0}),
    "alpha, as agreement rises to 0.5": _distillation("taid", alpha=_AGREEING),
    "alpha, as agreement rises to 0.4": _distillation("taid", alpha=_AGREEING | {"enough": 0.4}),
    "progressive, 22 layers between": Row(
        {
            "route": {"kind": "progressive", "through": [{"student": _LARGER, "steps": 39}]},
            "distillation": {"steps": 40},
        },
        "progressive",
        trains_as="through a student between",
        prepares_as="a student between",
    ),
    "born again, 2 generations": Row(
        {"route": {"kind": "born_again", "generations": 2}, "distillation": {"alpha": 0.5, "steps": 40}},
        "self",
        trains_as="generations",
    ),
    "born again from the text, 2 generations": Row(
        {
            "route": {"kind": "born_again", "generations": 2, "first": "text"},
            "distillation": {"alpha": 0.5, "steps": 40},
        },
        "self",
        trains_as="generations from the text",
    ),
    "own moving average": Row(
        {"knowledge": {"kind": "moving_average", "decay": 0.9}, "distillation": {"alpha": 0.3}},
        "self",
        trains_as="own average",
    ),
    "cached, sampled": _cached({"kind": "sampled"}),
    # Sampled targets made a training unsteady at the base's rate.
    "cached, sampled, rate 4e-4": _cached({"kind": "sampled"}, learning_rate=4.0e-4),
    "cached, top 12": _cached({"kind": "top_k", "k": 12}),
    "responses, 4 a prompt": Row(
        {"data": {"answers": {"sampled": {"samples": 4, "weigh": "by_prompt"}}}}, "response", prepares_as="responses"
    ),
    "on-policy, half of the steps": _distillation(
        "response", "writing", on_policy={"share": 0.5, "max_new_tokens": 48}
    ),
    "curriculum, easy first (teacher's loss)": _order("easy_first"),
    "curriculum, hard first": _order("hard_first"),
    "curriculum, growing pool": _order("growing_pool"),
    # A quarter more text, of which the worst fifth goes: as many tokens are trained on.
    "filter by teacher confidence": Row(
        {
            "data": {"train_tokens": 50000},
            "curriculum": {"order": {"kind": "shuffled"}, "leave_out": {"measure": "entropy", "worst_share": 0.2}},
            "distillation": {"steps": 78},
        },
        "curriculum",
        prepares_as="the teacher's entropy",
    ),
    "features": _distillation("feature", "features", features={}),
    "near-duplicates left out": _selection("selection", near_duplicates=0.7),
    "questions three times as often": _selection("selection", weights={"nq-open": 3.0}),
    "the half most like the questions": _selection("task", similar_to={"set": "nq-open", "share": 0.5}),
    # The budget then has twice the questions, in the row above too; this one parts likeness from that.
    "half of the other text, at random": _selection("task", weights={"boolq-passages": 0.5, "reasoning-gym": 0.5}),
    # The rate that refitted rows have, alone.
    "rate 4e-4": _distillation(learning_rate=4.0e-4),
    "start refitted, rate 4e-4": _refitted(),
    # On the text that it was fitted to a start agrees at once.
    "refitted, rate 4e-4, alpha as agreement rises to 0.5": _refitted(alpha=_AGREEING),
    # Of what helped with seed 0.
    "combined: refitted, rate 4e-4, alpha soft to hard": _refitted(alpha=_SOFT_TO_HARD),
}
"""By what a table calls them, in its order."""


def changes_of(row: str) -> dict[str, Any]:
    """What a row, or a start, lays over the base."""
    return STARTS[row] if row in STARTS else ROWS[row].changes


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Lay one mapping over another; mappings inside are merged, unless they are of another `kind`."""
    found = dict(base)
    for key, value in over.items():
        below = found.get(key)
        same = isinstance(below, dict) and isinstance(value, dict)
        if same and value.get("kind", below.get("kind")) == below.get("kind"):
            found[key] = merged(below, value)
        else:
            found[key] = value
    return found
