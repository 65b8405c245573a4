"""Export to ONNX, as a Prefect task."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from export.onnx.export import ExportOnnxSettings
from export.onnx.export import export_onnx as stage
from stillhouse.errors import Unavailable
from stillhouse.store.artifact import Reference
from stillhouse.store.store import References, Store
from tasks.attempts import made_or_refused
from tasks.run_names import naming


@task(name="Export to ONNX", task_run_name=naming(stage), cache_policy=NO_CACHE, persist_result=False)
def export_onnx(store: Store, settings: ExportOnnxSettings, inputs: References) -> Reference | Unavailable:
    """Write the student as ONNX with a KV cache."""
    return made_or_refused(store, stage, settings, inputs)
