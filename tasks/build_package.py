"""Build the package, as a Prefect task."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from export.package import PackageSettings
from export.package import build_package as stage
from stillhouse.store.artifact import Reference
from stillhouse.store.store import References, Store
from tasks.run_names import naming


@task(name="Build the package", task_run_name=naming(stage), cache_policy=NO_CACHE, persist_result=False)
def build_package(store: Store, settings: PackageSettings, inputs: References) -> Reference:
    """Build what a serving team receives."""
    return store.make(stage, settings, inputs)
