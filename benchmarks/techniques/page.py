"""The table of techniques as a page to read, from the records that are there.

python -m benchmarks.techniques.page
"""

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import mean

from benchmarks.figures import difference, over_seeds
from benchmarks.techniques.equal_time import AS_FAST, LEAST, plain_seconds
from benchmarks.techniques.paired import CALIBRATION, Difference, differences, is_same_text
from benchmarks.techniques.record import Record, View, read_all
from benchmarks.techniques.rows import PLAIN_KL, ROWS, STARTS
from benchmarks.techniques.timings import Sitting, read
from benchmarks.techniques.train import OUT

FIGURES = {
    "held_out_loss_above_teacher_nats_per_token": "loss above",
    "kl_to_teacher_nats_per_token": "KL",
    "top1_agreement_with_teacher": "top-1",
    CALIBRATION: "calibration error",
}
HIGHER_IS_BETTER = ("top1_agreement_with_teacher",)
VIEWS: dict[View, str] = {
    "tokens": "Equal training tokens",
    "time": "Equal wall time",
}
_SORTED = ("easy_first", "hard_first")
Found = Mapping[str, list[Record]]
"""Records of one view by row, each sorted by seed."""


def main() -> None:
    """Write the page of one folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=OUT, help="the folder of records")
    write_page(parser.parse_args().out)


def write_page(folder: Path) -> None:
    """Write the page beside the folder of records, once there is plain KL to lay the others beside."""
    records = list(read_all(folder))
    if any(record.row == PLAIN_KL for record in records):
        folder.with_suffix(".md").write_text(page(records, read(folder)), encoding="utf-8")


def page(records: list[Record], sitting: Sitting) -> str:
    """All views of the table, with what is needed to read them."""
    first = next(record for record in records if record.row == PLAIN_KL and record.view == "tokens")
    held_out, where = first.figures["held_out"], first.environment
    parts = [
        "# Techniques, compared",
        f"""One teacher, one start of half its layers, {first.cost["tokens"]:,.0f} counted training tokens in
{first.cost["steps"]:.0f} steps (`benchmarks/techniques/base.yaml`); what a row lays over that stands in
`benchmarks/techniques/rows.py`. Held-out: {held_out["tokens"]:,} tokens in {held_out["documents"]} documents. A cell is
the mean over seeds, and each seed behind it in their order; a seed decides the order of the data. Loss above: nats per
token above the teacher's. KL: to the teacher, nats per token. top-1: share of positions with the teacher's most likely
token. Calibration error: of tokens, over 15 bins. Every row starts from the same student, whatever its own data,
or from that student refitted, where it says so; that of the progressive row is cut from the student between.""",
    ]
    for view, title in VIEWS.items():
        found = _by_row(records, view)
        if PLAIN_KL in found:
            parts += [
                f"## {title}",
                _VIEW_NOTES[view],
                *(_sitting_note(sitting) if view == "time" else ()),
                "\n".join(_table(found)),
                *sorted_once(found),
            ]
            parts += [
                "### Beside plain KL, seed by seed",
                _paired_note(found),
                "\n".join(_paired_table(found, PLAIN_KL)),
            ]
            parts += _beside_others(found)
    parts.append(_ELSEWHERE)
    parts.append(
        f"""{where["precision"]}, threads: {where["threads"]}; {_processors(records)}. Seconds are of whole
stages, with loading and validation, one for each seed, on a machine that may have had other work; no claim of speed
rests on them. Peak memory is the largest of the seeds, whose processors take other amounts for the same work. Made by
`make techniques`; every figure is in [techniques/](techniques), a file a training."""
    )
    return "\n\n".join(parts) + "\n"


def _sitting_note(sitting: Sitting) -> Iterator[str]:
    """What plain KL took where the shares were told, so that a row's seconds can be held against it."""
    took = " ".join(f"{timing.training_seconds:,.0f}" for timing in sitting.of(PLAIN_KL))
    yield (
        f"The sitting was on {sitting.environment['processor']}. Plain KL took {took} seconds in it, before, between "
        f"and after the other kinds of work, and {plain_seconds(sitting.timings):,.0f} is the time that a row has."
    )


def _processors(records: list[Record]) -> str:
    """Which seeds were trained where, as the seconds of different processors do not compare."""
    trained = [record for record in records if record.seed is not None]
    names = sorted({record.environment["processor"] for record in trained})
    told = []
    for name in names:
        seeds = sorted({str(record.seed) for record in trained if record.environment["processor"] == name})
        told.append(f"{'seeds' if len(seeds) > 1 else 'seed'} {', '.join(seeds)} on {name}")
    return "; ".join(told)


_VIEW_NOTES: dict[View, str] = {
    "tokens": "Every row takes about as many steps of as many packed tokens, whatever time that takes. Tokens are "
    "those that were counted: of a row that writes its own text, what the student wrote alone.",
    "time": "Every row has as much text as it is trained on while plain KL is trained on the above; all stages count "
    "that the row needs beyond teacher, data and start. How long a row takes was told by one of its kind in one "
    "sitting, in which every kind of work was timed on one machine: of trainings whose steps are the same work the "
    f"middle one, and so of what comes before them. A row within {AS_FAST:.0%} of plain KL's time has the training of "
    "equal tokens, on whatever machine that was; plain KL's here are the sitting's. A row that takes plain KL's time "
    f"before its first step has {LEAST:.0%} of its text, and takes more time.",
}
_ELSEWHERE = """Techniques without a row: [several teachers](../techniques/multi-teacher.md), for which another one is
wanted; [reasoning](../techniques/reasoning.md), whose measure is right answers;
[continual](../techniques/continual.md),
whose measure is what is kept; [across tokenizers](../techniques/cross-tokenizer.md), whose student cannot have this
start. Their pages say what was measured. Students on [their teacher's own answers](techniques_prompts.md), and
[a student of one domain](task_domain.md), have pages of their own: this held-out text is nearly all passages."""
_OTHERS = {
    "TAID": ("reverse KL", "skewed forward KL", "skewed reverse KL"),
    "own moving average": ("cross-entropy",),
    "cached, sampled, rate 4e-4": ("rate 4e-4", "cached, sampled"),
    "born again, 2 generations": ("mixture, alpha 0.5, T 1",),
    "born again from the text, 2 generations": ("cross-entropy",),
    "half of the other text, at random": ("the half most like the questions",),
    "alpha, soft to hard": ("cross-entropy",),
    "start refitted, rate 4e-4": ("rate 4e-4",),
    "combined: refitted, rate 4e-4, alpha soft to hard": ("cross-entropy", "alpha, soft to hard"),
}
"""What a row is read against besides: TAID's paper puts it above these, a row without a teacher or with a share of the
text has the text, and of a row that changes two things one stands alone."""


