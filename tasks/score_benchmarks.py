"""Score benchmarks with lm-eval, as a Prefect task."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from evaluation.capability import CapabilitySettings
from evaluation.capability import evaluate_capability as stage
from stillhouse.store.artifact import Reference
from stillhouse.store.store import References, Store


@task(name="Score benchmarks with lm-eval", tags=["accelerator"], cache_policy=NO_CACHE, persist_result=False)
def evaluate_capability(store: Store, settings: CapabilitySettings, inputs: References) -> Reference:
    """Score one model on the recipe's benchmarks."""
    return store.make(stage, settings, inputs)
