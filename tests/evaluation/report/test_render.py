import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from evaluation.report import words
from evaluation.report.render import ReportSettings, write_report

HOSTILE = "<script>alert(1)</script> | `x` $a$ & *b*"
RANKING = {"kept": [0, 1, 4], "baseline_loss": 3.25, "loss_without_layer": [9.5, 4.75, 3.26, 3.24, 3.5]}
WIDTHS = {
    "teacher": {"layers": 5, "hidden_size": 576, "key_value_heads": 3},
    "student": {"layers": 3, "hidden_size": 384, "key_value_heads": 3},
}
HISTORY = {
    "training": [
        {"step": step, "loss": 4 / step, "cross_entropy": 5 / step, "teacher_loss": 3 / step, "learning_rate": 1e-4}
        | {"tokens": 1024, "seconds": 2.5}
        for step in range(1, 9)
    ],
    "validation": [{"step": 0, "loss": 5.5}, {"step": 8, "loss": 3.75}],
    "teacher_validation_loss": 3.25,
}


GENERATIONS = [
    {"prompt": "Name\n  a <b>city</b>", "greedy": "Paris\n\n  - ```", "sampled": "Rome", "greedy_tokens": 64}
    | {"greedy_ended": False, "sampled_ended": True}
]
SECTIONS = [
    "What was gained, and what was lost",
    "Models",
    "Where quality went",
    "Side by side",
    "Variants",
    "Gates",
    "Training",
    "Methods",
    "The limits of the evidence",
    "Wall time and memory",
    "Lineage",
]


