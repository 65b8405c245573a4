"""The plot of a training: what moved is drawn, step by step, and what stood still is not."""

from evaluation.report import plots

STEPS = range(1, 6)


def test_every_value_that_moved_is_drawn():
    moving = {"alpha": lambda step: 1 - step / 5, "temperature": lambda step: 1.0 + step, "taid_t": lambda s: s / 9}
    moving |= {"agreement": lambda step: step / 10, "learning_rate": lambda step: 1e-3 / step}
    axes = {each.get_ylabel().replace("\n", " "): each for each in drawn(moving)}
    named = {"teacher's share": "alpha", "temperature": "temperature", "TAID's t": "taid_t"}
    named |= {"top-1 agree- ment": "agreement", "learning rate": "learning_rate"}
    for label, name in named.items():
        assert list(axes[label].lines[0].get_ydata()) == [moving[name](step) for step in STEPS]


def test_what_stood_still_is_not_drawn():
    still = dict.fromkeys(("alpha", "temperature", "learning_rate"), lambda step: 0.5)
    assert len(drawn(still)) == 2 and len(drawn({**still, "taid_t": float})) == 3


def drawn(values):
    losses = [{"step": step, "loss": 9 / step, "cross_entropy": 8 / step, "teacher_loss": 1 / step} for step in STEPS]
    training = [row | {name: value(row["step"]) for name, value in values.items()} for row in losses]
    history = {"training": training, "validation": [{"step": 0, "loss": 9.0}, {"step": 5, "loss": 3.0}]}
    return plots.loss_curves(history, plots.LIGHT).axes
