"""What a log shows of a stage: every kind of work once, its end, and how long is left."""

from stillhouse.progress import Progress
from stillhouse.terminal import PlainLines, describe


def test_a_log_gets_each_kind_of_work_once_and_the_end(capsys):
    say = PlainLines()
    for done in range(1, 101):
        say(Progress(stage="distill", note="distils", done=done, total=100))
    say(Progress(stage="distill", note="done", done=1, total=1))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines] == ["distils", "distils", "done"]


def test_a_resumed_stage_counts_its_pace_from_where_it_began():
    step = Progress(stage="distill", note="distils", done=60, total=100)
    assert describe(step, 10.0, first=50).endswith("40s left")


def test_a_step_tells_figures_and_time_left():
    step = Progress(stage="distill", note="distils", done=25, total=100, figures={"loss": 2.3456, "tokens/s": 411.7})
    assert describe(step, 30.0) == "distils  25/100  loss 2.35  tokens/s 412  1m30s left"
