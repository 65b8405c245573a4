"""Compare the runs of a sweep, as a Prefect task."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from evaluation.sweep.render import CompareRunsSettings
from evaluation.sweep.render import compare_runs as stage
from stillhouse.store.artifact import Reference
from stillhouse.store.store import References, Store
from tasks.run_names import naming


@task(name="Compare the runs", task_run_name=naming(stage), cache_policy=NO_CACHE, persist_result=False)
def compare_runs(store: Store, settings: CompareRunsSettings, inputs: References) -> Reference:
    """Set the results of several runs beside each other."""
    return store.make(stage, settings, inputs)
