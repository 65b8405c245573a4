"""Make the student a teacher of low rank, as a Prefect task."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from stillhouse.models.low_rank import LowRankSettings
from stillhouse.models.low_rank import low_rank as stage
from stillhouse.store.artifact import Reference
from stillhouse.store.store import References, Store
from tasks.run_names import naming


@task(
    name="Cut the teacher's layers to a low rank",
    task_run_name=naming(stage),
    tags=["accelerator"],
    cache_policy=NO_CACHE,
    persist_result=False,
)
def low_rank(store: Store, settings: LowRankSettings, inputs: References) -> Reference:
    """Replace linear layers by products of two, each trained to the teacher's own layer."""
    return store.make(stage, settings, inputs)
