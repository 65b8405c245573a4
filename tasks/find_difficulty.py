"""Read how hard the texts are, as a Prefect task."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from stillhouse.store.artifact import Reference
from stillhouse.store.store import References, Store
from stillhouse.teachers.difficulty import DifficultySettings
from stillhouse.teachers.difficulty import measure_difficulty as stage
from tasks.run_names import naming


@task(
    name="Read how hard the texts are",
    task_run_name=naming(stage),
    tags=["accelerator"],
    cache_policy=NO_CACHE,
    persist_result=False,
)
def measure_difficulty(store: Store, settings: DifficultySettings, inputs: References) -> Reference:
    """Let a model read every training text once."""
    return store.make(stage, settings, inputs)