def _paired_note(found: Found) -> str:
    number = len(FIGURES) * sum(beside is not None for _, beside in _pairs(found, PLAIN_KL))
    return (
        "The row less plain KL at the same seed, with the 95% interval over documents. **Bold**: better, the interval "
        f"leaves zero out; *italic*: worse. Of {number} intervals some {0.05 * number:.0f} would do so by chance if no "
        "row differed; a row helps where all of its seeds agree."
    )


def _beside_others(found: Found) -> Iterator[str]:
    for row, others in _OTHERS.items():
        for other in others:
            if row in found and other in found:
                yield f"### {row} beside {other}"
                yield "\n".join(_paired_table({row: found[row], other: found[other]}, other))


def _by_row(records: list[Record], view: View) -> dict[str, list[Record]]:
    known = (*STARTS, *ROWS)
    mine = [record for record in records if record.view == view and record.row in known]
    found: dict[str, list[Record]] = {}
    for record in sorted(mine, key=lambda one: (known.index(one.row), -1 if one.seed is None else one.seed)):
        found.setdefault(record.row, []).append(record)
    return found


def _table(found: Found) -> Iterator[str]:
    yield f"| row | {' | '.join(FIGURES.values())} | tokens | seconds | tokens/s | peak memory |"
    yield "|---|" + "--:|" * (len(FIGURES) + 4)
    for row, records in found.items():
        cells = [_seeds([record.figures["held_out"][figure] for record in records], figure) for figure in FIGURES]
        yield f"| {_named(row)} | {' | '.join(cells)} | {_cost(records)} |"


def sorted_once(found: Found) -> Iterator[str]:
    """Say of which rows the seeds are no repetitions of each other."""
    kinds = {row: ROWS[row].changes.get("curriculum", {}).get("order", {}).get("kind") for row in found if row in ROWS}
    rows = [row for row, kind in kinds.items() if kind in _SORTED and len(found[row]) > 1]
    if rows:
        yield (
            f"{'; '.join(rows)}: the text is sorted and seen once, so that a seed decides nothing. Seeds differ by the "
            "processor that the text was read on, or not at all, and the mean counts each."
        )


def _named(row: str) -> str:
    technique = ROWS[row].technique if row in ROWS else ""
    return f"[{row}](../techniques/{technique}.md)" if technique else row


def _seeds(values: list[float], figure: str) -> str:
    return over_seeds(values, lambda value: _shown(value, figure))


def _shown(value: float, figure: str) -> str:
    return f"{100 * value:.1f}%" if figure.startswith("top1") else f"{value:.3f}"


def _cost(records: list[Record]) -> str:
    costs = [record.cost for record in records]
    if not all(cost["seconds"] for cost in costs):
        return "0 | | |"
    # Seeds may have been trained on different processors, whose mean is nobody's speed.
    seconds = " ".join(f"{cost['seconds']:,.0f}" for cost in costs)
    speeds = " ".join(f"{cost['tokens'] / cost['seconds']:,.0f}" for cost in costs)
    peak = max(cost["peak_memory_bytes"] for cost in costs)
    return f"{mean(cost['tokens'] for cost in costs):,.0f} | {seconds} | {speeds} | {peak / 1e9:.1f} GB"


def _paired_table(found: Found, beside_row: str) -> Iterator[str]:
    yield f"| row | seed | {' | '.join(FIGURES.values())} |"
    yield "|---|--:|" + "--:|" * len(FIGURES)
    for record, beside in _pairs(found, beside_row):
        if beside is None:
            cells = ["other held-out text, by other code"] + [""] * (len(FIGURES) - 1)
        else:
            apart = differences(record.documents, beside.documents)
            cells = [_apart(apart[name], name) for name in FIGURES]
        yield f"| {record.row} | {record.seed} | {' | '.join(cells)} |"


def _pairs(found: Found, beside_row: str) -> Iterator[tuple[Record, Record | None]]:
    """Every record with that of another row at its seed, if there is one; `None` where that one's text is another."""
    reference = {record.seed: record for record in found[beside_row]}
    for row, records in found.items():
        for record in records:
            if row != beside_row and record.seed in reference:
                beside = reference[record.seed]
                yield record, beside if is_same_text(record.documents, beside.documents) else None


def _apart(found: Difference, figure: str) -> str:
    value, (low, high) = found
    scale, unit = (100, " points") if figure.startswith("top1") else (1, "")
    digits = 1 if unit else 3
    told = difference(value, (low, high), digits=digits, scale=scale, unit=unit)
    if low <= 0 <= high:
        return told
    better = (value > 0) == (figure in HIGHER_IS_BETTER)
    return f"**{told}**" if better else f"*{told}*"


if __name__ == "__main__":
    main()
