"""Measure behaviour, as a Prefect task."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from evaluation.behaviour.evaluate import BehaviourSettings
from evaluation.behaviour.evaluate import evaluate_behaviour as stage
from stillhouse.store.artifact import Reference
from stillhouse.store.store import References, Store
from tasks.run_names import naming


@task(
    name="Measure behaviour",
    task_run_name=naming(stage),
    tags=["accelerator"],
    cache_policy=NO_CACHE,
    persist_result=False,
)
def evaluate_behaviour(store: Store, settings: BehaviourSettings, inputs: References) -> Reference:
    """Measure bias, robustness and generations of one model."""
    return store.make(stage, settings, inputs)
