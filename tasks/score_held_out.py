"""Measure on held-out text, as a Prefect task."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from evaluation.held_out import HeldOutSettings
from evaluation.held_out import measure_held_out as stage
from stillhouse.store.artifact import Reference
from stillhouse.store.store import References, Store
from tasks.run_names import naming


@task(
    name="Measure on held-out text",
    task_run_name=naming(stage),
    tags=["accelerator"],
    cache_policy=NO_CACHE,
    persist_result=False,
)
def measure_held_out(store: Store, settings: HeldOutSettings, inputs: References) -> Reference:
    """Measure one model on held-out text beside its teacher."""
    return store.make(stage, settings, inputs)
