"""Make the student a narrower teacher, as a Prefect task."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from stillhouse.models.narrow_students import PruneWidthsSettings
from stillhouse.models.narrow_students import prune_widths as stage
from stillhouse.store.artifact import Reference
from stillhouse.store.store import References, Store
from tasks.run_names import naming


@task(
    name="Narrow the teacher to the student",
    task_run_name=naming(stage),
    tags=["accelerator"],
    cache_policy=NO_CACHE,
    persist_result=False,
)
def prune_widths(store: Store, settings: PruneWidthsSettings, inputs: References) -> Reference:
    """Keep the channels and heads that are most active."""
    return store.make(stage, settings, inputs)
