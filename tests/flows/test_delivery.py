"""What the scoring of models reads."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from flows.delivery import score_models
from flows.work import Work
from stillhouse.recipe.evaluation import Behaviour
from stillhouse.store.artifact import Reference
from stillhouse.store.store import Store


@pytest.mark.parametrize("suites", [("generations",), ("generations", "recitation")])
def test_training_documents_are_read_only_where_recitation_is_measured(suites: tuple[str, ...], tmp_path: Path):
    read: dict[str, set[str]] = {}

    def call(task, store, settings, inputs) -> Reference:
        read[task.fn.__name__] = set(inputs)
        return Reference(task.fn.__name__, "1" * 64)

    behaviour = SimpleNamespace(behaviour=Behaviour(suites=suites))
    settings = SimpleNamespace(capability=None, behaviour=behaviour, held_out=None)
    data = {name: Reference(name, "2" * 64) for name in ("documents", "dataset")}
    found = score_models(settings, Work(Store(tmp_path), call), {"student": Reference("distill", "3" * 64)}, data)
    assert set(found) == {"capability_student", "behaviour_student", "held_out_student"}
    assert ("documents" in read["evaluate_behaviour"]) == ("recitation" in suites)
    assert "documents" not in read["evaluate_capability"]
