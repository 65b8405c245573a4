"""Distil the student, as a Prefect task."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from stillhouse.store.artifact import Reference
from stillhouse.store.store import References, Store
from stillhouse.training.distill import DistillSettings
from stillhouse.training.distill import distill as stage
from tasks.run_names import naming


@task(
    name="Distil the student",
    task_run_name=naming(stage),
    tags=["accelerator"],
    cache_policy=NO_CACHE,
    persist_result=False,
)
def distill(store: Store, settings: DistillSettings, inputs: References) -> Reference:
    """Train the student. Not retried: what ran out of memory does so again."""
    return store.make(stage, settings, inputs)
