"""The artifacts of a finished run: what a person reads in Prefect's UI, and that showing it never fails a run."""

import base64
import io
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from PIL import Image

from evaluation.report.lineage_diagram import mermaid
from evaluation.report.pictures import data_uri, with_pictures_inside
from stillhouse.store.artifact import Manifest, Reference, write_manifest
from tasks import show_run as module
from tasks.artifacts import Run
from tasks.show_run import pages_of_run, scores_table, show_run, show_scores

RESULTS = Path(__file__).parents[1] / "evaluation" / "report" / "results.json"


def manifest(stage: str, inputs: dict[str, str] | None = None, **settings: Any) -> Manifest:
    """Of an artifact whose key is as readable as a key can be."""
    key = f"{stage}-{'-'.join(map(str, settings.values()))}-".ljust(64, "0")
    return Manifest(
        kind=stage, key=key, digest="d" * 64, settings=settings, inputs=inputs or {}, input_digests={}, sources={},
        libraries={}, files={}, facts={}, hardware={}, made_at="now", seconds=1.5, peak_memory_bytes=2_000_000,
    )  # fmt: skip


def chain() -> list[Manifest]:
    """A small run: two variants, measured and judged."""
    teacher = manifest("load_teacher")
    data = manifest("encode_documents", {"teacher": teacher.key})
    student = manifest("distill", {"teacher": teacher.key, "dataset": data.key})
    plain = manifest("copy_student", {"student": student.key})
    small = manifest("quantize_bnb", {"student": student.key}, kind="bnb-nf4")
    pair = [
        manifest("measure_parity", {"variant": one.key, "reference": plain.key, "dataset": data.key}, of=name)
        for name, one in (("plain", plain), ("small", small))
    ]
    results = manifest("assemble_results", {one.kind + one.key: one.key for one in (teacher, student, *pair)})
    return [teacher, data, student, plain, small, *pair, results]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run's folder as a run leaves it, beside its store."""
    run = tmp_path / "runs" / "tiny" / "20260101-000000-1"
    (run / "plots").mkdir(parents=True)
    results = json.loads(RESULTS.read_text())
    results["package"] = {
        "path": "package", "key": "k" * 64, "digest": "9" * 64, "variants": ["torch-fp32"], "left_out": {},
    }  # fmt: skip
    (run / "results.json").write_text(json.dumps(results))
    (run / "report.md").write_text("# tiny: ships\n\nText.\n\n![Two lines \\[a\\]](plots/loss.png)\n\nMore.\n")
    Image.new("RGBA", (800, 600), "white").save(run / "plots" / "loss.png")
    made = chain()
    for one in made:
        place = tmp_path / "runs" / "store" / one.kind / one.key
        place.mkdir(parents=True)
        write_manifest(one, place)
    (run / "run.json").write_text(json.dumps([{"kind": one.kind, "key": one.key} for one in made]))
    return run


def pages(folder: Path) -> dict[str, Any]:
    return {str(page.key).rsplit("-", 1)[1]: page for page in pages_of_run(folder)}


def test_a_finished_run_has_four_pages_under_its_recipes_name(folder: Path):
    name = json.loads(RESULTS.read_text())["lineage"]["recipe"]["name"]
    slug = re.sub("[^a-z0-9]+", "-", name.lower())
    assert [page.key for page in pages_of_run(folder)] == [
        f"{slug}-{about}" for about in ("report", "gates", "lineage", "package")
    ]


def test_the_report_has_its_plots_inside_and_says_where_the_whole_of_it_lies(folder: Path):
    text = pages(folder)["report"].data
    picture = re.search(r"!\[Two lines \\\[a\\\]\]\(data:image/png;base64,([^)]+)\)", text)
    assert picture is not None
    assert Image.open(io.BytesIO(base64.b64decode(picture.group(1)))).size == (800, 600)
    assert str(folder / "report.html") in text and text.startswith("# tiny: ships\n")
    assert "plots/loss.png" not in text and text.rstrip().endswith("More.")


def test_pictures_go_in_as_long_as_there_is_room(tmp_path: Path):
    for name in ("a", "b"):
        Image.effect_noise((300, 300), 90).save(tmp_path / f"{name}.png")
    text = "Begin\n\n![first](a.png)\n\n![second](b.png)\n\n![third](gone.png)\n\nEnd"
    whole = with_pictures_inside(text, tmp_path, most_characters=1_000_000)
    assert whole.count("data:image/png") == 2 and "gone.png is missing: third" in whole
    one = with_pictures_inside(text, tmp_path, most_characters=len(whole) - 100)
    assert len(one) <= len(whole) - 100
    assert "![first](data:image/png" in one and "A plot is left out here" in one and "too long: second" in one
    none = with_pictures_inside(text, tmp_path, most_characters=400)
    assert "data:image/png" not in none and none.endswith("End") and len(none) <= 400


