"""Turn documents into tokens, as a Prefect task."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from stillhouse.data.encode import EncodeSettings
from stillhouse.data.encode import encode_documents as stage
from stillhouse.store.artifact import Reference
from stillhouse.store.store import References, Store
from tasks.run_names import naming


@task(name="Turn documents into tokens", task_run_name=naming(stage), cache_policy=NO_CACHE, persist_result=False)
def encode_documents(store: Store, settings: EncodeSettings, inputs: References) -> Reference:
    """Turn documents into token ids and masks."""
    return store.make(stage, settings, inputs)
