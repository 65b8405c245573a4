"""Fit a cut student's blocks to the teacher, as a Prefect task."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from stillhouse.models.refit import RefitSettings
from stillhouse.models.refit import refit_layers as stage
from stillhouse.store.artifact import Reference
from stillhouse.store.store import References, Store
from tasks.run_names import naming


@task(
    name="Fit the cut student to the teacher",
    task_run_name=naming(stage),
    tags=["accelerator"],
    cache_policy=NO_CACHE,
    persist_result=False,
)
def refit_layers(store: Store, settings: RefitSettings, inputs: References) -> Reference:
    """Fit the last linear layer of each block to what the teacher says."""
    return store.make(stage, settings, inputs)
