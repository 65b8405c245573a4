"""Time and weigh once more, as a Prefect task."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from evaluation.efficiency import EfficiencySettings
from evaluation.noise_floor import measure_noise_floor as stage
from stillhouse.errors import Unavailable
from stillhouse.store.artifact import Reference
from stillhouse.store.store import References, Store
from tasks.attempts import made_or_refused
from tasks.run_names import naming


@task(
    name="Time and weigh once more",
    task_run_name=naming(stage),
    tags=["accelerator"],
    cache_policy=NO_CACHE,
    persist_result=False,
)
def measure_noise_floor(store: Store, settings: EfficiencySettings, inputs: References) -> Reference | Unavailable:
    """Measure a variant again, to learn by how much it differs from itself."""
    return made_or_refused(store, stage, settings, inputs)
