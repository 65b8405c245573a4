"""The table's students on what their teacher writes: its answers to prompts that none of them was trained on.

The table's held-out text is passages of an encyclopedia, in all but a few documents. There the corpus tells a student
what its teacher could tell it too. Of a teacher's own answers the teacher knows more than any corpus shows. Students
come from the store, or are trained again as their records say.

    python -m benchmarks.techniques.prompts
    python -m benchmarks.techniques.prompts --rows "reverse KL" --seeds 1
"""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import FIGURES, difference, over_seeds, write_study
from benchmarks.other_text import OtherText, held_out_of, read_other_text
from benchmarks.techniques.paired import differences_of_totals
from benchmarks.techniques.rows import PLAIN_KL, ROWS
from benchmarks.techniques.train import BASE, OUT, in_fp32, order, settings_of
from flows.work import Work, directly
from stillhouse import terminal
from stillhouse.store.store import Store

ASKED: dict[str, Any] = {
    "data": held_out_of(
        {"kind": "packaged", "name": "nq-open", "limit": 700},
        {"kind": "packaged", "name": "reasoning-gym", "limit": 300},
        tokens=20000,
    )
}
"""Laid over the base: the prompts, of which a twentieth is held out."""
_ALIKE, _AT_RANDOM = "the half most like the questions", "half of the other text, at random"
JUDGED = (
    "cross-entropy",
    "responses, 4 a prompt",
    "questions three times as often",
    _ALIKE,
    _AT_RANDOM,
    "start refitted, rate 4e-4",
    "combined: refitted, rate 4e-4, alpha soft to hard",
)
"""Beside plain KL, which comes first: the text alone, rows that make more of prompts, and what the demo is made of."""


def main() -> None:
    """Ask every student, and write what was found after each."""
    options = _parser().parse_args()
    store = Store(options.runs.resolve() / "store")
    with terminal.shown():
        over = {} if options.precision is None else {"precision": options.precision}
        base, asked = (settings_of(each | over, options.base, options.threads, store) for each in ({}, ASKED))
        found: dict[str, Any] = {"students": _earlier(options.out)}
        for seed in options.seeds:
            plain: OtherText | None = None
            for row in dict.fromkeys((PLAIN_KL, *options.rows)):
                work = Work(store, directly)
                settings = settings_of(ROWS[row].changes | over, options.base, options.threads, store)
                read, student, _ = order(settings, base, seed, work)
                own = read_other_text(in_fp32(asked), work, student, read["teacher"])
                found["students"] = [one for one in found["students"] if (one["row"], one["seed"]) != (row, seed)]
                found["students"].append({"row": row, "seed": seed, "key": student.key, **own.told(plain)})
                plain = plain or own
                write_study(options.out, asked, found, page)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=JUDGED)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--base", type=Path, default=BASE, help="the recipe under every row")
    parser.add_argument("--precision", choices=("fp32", "bf16"), help="of every training, in the place of the base's")
    parser.add_argument("--out", type=Path, default=OUT.with_name("techniques_prompts.json"))
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="holds the store (default: runs)")
    parser.add_argument("--threads", type=int, default=2)
    return parser


def _earlier(out: Path) -> list[dict[str, Any]]:
    """Students of other rows and seeds, from an earlier call."""
    return list(json.loads(out.read_text(encoding="utf-8"))["students"]) if out.is_file() else []


def page(found: dict[str, Any]) -> str:
    """The content of the JSON file as a page to read."""
    rows = list(ROWS)
    students = sorted(found["students"], key=lambda one: (rows.index(one["row"]), one["seed"]))
    figures = students[0]["figures"]
    return f"""# Students on their teacher's own answers

What the teacher answers, greedily, to {figures["documents"]} prompts (nq-open and reasoning-gym) that no student was
trained on: {figures["tokens"]:,} counted tokens. Loss above: nats per token above the teacher's. KL: to the teacher,
nats per token. top-1: share of positions with the teacher's most likely token. A cell is the mean over seeds, with each
seed behind it in their order.

| row | seeds | loss above | KL | top-1 |
|---|---|--:|--:|--:|
{chr(10).join(_table(students))}

Less plain KL at the same seed, with the 95% interval over prompts:

| row | seed | loss | KL | top-1, points |
|---|--:|--:|--:|--:|
{chr(10).join(_differences(students))}
{chr(10).join(_beside_random(students))}
{found["compute"]["precision"]} on {found["environment"]["processor"]}. Made by `python -m
benchmarks.techniques.prompts`; every document's totals are in the JSON file beside this page.
"""


def _table(students: Sequence[dict[str, Any]]) -> Iterator[str]:
    for row in dict.fromkeys(each["row"] for each in students):
        own = [each for each in students if each["row"] == row]
        cells = [over_seeds([each["figures"][name] for each in own], _shown(name)) for name in FIGURES]
        yield f"| {row} | {', '.join(str(each['seed']) for each in own)} | {' | '.join(cells)} |"


def _shown(name: str) -> Callable[[float], str]:
    return "{:.1%}".format if name.startswith("top1") else "{:.3f}".format


def _differences(students: Sequence[dict[str, Any]]) -> Iterator[str]:
    for row in dict.fromkeys(each["row"] for each in students if each["row"] != PLAIN_KL):
        for each in (one for one in students if one["row"] == row):
            shown = {name: _beside(name, *each["less"][name]) for name in FIGURES}
            yield f"| {row} | {each['seed']} | {' | '.join(shown.values())} |"


def _beside_random(students: Sequence[dict[str, Any]]) -> Iterator[str]:
    """What likeness to the questions adds to having twice as many of them, where both were trained."""
    at_random = {each["seed"]: each["documents"] for each in students if each["row"] == _AT_RANDOM}
    alike = [each for each in students if each["row"] == _ALIKE and each["seed"] in at_random]
    if alike:
        yield f"\n{_ALIKE}, less {_AT_RANDOM}, which has as many questions:\n"
        yield "| seed | loss | KL | top-1, points |\n|--:|--:|--:|--:|"
        for each in alike:
            found = differences_of_totals(each["documents"], at_random[each["seed"]])
            yield f"| {each['seed']} | {' | '.join(_beside(name, *found[name]) for name in FIGURES)} |"
        yield ""


def _beside(name: str, value: float, bounds: Sequence[float]) -> str:
    is_share = name.startswith("top1")
    return difference(value, bounds, digits=1, scale=100) if is_share else difference(value, bounds)


if __name__ == "__main__":
    main()
