"""Fetch a model, as a Prefect task."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from stillhouse.models.teacher import LoadTeacherSettings
from stillhouse.models.teacher import load_student as stage
from stillhouse.store.artifact import Reference
from stillhouse.store.store import References, Store
from tasks.retries import can_help
from tasks.run_names import naming


@task(
    name="Fetch a model",
    task_run_name=naming(stage),
    retries=2,
    retry_delay_seconds=[5, 30],
    retry_condition_fn=can_help,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def load_student(store: Store, settings: LoadTeacherSettings, inputs: References) -> Reference:
    """Write it as a model folder: a student's start, or what is exported or scored. Retried: it may be far away."""
    return store.make(stage, settings, inputs)
