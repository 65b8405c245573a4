"""Look for benchmarks in the training data, as a Prefect task."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from evaluation.contamination import ContaminationSettings
from evaluation.contamination import measure_contamination as stage
from stillhouse.store.artifact import Reference
from stillhouse.store.store import References, Store
from tasks.run_names import naming


@task(
    name="Look for benchmarks in the data",
    task_run_name=naming(stage),
    cache_policy=NO_CACHE,
    persist_result=False,
)
def measure_contamination(store: Store, settings: ContaminationSettings, inputs: References) -> Reference:
    """Refuse benchmarks that the data to be trained on hold. Not retried: the same documents are refused again."""
    return store.make(stage, settings, inputs)
