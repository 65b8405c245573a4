"""Where quality went, as tables and plots."""

import json
from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from evaluation.report import plots
from evaluation.report.waterfall_plots import waterfalls
from evaluation.report.waterfall_tables import TITLES, difference, seen, shown, waterfall_tables
from evaluation.results import Results
from evaluation.waterfall import Group, waterfall


@pytest.fixture(scope="module")
def results() -> Results:
    return Results.model_validate(json.loads((Path(__file__).parent / "results.json").read_text(encoding="utf-8")))


def test_a_row_a_metric_a_column_a_step(results: Results):
    quality, benchmarks, cost = waterfall_tables(waterfall(results), results)
    assert quality.columns[:4] == ("metric", "teacher", "pruned", "distilled")
    assert quality.columns[-1] == "onnx-int4, quantized"
    loss = [cell.text for cell in quality.rows[0]]
    assert loss[:4] == ["loss", "3.265", "+2.326", "\u22121.686"] and set(loss[4:]) == {""}
    assert [row[0].text for row in cost.rows] == ["size on disk", "time between tokens, p95", "peak memory"]
    assert cost.columns[1] == "distilled" and "The teacher was not timed in this run" in cost.note
    assert benchmarks.rows[-1][0].text == "score pooled over benchmarks"
    for table in (quality, benchmarks, cost):
        assert {len(row) for row in table.rows} == {len(table.columns)}


def test_what_is_not_called_a_change_says_so(results: Results):
    _, benchmarks, _ = waterfall_tables(waterfall(results), results)
    pooled = benchmarks.rows[-1]
    assert (pooled[2].tone, pooled[3].tone) == ("bad", "unsure") and pooled[3].note.endswith("not called a change")


def test_each_step_is_told_in_words(results: Results):
    found = waterfall(results)
    told = seen(found, "quality").replace("\u2212", "-")
    assert "bits per byte begins at 1.190 (teacher): pruned +0.848; distilled -0.614" in told
    size = next(fall for fall in found.falls if fall.metric == "size_bytes")
    assert difference(size, -2.5e6) == "\u22122.50\u00a0MB"


@pytest.mark.parametrize("group", list(TITLES))
def test_a_waterfall_is_legible_on_a_telephone_and_says_every_change(group: Group, results: Results):
    found = waterfall(results)
    with plots.styled(plots.LIGHT):
        figure = waterfalls(found, group, plots.LIGHT)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
    renderer = canvas.get_renderer()
    pixels_a_point = 358 / (72 * figure.get_figwidth())
    falls = shown(found, group)
    assert len(figure.axes) == len(falls)
    for axes, fall in zip(figure.axes, falls, strict=True):
        texts = [text for text in (*axes.texts, *axes.get_xticklabels(), *axes.get_yticklabels()) if text.get_text()]
        assert min(text.get_fontsize() for text in texts) * pixels_a_point >= 11
        said = [text.get_text() for text in axes.texts]
        assert said == [*said[:1], *(difference(fall, change.value) for change in fall.changes.values())]
        # The title too, which is no part of `texts`.
        written = [text for text in axes.findobj(Text) if text.get_text() and text not in axes.get_xticklabels()]
        boxes = [text.get_window_extent(renderer) for text in written]
        assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)


def test_a_bar_reaches_from_what_was_to_what_is(results: Results):
    found = waterfall(results)
    with plots.styled(plots.LIGHT):
        axes = waterfalls(found, "quality", plots.LIGHT).axes[0]
    bits = shown(found, "quality")[0]
    pruned = axes.patches[0]
    ends = sorted((pruned.get_x(), pruned.get_x() + pruned.get_width()))
    assert ends == pytest.approx([bits.start, bits.total("pruned")])
