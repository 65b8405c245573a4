"""Let the teacher answer prompts several times, as a Prefect task."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from stillhouse.store.artifact import Reference
from stillhouse.store.store import References, Store
from stillhouse.teachers.responses import SampleSettings
from stillhouse.teachers.responses import sample_responses as stage
from tasks.run_names import naming


@task(
    name="Let the teacher answer prompts several times",
    task_run_name=naming(stage),
    tags=["accelerator"],
    cache_policy=NO_CACHE,
    persist_result=False,
)
def sample_responses(store: Store, settings: SampleSettings, inputs: References) -> Reference:
    """Draw several responses to each training prompt."""
    return store.make(stage, settings, inputs)
