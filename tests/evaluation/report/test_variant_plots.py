import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from evaluation.report import plots, variant_plots
from evaluation.results import Results, VariantFigures


@pytest.fixture
def variants() -> dict[str, VariantFigures]:
    content = json.loads((Path(__file__).parent / "results.json").read_text(encoding="utf-8"))
    found = Results.model_validate(content).variants
    return {name: one for name, one in found.items() if isinstance(one, VariantFigures)}


def drawn(draw: Any, variants: dict[str, VariantFigures]) -> tuple[Figure, Any]:
    with plots.styled(plots.LIGHT):
        figure = draw(variants, plots.LIGHT)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
    return figure, canvas.get_renderer()


def test_no_name_lies_on_another_though_points_are_close(variants: dict[str, VariantFigures]):
    variants["onnx-int8-again"] = variants["onnx-int8"]
    figure, renderer = drawn(variant_plots.quality_against_cost, variants)
    for axes in figure.axes:
        boxes = [text.get_window_extent(renderer) for text in axes.texts]
        assert len(boxes) == len(variants)
        assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
        assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)


@pytest.mark.parametrize("draw", ["quality_against_cost", "size_and_memory", "latency_by_prompt"])
def test_letters_stay_legible_at_the_width_of_a_telephone(draw: str, variants: dict[str, VariantFigures]):
    figure, _ = drawn(getattr(variant_plots, draw), variants)
    # The page leaves 358 of 390 pixels for a plot.
    pixels_a_point = 358 / (72 * figure.get_figwidth())
    texts = [text for axes in figure.axes for text in (*axes.texts, *axes.get_xticklabels(), *axes.get_yticklabels())]
    assert min(text.get_fontsize() for text in texts if text.get_text()) * pixels_a_point >= 11


def test_a_median_is_drawn_where_it_was_measured_with_its_interval(variants: dict[str, VariantFigures]):
    figure, _ = drawn(variant_plots.latency_by_prompt, variants)
    speed = variants["torch-fp32"].by_prompt_tokens["256"]
    drawn_x = [list(line.get_xdata()) for line in figure.axes[0].lines]
    assert list(speed.intervals["time_to_first_token_ms.p50"]) in drawn_x
    assert any(speed.time_to_first_token_ms.p50 in line for line in drawn_x)


def test_one_variant_at_one_length_is_enough_for_every_plot(variants: dict[str, VariantFigures]):
    one = variants["torch-fp32"]
    alone = one.model_copy(update={"by_prompt_tokens": {"256": one.by_prompt_tokens["256"]}})
    for draw in (variant_plots.quality_against_cost, variant_plots.size_and_memory, variant_plots.latency_by_prompt):
        drawn(draw, {"torch-fp32": alone})
