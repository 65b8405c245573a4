"""Gather the teacher's answers, as a Prefect task."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from stillhouse.store.artifact import Reference
from stillhouse.store.store import References, Store
from stillhouse.teachers.cache.assemble import AssembleSettings
from stillhouse.teachers.cache.assemble import assemble_cache as stage
from tasks.run_names import naming


@task(
    name="Gather the teacher's answers",
    task_run_name=naming(stage),
    cache_policy=NO_CACHE,
    persist_result=False,
)
def assemble_cache(store: Store, settings: AssembleSettings, inputs: References) -> Reference:
    """Link the shards into one cache."""
    return store.make(stage, settings, inputs)
