"""One data set and its captures by a random teacher, each kind captured once in a session."""

from collections.abc import Callable
from pathlib import Path

import pytest

from stillhouse.data.dataset import read_split
from stillhouse.recipe.knowledge import Cached
from stillhouse.store.store import Store
from tests.stillhouse.teachers.captures import Capture, batches_of, capture_into, random_split, write_dataset


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("dataset"), random_split())


@pytest.fixture(scope="session")
def batches(dataset: Path) -> list:
    return batches_of(read_split(dataset, "train"))


@pytest.fixture(scope="session")
def captured(tiny_model: Path, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Capture]:
    """Capture the data set, each kind once in a session."""
    store = Store(tmp_path_factory.mktemp("captures") / "store")

    def capture(kind: str, temperature: float = 1.0, hidden_layers: tuple[int, ...] = (), **numbers) -> Capture:
        cached = Cached(targets={"kind": kind, **numbers}, batch_rows=2, shard_tokens=100)
        return capture_into(store, tiny_model, dataset, cached, temperature, hidden_layers)

    return capture
