"""The tables of the variants: what ships and at what cost, latency by prompt length, what was tried."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from evaluation.report import words
from evaluation.report.findings import Verdict
from evaluation.report.noise_words import NOTE, floor_row
from evaluation.report.tables import Cell, Table, measured, missing
from evaluation.results import Interval, NotBatched, Results, Speed, VariantAbsent, VariantFigures

SUMMARY = ("size_bytes", "peak_memory_bytes", "load_seconds", "decode_tokens_per_second", "bits_per_byte", "kl_to_fp32")
QUALITY = (
    "bits_per_byte",
    "bits_per_byte_ratio_to_fp32",
    "kl_to_fp32",
    "top1_agreement",
    "greedy_prefix_tokens",
    "parity_tokens",
)
MACHINE = (
    "peak_memory_bytes",
    "peak_memory_above_imports_bytes",
    "load_seconds",
    "repeats",
    "threads",
    "prompt_tokens",
)
STARTS = ("cold_start_seconds", "warm_start_seconds", "starts")
LATENCIES = ("time_to_first_token_ms", "inter_token_latency_ms")
RATES = ("prefill_tokens_per_second", "decode_tokens_per_second")
PARTS = ("p50", "p95", "p99")
LATENCY_HEADS = (
    *(f"{words.label(field)}, {part}" for field in LATENCIES for part in PARTS),
    *map(words.label, RATES),
    words.label("peak_memory_bytes"),
    "samples (n)",
)
LATENCY_NOTE = (
    "p95: 19 of 20 samples are faster. Below a median (p50) and a p95: its 95% interval, drawn over repeats. Peak "
    "memory: of a process that has read prompts up to this length. Samples: of the time to the first token, then of "
    "the time between tokens."
)


def summary_table(results: Results, found: Verdict) -> Table:
    """Every variant: whether it ships or why not, what it costs and what it is worth."""
    rows = []
    for name, figures in results.variants.items():
        cells = figure_cells(figures, SUMMARY) if isinstance(figures, VariantFigures) else _absent(len(SUMMARY))
        rows.append((Cell(name), _status(name, figures, found), *cells))
    rows += floor_row(results.noise_floor, SUMMARY, before=1)
    columns = ("variant", "verdict", *(words.label(field) for field in SUMMARY))
    lengths = {one.prompt_tokens for one in results.variants.values() if isinstance(one, VariantFigures)}
    after = f" after {words.listed(map(words.number, sorted(lengths)))} prompt tokens" if lengths else ""
    note = (
        f"Below a figure: its 95% interval. Decoding speed is{after}. Bits per byte: how badly held-out text is "
        f"predicted, less is better. KL: how far the predictions are from torch-fp32's; 0 is the same.{_noted(results)}"
    )
    return Table("At a glance", columns, tuple(rows), note)


def _noted(results: Results) -> str:
    """What a table's last row is, where it has one."""
    return f" {NOTE}" if results.noise_floor is not None else ""


def _status(name: str, figures: VariantFigures | VariantAbsent, found: Verdict) -> Cell:
    if name in found.shipped:
        return Cell("ships", tone="good")
    if isinstance(figures, VariantAbsent):
        return Cell("not made", note=figures.reason, tone="bad")
    return Cell("does not ship", note=found.left_out.get(name, "the run is blocked"), tone="bad")


def _absent(width: int) -> list[Cell]:
    return [Cell("n/a", is_number=True) for _ in range(width)]


def figure_cells(figures: VariantFigures, fields: Sequence[str]) -> list[Cell]:
    """Figures of a variant with their intervals, a cell each."""
    return [_figure_cell(field, getattr(figures, field), figures.intervals.get(field)) for field in fields]


def _figure_cell(field: str, value: float | None, spread: Interval | None) -> Cell:
    if value is None:
        return missing("its files stay cached" if field == STARTS[0] else "not measured")
    return measured(field, value, spread)


def latency_tables(results: Results) -> list[Table]:
    """A table of latencies for each prompt length, the headline's first."""
    made = [one for one in results.variants.values() if isinstance(one, VariantFigures)]
    lengths = sorted({int(length) for one in made for length in one.by_prompt_tokens})
    headline = made[0].prompt_tokens if made else 0
    return [_latency_table(results, length) for length in sorted(lengths, key=lambda length: length != headline)]


def _latency_table(results: Results, length: int) -> Table:
    columns = ("variant", *LATENCY_HEADS)
    rows = [(Cell(name), *_latency_cells(one, length, len(LATENCY_HEADS))) for name, one in results.variants.items()]
    rows += _latency_floor(results, f"by_prompt_tokens.{length}")
    note = f"{LATENCY_NOTE}{_noted(results)}"
    return Table(f"Latency after {words.number(length)} prompt tokens", columns, tuple(rows), note)


def batch_tables(results: Results) -> list[Table]:
    """A table of latencies for each batch size beyond 1, a row a variant and prompt length."""
    made = [one for one in results.variants.values() if isinstance(one, VariantFigures)]
    return [_batch_table(results, size) for size in sorted({int(size) for one in made for size in one.by_batch_size})]


