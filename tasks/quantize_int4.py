"""Quantize ONNX to 4 bits, as a Prefect task."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from export.quantization.int4 import QuantizeInt4Settings
from export.quantization.int4 import quantize_int4 as stage
from stillhouse.errors import Unavailable
from stillhouse.store.artifact import Reference
from stillhouse.store.store import References, Store
from tasks.attempts import made_or_refused
from tasks.run_names import naming


@task(name="Quantize ONNX to 4 bits", task_run_name=naming(stage), cache_policy=NO_CACHE, persist_result=False)
def quantize_int4(store: Store, settings: QuantizeInt4Settings, inputs: References) -> Reference | Unavailable:
    """Write the ONNX model with 4-bit weights."""
    return made_or_refused(store, stage, settings, inputs)
