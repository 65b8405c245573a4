"""Train the student's tokenizer, as a Prefect task."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from stillhouse.models.own_tokenizer import TrainTokenizerSettings
from stillhouse.models.own_tokenizer import train_tokenizer as stage
from stillhouse.store.artifact import Reference
from stillhouse.store.store import References, Store
from tasks.run_names import naming


@task(name="Train the student's tokenizer", task_run_name=naming(stage), cache_policy=NO_CACHE, persist_result=False)
def train_tokenizer(store: Store, settings: TrainTokenizerSettings, inputs: References) -> Reference:
    """Learn a tokenizer from the training documents."""
    return store.make(stage, settings, inputs)
