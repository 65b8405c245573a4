"""Training from a cache: what it must share with training online, and what a wrong one must do."""

from pathlib import Path

import numpy as np
import pytest
import torch

from stillhouse.data.dataset import Split, write_split
from stillhouse.errors import InputError
from stillhouse.losses.reduction import IGNORED
from stillhouse.recipe.knowledge import Cached
from stillhouse.store.store import Store
from stillhouse.teachers import opening
from stillhouse.teachers.targets import Draws, Targets
from stillhouse.training import trainer as preparing
from tests.conftest import ROOT
from tests.stillhouse.teachers.captures import LENGTH, capture_into
from tests.stillhouse.training.trainings import left, run


def with_cache(inputs: dict[str, Path], folder: Path, targets: dict, temperature: float = 1.0) -> dict:
    """Inputs with a capture among them, and the section that asks for it."""
    cached = Cached(targets=targets, batch_rows=2, shard_tokens=200)
    capture = capture_into(Store(folder / "store"), inputs["teacher"], inputs["dataset"], cached, temperature)
    return {"inputs": {**inputs, "cache": capture.folder}, "knowledge": cached}


@pytest.mark.parametrize(("targets", "temperature"), [({"kind": "full"}, 2.0), ({"kind": "top_k", "k": 300}, 2.0)])
def test_cached_equals_online(apart, tmp_path, targets, temperature):
    """Whatever the order of batches: targets are found by the tokens of their text."""
    cache = with_cache(apart, tmp_path, targets, temperature)
    cached = left(run(cache["inputs"], tmp_path / "cached", knowledge=cache["knowledge"], temperature=temperature))
    online = left(run(apart, tmp_path / "online", temperature=temperature))
    # 16 bits a log-probability.
    np.testing.assert_allclose(cached.losses, online.losses, rtol=2e-3)


def test_features_of_a_cache_are_those_of_the_teacher(apart, tmp_path):
    """Layers that the cache keeps, in 16 bits, for a student that is not yet like its teacher."""
    features = {"rank": 8, "layers": {1: 1, 2: 2}}
    cached = Cached(targets={"kind": "full"}, batch_rows=2, shard_tokens=200)
    capture = capture_into(Store(tmp_path / "store"), apart["teacher"], apart["dataset"], cached, 1.0, (1, 2))
    told = {"features": features, "temperature": 1.0}
    stored = left(run({**apart, "cache": capture.folder}, tmp_path / "stored", knowledge=cached, **told)).history
    online = left(run(apart, tmp_path / "online", **told)).history
    for name in ("feature_loss", "loss"):
        one, another = ([entry[name] for entry in each["training"]] for each in (stored, online))
        np.testing.assert_allclose(one, another, rtol=5e-3)
    assert online["training"][0]["feature_loss"] > 0.01


@pytest.fixture
def trained(tmp_path: Path) -> dict[str, Path]:
    """A teacher that has learned English, text that it wrote, and a student without two of its six layers."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = ROOT / "tests" / "tiny_teacher"
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        begun = torch.full((40, 1), tokenizer.eos_token_id)
        written = model.generate(begun, do_sample=True, max_new_tokens=LENGTH - 1, min_new_tokens=LENGTH - 1)
    write_texts(tmp_path / "texts", written.numpy().astype(np.int32))
    del model.model.layers[2:4]
    model.config.num_hidden_layers = len(model.model.layers)
    model.save_pretrained(tmp_path / "pruned")
    tokenizer.save_pretrained(tmp_path / "pruned")
    return {"teacher": folder, "start": tmp_path / "pruned", "dataset": tmp_path / "texts"}


def test_a_shuffled_cache_makes_the_student_worse(trained, tmp_path, monkeypatch):
    """The canary: with targets of other positions the loss still falls, and nothing else tells that it is noise."""
    told = {"alpha": 1.0, "temperature": 1.0, "steps": 30, "batch_rows": 4, "learning_rate": 2e-3}
    told |= {"sequence_length": LENGTH}
    cache = with_cache(trained, tmp_path, {"kind": "sampled", "draws": 50})
    right = run(cache["inputs"], tmp_path / "right", knowledge=cache["knowledge"], **told)

    def shuffled(*arguments, **keywords):
        return Shuffled(opening.open_teacher(*arguments, **keywords))

    with monkeypatch.context() as patched:
        patched.setattr(preparing, "open_teacher", shuffled)
        wrong = run(cache["inputs"], tmp_path / "wrong", knowledge=cache["knowledge"], **told)
    start, after_right, after_wrong = (
        kl_to_teacher(model, trained, tmp_path / f"kl-{model.name}") for model in (trained["start"], right, wrong)
    )
    assert after_right < 0.7 * start, (start, after_right, after_wrong)
    assert after_wrong > start, (start, after_right, after_wrong)


def test_a_cache_of_another_teacher_is_refused_by_the_field(apart, tmp_path):
    cache = with_cache({**apart, "teacher": apart["start"]}, tmp_path, {"kind": "full"})
    mixed = {**cache["inputs"], "teacher": apart["teacher"]}
    with pytest.raises(InputError, match="teacher_digest is"):
        run(mixed, tmp_path / "a", knowledge=cache["knowledge"])


def kl_to_teacher(model: Path, inputs: dict[str, Path], folder: Path) -> float:
    """On the training text: the teacher's loss at the first step of another training."""
    told = left(
        run(
            {**inputs, "start": model},
            folder,
            alpha=1.0,
            temperature=1.0,
            steps=1,
            batch_rows=40,
            sequence_length=LENGTH,
        )
    )
    return told.history["training"][0]["teacher_loss"]


def write_texts(folder: Path, ids: np.ndarray) -> None:
    """Texts of one length as every split; their first token is not counted."""
    number, length = ids.shape
    counted = np.ones(ids.shape, dtype=bool)
    counted[:, 0] = False
    names = tuple(f"written/{each}" for each in range(number))
    starts = np.arange(number + 1) * length
    for name in ("train", "validation"):
        write_split(folder, name, Split(ids.ravel(), counted.ravel(), starts, np.full(number, 4 * length), names))


class Shuffled:
    """A cache that gives every counted position the draws of another one."""

    def __init__(self, right):
        self._right = right
        self.vocabulary_size = right.vocabulary_size

    def targets(self, batch) -> Targets:
        said = self._right.targets(batch).distribution
        mask = batch.labels != IGNORED
        order = torch.randperm(int(mask.sum()), generator=torch.Generator().manual_seed(0))
        ids, counts = said.ids.clone(), said.counts.clone()
        ids[mask], counts[mask] = ids[mask][order], counts[mask][order]
        return Targets(Draws(ids, counts))
