"""The losses of a training that is still going on: kept in few points, drawn, and told in words."""

from collections.abc import Iterable

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from evaluation.report import plots, words
from evaluation.report.pictures import small_png

MOST_POINTS = 400
"""More than a plot has room for; a training of a million steps keeps no more than this."""

Point = tuple[float, float]


class Curve:
    """A value over steps. Neighbours are averaged whenever there are too many, so that it never outgrows its plot."""

    def __init__(self) -> None:
        self.points: list[Point] = []
        self._width = 1
        self._waiting: list[Point] = []

    def add(self, step: int, value: float) -> None:
        """Note the value after a step."""
        self._waiting.append((step, value))
        if len(self._waiting) < self._width:
            return
        self.points.append(_mean(self._waiting))
        self._waiting = []
        if len(self.points) == MOST_POINTS:
            self.points = [_mean(self.points[start : start + 2]) for start in range(0, MOST_POINTS, 2)]
            self._width *= 2


class TrainingCurve:
    """What is known of a training's losses so far, all of it in nats per token."""

    def __init__(self) -> None:
        self.training = Curve()
        self.validation = Curve()
        self._last: dict[str, tuple[int, float]] = {}
        self._lowest: tuple[float, int] | None = None

    def train(self, step: int, loss: float) -> None:
        """Note the loss that a step minimised."""
        self.training.add(step, loss)
        self._last["training"] = step, loss

    def validate(self, step: int, loss: float) -> None:
        """Note the loss on validation text after a step."""
        self.validation.add(step, loss)
        self._last["validation"] = step, loss
        self._lowest = min((loss, step), self._lowest or (loss, step))

    @property
    def is_drawable(self) -> bool:
        """Whether there is a line to draw, and not only a dot."""
        return len(self.training.points) > 1

    def told(self) -> str:
        """The latest losses in a sentence."""
        said = []
        if "validation" in self._last and self._lowest is not None:
            step, loss = self._last["validation"]
            low, lowest = self._lowest
            best = "its lowest" if lowest == step else f"lowest {words.fixed(low)} at step {words.number(lowest)}"
            said.append(f"validation loss {words.fixed(loss)} at step {words.number(step)} ({best})")
        if "training" in self._last:
            step, loss = self._last["training"]
            said.append(f"training loss {words.fixed(loss)} at step {words.number(step)}")
        return ", ".join(said) + ", in nats per token" if said else "no step is done yet"

    def png(self) -> bytes:
        """Validation loss above training loss: they are different losses, so each has its own axis."""
        return small_png(plots.png(self._figure, plots.LIGHT))

    def _figure(self, theme: plots.Theme) -> Figure:
        figure = Figure(figsize=(plots.WIDTH_INCHES, 3.8), layout="constrained")
        drawn = [("training loss\n(nats per token)", self.training, theme.muted)]
        if self.validation.points:
            drawn.insert(0, ("validation loss\n(nats per token)", self.validation, theme.main))
        rows = figure.subplots(len(drawn), 1, sharex=True, squeeze=False)
        for (axes,), (name, curve, colour) in zip(rows, drawn, strict=True):
            steps, values = zip(*curve.points, strict=True)
            marked = {"marker": "o", "markersize": 4} if curve is self.validation else {}
            axes.plot(steps, values, color=colour, linewidth=1.3, **marked)
            axes.set_ylabel(name)
            axes.grid(axis="y")
        last = rows[-1][0]
        last.set_xlabel("optimizer step")
        last.xaxis.set_major_locator(MaxNLocator(integer=True))
        return figure


def _mean(points: Iterable[Point]) -> Point:
    steps, values = zip(*points, strict=True)
    return sum(steps) / len(steps), sum(values) / len(values)
