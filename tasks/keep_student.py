"""Keep the student as it is, as a Prefect task."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from export.variants import CopyStudentSettings
from export.variants import copy_student as stage
from stillhouse.store.artifact import Reference
from stillhouse.store.store import References, Store
from tasks.run_names import naming


@task(name="Keep the student as it is", task_run_name=naming(stage), cache_policy=NO_CACHE, persist_result=False)
def copy_student(store: Store, settings: CopyStudentSettings, inputs: References) -> Reference:
    """Make the variant that the others are compared with."""
    return store.make(stage, settings, inputs)
