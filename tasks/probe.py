"""Time both precisions, as a Prefect task."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from stillhouse.store.artifact import Reference
from stillhouse.store.store import References, Store
from stillhouse.training.precision import ProbeSettings
from stillhouse.training.precision import probe_precision as stage
from tasks.run_names import naming


@task(
    name="Time both precisions",
    task_run_name=naming(stage),
    tags=["accelerator"],
    cache_policy=NO_CACHE,
    persist_result=False,
)
def probe_precision(store: Store, settings: ProbeSettings, inputs: References) -> Reference:
    """Decide a precision `auto`, once per device and library versions."""
    return store.make(stage, settings, inputs)