def test_a_page_that_is_too_long_without_pictures_ends_after_a_section(tmp_path: Path):
    text = "# Head\n\n## One\n\n" + "word " * 50 + "\n\n## Two\n\n" + "word " * 500
    short = with_pictures_inside(text, tmp_path, most_characters=600)
    assert len(short) <= 600 and "## One" in short and "## Two" not in short and "The rest is left out" in short


def test_few_colours_make_a_plot_small(tmp_path: Path):
    from evaluation.report import plots
    from evaluation.report.pictures import small_png

    losses = [
        {"step": step, "loss": 9 / step, "cross_entropy": 8 / step, "teacher_loss": 1 / step} for step in range(1, 200)
    ]
    history = {"training": losses, "validation": [{"step": 0, "loss": 9.0}, {"step": 199, "loss": 3.0}]}
    drawn = plots.png(lambda theme: plots.loss_curves(history, theme), plots.LIGHT)
    assert len(data_uri(small_png(drawn))) < 0.6 * len(drawn)


def test_the_gates_are_a_table_with_a_row_each_that_fits_a_narrow_page(folder: Path):
    page = pages(folder)["gates"]
    gates = json.loads(RESULTS.read_text())["gates"]
    rows = [line for line in page.data.splitlines() if line.startswith("| ")][2:]
    assert len(rows) == len(gates)
    assert all(gate["limit"] in row and gate["verdict"] in row for gate, row in zip(gates, rows, strict=True))
    # What is long and has no spaces makes a table wider than its page.
    assert not any(gate["figure"] in page.data for gate in gates)
    assert re.match(r"\d+ of \d+ gates passed: ", page.description)


def test_the_lineage_is_a_diagram_with_a_box_a_stage_and_the_arrows_that_say_something():
    lines = mermaid(chain()).splitlines()
    assert lines[0].startswith("%%{init:") and lines[1] == "flowchart TD"
    assert lines[2:9] == [
        '  load_teacher["<b>Fetch the<br/>teacher</b><br/>teacher<br/>load_tea"]',
        '  encode_documents["<b>Turn<br/>documents<br/>into tokens</b><br/>encode_d"]',
        '  distill["<b>Distil the<br/>student</b><br/>student<br/>distill-"]',
        '  copy_student["<b>Keep the<br/>student as it<br/>is</b><br/>torch-fp32<br/>copy_stu"]',
        '  quantize_bnb["<b>Quantize with<br/>bitsandbytes</b><br/>bnb-nf4<br/>quantize"]',
        '  measure_parity["<b>Compare with<br/>torch-fp32</b><br/>torch-fp32<br/>measure_<br/>bnb-nf4<br/>measure_"]',
        '  assemble_results["<b>Judge the<br/>gates</b><br/>assemble"]',
    ]
    # teacher -> distill follows from teacher -> encode -> distill, and so do dataset and teacher of what is measured.
    assert lines[9:] == [
        "  load_teacher --> encode_documents",
        "  encode_documents --> distill",
        "  distill --> copy_student",
        "  distill --> quantize_bnb",
        "  copy_student --> measure_parity",
        "  quantize_bnb --> measure_parity",
        "  measure_parity --> assemble_results",
    ]


def test_students_that_teach_students_keep_what_they_read():
    teacher = manifest("load_teacher")
    data = manifest("encode_documents", {"teacher": teacher.key})
    made, above = [], teacher
    for link in (1, 2):
        read = {"teacher": above.key, "dataset": data.key}
        cut = manifest("prune_layers", read, link=link)
        above = manifest("distill", read | {"start": cut.key}, link=link)
        made += [cut, above]
    arrows = {line.strip() for line in mermaid([teacher, data, *made]).splitlines() if "-->" in line}
    assert arrows == {
        "load_teacher --> encode_documents",
        "encode_documents --> prune_layers",
        "encode_documents --> distill",
        "prune_layers --> distill",
        "distill --> prune_layers",
    }


