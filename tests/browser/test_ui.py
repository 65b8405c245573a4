"""What people do in Prefect's UI, done in a browser: fill in a form, read a report, see a schedule, cancel a run.

Where something takes its time, the server is asked for it and the page opened again: by itself a page asks only every
half minute, and meanwhile draws a run's stages with what processor there is.
"""

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
PLOTS = "[...document.querySelectorAll('[data-testid=markdown-display] img')]"
PATIENCE_SECONDS = 300
"""For a busy machine; ten times what it takes."""


def test_a_form_filled_in_wrongly_is_refused_and_rightly_ends_in_a_report_with_plots(page, finished: Path):
    open_form(page, "compress")
    choose(page, "preset", "tiny")
    tokens, temperature = page.get_by_label("Training tokens"), page.get_by_label("Temperature")
    tokens.fill("-3")
    submit(page)
    assert tokens.evaluate("field => field.validationMessage") == "Value must be greater than or equal to 1."
    tokens.fill("")
    temperature.fill("0")
    submit(page)
    refusal = page.get_by_text("0 is less than or equal to the minimum of 0", exact=True)
    refusal.wait_for()
    page.get_by_text("Validation failed for field 'changes.temperature'").wait_for()
    temperature.fill("2")
    choose(page, "Variants", "onnx-fp32")
    page.get_by_label("runs").fill(str(finished))

    def submit_twice(page) -> None:
        # In Prefect 3.8 the first press after a refusal only takes the refusal away (docs/operate.md).
        submit(page)
        refusal.wait_for(state="hidden")
        submit(page)

    wait_for_state(page, start(page, submit_twice), "Packaged")
    page.get_by_role("tab", name="Artifacts").click()
    page.get_by_role("heading", name="tiny-report").click()
    page.wait_for_url("**/artifacts/key/tiny-report")
    # The reports of all runs of this recipe. The address changes before what stood on the page does, links included:
    # that of the bar of a stage among them, where one took its time.
    report = only_artifact(page, "tiny-report")
    page.locator(f"main a[href*='/artifacts/artifact/{report}']").first.click()
    page.get_by_role("heading", name="What was gained, and what was lost").wait_for()
    page.wait_for_function(f"{PLOTS}.length >= 3 && {PLOTS}.every(plot => plot.naturalWidth > 0)")


def test_what_only_preflight_knows_fails_with_the_words_of_check(page, finished: Path, stillhouse, tmp_path: Path):
    asked = tiny_but(tmp_path, "deep", "student", layers=9)
    said = stillhouse("check", str(asked), "--runs", str(finished)).stderr.removeprefix("stillhouse: ").strip()
    open_form(page, "compress")
    page.get_by_label("recipe").fill(str(asked))
    page.get_by_label("runs").fill(str(finished))
    wait_for_state(page, start(page), "Failed")
    # The first red line of its log, which holds no more than there is room for.
    page.get_by_role("combobox", name="log level filter").click()
    page.get_by_role("option", name="Error and above").click()
    page.get_by_text(said, exact=True).wait_for()
    page.get_by_role("tab", name="Details").click()
    page.get_by_text(said, exact=True).wait_for()


def test_the_schedule_of_redistill_is_paused_and_plans_runs_once_it_is_switched_on(page):
    open_deployment(page, "redistill")
    switch = page.get_by_role("switch", name="At 03:00 AM, only on Sunday")
    switch.wait_for()
    assert not switch.is_checked()
    page.get_by_role("tab", name="Upcoming").click()
    page.get_by_text("No runs found").wait_for()
    switch.click()
    wait_until(lambda: runs_with(page, "flow_runs", "SCHEDULED"))
    page.reload()
    page.locator("main a[href*='/flow-run/']").first.wait_for()
    switch.click()
    wait_until(lambda: not runs_with(page, "flow_runs", "SCHEDULED"))
    page.reload()
    page.get_by_text("No runs found").wait_for()


def test_a_run_cancelled_while_it_trains_leaves_no_process(page, ui, finished: Path, tmp_path: Path):
    before = ui.processes()
    open_form(page, "compress")
    page.get_by_label("recipe").fill(str(tiny_but(tmp_path, "endless", "distillation", steps=100_000)))
    page.get_by_label("runs").fill(str(finished))
    run = start(page)
    page.goto("about:blank")
    wait_until(lambda: "Distil the student" in runs_with(page, "task_runs", "RUNNING"))
    assert ui.processes().keys() - before.keys()
    page.goto(run)
    page.get_by_role("button", name="Open menu").click()
    page.get_by_role("menuitem", name="Cancel").click()
    page.get_by_role("alertdialog").get_by_role("button", name="Cancel Flow Run").click()
    wait_for_state(page, run, "Cancelled")
    assert ui.processes() == ui.resting


def open_deployment(page, name: str) -> None:
    page.goto("/")
    page.get_by_role("link", name="Deployments").click()
    # Its flow has the same name, and a link too.
    page.locator("main a[href*='/deployments/deployment/']").get_by_text(name, exact=True).click()


def open_form(page, deployment: str) -> None:
    open_deployment(page, deployment)
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Custom run").click()
    # What is filled in before the form has its schema is gone when that arrives, which a busy machine shows.
    page.wait_for_load_state("networkidle")


def choose(page, field: str, option: str) -> None:
    page.get_by_role("button", name=f"Select {field}").click()
    page.get_by_role("option", name=option).click()
    page.keyboard.press("Escape")


def submit(page) -> None:
    page.get_by_role("button", name="Submit").click()


def start(page, press: Callable = submit) -> str:
    """Start what the form says, and give the run's address.

    The server's answer names the run. The page does so for four seconds, too short for a busy machine.
    """
    with page.expect_response(lambda answer: "/create_flow_run" in answer.url and answer.status == 201) as made:
        press(page)
    return f"/v2/runs/flow-run/{made.value.json()['id']}"


def only_artifact(page, key: str) -> str:
    """The artifact of a key, of which there is one."""
    (found,) = page.request.post("/api/artifacts/filter", data={"artifacts": {"key": {"any_": [key]}}}).json()
    return found["id"]


def wait_for_state(page, run: str, name: str) -> None:
    """See a run reach a state."""
    key = re.search(r"flow-run/([0-9a-f-]{36})", run)[1]

    def is_there() -> bool:
        state = page.request.get(f"/api/flow_runs/{key}").json()["state"]
        assert state["name"] == name or state["type"] not in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"), state
        return state["name"] == name

    page.goto("about:blank")
    wait_until(is_there)
    page.goto(run)
    page.get_by_text(name, exact=True).first.wait_for()


def runs_with(page, kind: str, state: str) -> set[str]:
    """Names of the flow runs or task runs in a state."""
    asked = {kind: {"state": {"type": {"any_": [state]}}}}
    return {run["name"] for run in page.request.post(f"/api/{kind}/filter", data=asked).json()}


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def tiny_but(folder: Path, name: str, section: str, **values: object) -> Path:
    """The tiny recipe, otherwise in one section."""
    content = yaml.safe_load((ROOT / "recipes" / "tiny.yaml").read_text())
    content |= {"name": name, "teacher": str(ROOT / "tests" / "tiny_teacher")}
    content[section] |= values
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))
    return folder / f"{name}.yaml"
