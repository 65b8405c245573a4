"""The teacher cache: what is found in it is what the teacher would say, whatever order texts come in, or nothing."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stillhouse.data.dataset import read_split
from stillhouse.errors import InputError
from stillhouse.recipe.knowledge import Cached
from stillhouse.store.artifact import hash_files
from stillhouse.store.store import Store
from stillhouse.teachers.cache import capture
from stillhouse.teachers.cache.draws import draw, uniforms
from stillhouse.teachers.cache.identity import CacheIdentity, identity_of
from stillhouse.teachers.cache.index import open_index
from stillhouse.teachers.cache.plan import plan_capture
from stillhouse.teachers.cached import open_cached
from stillhouse.teachers.local import open_local
from stillhouse.teachers.samples import samples_of
from tests.stillhouse.teachers.captures import (
    COMPUTE,
    LENGTH,
    batches_of,
    capture_into,
    random_split,
    write_dataset,
)

ROOT = Path(__file__).parents[3]
KINDS = [{"kind": "full"}, {"kind": "top_k", "k": 7}, {"kind": "sampled", "draws": 20}]


@pytest.fixture(scope="module")
def teacher(tiny_model: Path):
    return open_local(tiny_model, COMPUTE, layers=(0, 2))


def log_probabilities(teacher, batch, temperature: float = 1.0) -> Tensor:
    """[n, V] of the counted positions, asked online."""
    rows, positions = (batch.labels != -100).nonzero(as_tuple=True)
    return F.log_softmax(teacher.targets(batch).distribution.at(rows, positions) / temperature, dim=-1)


def at_targets(values: Tensor, batch) -> Tensor:
    return values[batch.labels != -100]


@pytest.mark.parametrize(("dtype", "allowed"), [("fp16", 2e-3), ("bf16", 2e-2)])
def test_online_and_full_cache_give_equal_targets_within_the_dtype_of_the_cache(
    teacher, captured, tiny_model, batches, dtype, allowed
):
    cached = captured("full", dtype=dtype).open(tiny_model)
    for batch in batches:
        found = cached.targets(batch).distribution.logits
        assert found.dtype == {"fp16": torch.float16, "bf16": torch.bfloat16}[dtype]
        online = log_probabilities(teacher, batch)
        stored = F.log_softmax(at_targets(found, batch).float(), dim=-1)
        torch.testing.assert_close(stored.exp(), online.exp(), atol=allowed, rtol=allowed)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind["kind"])
def test_shuffled_batches_find_the_right_targets(teacher, captured, tiny_model, dataset, kind):
    """Another order of rows, of documents within rows, and another batch size: the field's caches went by step."""
    cached = captured(**kind).open(tiny_model)
    for batch in batches_of(read_split(dataset, "train"), batch_rows=2, seed=5):
        online = log_probabilities(teacher, batch)
        found = cached.targets(batch).distribution
        if kind["kind"] == "full":
            torch.testing.assert_close(at_targets(found.logits, batch).float(), online, atol=1e-2, rtol=1e-3)
        elif kind["kind"] == "top_k":
            ids, values = at_targets(found.ids, batch), at_targets(found.log_probabilities, batch)
            torch.testing.assert_close(values, online.gather(1, ids), atol=1e-2, rtol=0)
            torch.testing.assert_close(ids[:, 0], online.argmax(dim=1))
        else:
            ids, counts = at_targets(found.ids, batch), at_targets(found.counts, batch)
            assert (counts.sum(dim=1) == 20).all()
            # What was drawn is, over all positions, what the teacher finds likely. Targets of another row are not.
            likely = (counts * online.gather(1, ids)).sum() / counts.sum()
            shuffled = (counts * online.roll(1, dims=0).gather(1, ids)).sum() / counts.sum()
            assert likely > shuffled + 0.5


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind["kind"])
def test_a_cache_captured_in_another_order_or_batch_size_is_the_same_to_the_reader(
    captured, tiny_model, batches, tmp_path, kind
):
    first = captured(**kind)
    order = np.random.default_rng(1).permutation(15).tolist()
    other_data = write_dataset(tmp_path / "data", random_split(order))
    store = Store(tmp_path / "store")
    reordered = capture_into(store, tiny_model, other_data, first.cached)
    assert shard_files(reordered) == shard_files(first)
    larger = Cached(targets=kind, batch_rows=5, shard_tokens=1000)
    other = capture_into(store, tiny_model, other_data, larger).open(tiny_model)
    for batch in batches:
        for one, another in zip(
            vars(first.open(tiny_model).targets(batch).distribution).values(),
            vars(other.targets(batch).distribution).values(),
            strict=True,
        ):
            torch.testing.assert_close(one, another, atol=2e-2, rtol=0)


