"""Cut the student from the teacher, as a Prefect task."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from stillhouse.models.pruning import PruneSettings
from stillhouse.models.pruning import prune_layers as stage
from stillhouse.store.artifact import Reference
from stillhouse.store.store import References, Store
from tasks.run_names import naming


@task(
    name="Cut the student from the teacher",
    task_run_name=naming(stage),
    tags=["accelerator"],
    cache_policy=NO_CACHE,
    persist_result=False,
)
def prune_layers(store: Store, settings: PruneSettings, inputs: References) -> Reference:
    """Rank the teacher's layers and keep those that matter."""
    return store.make(stage, settings, inputs)
