"""Score benchmarks, as a Prefect task."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from evaluation.capability import CapabilitySettings
from evaluation.capability import evaluate_capability as stage
from stillhouse.store.artifact import Reference
from stillhouse.store.store import References, Store
from tasks.run_names import naming


@task(
    name="Score benchmarks",
    task_run_name=naming(stage),
    tags=["accelerator"],
    cache_policy=NO_CACHE,
    persist_result=False,
)
def evaluate_capability(store: Store, settings: CapabilitySettings, inputs: References) -> Reference:
    """Score one model on the recipe's benchmarks."""
    return store.make(stage, settings, inputs)
