"""Depth pruning: which layers stay, and that what stays computes what it computed."""

import json
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from stillhouse.data.dataset import Split, read_split, write_split
from stillhouse.losses.cross_entropy import cross_entropy
from stillhouse.models import narrow_students, pruning
from stillhouse.models.load import load_model
from stillhouse.models.pruning import PruneSettings, choose_layers, keep_layers, prune_layers, transformer_layers
from stillhouse.recipe.compute import Compute
from stillhouse.recipe.pruned import DepthPruned, WidthPruned
from stillhouse.training.batches import make_batch
from tests.stillhouse.training.trainings import write_random_dataset


def test_the_layers_that_hurt_most_stay_in_order_of_depth():
    assert choose_layers([5.0, 1.0, 3.0, 2.0, 4.0], 3) == [0, 2, 4]


def test_a_layer_without_which_nothing_is_a_number_stays():
    assert choose_layers([1.0, float("nan"), 2.0], 1) == [1]


def test_equal_hurt_keeps_the_earlier_layer():
    assert choose_layers([1.0, 1.0, 1.0], 2) == [0, 1]


def test_all_layers_kept_is_the_same_model(tiny_model: Path):
    whole = load_model(tiny_model, device="cpu", dtype="fp32")
    kept = keep_layers(load_model(tiny_model, device="cpu", dtype="fp32"), range(len(transformer_layers(whole))))
    ids = torch.arange(5, 15)[None]
    torch.testing.assert_close(kept(ids).logits, whole(ids).logits)


def test_a_cut_model_generates_with_its_cache_as_without(tiny_model: Path):
    model = keep_layers(load_model(tiny_model, device="cpu", dtype="fp32"), [1])
    ids = torch.arange(5, 15)[None]
    with_cache = model.generate(ids, max_new_tokens=5, do_sample=False, pad_token_id=0)
    without = model.generate(ids, max_new_tokens=5, do_sample=False, use_cache=False, pad_token_id=0)
    assert with_cache.tolist() == without.tolist()


def test_the_useless_layer_goes(tiny_model: Path, tmp_path: Path):
    model = load_model(tiny_model, device="cpu", dtype="fp32")
    with torch.no_grad():
        # A block whose two outputs are zero adds nothing to the residual stream.
        model.model.layers[0].self_attn.o_proj.weight.zero_()
        model.model.layers[0].mlp.down_proj.weight.zero_()
        model.model.layers[1].mlp.down_proj.weight.mul_(30)
    from stillhouse.models.load import load_tokenizer, save_model

    teacher = tmp_path / "teacher"
    save_model(model, load_tokenizer(tiny_model), teacher)
    ids = np.random.default_rng(0).integers(5, 100, size=64).astype(np.int32)
    counted = np.ones(64, dtype=bool)
    starts = np.array([0, 32, 64])
    counted[[0, 32]] = False
    write_split(tmp_path / "dataset", "train", Split(ids, counted, starts, np.array([32, 32]), ("a/0", "a/1")))
    settings = PruneSettings(
        student=DepthPruned(layers=1, ranking_tokens=64),
        sequence_length=32,
        compute=Compute(device="cpu", precision="fp32", threads=1, seed=0),
    )
    student = tmp_path / "student"
    student.mkdir()
    prune_layers(settings, {"teacher": teacher, "dataset": tmp_path / "dataset"}, student)
    ranking = json.loads((student / "ranking.json").read_text())
    assert ranking["kept"] == [1]
    assert ranking["loss_without_layer"][0] == pytest.approx(ranking["baseline_loss"], rel=1e-5)
    assert load_model(student, device="cpu", dtype="fp32").config.num_hidden_layers == 1


