"""Quantize with bitsandbytes, as a Prefect task."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from export.quantization.bnb import QuantizeBnbSettings
from export.quantization.bnb import quantize_bnb as stage
from stillhouse.errors import Unavailable
from stillhouse.store.artifact import Reference
from stillhouse.store.store import References, Store
from tasks.attempts import made_or_refused
from tasks.run_names import naming


@task(
    name="Quantize with bitsandbytes",
    task_run_name=naming(stage),
    tags=["accelerator"],
    cache_policy=NO_CACHE,
    persist_result=False,
)
def quantize_bnb(store: Store, settings: QuantizeBnbSettings, inputs: References) -> Reference | Unavailable:
    """Write the student with the weights that bitsandbytes makes of it."""
    return made_or_refused(store, stage, settings, inputs)