def _batch_table(results: Results, size: int) -> Table:
    rows: list[tuple[Cell, ...]] = []
    lengths: set[str] = set()
    for name, found in results.variants.items():
        timed = found.by_batch_size.get(str(size)) if isinstance(found, VariantFigures) else None
        if not isinstance(timed, dict):
            reason = timed.reason if isinstance(timed, NotBatched) else "not timed"
            reason = f"not made: {found.reason}" if isinstance(found, VariantAbsent) else reason
            rows.append((Cell(name), Cell(""), Cell(reason, span=len(LATENCY_HEADS))))
            continue
        lengths |= set(timed)
        for length in sorted(timed, key=int):
            rows.append((Cell(name), Cell(words.number(int(length)), is_number=True), *_speed_cells(timed[length])))
    for length in sorted(lengths, key=int):
        for first, *cells in _latency_floor(results, f"by_batch_size.{size}.{length}"):
            rows.append((first, Cell(words.number(int(length)), is_number=True), *cells))
    note = (
        f"{words.number(size)} prompts of one length at once, in a process of its own. A token is there when the last "
        f"of them has it; tokens/s are those of all together. {LATENCY_NOTE}{_noted(results)}"
    )
    columns = ("variant", "prompt tokens", *LATENCY_HEADS)
    return Table(f"Latency of {words.number(size)} prompts side by side", columns, tuple(rows), note)


def _latency_floor(results: Results, path: str) -> tuple[tuple[Cell, ...], ...]:
    parts = [f"{path}.{field}.{part}" for field in LATENCIES for part in PARTS]
    others = [f"{path}.{field}" for field in (*RATES, "peak_memory_bytes")]
    return tuple((*row, Cell("")) for row in floor_row(results.noise_floor, [*parts, *others]))


def _latency_cells(found: VariantFigures | VariantAbsent, length: int, width: int) -> Iterator[Cell]:
    if isinstance(found, VariantAbsent):
        yield Cell(f"not made: {found.reason}", span=width)
        return
    speed = found.by_prompt_tokens.get(str(length))
    if speed is None:
        yield Cell("not timed at this length", span=width)
        return
    yield from _speed_cells(speed)


def _speed_cells(speed: Speed) -> Iterator[Cell]:
    for field in LATENCIES:
        latency = getattr(speed, field)
        for part in PARTS:
            yield measured(field, getattr(latency, part), speed.intervals.get(f"{field}.{part}"))
    for field in RATES:
        yield measured(field, getattr(speed, field), speed.intervals.get(field))
    yield _figure_cell("peak_memory_bytes", speed.peak_memory_bytes, None)
    counts = [getattr(speed, field).samples for field in LATENCIES]
    yield Cell(", ".join(map(words.number, counts)), exact=", ".join(map(repr, counts)), is_number=True)


def quality_table(results: Results) -> Table:
    """What every variant lost against `torch-fp32`."""
    note = (
        "Greedy tokens: how many tokens of a continuation are the same before the first that differs, on average. One "
        "early near-tie decides all that follow, so few equal tokens need not mean a worse text."
    )
    return _figures_table(results, "Fidelity to torch-fp32", QUALITY, note)


def machine_table(results: Results) -> Table:
    """Memory, loading, and how the speed was measured."""
    note = "Imports: what the process held before it opened the model, Python and the libraries."
    made = [one for one in results.variants.values() if isinstance(one, VariantFigures)]
    fields: tuple[str, ...] = MACHINE
    if any(one.starts for one in made):
        fields = (*MACHINE[:3], *STARTS, *MACHINE[3:])
        note += (
            " Starts: from the start of a process to its first token, Python and libraries included, after the prompt "
            "of the headline. Cold: the variant's files out of this system's file cache; Python, the libraries and "
            "what a disk or a host caches stay where they are. Warm: all cached."
        )
    table = _figures_table(results, "Memory and starts, and how they were measured", fields, f"{note}{_noted(results)}")
    return replace(table, rows=(*table.rows, *floor_row(results.noise_floor, fields)))


def _figures_table(results: Results, title: str, fields: tuple[str, ...], note: str) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for name, found in results.variants.items():
        if isinstance(found, VariantAbsent):
            rows.append((Cell(name), Cell(f"not made: {found.reason}", span=len(fields))))
        else:
            rows.append((Cell(name), *figure_cells(found, fields)))
    return Table(title, ("variant", *map(words.label, fields)), tuple(rows), note)


def candidates_tables(results: Results) -> list[Table]:
    """For each variant whose kind was chosen, every kind that was tried."""
    fields = ("kl_to_fp32", "bits_per_byte", "size_bytes", "validation_tokens")
    tables = []
    for name, found in results.variants.items():
        if isinstance(found, VariantAbsent) or not found.candidates:
            continue
        rows = tuple(
            (
                Cell(one.kind),
                Cell("chosen", tone="good") if one.chosen else Cell("not chosen"),
                *(measured(field, getattr(one, field)) for field in fields),
            )
            for one in found.candidates
        )
        heads = ("KL to onnx-fp32 (nats per token)", "bits per byte", "size of the graph", "validation tokens (n)")
        note = (
            "The kind whose predictions on validation text are nearest to onnx-fp32's is made; no interval was drawn."
        )
        tables.append(Table(f"Kinds tried for {name}", ("kind", "", *heads), rows, note))
    return tables
