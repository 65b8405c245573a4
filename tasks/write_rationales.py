"""Write and check rationales, as a Prefect task."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from stillhouse.store.artifact import Reference
from stillhouse.store.store import References, Store
from stillhouse.teachers.rationales import RationaleSettings
from stillhouse.teachers.rationales import write_rationales as stage
from tasks.run_names import naming


@task(
    name="Write and check rationales",
    task_run_name=naming(stage),
    tags=["accelerator"],
    cache_policy=NO_CACHE,
    persist_result=False,
)
def write_rationales(store: Store, settings: RationaleSettings, inputs: References) -> Reference:
    """Write the problems' documents, each with a rationale that ends in the right answer."""
    return store.make(stage, settings, inputs)
