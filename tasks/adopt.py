"""Take a package's variant into the store, as a Prefect task."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from stillhouse.models.adopted import AdoptSettings
from stillhouse.models.adopted import adopt_variant as stage
from stillhouse.store.artifact import Reference
from stillhouse.store.store import References, Store
from tasks.run_names import naming


@task(name="Take a package's variant", task_run_name=naming(stage), cache_policy=NO_CACHE, persist_result=False)
def adopt_variant(store: Store, settings: AdoptSettings, inputs: References) -> Reference:
    """Copy a variant's files into the store."""
    return store.make(stage, settings, inputs)
