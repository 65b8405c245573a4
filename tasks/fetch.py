"""Fetch the teacher, as a Prefect task."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from stillhouse.models.teacher import LoadTeacherSettings
from stillhouse.models.teacher import load_teacher as stage
from stillhouse.store.artifact import Reference
from stillhouse.store.store import References, Store
from tasks.retries import can_help
from tasks.run_names import naming


@task(
    name="Fetch the teacher",
    task_run_name=naming(stage),
    retries=2,
    retry_delay_seconds=[5, 30],
    retry_condition_fn=can_help,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def load_teacher(store: Store, settings: LoadTeacherSettings, inputs: References) -> Reference:
    """Write the teacher as a model folder. Retried: its source may be across a network."""
    return store.make(stage, settings, inputs)
