"""Find the texts to ask about, as a Prefect task."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from stillhouse.store.artifact import Reference
from stillhouse.store.store import References, Store
from stillhouse.teachers.cache.listing import ListSamplesSettings
from stillhouse.teachers.cache.listing import list_samples as stage
from tasks.run_names import naming


@task(
    name="Find the texts to ask about",
    task_run_name=naming(stage),
    cache_policy=NO_CACHE,
    persist_result=False,
)
def list_samples(store: Store, settings: ListSamplesSettings, inputs: References) -> Reference:
    """Name each text of the training split by its tokens."""
    return store.make(stage, settings, inputs)
