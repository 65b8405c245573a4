"""The tables of the variants: what ships and at what cost, latency by prompt length, what was tried."""

from collections.abc import Iterator, Sequence

from evaluation.report import words
from evaluation.report.findings import Verdict
from evaluation.report.tables import Cell, Table, measured
from evaluation.results import Results, VariantAbsent, VariantFigures

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
LATENCIES = ("time_to_first_token_ms", "inter_token_latency_ms")
RATES = ("prefill_tokens_per_second", "decode_tokens_per_second")
PARTS = ("p50", "p95", "p99")


def summary_table(results: Results, found: Verdict) -> Table:
    """Every variant: whether it ships or why not, what it costs and what it is worth."""
    rows = []
    for name, figures in results.variants.items():
        cells = figure_cells(figures, SUMMARY) if isinstance(figures, VariantFigures) else _absent(len(SUMMARY))
        rows.append((Cell(name), _status(name, figures, found), *cells))
    columns = ("variant", "verdict", *(words.label(field) for field in SUMMARY))
    lengths = {one.prompt_tokens for one in results.variants.values() if isinstance(one, VariantFigures)}
    after = f" after {words.listed(map(words.number, sorted(lengths)))} prompt tokens" if lengths else ""
    note = (
        f"Below a figure: its 95% interval. Decoding speed is{after}. Bits per byte: how badly held-out text is "
        "predicted, less is better. KL: how far the predictions are from torch-fp32's; 0 is the same."
    )
    return Table("At a glance", columns, tuple(rows), note)


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
    return [measured(field, getattr(figures, field), figures.intervals.get(field)) for field in fields]


def latency_tables(results: Results) -> list[Table]:
    """A table of latencies for each prompt length, the headline's first."""
    made = [one for one in results.variants.values() if isinstance(one, VariantFigures)]
    lengths = sorted({int(length) for one in made for length in one.by_prompt_tokens})
    headline = made[0].prompt_tokens if made else 0
    return [_latency_table(results, length) for length in sorted(lengths, key=lambda length: length != headline)]


def _latency_table(results: Results, length: int) -> Table:
    heads = [f"{words.label(field)}, {part}" for field in LATENCIES for part in PARTS]
    columns = ("variant", *heads, *map(words.label, RATES), "samples (n)")
    rows = [(Cell(name), *_latency_cells(one, length, len(columns) - 1)) for name, one in results.variants.items()]
    note = (
        "p95: 19 of 20 samples are faster. Below a median (p50): its 95% interval, drawn over repeats. Samples: of the "
        "time to the first token, then of the time between tokens."
    )
    return Table(f"Latency after {words.number(length)} prompt tokens", columns, tuple(rows), note)


def _latency_cells(found: VariantFigures | VariantAbsent, length: int, width: int) -> Iterator[Cell]:
    if isinstance(found, VariantAbsent):
        yield Cell(f"not made: {found.reason}", span=width)
        return
    speed = found.by_prompt_tokens.get(str(length))
    if speed is None:
        yield Cell("not timed at this length", span=width)
        return
    for field in LATENCIES:
        latency = getattr(speed, field)
        for part in PARTS:
            yield measured(field, getattr(latency, part), speed.intervals.get(f"{field}.{part}"))
    for field in RATES:
        yield measured(field, getattr(speed, field), speed.intervals.get(field))
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
    return _figures_table(results, "Memory, and how it was measured", MACHINE, note)


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
