"""Runs beside each other: what ships and what does not, who is best at what, and the page that says so."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from evaluation.results import Results
from evaluation.sweep.comparison import ComparedRun, Comparison, VariantRow, changed, compare, summary
from evaluation.sweep.render import CompareRunsSettings, compare_runs
from evaluation.sweep.run_tables import cheapest_table, runs_table, variants_table
from stillhouse.recipe.changes import Changes

RESULTS = Path(__file__).parents[1] / "report" / "results.json"
WHY = "the process was killed by signal 9 (9 is most often the system out of memory)"
HOSTILE = "<script>alert(1)</script> | `x`"
RUNS = (
    ComparedRun(numbers=(1, 4), changes=Changes(), run="demo/one"),
    ComparedRun(numbers=(2,), changes=Changes(layers=12, temperature=4.0), run="demo/two"),
    ComparedRun(numbers=(3,), changes=Changes(alpha=1.0), failed=WHY),
)


@pytest.fixture
def content() -> dict[str, Any]:
    """Results with two variants that ship, of 100 and 40 MB, of which the smaller is slower and worse."""
    found = json.loads(RESULTS.read_text(encoding="utf-8"))
    found["variants"] = {name: found["variants"][name] for name in ("torch-fp32", "onnx-int4")}
    found["gates"] = []
    for name, size, latency, memory, quality in (
        ("torch-fp32", 100, 20.0, 900, 1.0),
        ("onnx-int4", 40, 30.0, 300, 1.2),
    ):
        one = found["variants"][name]
        one |= {"size_bytes": size * 10**6, "peak_memory_bytes": memory * 10**6, "bits_per_byte": quality}
        one["inter_token_latency_ms"] |= {"p50": latency, "p95": latency}
        one["intervals"] = {}
    return found


def altered(content: dict[str, Any], **figures: float) -> dict[str, Any]:
    """The same results, with every variant's figures multiplied."""
    other = copy.deepcopy(content)
    for one in other["variants"].values():
        for name, factor in figures.items():
            if name == "inter_token_latency_ms":
                one[name] |= {part: factor * one[name][part] for part in ("p50", "p95")}
            else:
                one[name] = type(one[name])(one[name] * factor)
    return other


def exactly(content: dict[str, Any]) -> dict[str, Any]:
    """The same results, bits per byte without an interval being known exactly."""
    other = copy.deepcopy(content)
    for one in other["variants"].values():
        if "bits_per_byte" in one:
            one["intervals"].setdefault("bits_per_byte", [one["bits_per_byte"]] * 2)
    return other


def compared(*contents: dict[str, Any], runs: tuple[ComparedRun, ...] = RUNS) -> Comparison:
    return compared_as_is(*map(exactly, contents), runs=runs)


def compared_as_is(*contents: dict[str, Any], runs: tuple[ComparedRun, ...] = RUNS) -> Comparison:
    finished = [run for run in runs if not run.failed]
    results = {run.name: Results.model_validate(one) for run, one in zip(finished, contents, strict=True)}
    return compare("demo", runs, results)


def test_fronts_run_over_the_variants_of_all_runs(content):
    # Run 2 is half the size, as fast, and a little worse: bits per byte 1.1 and 1.32 against 1.0 and 1.2.
    found = compared(content, altered(content, size_bytes=0.5, bits_per_byte=1.1))
    # 20 MB at 1.32, 40 at 1.2, 50 at 1.1, 100 at 1.0: each smaller one is worse, so all stay.
    assert found.fronts["size_bytes"] == ["2 onnx-int4", "1 onnx-int4", "2 torch-fp32", "1 torch-fp32"]
    # 20 ms at 1.0 is both fastest and best.
    assert found.fronts["inter_token_latency_p95_ms"] == ["1 torch-fp32"]
    # 300 MB at 1.2 beats 300 at 1.32, and 900 at 1.0 beats 900 at 1.1.
    assert found.fronts["peak_memory_bytes"] == ["1 onnx-int4", "1 torch-fp32"]
    best = {row.name: {name: one.best for name, one in row.variants.items()} for row in found.runs if row.variants}
    assert best["1"]["torch-fp32"] == ["size_bytes", "inter_token_latency_p95_ms", "peak_memory_bytes"]
    assert best["2"] == {"torch-fp32": ["size_bytes"], "onnx-int4": ["size_bytes"]}
    # In all four at once, nothing is beaten: whatever is worse is smaller.
    assert set(found.front) == {"1 torch-fp32", "1 onnx-int4", "2 torch-fp32", "2 onnx-int4"}
    assert all(one.on_front for row in found.runs for one in row.variants.values() if isinstance(one, VariantRow))