def shard_files(made) -> list:
    return [hash_files(made.store.folder(shard)) for shard in made.shards]


def test_draws_are_decided_by_seed_sample_and_position_and_nothing_else(teacher, captured, tiny_model, batches):
    """Position t of a text draws with the t-th numbers of that text, whether or not its prompt is stored."""
    cached = captured("sampled", draws=20, seed=4).open(tiny_model)
    for batch in batches:
        found, said = cached.targets(batch).distribution, teacher.targets(batch).distribution
        for sample in samples_of(batch):
            positions = np.flatnonzero(sample.counted)
            place = torch.full((len(positions),), sample.row), torch.from_numpy(sample.start + positions)
            expected = draw(said.at(*place), uniforms(4, sample.id, len(sample.ids), 20)[positions])
            for ids, counts, tokens in zip(found.ids[place], found.counts[place], expected, strict=True):
                assert ids.repeat_interleave(counts).tolist() == tokens.tolist()


def test_top_k_leaves_the_exact_tail_and_is_taken_at_the_temperature_of_the_loss(
    teacher, captured, tiny_model, batches
):
    found = captured("top_k", k=7, temperature=2.0).open(tiny_model).targets(batches[0]).distribution
    online = log_probabilities(teacher, batches[0], temperature=2.0).double()
    known = at_targets(found.log_probabilities, batches[0]).double().exp().sum(dim=1)
    exact = online.topk(7, dim=1).values.exp().sum(dim=1)
    torch.testing.assert_close(known, exact, atol=1e-6, rtol=0)


def test_hidden_states_are_those_of_the_model(teacher, captured, tiny_model, batches):
    cached = captured("sampled", draws=20, hidden_layers=(0, 2)).open(tiny_model)
    online, found = teacher.targets(batches[0]).hidden_states, cached.targets(batches[0]).hidden_states
    assert set(found) == {0, 2}
    for layer in (0, 2):
        stored, said = at_targets(found[layer], batches[0]), at_targets(online[layer], batches[0])
        torch.testing.assert_close(stored, said.bfloat16(), atol=1e-3, rtol=1e-2)


def test_a_cache_may_hold_more_layers_than_a_run_needs_and_not_fewer(captured, tiny_model, batches):
    made = captured("sampled", draws=20, hidden_layers=(0, 2))
    needed = identity_of(tiny_model, "fp32", made.cached, 1.0, hidden_layers=(2,))
    assert set(open_cached(made.folder, needed).targets(batches[0]).hidden_states) == {2}
    with pytest.raises(InputError, match=r"hidden_layers is \(0, 2\) in the cache and \(1, 2\) in the run"):
        open_cached(made.folder, replace(needed, hidden_layers=(1, 2)))


def test_prompt_positions_are_not_stored(captured, dataset, batches):
    made = captured("sampled", draws=20)
    stored = sum(open_index(made.store.folder(shard)).num_records for shard in made.shards)
    split = read_split(dataset, "train")
    repeat = slice(int(split.starts[-2]), None)
    # The last document repeats the first, and is stored once.
    assert stored == split.num_targets - np.count_nonzero(split.counted[repeat])
    facts = json.loads((made.folder / "facts.json").read_text())
    assert facts["records"] == stored < facts["tokens"]
    assert (facts["shards"], facts["samples"]) == (len(made.shards), 14)


