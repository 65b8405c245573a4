"""What happens to a run when a variant cannot be made."""

from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import Fail
from prefect import Task, task
from prefect.exceptions import CancelledRun
from pydantic import BaseModel

from export.package import PackageSettings
from flows import delivery, server
from flows.work import Planner, Work, directly, through_prefect
from stillhouse import progress
from stillhouse.errors import InputError, Unavailable
from stillhouse.recipe.export import VariantName
from stillhouse.store.artifact import Reference
from stillhouse.store.store import Store
from tasks.build_package import build_package

STUDENT, DATASET = Reference("distill", "1" * 64), Reference("encode_documents", "2" * 64)


def make_variants(
    variants: tuple[str, ...], broken: str, tmp_path: Path, error: Exception | None = None
) -> tuple[set[str], dict[str, str]]:
    """Name the variants that come out, and those noted as absent, when the stage `broken` cannot run."""

    def call(task, store, settings, inputs) -> Reference:
        if task.fn.__name__ == broken:
            raise error or Unavailable(WHY)
        return Reference(task.fn.__name__, "3" * 64)

    work = Work(Store(tmp_path), call)
    told = dict.fromkeys(("copy_student", "export_onnx", "quantize_int8", "quantize_int4"))
    settings = SimpleNamespace(variants=variants, quantize_bnb=lambda kind: kind, **told)
    return set(delivery.make_variants(settings, work, STUDENT, DATASET)), work.absent


EVERY = get_args(VariantName)
ONNX = {"onnx-fp32", "onnx-int8", "onnx-int4"}
BNB = {"bnb-int8", "bnb-nf4"}
WHY = "this architecture has none"


@pytest.mark.parametrize(
    ("variants", "broken", "made", "absent"),
    [
        (EVERY, "nothing", {"torch-fp32", *BNB, *ONNX}, {}),
        (EVERY, "quantize_int4", {"torch-fp32", *BNB, "onnx-fp32", "onnx-int8"}, {"onnx-int4": WHY}),
        (EVERY, "quantize_bnb", {"torch-fp32", *ONNX}, dict.fromkeys(BNB, WHY)),
        (EVERY, "export_onnx", {"torch-fp32", *BNB}, dict.fromkeys(ONNX, WHY)),
        (("onnx-int4",), "export_onnx", {"torch-fp32"}, {"onnx-int4": WHY}),
        (("onnx-int4",), "nothing", {"torch-fp32", "onnx-int4"}, {}),
        (("torch-fp32",), "export_onnx", {"torch-fp32"}, {}),
    ],
)
def test_a_variant_that_cannot_be_made_is_named_with_its_reason(variants, broken, made, absent, tmp_path):
    names, noted = make_variants(variants, broken, tmp_path)
    assert names == {f"variant_{name}" for name in made}
    assert noted == absent


@pytest.mark.parametrize("broken", ["measure_parity", "measure_efficiency"])
def test_a_variant_that_cannot_be_run_is_a_row_with_its_reason(broken, tmp_path):
    """It was made, and does not ship: nothing is known of it."""

    def call(task, store, settings, inputs) -> Reference:
        if task.fn.__name__ == broken and inputs["variant"].key == "bnb":
            raise Unavailable("this processor has none")
        return Reference(task.fn.__name__, "3" * 64)

    work = Work(Store(tmp_path), call)
    variants = {f"variant_{name}": Reference("make", name.split("-")[0]) for name in ("torch-fp32", "bnb-nf4")}
    settings = SimpleNamespace(parity=None, efficiency=None, capability_of_variants=None)
    measured = delivery.measure_variants(settings, work, variants, DATASET)
    assert set(measured) == {f"{kind}_torch-fp32" for kind in ("variant", "parity", "efficiency", "capability")}
    assert work.absent == {"bnb-nf4": "this processor has none"}


STAGES = ("measure_parity", "measure_efficiency", "evaluate_capability")


def failing(error: Exception, tmp_path: Path, *, stage: str = STAGES[-1], variant: str = "bnb") -> Work:
    """Measure two variants of which one fails at a stage."""

    def call(task, store, settings, inputs) -> Reference:
        if task.fn.__name__ == stage and inputs.get("variant", inputs.get("model")).key == variant:
            raise error
        return Reference(task.fn.__name__, "3" * 64)

    work = Work(Store(tmp_path), call)
    variants = {f"variant_{name}": Reference("make", name.split("-")[0]) for name in ("bnb-nf4", "torch-fp32")}
    settings = SimpleNamespace(parity=None, efficiency=None, capability_of_variants=None)
    measured = delivery.measure_variants(settings, work, variants, DATASET)
    assert "capability_torch-fp32" in measured and not [name for name in measured if "bnb" in name]
    return work


