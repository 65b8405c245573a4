"""Compare with torch-fp32, as a Prefect task."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from evaluation.parity import ParitySettings
from evaluation.parity import measure_parity as stage
from stillhouse.store.artifact import Reference
from stillhouse.store.store import References, Store
from tasks.run_names import naming


@task(name="Compare with torch-fp32", task_run_name=naming(stage), cache_policy=NO_CACHE, persist_result=False)
def measure_parity(store: Store, settings: ParitySettings, inputs: References) -> Reference:
    """Measure a variant's quality from its saved bytes."""
    return store.make(stage, settings, inputs)
