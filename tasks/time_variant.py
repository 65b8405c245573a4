"""Time and weigh, alone, as a Prefect task."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from evaluation.efficiency import EfficiencySettings
from evaluation.efficiency import measure_efficiency as stage
from stillhouse.errors import Unavailable
from stillhouse.store.artifact import Reference
from stillhouse.store.store import References, Store
from tasks.attempts import made_or_refused
from tasks.run_names import naming


@task(
    name="Time and weigh, alone",
    task_run_name=naming(stage),
    tags=["accelerator"],
    cache_policy=NO_CACHE,
    persist_result=False,
)
def measure_efficiency(store: Store, settings: EfficiencySettings, inputs: References) -> Reference | Unavailable:
    """Measure a variant's speed and memory in a process of its own."""
    return made_or_refused(store, stage, settings, inputs)
