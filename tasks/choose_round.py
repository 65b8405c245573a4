"""Choose a round's data, as a Prefect task."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from stillhouse.data.rounds import RoundSettings
from stillhouse.data.rounds import choose_round as stage
from stillhouse.store.artifact import Reference
from stillhouse.store.store import References, Store
from tasks.run_names import naming


@task(name="Choose a round's data", task_run_name=naming(stage), cache_policy=NO_CACHE, persist_result=False)
def choose_round(store: Store, settings: RoundSettings, inputs: References) -> Reference:
    """Give what is new in a round, and what is replayed."""
    return store.make(stage, settings, inputs)
