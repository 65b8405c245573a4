"""Write the report, as a Prefect task."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from evaluation.report.render import ReportSettings
from evaluation.report.render import write_report as stage
from stillhouse.store.artifact import Reference
from stillhouse.store.store import References, Store
from tasks.run_names import naming


@task(name="Write the report", task_run_name=naming(stage), cache_policy=NO_CACHE, persist_result=False)
def write_report(store: Store, settings: ReportSettings, inputs: References) -> Reference:
    """Write the report and its plots."""
    return store.make(stage, settings, inputs)
