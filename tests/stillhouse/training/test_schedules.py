"""Schedules of alpha, temperature and TAID's t."""

import json
import math
from dataclasses import replace

import pytest

from stillhouse.training.schedules import AgreementState, TaidSchedule, TaidState, advance, follow, scheduled


@pytest.mark.parametrize(
    ("shape", "quarter", "half", "last"),
    [("constant", 2.0, 2.0, 2.0), ("linear", 1.75, 1.5, 1.0), ("cosine", 2 - 0.1464466, 1.5, 1.0)],
)
def test_a_schedule_begins_at_its_start_and_ends_at_its_end(shape, quarter: float, half: float, last: float):
    values = [scheduled(shape, 2.0, 1.0, step=step, num_steps=101) for step in range(101)]
    assert values[0] == 2.0
    assert values[25] == pytest.approx(quarter, abs=1e-6)
    assert values[50] == pytest.approx(half)
    assert values[100] == pytest.approx(last)


def test_a_schedule_of_one_step_and_one_gone_past_its_end():
    assert scheduled("linear", 2.0, 1.0, step=0, num_steps=1) == 2.0
    assert scheduled("linear", 2.0, 1.0, step=9, num_steps=5) == 1.0


def falling(step: int, num_steps: int) -> float:
    """A loss that falls to a tenth, with noise of a few percent."""
    return math.exp(-2.3 * step / num_steps) * (1 + 0.05 * math.sin(7.0 * step))


def run(schedule: TaidSchedule) -> list[float]:
    """The t of every step, and the one after the last."""
    states = [schedule.first()]
    for step in range(schedule.num_steps):
        states.append(advance(schedule, states[-1], falling(step, schedule.num_steps)))
    return [state.t for state in states]


def line(schedule: TaidSchedule) -> list[float]:
    steps = range(schedule.num_steps + 1)
    return [schedule.start + (schedule.end - schedule.start) * step / schedule.num_steps for step in steps]


@pytest.mark.parametrize("num_steps", [300, 1_000, 15_600])
def test_taid_is_the_papers_curve_at_any_length_and_not_the_linear_schedule(num_steps: int):
    schedule = TaidSchedule(num_steps)
    found = run(schedule)
    at = [found[num_steps * percent // 100] for percent in (10, 25, 50, 75)]
    assert at == pytest.approx([0.59, 0.77, 0.91, 0.97], abs=0.012)
    assert max(t - floor for t, floor in zip(found, line(schedule), strict=True)) > 0.2


def test_the_papers_own_rate_would_be_the_linear_schedule_in_300_steps():
    """The trap: 0.0005 a step, meant for 15,600 of them."""
    schedule = TaidSchedule(300, rate_times_steps=0.0005 * 300)
    assert run(schedule) == pytest.approx(line(schedule))


def test_t_never_falls_and_ends_at_its_end():
    schedule = TaidSchedule(300, start=0.2, end=0.9)
    found = run(schedule)
    assert found[0] == 0.2 and found[-1] == 0.9
    assert found == sorted(found)


def test_t_rises_faster_while_the_loss_falls_than_while_it_rises():
    schedule, down, up = TaidSchedule(1_000), TaidSchedule(1_000).first(), TaidSchedule(1_000).first()
    for step in range(200):
        down, up = advance(schedule, down, 0.9**step), advance(schedule, up, 1.1**step)
    assert down.t > up.t + 1e-3


def test_one_step_by_hand():
    schedule = TaidSchedule(10, start=0.4)
    state = TaidState(t=0.8, steps=1, average_fall=0.0, previous=2.0)
    average = 0.01 * (2.0 - 1.5) / 2.0
    expected = 0.8 + 0.78 * (1 / (1 + math.exp(-average))) * 0.2
    assert advance(schedule, state, 1.5) == TaidState(pytest.approx(expected), 2, pytest.approx(average), 1.5)


@pytest.mark.parametrize("previous", [0.0, 1e-9])
def test_a_loss_that_comes_from_nothing_does_not_hold_t_back(previous: float):
    """A step with nothing counted has a loss of 0, and the next one is infinitely more."""
    schedule = TaidSchedule(1_000)
    held = advance(schedule, replace(schedule.first(), previous=previous), 0.5)
    usual = advance(schedule, replace(schedule.first(), previous=0.5), 0.5)
    assert held.t == pytest.approx(usual.t, rel=1e-3) and abs(held.average_fall) < 0.011


def test_resumed_equals_uninterrupted():
    schedule = TaidSchedule(300)
    uninterrupted = state = schedule.first()
    for step in range(300):
        uninterrupted = advance(schedule, uninterrupted, falling(step, 300))
        state = advance(schedule, state, falling(step, 300))
        if step % 50 == 7:
            state = TaidState.from_dict(json.loads(json.dumps(state.to_dict())))
    assert state == uninterrupted


def followed(agreements: list[float], *, enough: float = 0.5, smoothing_steps: int = 2) -> list[AgreementState]:
    """The state after each step."""
    states = [AgreementState()]
    for agreement in agreements:
        states.append(follow(states[-1], agreement, enough=enough, smoothing_steps=smoothing_steps))
    return states[1:]


def test_agreement_by_hand():
    found = followed([0.2, 0.4, 0.5, 0.8, 0.1])
    assert [state.average for state in found] == pytest.approx([0.2, 0.3, 0.4, 0.6, 0.35])
    assert found[-1].began == pytest.approx(0.3)
    # Half of the way from 0.3 to 0.5, then beyond it; what was enough once stays enough.
    assert [state.progress for state in found] == pytest.approx([0, 0, 0.5, 1, 1])


@pytest.mark.parametrize("agreements", [[0.3] * 40, [0.3 - 0.005 * step for step in range(40)]], ids=["still", "falls"])
def test_nothing_moves_where_agreement_does_not_rise(agreements: list[float]):
    assert {state.progress for state in followed(agreements)} == {0.0}


def test_the_same_agreement_moves_as_far_after_any_number_of_steps():
    early, late = followed([0.3] * 5 + [0.4] * 50)[-1], followed([0.3] * 500 + [0.4] * 50)[-1]
    assert early.progress == pytest.approx(late.progress) == pytest.approx(0.5)


def test_a_student_that_agrees_enough_from_the_beginning_has_nothing_to_wait_for():
    assert [state.progress for state in followed([0.6, 0.6, 0.6])] == [0, 1, 1]


def test_agreement_goes_on_from_what_a_checkpoint_held():
    state = uninterrupted = AgreementState()
    for step in range(60):
        agreement = 0.2 + 0.004 * step + 0.03 * math.sin(5.0 * step)
        uninterrupted = follow(uninterrupted, agreement, enough=0.45, smoothing_steps=10)
        state = follow(state, agreement, enough=0.45, smoothing_steps=10)
        if step % 7 == 3:
            state = AgreementState(**json.loads(json.dumps(state.to_dict())))
    assert state == uninterrupted and 0 < state.progress < 1
