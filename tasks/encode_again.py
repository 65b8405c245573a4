"""Turn the texts into the teacher's tokens, as a Prefect task."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from stillhouse.data.encode_again import EncodeAgainSettings
from stillhouse.data.encode_again import encode_for_teacher as stage
from stillhouse.store.artifact import Reference
from stillhouse.store.store import References, Store
from tasks.run_names import naming


@task(
    name="Turn the texts into the teacher's tokens",
    task_run_name=naming(stage),
    cache_policy=NO_CACHE,
    persist_result=False,
)
def encode_for_teacher(store: Store, settings: EncodeAgainSettings, inputs: References) -> Reference:
    """Encode what the student reads as the teacher reads it, and pair their positions."""
    return store.make(stage, settings, inputs)