def test_a_target_that_was_a_prompt_at_capture_is_refused(captured, tiny_model, dataset):
    split = read_split(dataset, "train")
    counted = np.ones(split.num_tokens, dtype=bool)
    counted[split.starts[:-1]] = False
    cached = captured("sampled", draws=20).open(tiny_model)
    with pytest.raises(InputError, match="of them others; it was captured with other targets"):
        for batch in batches_of(replace(split, counted=counted)):
            cached.targets(batch)


def test_a_missing_sample_is_refused_with_the_name_of_its_document(captured, tiny_model, dataset):
    split = read_split(dataset, "train")
    ids = np.array(split.ids)
    ids[split.starts[4]] += 1
    cached = captured("sampled", draws=20).open(tiny_model)
    with pytest.raises(
        InputError, match=r"has no sample [0-9a-f]{12}, which the run has in the document toy/4: its 14"
    ):
        for batch in batches_of(replace(split, ids=ids)):
            cached.targets(batch)


WRONG = {
    "format": 2,
    "teacher_digest": "f" * 64,
    "teacher_dtype": "bf16",
    "quantization": "bitsandbytes",
    "tokenizer_digest": "f" * 64,
    "chat_template_digest": "f" * 64,
    "vocabulary_size": 151936,
    "targets": {"kind": "sampled", "draws": 12},
    "temperature": 2.0,
    "sampler_seed": 1,
    "position_convention": "token t",
    "hidden_layers": (1,),
}


SHOWN = {"targets": lambda value: f"kind {value['kind']}, draws {value['draws']}"}


def _shown(value) -> str:
    return repr(value[:12] if isinstance(value, str) and len(value) == 64 else value)


@pytest.mark.parametrize("name", [field.name for field in fields(CacheIdentity)])
def test_every_manifest_field_that_does_not_match_is_refused_by_name(captured, tiny_model, name):
    made = captured("sampled", draws=20)
    needed = identity_of(tiny_model, "fp32", made.cached, 1.0)
    open_cached(made.folder, needed)
    has, wrong = (SHOWN.get(name, _shown)(value) for value in (getattr(needed, name), WRONG[name]))
    with pytest.raises(InputError) as refused:
        open_cached(made.folder, replace(needed, **{name: WRONG[name]}))
    assert f"does not fit this run: {name} is {has} in the cache and {wrong} in the run; " in str(refused.value)


def test_another_teacher_template_or_temperature_is_another_identity(captured, tiny_model, tmp_path):
    made = captured("sampled", draws=20)
    own = identity_of(tiny_model, "fp32", made.cached, 1.0)
    other = tmp_path / "other"
    shutil.copytree(tiny_model, other)
    (other / "chat_template.jinja").write_text("{{ messages }}")
    weights = other / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    changed = identity_of(other, "bf16", made.cached, 2.0)
    differ = {field.name for field in fields(CacheIdentity) if getattr(own, field.name) != getattr(changed, field.name)}
    assert differ == {"teacher_digest", "teacher_dtype", "chat_template_digest", "temperature"}
    # A whole distribution can have any temperature afterwards.
    full = Cached(targets={"kind": "full"})
    assert identity_of(tiny_model, "fp32", full, 2.0) == identity_of(tiny_model, "fp32", full, 1.0)


def test_a_damaged_shard_is_refused_by_its_file(captured, tiny_model, batches, tmp_path):
    made = captured("sampled", draws=20)
    for damage, said in (
        (lambda path: path.write_bytes(b"x" + path.read_bytes()[1:]), "its sha256 is"),
        (Path.unlink, "it is missing"),
    ):
        folder = tmp_path / said[-4:]
        shutil.copytree(made.folder, folder)
        path = folder / "shard_00001" / "draws.npy"
        path.chmod(0o644)
        damage(path)
        cached = open_cached(folder, identity_of(tiny_model, "fp32", made.cached, 1.0))
        with pytest.raises(InputError, match=f"is damaged: of shard_00001/draws.npy its manifest says .*{said}"):
            for batch in batches:
                cached.targets(batch)


