"""Time and weigh, alone, as a Prefect task."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from evaluation.efficiency import EfficiencySettings
from evaluation.efficiency import measure_efficiency as stage
from stillhouse.store.artifact import Reference
from stillhouse.store.store import References, Store
from tasks.run_names import naming


@task(
    name="Time and weigh, alone",
    task_run_name=naming(stage),
    tags=["accelerator"],
    cache_policy=NO_CACHE,
    persist_result=False,
)
def measure_efficiency(store: Store, settings: EfficiencySettings, inputs: References) -> Reference:
    """Measure a variant's speed and memory in a process of its own."""
    return store.make(stage, settings, inputs)
