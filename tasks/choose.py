"""Select documents, as a Prefect task."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from stillhouse.data.select import SelectSettings
from stillhouse.data.select import select_documents as stage
from stillhouse.store.artifact import Reference
from stillhouse.store.store import References, Store
from tasks.run_names import naming


@task(name="Select documents", task_run_name=naming(stage), cache_policy=NO_CACHE, persist_result=False)
def select_documents(store: Store, settings: SelectSettings, inputs: References) -> Reference:
    """Choose among the training documents."""
    return store.make(stage, settings, inputs)
