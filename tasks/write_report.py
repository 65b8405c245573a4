"""Write the report, as a Prefect task."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from evaluation.report.render import ReportSettings
from evaluation.report.render import write_report as stage
from stillhouse.store.artifact import Reference
from stillhouse.store.store import References, Store


@task(name="Write the report", cache_policy=NO_CACHE, persist_result=False)
def write_report(store: Store, settings: ReportSettings, inputs: References) -> Reference:
    """Write the report and its plots."""
    return store.make(stage, settings, inputs)