@pytest.fixture
def four_layers():
    config = LlamaConfig(
        vocab_size=120, hidden_size=32, intermediate_size=64, num_hidden_layers=4, num_attention_heads=4
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LlamaForCausalLM(config).eval()


LOSSES = {
    (0, 1, 2, 3): 1.0,
    # Alone, 1 and 2 hurt least; together they hurt most.
    (1, 2, 3): 3.0,
    (0, 2, 3): 1.1,
    (0, 1, 3): 1.2,
    (0, 1, 2): 1.5,
    (2, 3): 4.0,
    (0, 3): 9.0,
    (0, 2): 1.6,
}


@pytest.mark.parametrize(("method", "kept"), [("drop_one", [0, 3]), ("greedy", [0, 2])])
def test_greedy_ranking_measures_again_what_is_left(method, kept, four_layers, monkeypatch):
    numbers = {id(layer): index for index, layer in enumerate(transformer_layers(four_layers))}

    def loss(model, batch):
        return LOSSES[tuple(numbers[id(layer)] for layer in model.model.layers)]

    monkeypatch.setattr(pruning, "_loss", loss)
    found = pruning.rank_layers(four_layers, [SimpleNamespace(num_counted=7)], method, 2)
    assert found.kept == kept
    assert found.loss_without_layer == [3.0, 1.1, 1.2, 1.5]
    assert found.removed == ([(1, 1.1), (3, 1.6)] if method == "greedy" else [])
    # The teacher is whole again.
    assert len(transformer_layers(four_layers)) == 4


def test_greedily_keeping_all_layers_measures_each_once(four_layers, monkeypatch):
    monkeypatch.setattr(pruning, "_loss", lambda model, batch: 1.0)
    found = pruning.rank_layers(four_layers, [SimpleNamespace(num_counted=7)], "greedy", 4)
    assert found.kept == [0, 1, 2, 3] and found.removed == [] and len(found.loss_without_layer) == 4


def off_in_bf16(loss: float) -> float:
    """What rounding makes of a loss: layers that are nearly alike change places."""
    return loss + (0.02 if loss == 1.6 else -0.02 if loss == 1.63 else 0)


@pytest.mark.parametrize("faster", [True, False])
def test_what_bf16_finds_near_the_least_is_measured_again_before_a_layer_goes(faster, four_layers, monkeypatch):
    numbers = {id(layer): index for index, layer in enumerate(transformer_layers(four_layers))}
    losses = LOSSES | {(0, 3): 1.63}
    asked: dict[bool, list[tuple[int, ...]]] = {True: [], False: []}

    def loss(model, batch):
        layers, rough = tuple(numbers[id(layer)] for layer in model.model.layers), torch.is_autocast_enabled("cpu")
        asked[rough].append(layers)
        return off_in_bf16(losses[layers]) if rough else losses[layers]

    monkeypatch.setattr(pruning, "_loss", loss)
    monkeypatch.setattr(pruning, "_is_much_faster_in_bf16", lambda model, batch: faster)
    found = pruning.rank_layers(four_layers, [SimpleNamespace(num_counted=7)], "greedy", 2)
    assert (found.kept, found.removed) == ([0, 2], [(1, 1.1), (3, 1.6)])
    assert found.loss_without_layer == [3.0, 1.1, 1.2, 1.5]
    second = [(0, 2, 3), (2, 3), (0, 3), (0, 2)]
    assert asked[True] == (second if faster else [])
    assert asked[False][5:] == ([(0, 2, 3), (0, 3), (0, 2)] if faster else second)


def test_a_loss_that_is_no_number_in_bf16_is_measured_again(four_layers, monkeypatch):
    def loss(model, batch):
        return float("nan") if torch.is_autocast_enabled("cpu") else float(len(model.model.layers))

    monkeypatch.setattr(pruning, "_loss", loss)
    monkeypatch.setattr(pruning, "_is_much_faster_in_bf16", lambda model, batch: True)
    found = pruning.rank_layers(four_layers, [SimpleNamespace(num_counted=7)], "greedy", 1)
    assert found.removed == [(3, 3.0), (2, 2.0), (1, 1.0)]


def test_bf16_is_asked_first_where_it_is_faster_by_the_clock(four_layers, text, monkeypatch):
    taken = {False: 0.2, True: 0.1}
    now = 0.0

    def loss(model, batch):
        nonlocal now
        now += taken[torch.is_autocast_enabled("cpu")]
        return 1.0

    monkeypatch.setattr(pruning, "_loss", loss)
    monkeypatch.setattr(pruning.time, "perf_counter", lambda: now)
    assert pruning._is_much_faster_in_bf16(four_layers, text[0])
    taken[True] = 0.15
    assert not pruning._is_much_faster_in_bf16(four_layers, text[0])


@pytest.mark.parametrize("num_kept", [1, 2])
def test_layers_go_as_they_would_without_bf16(num_kept, text, monkeypatch):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **{**SIZES, "num_hidden_layers": 6}))
    monkeypatch.setattr(pruning, "_is_much_faster_in_bf16", lambda model, batch: False)
    exact = pruning.rank_layers(model.eval(), text, "greedy", num_kept)
    monkeypatch.setattr(pruning, "_is_much_faster_in_bf16", lambda model, batch: True)
    measured, whole = [], pruning._measure_without
    monkeypatch.setattr(
        pruning, "_measure_without", lambda *told: measured.append((len(told[2]), len(told[3]))) or whole(*told)
    )
    assert pruning.rank_layers(model, text, "greedy", num_kept) == exact
    # In full precision not all of those left were measured again.
    assert any(asked < left for left, asked in measured)


