"""Judge the gates, as a Prefect task."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from evaluation.assemble import AssembleSettings
from evaluation.assemble import assemble_results as stage
from stillhouse.store.artifact import Reference
from stillhouse.store.store import References, Store
from tasks.run_names import naming


@task(name="Judge the gates", task_run_name=naming(stage), cache_policy=NO_CACHE, persist_result=False)
def assemble_results(store: Store, settings: AssembleSettings, inputs: References) -> Reference:
    """Gather every figure into results.json and judge the gates."""
    return store.make(stage, settings, inputs)
