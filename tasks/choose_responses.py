"""Choose among responses, as a Prefect task."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from stillhouse.data.choose_responses import ChooseSettings
from stillhouse.data.choose_responses import choose_responses as stage
from stillhouse.store.artifact import Reference
from stillhouse.store.store import References, Store
from tasks.run_names import naming


@task(name="Choose among responses", task_run_name=naming(stage), cache_policy=NO_CACHE, persist_result=False)
def choose_responses(store: Store, settings: ChooseSettings, inputs: References) -> Reference:
    """Choose among the responses to each prompt."""
    return store.make(stage, settings, inputs)
