"""The tables of where a run's numbers come from: stages, data, teacher, machine."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from evaluation.report import words
from evaluation.report.tables import Cell, Table, measured
from evaluation.results import StageRecord
from stillhouse.recipe.continual import PREVIOUS_STUDENT


def stages_table(stages: Sequence[StageRecord]) -> Table:
    """Every artifact with the time and memory of its making."""
    rows = tuple(
        (
            Cell(stage.kind),
            measured("_seconds", stage.seconds),
            measured("_bytes", stage.peak_memory_bytes),
            Cell(words.short(stage.key), exact=stage.key),
            Cell(words.short(stage.digest), exact=stage.digest),
            Cell(", ".join(f"{name} {words.short(key)}" for name, key in stage.inputs.items()) or "none"),
        )
        for stage in stages
    )
    note = "An artifact that an earlier run had made counts with the time it took then."
    return Table("Stages", ("stage", "wall time", "peak memory", "key", "digest", "inputs"), rows, note)


def facts_table(title: str, facts: dict[str, Any]) -> Table:
    """Names and values, a row each; what lies deeper is named with dots."""
    rows = tuple((Cell(_spaced(name)), replace(_fact(name, value), is_number=False)) for name, value in flat(facts))
    return Table(title, ("", ""), rows)


def _spaced(name: str) -> str:
    # What has dots ends in the name of a library, which stays as it is.
    return name if "." in name else name.replace("_", " ")


def data_table(sets: Sequence[dict[str, Any]], only: Sequence[str] = ()) -> Table:
    """The data sets, a row each, with whatever is known of them, or with the columns of `only`."""
    flattened = [dict(flat(one)) for one in sets]
    known = dict.fromkeys(name for one in flattened for name in one)
    names = [name for name in (only or known) if name in known]
    rows = tuple(tuple(_fact(name, one.get(name)) for name in names) for one in flattened)
    return Table("Data", tuple(map(_spaced, names)), rows)


def say_table(say: Mapping[str, Any], recipe: Mapping[str, Any]) -> Table:
    """How much say each of several teachers had, a row a data set.

    Args:
        say: `say` of the student's history: by set the tokens that were taught, and sums of each teacher's shares.
        recipe: Names the teachers.
    """
    members = (recipe.get("knowledge") or {}).get("members", ())
    teachers = [one["source"] for one in (recipe["teacher"], *(member["teacher"] for member in members))]
    if (route := recipe.get("route") or {}).get("kind") == "continual":
        teachers = [(route["rounds"][-1].get("teacher") or recipe["teacher"])["source"], PREVIOUS_STUDENT]
    rows = tuple(
        (
            Cell(name),
            measured("tokens", found["tokens"]),
            *(Cell(words.percent(share / found["tokens"]) if found["tokens"] else "none") for share in found["shares"]),
        )
        for name, found in say.items()
    )
    note = "Mean share of each teacher in what was learned, over the set's tokens in all steps."
    return Table("Say of each teacher", ("data set", "tokens", *teachers), rows, note)


def left_out_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Training documents that were left out, a row for each set and reason."""
    cells = tuple(
        (
            Cell(str(one["set"])),
            Cell(str(one["reason"])),
            measured("documents", one["documents"]),
            Cell("; ".join(one["examples"])),
        )
        for one in rows
    )
    return Table("Left out of the training", ("set", "reason", "documents", "examples"), cells)


def flat(facts: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a nested mapping with its dotted name."""
    for name, value in facts.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _fact(name: str, value: Any) -> Cell:
    if value is None:
        return Cell("none")
    if isinstance(value, bool):
        return Cell("yes" if value else "no")
    if not isinstance(value, int | float):
        text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        is_hash = len(text) >= 32 and set(text) <= set("0123456789abcdef")
        return Cell(text[:12] if is_hash else text, exact=text if is_hash else "")
    return measured(name, value)