def test_a_folder_that_is_no_cache_is_refused(captured, tiny_model, tmp_path):
    needed = identity_of(tiny_model, "fp32", captured("sampled", draws=20).cached, 1.0)
    with pytest.raises(InputError, match=r"no cache.json in"):
        open_cached(tmp_path, needed)
    (tmp_path / "cache.json").write_text('{"identity": {"format": 1}, "shards": []}')
    with pytest.raises(InputError, match="it lacks or adds chat_template_digest"):
        open_cached(tmp_path, needed)


def test_records_stay_on_disk_until_they_are_read(captured, tiny_model, batches):
    cached = captured("full", dtype="fp16").open(tiny_model)
    assert not cached._open
    cached.targets(batches[0])
    arrays = [shard.records._array for shard in cached._open.values()]
    assert arrays and all(isinstance(array, np.memmap) and array.mode == "r" for array in arrays)


CHILD = """
import os, signal, sys
from pathlib import Path
from stillhouse.recipe.knowledge import Cached
from stillhouse.store.store import Store
from stillhouse.teachers.cache import capture
from tests.stillhouse.teachers.captures import capture_into

keep, kept = capture._keep, []

def dies_within_the_third_shard(shard, *rest):
    keep(shard, *rest)
    kept.append(shard.settings.shard)
    if kept.count(2) == 1:
        os.kill(os.getpid(), signal.SIGKILL)

capture._keep = dies_within_the_third_shard
root, teacher, dataset = map(Path, sys.argv[1:])
cached = Cached(targets={"kind": "sampled", "draws": 20}, batch_rows=1, shard_tokens=100)
capture_into(Store(root), teacher, dataset, cached)
"""


def test_a_capture_killed_with_signal_9_recomputes_no_finished_shard_and_ends_byte_identical(
    tiny_model, dataset, tmp_path, monkeypatch
):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", CHILD, str(tmp_path / "killed"), str(tiny_model), str(dataset)]
    died = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert died.returncode == -signal.SIGKILL, died.stderr
    folders = tmp_path / "killed" / "capture_shard"
    finished = {path.name for path in folders.iterdir() if (path / "manifest.json").is_file()}
    assert len(finished) == 2
    keep, worked = capture._keep, set()
    monkeypatch.setattr(capture, "_keep", lambda shard, *rest: worked.add(shard.settings.shard) or keep(shard, *rest))
    cached = Cached(targets={"kind": "sampled", "draws": 20}, batch_rows=1, shard_tokens=100)
    resumed = capture_into(Store(tmp_path / "killed"), tiny_model, dataset, cached)
    assert worked == set(range(2, len(resumed.shards)))
    whole = capture_into(Store(tmp_path / "whole"), tiny_model, dataset, cached)
    assert worked == set(range(len(resumed.shards)))
    assert resumed.shards == whole.shards and resumed.reference == whole.reference
    assert shard_files(resumed) == shard_files(whole)
    assert hash_files(resumed.folder) == hash_files(whole.folder)


def test_another_seed_of_training_keeps_the_cache_and_another_seed_of_the_sampler_does_not():
    def planned(seed: int, sampler_seed: int = 0):
        cached = Cached(targets={"kind": "sampled", "seed": sampler_seed})
        compute = COMPUTE.model_copy(update={"seed": seed})
        return plan_capture(cached, compute=compute, temperature=1.0, sequence_length=LENGTH, train_tokens=600_000)

    assert planned(1) == planned(2) != planned(1, sampler_seed=3)
    assert len(planned(1).shards) == 3


def test_samples_of_a_batch_are_its_documents_without_padding(dataset, batches):
    split = read_split(dataset, "train")
    found = {sample.name: sample for batch in batches for sample in samples_of(batch)}
    assert set(found) == set(split.names)
    for number, name in enumerate(split.names):
        place = slice(int(split.starts[number]), int(split.starts[number + 1]))
        assert found[name].ids.tolist() == split.ids[place].tolist()
        assert found[name].counted.tolist() == [*split.counted[place][1:].tolist(), False]
