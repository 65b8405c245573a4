"""Store the teacher's answers, as a Prefect task."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from stillhouse.store.artifact import Reference
from stillhouse.store.store import References, Store
from stillhouse.teachers.cache.capture import CaptureSettings
from stillhouse.teachers.cache.capture import capture_shard as stage
from tasks.run_names import naming


@task(
    name="Store the teacher's answers",
    task_run_name=naming(stage),
    tags=["accelerator"],
    cache_policy=NO_CACHE,
    persist_result=False,
)
def capture_shard(store: Store, settings: CaptureSettings, inputs: References) -> Reference:
    """Let the teacher read one shard of the texts."""
    return store.make(stage, settings, inputs)
