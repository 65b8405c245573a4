"""Choose the prompts of a teacher, as a Prefect task."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from stillhouse.data.choose_prompts import ChoosePromptsSettings
from stillhouse.data.choose_prompts import choose_prompts as stage
from stillhouse.store.artifact import Reference
from stillhouse.store.store import References, Store
from tasks.run_names import naming


@task(name="Choose a teacher's prompts", task_run_name=naming(stage), cache_policy=NO_CACHE, persist_result=False)
def choose_prompts(store: Store, settings: ChoosePromptsSettings, inputs: References) -> Reference:
    """Give the prompts that one of several teachers answers."""
    return store.make(stage, settings, inputs)
