"""Make a student that knows nothing yet, as a Prefect task."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from stillhouse.models.fresh import FreshStudentSettings
from stillhouse.models.fresh import make_fresh_student as stage
from stillhouse.store.artifact import Reference
from stillhouse.store.store import References, Store
from tasks.run_names import naming


@task(
    name="Make a student with random weights",
    task_run_name=naming(stage),
    cache_policy=NO_CACHE,
    persist_result=False,
)
def make_fresh_student(store: Store, settings: FreshStudentSettings, inputs: References) -> Reference:
    """Draw the weights of a new model."""
    return store.make(stage, settings, inputs)