SIZES = {
    "vocab_size": 120,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.2,
}
MIXED = {
    "sliding_window": 4,
    "head_dim": 8,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
}
LEARNED_PLACES = {"n_embd": 32, "n_head": 4, "n_layer": 4}


@pytest.fixture
def text(tmp_path):
    split = read_split(write_random_dataset(tmp_path / "dataset"), "train")
    return [make_batch(split, rows, sequence_length=64, pad_id=0) for rows in ([[0, 1], [2, 3]], [[4, 5, 6]])]


@pytest.mark.parametrize(
    ("kind", "more"), [("llama", {}), ("gemma3_text", MIXED), ("qwen2", {}), ("gpt2", LEARNED_PLACES), ("gpt_neox", {})]
)
def test_a_layer_s_absence_costs_what_the_model_without_it_loses(kind, more, text):
    """Though only what lies behind the layer is computed again."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = AutoConfig.for_model(kind, **{**SIZES, **more})
        model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()
    layers = transformer_layers(model)
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = pruning.rank_layers(model, text, "drop_one", 2)
    assert found.baseline_loss == pytest.approx(loss_of(model, text), rel=1e-6)
    for index, loss in enumerate(found.loss_without_layer):
        with pruning._only_layers(layers, [each for each in range(4) if each != index]):
            assert loss == pytest.approx(loss_of(model, text), rel=1e-6)
    assert len(set(found.loss_without_layer)) == 4
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())
    assert not any("forward" in vars(layer) for layer in layers)


def test_ranking_computes_a_batch_once_whole_and_then_only_what_lies_behind_each_layer(four_layers, text, monkeypatch):
    computed = []
    attention = type(four_layers.model.layers[0].self_attn)
    whole = attention.forward
    monkeypatch.setattr(
        attention, "forward", lambda own, *a, **k: computed.append(own.layer_idx) or whole(own, *a, **k)
    )
    pruning.rank_layers(four_layers, text[:1], "drop_one", 2)
    assert computed == [0, 1, 2, 3, 1, 2, 3, 2, 3, 3]


@pytest.mark.parametrize("stage", ["ranking", "widths"])
def test_memory_that_is_freed_while_layers_and_channels_are_measured_is_kept(stage, tiny_model, tmp_path, monkeypatch):
    entered = []

    @contextmanager
    def kept():
        entered.append(stage)
        yield

    module = pruning if stage == "ranking" else narrow_students
    monkeypatch.setattr(module, "freed_memory_kept", kept)
    read = {"teacher": tiny_model, "dataset": write_random_dataset(tmp_path / "data")}
    folder = tmp_path / "student"
    folder.mkdir()
    asked = {"sequence_length": 32, "compute": Compute(device="cpu", precision="fp32", threads=1, seed=0)}
    if stage == "ranking":
        prune_layers(PruneSettings(student=DepthPruned(layers=1, ranking_tokens=64), **asked), read, folder)
    else:
        student = WidthPruned(feed_forward_size=32, statistics_tokens=64)
        narrow_students.prune_widths(narrow_students.PruneWidthsSettings(student=student, **asked), read, folder)
    assert entered == [stage]


@torch.no_grad()
def loss_of(model, batches):
    losses = [
        (cross_entropy(model(**each.inputs_of(model), use_cache=False).logits, each.labels), each.num_counted)
        for each in batches
    ]
    return (sum(loss * number for loss, number in losses) / sum(number for _, number in losses)).item()