def test_a_models_name_cannot_end_its_label():
    hostile = manifest("load_student")
    hostile.facts["source"] = 'x"]; click a "javascript:0" <i>'
    box = mermaid([hostile]).splitlines()[-1]
    assert box.count('"') == 2 and "<i>" not in box


def test_the_lineage_page_has_the_diagram_and_every_input(folder: Path):
    text = pages(folder)["lineage"].data
    assert "```mermaid\n%%{init" in text
    lines = [line for line in text.splitlines() if line.startswith("- **Compare with torch-fp32: ")]
    assert [line.split("** ")[0] for line in lines] == [
        "- **Compare with torch-fp32: torch-fp32",
        "- **Compare with torch-fp32: bnb-nf4",
    ]
    assert "(1.5\u00a0s, 2.00\u00a0MB), made of " in lines[1]
    for source in ("quantize_bnb/quantize", "copy_student/copy_stu", "encode_documents/encode_d"):
        assert f"`{source}`" in lines[1]


def test_the_package_page_has_path_and_whole_digest(folder: Path):
    page = pages(folder)["package"]
    assert str(folder / "package") in page.data and "9" * 64 in page.data
    assert f"stillhouse verify {folder / 'package'}" in page.data


def test_a_blocked_run_says_what_blocked_it(folder: Path):
    results = json.loads((folder / "results.json").read_text())
    results["package"] = None
    gate = next(gate for gate in results["gates"] if gate["figure"].startswith("models.student"))
    gate |= {"verdict": "failed", "action": "block"}
    (folder / "results.json").write_text(json.dumps(results))
    page = pages(folder)["package"]
    assert "blocked by" in page.data and "There is no package" in page.data and "stillhouse verify" not in page.data


def test_scores_are_a_row_each_with_their_error():
    score = {"value": 0.25, "stderr": 0.05, "n": 40}
    found = {"onnx-int4": {"capability": {"piqa": score}, "behaviour": {}}, "bnb-nf4": {"reason": "no kernel here"}}
    assert json.loads(str(scores_table(found).data)) == [
        {"model": "onnx-int4", "measure": "PIQA", "value": "25.0%", "standard error": "5.0", "n": 40},
        {"model": "bnb-nf4", "measure": "not scored", "value": "no kernel here", "standard error": "", "n": None},
    ]


def test_without_a_run_nothing_is_shown_and_nothing_is_read(tmp_path: Path):
    show_run(tmp_path / "not there")
    show_scores({"x": {"capability": {"nonsense": {}}}})


class Log:
    """A run's logger that keeps its warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, text: str, *parts: object, exc_info: bool = False) -> None:
        self.warnings.append(text % parts)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    log = Log()
    monkeypatch.setattr(module, "current_run", lambda: Run(uuid4(), None))
    monkeypatch.setattr(module, "get_run_logger", lambda: log)
    return log


def test_a_server_that_is_away_is_a_warning(folder: Path, log: Log, monkeypatch: pytest.MonkeyPatch):
    from prefect.settings import PREFECT_API_URL, temporary_settings

    # Nothing listens on the port of `discard`.
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        show_run(folder)
    (warning,) = log.warnings
    assert "did not take" in warning and "report" in warning and str(folder) in warning


def test_a_folder_that_cannot_be_read_is_a_warning(tmp_path: Path, log: Log):
    show_run(tmp_path)
    (warning,) = log.warnings
    assert "could not be shown" in warning


def test_every_task_has_the_words_of_its_stage():
    import importlib

    from prefect import Task

    from evaluation.report.stage_words import STAGES

    named = {}
    for path in (Path(__file__).parents[2] / "tasks").glob("[!_]*.py"):
        room = importlib.import_module(f"tasks.{path.stem}")
        for found in vars(room).values():
            if isinstance(found, Task):
                named[room.stage.__name__] = found.name
    assert {stage: named.get(stage) for stage in STAGES} == STAGES


def test_a_task_run_says_which_variant_it_is_about(tmp_path: Path):
    from tasks.compare_variant import measure_parity

    (tmp_path / "quantize_int4" / "abc").mkdir(parents=True)
    store = SimpleNamespace(manifest=lambda reference: manifest(reference.kind))
    name = measure_parity.task_run_name
    inputs = {"variant": Reference("quantize_int4", "abc"), "reference": Reference("copy_student", "def")}
    assert callable(name)
    assert name(parameters={"store": store, "settings": None, "inputs": inputs}) == "Compare with torch-fp32: onnx-int4"