class Page(HTMLParser):
    """What a browser would see of a page: tags, attributes, text by enclosing tag."""

    EMPTY = {"meta", "img", "source", "br"}

    def __init__(self, html: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.tables_outside_boxes = 0
        self.boxes = 0
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag == "table" and self.tags[-2][1].get("class") != "scroll":
            self.tables_outside_boxes += 1
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data + " "

    @property
    def sources(self) -> list[str]:
        return [found for _, attrs in self.tags for name in ("src", "srcset", "href") if (found := attrs.get(name))]

    @property
    def exact(self) -> set[str]:
        return {attrs[name] for _, attrs in self.tags for name in ("value", "title") if name in attrs}

    def says(self, text: str) -> bool:
        return _plain(text) in _plain(self.text)


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text.replace("\u00a0", " ").replace("\u2212", "-"))


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    return json.loads((Path(__file__).parent / "results.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def report(results: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a report in which everything passed."""
    return write(tmp_path_factory.mktemp("ships"), results)


@pytest.fixture(scope="module")
def shown(report: Path) -> Page:
    return page(report)


@pytest.fixture(scope="module")
def poor_report(results: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report in which names are hostile, figures and variants missing, and a gate blocks."""
    poor = json.loads(json.dumps(results))
    poor["variants"][HOSTILE] = poor["variants"].pop("onnx-int4")
    poor["variants"]["onnx-fp32"] = {"reason": "no kernel for this platform"}
    poor["capability"] = {HOSTILE: poor["capability"]["piqa"]}
    poor["behaviour"][HOSTILE] = poor["behaviour"].pop("stereoset_icat")
    poor["lineage"]["teacher"]["source"] = HOSTILE
    poor["lineage"]["stages"][0]["kind"] = HOSTILE
    poor["models"]["student"]["kl_to_teacher_nats_per_token"] = None
    poor["gates"][1] |= {"value": None, "interval": None, "verdict": "insufficient evidence"}
    return write(tmp_path_factory.mktemp("poor"), poor, name=HOSTILE)


def write(folder: Path, results: dict[str, Any], *, name: str = "demo", side_files: bool = True) -> Path:
    """Make the report of `results`, with the side files or without; gives its folder."""
    models = ("teacher", "pruned", "student")
    inputs = {part: folder / part for part in ("results", "pruned", "student", *(f"behaviour_{one}" for one in models))}
    for path in (*inputs.values(), folder / "report"):
        path.mkdir(parents=True)
    (inputs["results"] / "results.json").write_text(json.dumps(results), encoding="utf-8")
    if side_files:
        (inputs["pruned"] / "ranking.json").write_text(json.dumps(RANKING), encoding="utf-8")
        (inputs["pruned"] / "widths.json").write_text(json.dumps(WIDTHS), encoding="utf-8")
        (inputs["student"] / "history.json").write_text(json.dumps(HISTORY), encoding="utf-8")
        for model in models:
            (inputs[f"behaviour_{model}"] / "generations.json").write_text(json.dumps(GENERATIONS), encoding="utf-8")
    write_report(ReportSettings(name=name), inputs, folder / "report")
    return folder / "report"


def page(folder: Path) -> Page:
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def figures(part: Any, name: str = "") -> list[tuple[str, float]]:
    """Every number of a part of the results with its field's name, intervals left out."""
    if isinstance(part, dict):
        return [one for key, value in part.items() if key != "intervals" for one in figures(value, key)]
    return [] if part is None or isinstance(part, str | list) else [(name, part)]


def test_every_figure_stands_in_the_page_with_its_exact_value(shown: Page, results: dict[str, Any]):
    exact = shown.exact | {one for value in shown.exact for one in value.split(", ")}
    for part in ("models", "variants"):
        for name, value in figures(results[part]):
            assert repr(value) in exact, (name, value)
    for candidate in results["variants"]["onnx-int8"]["candidates"]:
        assert all(repr(value) in exact for name, value in candidate.items() if name not in ("kind", "chosen"))
    for stage in results["lineage"]["stages"]:
        assert {repr(stage["seconds"]), repr(stage["peak_memory_bytes"]), stage["key"], stage["digest"]} <= exact
    for scores in (*results["capability"].values(), *results["behaviour"].values()):
        for score in scores.values():
            assert {repr(score["value"]), repr(score["n"])} <= exact
        assert (
            repr(scores["student"]["difference_to_teacher"]) in exact or "difference_interval" not in scores["student"]
        )


def test_a_score_stands_with_its_error_its_difference_and_the_interval_of_that(report: Path, shown: Page):
    assert shown.says("ARC-Easy acc, CC BY-SA 4.0 60.0% ± 4.9 35.0% ± 4.8 43.0% ± 5.0 -17.0 points -27.0 to -7.0 below")
    text = _plain((report / "report.md").read_text(encoding="utf-8"))
    assert "| -17.0 points (-27.0 to -7.0) | below the teacher | 100 |" in text
    rows = [line for line in text.split(" | ") if "pooled" in line]
    assert rows and shown.says("score pooled over benchmarks 52.2% ± 2.0")
    assert shown.says("StereoSet stereotype score 50 is unbiased 57.4 ± 2.9")
    assert re.search(
        r"StereoSet ICAT 100 is ideal 71\.7 .* -1\.9 points no interval, so it may be chance", _plain(shown.text)
    )


def test_html_and_markdown_spell_figures_and_intervals_alike(report: Path, shown: Page, results: dict[str, Any]):
    text = _plain((report / "report.md").read_text(encoding="utf-8"))
    for model in results["models"].values():
        for name, bounds in model["intervals"].items():
            spelled = f"{words.figure(name, bounds[0])} to {words.figure(name, bounds[1])}"
            assert shown.says(spelled)
            assert f"{words.figure(name, model[name])} ({spelled})" in text
    for gate in results["gates"]:
        assert shown.says(gate["limit"]) and gate["limit"] in text
        assert shown.says(gate["figure"]) and gate["figure"] in text
        assert repr(gate["value"]) in shown.exact


def test_the_verdict_comes_first(report: Path, shown: Page):
    sentence = (
        "demo ships as torch-fp32, bnb-int8, onnx-fp32, onnx-int8 and onnx-int4, without bnb-nf4 (not made: "
        "bitsandbytes 0.50.2 has no nf4 kernel for this processor); all 5 blocking gates passed."
    )
    assert shown.says(f"Distillation report demo Ships in part {sentence}")
    assert (report / "report.md").read_text(encoding="utf-8").startswith(f"# demo: ships in part\n\n**{sentence}**\n")


def test_sections_stand_in_their_order(report: Path):
    for file, heading in (("report.html", r"<h2>(.*)</h2>"), ("report.md", r"(?m)^## (.*)$")):
        assert re.findall(heading, (report / file).read_text(encoding="utf-8")) == SECTIONS


def test_the_page_needs_no_other_file_and_no_network(report: Path, shown: Page):
    assert len(shown.sources) == 20
    assert all(source.startswith("data:image/png;base64,") for source in shown.sources)
    assert not {tag for tag, _ in shown.tags} & {"script", "link", "iframe", "object"}
    assert "http" not in shown.text and "url(" not in (report / "report.html").read_text(encoding="utf-8")


def test_images_decode_and_the_light_ones_are_the_files_beside_the_page(report: Path, shown: Page):
    embedded = {base64.b64decode(source.partition(",")[2]) for source in shown.sources}
    light = {base64.b64decode(attrs["src"].partition(",")[2]) for tag, attrs in shown.tags if tag == "img"}
    files = sorted((report / "plots").iterdir())
    waterfalls = ["waterfall_benchmarks", "waterfall_cost", "waterfall_quality"]
    of_others = ["gates", "latency", "layers", "loss", "memory", "stages", "variants"]
    assert [file.stem for file in files] == of_others + waterfalls
    assert {file.read_bytes() for file in files} == light and len(embedded) == 2 * len(light)
    for content in embedded:
        image = Image.open(io.BytesIO(content))
        image.load()
        assert image.width > 700 and not image.info.get("Software")


def test_the_same_results_give_the_same_bytes(tmp_path: Path, report: Path, results: dict[str, Any]):
    again = write(tmp_path, results)
    files = [path.relative_to(report) for path in report.rglob("*") if path.is_file()]
    assert len(files) == 12
    assert all((again / path).read_bytes() == (report / path).read_bytes() for path in files)


def test_every_picture_says_what_is_seen_in_it(report: Path, shown: Page):
    alts = [attrs["alt"] for tag, attrs in shown.tags if tag == "img"]
    assert len(alts) == len(set(alts)) == 10
    told = _plain(" ".join(alts))
    assert (
        "Validation loss goes from 5.500 nats per token at step 0 to 3.750 at step 8; the teacher's is 3.250." in told
    )
    # The loss rises by 6.25, 1.5, 0.01, -0.01 and 0.25 without each layer.
    assert "misses layers 0, 1 and 4 most and layers 2, 3 and 4 least; 3 are kept" in told
    assert "6 of 6 passed." in told and "onnx-int4 70.1 MB and 403 MB" in told
    text = (report / "report.md").read_text(encoding="utf-8")
    assert len(re.findall(r"(?m)^!\[[^\]]{30,}\]\(plots/\w+\.png\)$", text)) == 10


def test_answers_stand_side_by_side_with_their_white_space_and_what_was_cut(report: Path, shown: Page):
    assert [text for tag, attrs in shown.tags if (text := attrs.get("class", "")) == "answer"] == ["answer"] * 3
    assert "Name\n  a <b>city</b>" in shown.text and shown.text.count("Paris\n\n  - ```") == 3
    assert shown.text.count("(cut at 64 tokens)") == 3 and ("b", {}) not in shown.tags
    text = (report / "report.md").read_text(encoding="utf-8")
    assert "Student (cut at 64 tokens):\n\n````text\nParis\n\n  - ```\n````\n" in text


def test_methods_are_those_of_the_run(shown: Page):
    assert shown.says("The student starts as the teacher with 15 of its layers")
    assert shown.says("the teacher's distribution with weight 0.5 (KL(teacher || student) at temperature 2")
    assert shown.says("prompts of 32, 256 and 1,024 random tokens") and shown.says(
        "After 2 untimed repeats, 20 repeats"
    )
    assert shown.says("onnx-int8 was made as weight-only and dynamic")


def test_widths_are_named_where_a_student_is_narrower(shown: Page):
    assert shown.says("What is left of the teacher's widths: hidden channels 384 of 576 and key/value heads a layer 3.")


def test_layers_are_named_as_kept_or_dropped(shown: Page):
    assert shown.says("Of the teacher's 5 layers, counted from 0, the student kept 3: 0, 1 and 4.")
    assert shown.says("because the teacher misses them least: 2 and 3.")


def test_a_wide_table_scrolls_inside_its_own_box(shown: Page):
    assert shown.tables_outside_boxes == 0
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in shown.tags


def test_an_absent_variant_is_a_row_with_its_reason_in_every_table(poor_report: Path):
    shown = page(poor_report)
    # Three prompt lengths, fidelity, memory; and once in the sentence that is the verdict on what is left.
    assert shown.text.count("not made: no kernel for this platform") == 5
    assert shown.says("onnx-fp32 not made no kernel for this platform n/a")
    assert "| onnx-fp32 | not made (no kernel for this platform) |" in (poor_report / "report.md").read_text("utf-8")


def test_every_kind_that_was_tried_is_shown_once(shown: Page):
    assert shown.says("weight-only chosen 0.0018 1.321 90.2 MB 2,048 dynamic not chosen 0.413 1.593 83.9 MB 2,048")


def test_what_was_not_measured_is_not_a_number(poor_report: Path):
    shown = page(poor_report)
    assert shown.says("n/a not measured in this run") and shown.says("n/a nothing was measured")
    assert shown.says("n/a the reference")
    assert not re.search(r"\b(None|nan|inf)\b", shown.text)


def test_names_are_shown_and_never_run(poor_report: Path):
    shown = page(poor_report)
    assert "script" not in {tag for tag, _ in shown.tags}
    assert shown.text.count(HOSTILE) >= 10
    text = (poor_report / "report.md").read_text(encoding="utf-8")
    assert "<script>" not in text.replace("\\<", "")
    for table in re.findall(r"(?m)(?:^\|.*\n)+", text):
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}) == 1, table


def test_a_measure_of_no_known_suite_has_a_table_under_its_own_name(poor_report: Path):
    shown = page(poor_report)
    assert shown.says(f"{HOSTILE} measure teacher pruned student difference reading n {HOSTILE} 71.700 63.700 69.800")


def test_what_there_are_no_figures_for_is_left_out(tmp_path: Path, results: dict[str, Any]):
    bare = results | {"variants": {"torch-fp32": {"reason": "out of memory"}}, "gates": [], "capability": {}}
    bare |= {"behaviour": {}, "lineage": results["lineage"] | {"stages": []}}
    folder = write(tmp_path, bare, side_files=False)
    # Teacher, start and student were measured, so there is a way from one to the other.
    assert [path.stem for path in (folder / "plots").iterdir()] == ["waterfall_quality"]
    shown = page(folder)
    assert not shown.says("Which layers went") and shown.says("The recipe sets no gates.")
    assert shown.says("demo is blocked, because no variant may ship: torch-fp32 (not made: out of memory).")


def test_a_model_that_is_exported_as_it_came_has_a_report_too(tmp_path: Path, results: dict[str, Any]):
    alone = results | {"models": {"student": results["models"]["student"]}, "gates": []}
    for section in ("capability", "behaviour"):
        alone[section] = {
            key: {"student": {name: scores["student"][name] for name in ("value", "stderr", "n")}}
            for key, scores in results[section].items()
        }
    recipe = {key: value for key, value in results["lineage"]["recipe"].items() if key in ("name", "data", "benchmark")}
    alone["lineage"] = results["lineage"] | {"recipe": recipe}
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "results.json").write_text(json.dumps(alone), encoding="utf-8")
    (tmp_path / "report").mkdir()
    write_report(ReportSettings(name="mine"), {"results": tmp_path / "results"}, tmp_path / "report")
    shown = page(tmp_path / "report")
    assert shown.says("No teacher was measured in this run.") and not shown.says("Training")
    assert shown.says("benchmark student n") and not shown.says("difference reading") and not shown.says("distribution")


def test_an_evaluation_has_models_and_no_variants(tmp_path: Path, results: dict[str, Any]):
    folder = write(tmp_path, results | {"variants": {}, "gates": []}, side_files=False)
    assert page(folder).says("Measured demo was measured; no variant was asked for, so nothing ships.")
    assert "## Variants" not in (folder / "report.md").read_text(encoding="utf-8")