def test_a_lead_that_chance_or_the_machine_may_have_made_beats_nothing(content):
    """Run 2 is as good and as large, and its tokens come 4% sooner."""
    faster = altered(content, inter_token_latency_ms=0.96)
    assert compared(content, faster).front == ["2 torch-fp32", "2 onnx-int4"]
    for one in (content, faster):
        for found in one["variants"].values():
            median = found["inter_token_latency_ms"]["p95"]
            found["intervals"] = {"inter_token_latency_ms.p95": [0.99 * median, 1.01 * median]}
    assert compared(content, faster).front == ["2 torch-fp32", "2 onnx-int4"]
    faster["noise_floor"] = {"variant": "torch-fp32", "relative": {"inter_token_latency_ms.p95": 0.06}}
    both = compared(content, faster)
    assert set(both.front) == {"1 torch-fp32", "2 torch-fp32", "1 onnx-int4", "2 onnx-int4"}
    row = both.runs[1].variants["torch-fp32"]
    assert isinstance(row, VariantRow) and row.noise_floor == {"inter_token_latency_p95_ms": 0.06}
    notes = [cell.note for cell in variants_table(both).rows[2]]
    assert any("\u00b1\u00a06.0%" in note for note in notes)


def test_quality_whose_intervals_meet_beats_nothing_alone(content):
    worse = altered(content, bits_per_byte=1.01)
    assert compared(content, worse).front == ["1 torch-fp32", "1 onnx-int4"]
    for one in (content, worse):
        for found in one["variants"].values():
            bits = found["bits_per_byte"]
            found["intervals"] = {"bits_per_byte": [0.95 * bits, 1.05 * bits]}
    assert len(compared(content, worse).front) == 4


def test_quality_of_too_few_documents_to_tell_an_interval_beats_nothing(content):
    assert len(compared_as_is(content, altered(content, bits_per_byte=1.5)).front) == 4


def test_what_a_gate_keeps_back_competes_with_nothing_that_ships(content):
    better = altered(content, bits_per_byte=0.5)
    gate = {"figure": "variants.onnx-int4.size_bytes", "value": 1.0, "interval": None, "limit": "at most 0"}
    better["gates"] = [gate | {"action": "block", "verdict": "failed"}]
    found = compared(content, better)
    assert found.compete == "what ships"
    assert found.runs[1].verdict == "ships in part"
    shipped = found.runs[1].variants
    assert isinstance(shipped["onnx-int4"], VariantRow) and not shipped["onnx-int4"].ships
    assert "2 onnx-int4" not in {name for names in found.fronts.values() for name in names}
    assert found.fronts["size_bytes"] == ["1 onnx-int4", "2 torch-fp32"]


def test_where_nothing_ships_all_that_was_measured_competes(content):
    gate = {"figure": "models.student.layers", "value": 1.0, "interval": None, "limit": "at most 0"}
    content["gates"] = [gate | {"action": "block", "verdict": "failed"}]
    found = compared(content, content)
    assert found.compete == "all that was measured"
    assert found.fronts["size_bytes"] == ["1 onnx-int4", "2 onnx-int4", "1 torch-fp32", "2 torch-fp32"]
    assert [row.verdict for row in found.runs] == ["blocked", "blocked", None]


def test_another_teacher_or_text_is_told(content):
    assert compared(content, content).same_text
    other = copy.deepcopy(content)
    other["models"]["teacher"]["held_out_loss_nats_per_token"] += 0.1
    assert not compared(content, other).same_text


def test_a_row_says_what_was_changed_and_what_came_of_it(content):
    one, two, failed = (tuple(cell.text for cell in row) for row in runs_table(compared(content, content)).rows)
    notes = [[cell.note for cell in row] for row in runs_table(compared(content, content)).rows]
    assert (one[0], notes[0][0]) == ("1", "as the recipe says; entry 4 too")
    assert (two[0], notes[1][0]) == ("2", "layers 12, temperature 4")
    above = content["models"]["student"]["held_out_loss_above_teacher_nats_per_token"]
    assert two[1:3] == ("ships", f"{above:.3f}")
    assert failed == ("3", "failed", WHY)
    width = {sum(cell.span for cell in row) for row in runs_table(compared(content, content)).rows}
    assert width == {len(runs_table(compared(content, content)).columns)}


