"""Where quality went, as tables: a row a metric, a column a step, in each cell what the step changed."""

from evaluation.benchmark_files import POOLED
from evaluation.report import words
from evaluation.report.measure_words import capability_measure
from evaluation.report.noise_words import spelled
from evaluation.report.tables import Cell, Table
from evaluation.results import Results
from evaluation.separation import floor_of
from evaluation.waterfall import ROUNDING, TEACHER, Change, Fall, Group, Step, Waterfall

TITLES: dict[Group, str] = {
    "quality": "What each step did to the predictions",
    "benchmarks": "What each step did to the benchmarks",
    "cost": "What each step did to the cost",
}
NAMES = {
    "held_out_loss_nats_per_token": "loss",
    "bits_per_byte": "bits per byte",
    "kl_to_teacher_nats_per_token": "KL to teacher",
    "top1_agreement_with_teacher": "top-1 agreement with teacher",
    "kl_to_fp32": "KL to torch-fp32",
    "top1_agreement": "top-1 agreement with torch-fp32",
    "size_bytes": "size on disk",
    "inter_token_latency_ms.p95": "time between tokens, p95",
    "peak_memory_bytes": "peak memory",
}
_HOW = (
    "The first figure of a row is the metric itself, all others are what a step changed, against the step it was made "
    "from; below it its 95% interval, or wider where it is made of two. In grey: not called a change."
)
_NOTES: dict[Group, str] = {
    "quality": (
        "Teacher, pruned and distilled were compared on the held-out text, variants with torch-fp32 on its parity part."
    ),
    "benchmarks": (
        "In points. Teacher, pruned and distilled answered all documents, variants a part of them, beside torch-fp32."
    ),
    "cost": "Distilled is torch-fp32. A change of time or memory is called one only beyond the noise floor.",
}


def waterfall_tables(found: Waterfall, results: Results) -> list[Table]:
    """A table for each group of metrics that was measured."""
    return [_table(found, group, results) for group in TITLES if any(fall.group == group for fall in found.falls)]


def _table(found: Waterfall, group: Group, results: Results) -> Table:
    falls = [fall for fall in found.falls if fall.group == group]
    steps = [
        step for step in found.steps if any(step.name == fall.first or step.name in fall.changes for fall in falls)
    ]
    columns = ("metric", *(step_name(step) for step in steps))
    rows = []
    for fall in sorted(falls, key=lambda fall: fall.metric == POOLED):
        floor = floor_of(results.noise_floor, fall.metric) if group == "cost" else 0.0
        note = f"{fall.direction}{f', noise floor {spelled(floor)}' if floor else ''}"
        rows.append((Cell(name_of(fall), note=note), *(_cell(fall, step.name) for step in steps)))
    note = f"{_HOW} {_NOTES[group]}"
    if group == "cost" and results.teacher_costs is None and TEACHER in {step.name for step in found.steps}:
        note += " The teacher was not timed in this run (the recipe's benchmark.teacher asks for it)."
    return Table(TITLES[group], columns, tuple(rows), note)


def step_name(step: Step) -> str:
    """What a step is called: a variant with what was done to make it."""
    return step.name if step.name == step.done else f"{step.name}, {step.done}"


def name_of(fall: Fall) -> str:
    """What a metric is called."""
    return capability_measure(fall.metric).name if fall.group == "benchmarks" else NAMES[fall.metric]


def _cell(fall: Fall, step: str) -> Cell:
    if step == fall.first:
        return Cell(value(fall, fall.start), exact=repr(fall.start), is_number=True)
    change = fall.changes.get(step)
    if change is None:
        return Cell("", is_number=True)
    tone = ("good" if is_better(fall, change) else "bad") if change.differs else "unsure"
    note = "" if change.interval is None else words.TO.join(difference(fall, bound) for bound in change.interval)
    if not change.differs:
        note = f"{note}; not called a change".removeprefix("; ")
    return Cell(difference(fall, change.value), exact=repr(change.value), note=note, tone=tone, is_number=True)


def is_better(fall: Fall, change: Change) -> bool:
    """Whether a change is for the better."""
    return (change.value < 0) == (fall.direction == "lower is better")


def value(fall: Fall, number: float) -> str:
    """A metric's value in its unit."""
    if fall.group == "benchmarks":
        return capability_measure(fall.metric).value(number)
    return words.figure(fall.metric.partition(".")[0], number)


def difference(fall: Fall, number: float) -> str:
    """A change of a metric with its sign; of shares in points."""
    if fall.group == "quality" and abs(number) < ROUNDING:
        return words.fixed(0.0)
    sign = "+" if number > 0 else words.MINUS if number < 0 else ""
    if fall.group == "benchmarks":
        return f"{sign}{capability_measure(fall.metric).size(abs(number))}"
    if fall.metric.startswith("top1"):
        return f"{sign}{words.fixed(100 * abs(number), 1)}"
    spelled_out = words.figure(fall.metric.partition(".")[0], abs(number))
    return f"{sign}{spelled_out}"


def seen(found: Waterfall, group: Group) -> str:
    """What the plot of a group shows, in words."""
    parts = []
    for fall in shown(found, group):
        steps = "; ".join(
            f"{step} {difference(fall, change.value)}{'' if change.differs else ' (not called a change)'}"
            for step, change in fall.changes.items()
        )
        parts.append(f"{name_of(fall)} begins at {value(fall, fall.start)} ({fall.first}): {steps}")
    return f"Waterfalls, a bar for what each step changed. {'. '.join(parts)}."


_PLOTTED: dict[Group, tuple[str, ...]] = {
    "quality": ("bits_per_byte", "kl_to_teacher_nats_per_token", "kl_to_fp32"),
    "benchmarks": (POOLED,),
    "cost": ("size_bytes", "inter_token_latency_ms.p95", "peak_memory_bytes"),
}


def shown(found: Waterfall, group: Group) -> list[Fall]:
    """The metrics of a group that are drawn; the tables have the others too. Without a pooled score, all benchmarks."""
    falls = [fall for fall in found.falls if fall.group == group]
    return [fall for fall in falls if fall.metric in _PLOTTED[group]] or falls
