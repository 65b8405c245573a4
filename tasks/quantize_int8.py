"""Quantize ONNX to 8 bits, as a Prefect task."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from export.quantization.int8 import QuantizeInt8Settings
from export.quantization.int8 import quantize_int8 as stage
from stillhouse.errors import Unavailable
from stillhouse.store.artifact import Reference
from stillhouse.store.store import References, Store
from tasks.attempts import made_or_refused
from tasks.run_names import naming


@task(name="Quantize ONNX to 8 bits", task_run_name=naming(stage), cache_policy=NO_CACHE, persist_result=False)
def quantize_int8(store: Store, settings: QuantizeInt8Settings, inputs: References) -> Reference | Unavailable:
    """Write the ONNX model in 8 bits, of the kind that loses less."""
    return made_or_refused(store, stage, settings, inputs)