@pytest.mark.parametrize(
    "error",
    [FloatingPointError("not finite"), RuntimeError("bad node\nstack"), MemoryError("too large"), Fail("graph")],
)
@pytest.mark.parametrize("stage", STAGES)
def test_a_variant_that_fails_at_its_measurement_is_a_row_and_the_others_finish(stage, error, tmp_path):
    said = str(error).splitlines()[0]
    assert failing(error, tmp_path, stage=stage).absent == {"bnb-nf4": f"{type(error).__name__} in {stage}: {said}"}


@pytest.mark.parametrize("stage", STAGES)
def test_a_reference_that_fails_ends_the_run(stage, tmp_path):
    """Nothing is known of the others without it."""
    with pytest.raises(FloatingPointError, match="not finite"):
        failing(FloatingPointError("not finite"), tmp_path, stage=stage, variant="torch")


@pytest.mark.parametrize("broken", ["export_onnx", "quantize_int8", "quantize_bnb"])
def test_a_variant_that_crashes_while_it_is_made_is_a_row_and_the_others_finish(broken, tmp_path):
    names, noted = make_variants(EVERY, broken, tmp_path, RuntimeError("bad node"))
    assert "variant_torch-fp32" in names and names.isdisjoint(f"variant_{name}" for name in noted)
    assert set(noted.values()) == {f"RuntimeError in {broken}: bad node"}


@pytest.mark.parametrize(
    "error", [InputError("a benchmark has too long an answer"), OSError(28, "No space left"), CancelledRun("stopped")]
)
def test_what_is_wrong_with_the_request_or_the_machine_stops_all(error, tmp_path):
    with pytest.raises(type(error)):
        failing(error, tmp_path)


def test_a_plan_names_what_a_run_will_name_where_a_variant_cannot_be_made(tmp_path):
    """Results list the absent with their reason, so a plan without it would be of another run."""

    @task
    def quantize(store: Store, settings: Nothing, inputs) -> Reference:
        return store.make(refuse, settings, inputs)

    store = Store(tmp_path)
    run, plan = Work(store, directly), Work(Planner(tmp_path), directly)
    for work in (run, plan):
        assert work.attempt(["bnb-nf4"], quantize, Nothing(), {}) is None
    assert plan.absent == run.absent == {"bnb-nf4": WHY}


class Nothing(BaseModel):
    pass


def fill(settings: Nothing, inputs, folder: Path) -> None:
    (folder / "result.txt").write_text("done")


def test_a_stage_that_was_made_does_not_wait_for_an_accelerator(tmp_path, monkeypatch):
    """It would wait hours for another run's training, only to find itself in the store."""
    store, asked, said = Store(tmp_path), [], []

    @task(tags=["accelerator"])
    def train(store: Store, settings: Nothing, inputs) -> Reference:
        return store.make(fill, settings, inputs)

    def noted(task, *arguments) -> Reference:
        asked.append(set(task.tags))
        return task.fn(*arguments)

    monkeypatch.setattr(Task, "__call__", noted)
    monkeypatch.setattr(server, "all_taken", lambda limit: limit == "tag:accelerator")
    with progress.listening(lambda step: said.append(step.note)):
        made = through_prefect(train, store, Nothing(), {})
        assert through_prefect(train, store, Nothing(), {}) == made
    assert asked == [{"accelerator"}, set()] and train.tags == {"accelerator"}
    assert said.count("waits for an accelerator: none is free") == 1
    store.remove(made)
    through_prefect(train, store, Nothing(), {})
    assert asked[-1] == {"accelerator"}


def refuse(settings: Nothing, inputs, folder: Path) -> None:
    raise Unavailable(WHY)


def test_what_is_made_is_noted_before_it_is_made_whatever_a_plan_knew(tmp_path, monkeypatch):
    """It may be what no plan named, and garbage to whoever collects meanwhile."""
    order = []

    def call(task, store, settings, inputs) -> Reference:
        order.append("made")
        return Reference(task.fn.__name__, "3" * 64)

    work = Work(Store(tmp_path), call, note=lambda reference: order.append(reference.kind))
    settings = PackageSettings(name="x", smoke_prompts=1, threads=1)
    # Of which a plan knows that it could not be made, when it was last tried.
    monkeypatch.setattr(Store, "why_unavailable", lambda *_: "no kernel")
    with pytest.raises(Unavailable):
        directly(build_package, Planner(tmp_path), settings, {"results": DATASET})
    work.make(build_package, settings, {"results": DATASET})
    assert order == ["build_package", "made"]
