"""Try the compiler, as a Prefect task."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from stillhouse.store.artifact import Reference
from stillhouse.store.store import References, Store
from stillhouse.training.compiler import ProbeCompilerSettings
from stillhouse.training.compiler import probe_compiler as stage
from tasks.run_names import naming


@task(
    name="Try the compiler",
    task_run_name=naming(stage),
    tags=["accelerator"],
    cache_policy=NO_CACHE,
    persist_result=False,
)
def probe_compiler(store: Store, settings: ProbeCompilerSettings, inputs: References) -> Reference:
    """Decide `compute.compile: auto`, once per device and library versions."""
    return store.make(stage, settings, inputs)
