"""Compare with torch-fp32, as a Prefect task."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from evaluation.parity import ParitySettings
from evaluation.parity import measure_parity as stage
from stillhouse.errors import Unavailable
from stillhouse.store.artifact import Reference
from stillhouse.store.store import References, Store
from tasks.attempts import made_or_refused
from tasks.run_names import naming


@task(
    name="Compare with torch-fp32",
    task_run_name=naming(stage),
    tags=["accelerator"],
    cache_policy=NO_CACHE,
    persist_result=False,
)
def measure_parity(store: Store, settings: ParitySettings, inputs: References) -> Reference | Unavailable:
    """Measure a variant's quality from its saved bytes."""
    return made_or_refused(store, stage, settings, inputs)