def test_the_cheapest_variant_of_each_run_is_named(content):
    table = cheapest_table(compared(content, content))
    # The third run failed, and has none.
    assert [row[0].text for row in table.rows] == ["1", "2"]
    assert [cell.text for cell in table.rows[1][1:]] == ["40.0\u00a0MB", "20.0\u00a0ms", "300\u00a0MB", "demo/two"]
    assert [cell.note for cell in table.rows[1][1:]] == ["onnx-int4", "torch-fp32", "onnx-int4", ""]


def test_a_variant_that_could_not_be_made_is_a_row_with_its_reason(content):
    content["variants"]["onnx-int4"] = {"reason": "this architecture has none"}
    table = variants_table(compared(content, content))
    assert [cell.text for cell in table.rows[1]] == ["1 onnx-int4", "not made: this architecture has none"]
    assert {sum(cell.span for cell in row) for row in table.rows} == {len(table.columns)}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (Changes(), "as the recipe says"),
        (Changes(train_tokens=60000, alpha=0.25), "training tokens 60,000, alpha 0.25"),
        (Changes(variants=("onnx-int4", "onnx-int8"), gates="warn"), "variants onnx-int4 + onnx-int8, gates only warn"),
        (Changes(alpha=0.0), "alpha 0"),
        (Changes(teacher="org/model", layers=4), "teacher org/model, layers 4"),
    ],
)
def test_changes_are_told_in_words(changes: Changes, words: str):
    assert changed(changes) == words


def test_every_change_that_a_person_can_ask_is_told():
    every = Changes(
        teacher="t",
        layers=3,
        train_tokens=7,
        loss="taid",
        alpha=0.3,
        temperature=2.0,
        variants=("onnx-int4",),
        gates="warn",
    )
    assert len(changed(every).split(", ")) == len(Changes.model_fields)


def written(folder: Path, runs: tuple[ComparedRun, ...], contents: dict[str, dict[str, Any]], name: str) -> Path:
    inputs = {}
    for key, content in contents.items():
        inputs[key] = folder / key
        inputs[key].mkdir()
        (inputs[key] / "results.json").write_text(json.dumps(content))
    (folder / "out").mkdir()
    compare_runs(CompareRunsSettings(name=name, runs=runs), inputs, folder / "out")
    return folder / "out"


def test_the_page_is_one_file_and_says_what_the_json_says(content, tmp_path):
    out = written(tmp_path, RUNS, {"run_1": content, "run_2": altered(content, size_bytes=0.5)}, HOSTILE)
    html = (out / "comparison.html").read_text()
    found = Comparison.model_validate_json((out / "comparison.json").read_text())
    assert "<script" not in html and "&lt;script&gt;" in html
    sources = re.findall(r'(?:src|srcset|href)="([^"]*)"', html)
    assert len(sources) == 2 and all(source.startswith("data:image/png;base64,") for source in sources)
    assert '<meta name="viewport" content="width=device-width' in html
    for page in (html, (out / "comparison.md").read_text()):
        assert WHY in page and "layers 12, temperature 4" in page
        for row in found.runs:
            for one in row.variants.values():
                assert isinstance(one, VariantRow) and f"{one.bits_per_byte:.3f}" in page
    assert (out / "plots" / "fronts.png").stat().st_size > 10_000
    assert summary(found).splitlines()[0] == f"COMPARED: 3 runs of {HOSTILE}, 1 failed"


def test_a_sweep_of_which_nothing_came_has_a_page_too(tmp_path):
    failed = tuple(run.model_copy(update={"run": None, "failed": WHY}) for run in RUNS)
    out = written(tmp_path, failed, {}, "demo")
    page = (out / "comparison.md").read_text()
    assert "Of 3 runs, none may ship and 3 failed." in page and page.count(WHY) == 6
    assert "Quality against cost" not in page and not list((out / "plots").iterdir())


def test_the_same_runs_give_the_same_bytes(content, tmp_path):
    pages = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        pages.append(written(tmp_path / name, RUNS[:2], {"run_1": content, "run_2": content}, "demo"))
    for path in pages[0].rglob("*.*"):
        assert path.read_bytes() == (pages[1] / path.relative_to(pages[0])).read_bytes(), path
