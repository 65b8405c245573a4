"""Make the student a shallower and narrower teacher, as a Prefect task."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from stillhouse.models.narrow_students import PruneLayersAndWidthsSettings
from stillhouse.models.narrow_students import prune_layers_and_widths as stage
from stillhouse.store.artifact import Reference
from stillhouse.store.store import References, Store
from tasks.run_names import naming


@task(
    name="Cut and narrow the teacher",
    task_run_name=naming(stage),
    tags=["accelerator"],
    cache_policy=NO_CACHE,
    persist_result=False,
)
def prune_layers_and_widths(store: Store, settings: PruneLayersAndWidthsSettings, inputs: References) -> Reference:
    """Keep the layers that matter, and of these the channels and heads that are most active."""
    return store.make(stage, settings, inputs)
