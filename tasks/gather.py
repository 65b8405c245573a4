"""Gather documents, as a Prefect task."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from stillhouse.data.documents import GatherSettings
from stillhouse.data.documents import gather_documents as stage
from stillhouse.store.artifact import Reference
from stillhouse.store.store import References, Store
from tasks.retries import can_help
from tasks.run_names import naming


@task(
    name="Gather documents",
    task_run_name=naming(stage),
    retries=2,
    retry_delay_seconds=[5, 30],
    retry_condition_fn=can_help,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def gather_documents(store: Store, settings: GatherSettings, inputs: References) -> Reference:
    """Split documents into train, validation and held-out. Retried: sets may be across a network."""
    return store.make(stage, settings, inputs)
