"""Let the teacher answer prompts, as a Prefect task."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from stillhouse.store.artifact import Reference
from stillhouse.store.store import References, Store
from stillhouse.teachers.answers import AnswerSettings
from stillhouse.teachers.answers import answer_prompts as stage
from tasks.run_names import naming


@task(
    name="Let the teacher answer prompts",
    task_run_name=naming(stage),
    tags=["accelerator"],
    cache_policy=NO_CACHE,
    persist_result=False,
)
def answer_prompts(store: Store, settings: AnswerSettings, inputs: References) -> Reference:
    """Write the teacher's responses to the prompts."""
    return store.make(stage, settings, inputs)
