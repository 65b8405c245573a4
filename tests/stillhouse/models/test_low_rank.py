"""Low-rank layers: what a cut costs, what training a layer touches, and that the student opens like any model."""

import json
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from torch import nn

from stillhouse.data.dataset import write_split
from stillhouse.errors import InputError, Unavailable
from stillhouse.models import low_rank as stage
from stillhouse.models.block_passes import inputs_of, order_of_use, passes_before_blocks
from stillhouse.models.load import load_model
from stillhouse.models.low_rank import LOW_RANK, LowRankSettings, chosen_linears, low_rank
from stillhouse.models.low_rank_layer import (
    Shown,
    Spectrum,
    choose_ranks,
    decompose,
    low_rank_layer,
    measure_layer,
    train_layer,
)
from stillhouse.models.pruning import transformer_layers
from stillhouse.recipe.low_rank import LowRank, RanksByEnergy, RanksByParameters
from stillhouse.training.batches import make_batch
from tests.stillhouse.models.low_rank_cases import COMPUTE, TEACHER, split

IN_ORDER = [f"self_attn.{part}_proj" for part in "qkvo"] + [f"mlp.{part}_proj" for part in ("gate", "up", "down")]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dataset")
    write_split(folder, "train", split(24, 1))
    write_split(folder, "validation", split(8, 2))
    return folder


def settings(**changes) -> LowRankSettings:
    student = LowRank(**{"train_tokens": 768, "validation_tokens": 256, "steps": 8, "batch_tokens": 256} | changes)
    return LowRankSettings(student=student, sequence_length=64, compute=COMPUTE)


def made(dataset: Path, folder: Path, **changes) -> tuple[dict[str, torch.Tensor], dict]:
    folder.mkdir(exist_ok=True)
    low_rank(settings(**changes), {"teacher": TEACHER, "dataset": dataset}, folder)
    return load_file(folder / "model.safetensors"), json.loads((folder / "facts.json").read_text())


@pytest.fixture(scope="module")
def one_layer(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, torch.Tensor], dict]:
    folder = tmp_path_factory.mktemp("one") / "student"
    weights, facts = made(dataset, folder, blocks=(1,), linears=("down_proj",), learning_rate=2e-3, steps=40)
    return folder, weights, facts


def random_linear(in_features: int = 12, out_features: int = 9) -> tuple[nn.Linear, torch.Tensor]:
    """A layer, and inputs of unequal size in which the first is fifty times as long as any other."""
    generator = torch.Generator().manual_seed(0)
    linear = nn.Linear(in_features, out_features)
    with torch.no_grad():
        linear.weight.copy_(torch.randn(out_features, in_features, generator=generator))
        linear.bias.copy_(torch.randn(out_features, generator=generator))
    inputs = torch.randn(400, in_features, generator=generator) * torch.logspace(0, -2, in_features)
    inputs[0] *= 50
    return linear, inputs


def relative_error(linear: nn.Linear, layer: nn.Module, inputs: torch.Tensor) -> float:
    with torch.no_grad():
        answers = linear(inputs) - linear.bias
        missed = (layer(inputs) - linear(inputs)).square().sum(-1) / answers.square().sum(-1)
    return missed.mean().item()


@pytest.mark.parametrize("shape", [(12, 9), (9, 12)])
def test_full_rank_is_the_layer_itself(shape):
    linear, inputs = random_linear(*shape)
    layer = low_rank_layer(linear, decompose(linear, [inputs]), 9)
    torch.testing.assert_close(layer(inputs), linear(inputs), rtol=1e-4, atol=1e-4)


def test_full_rank_layers_everywhere_give_the_teachers_logits():
    teacher, student = (load_model(TEACHER, device="cpu", dtype="fp32") for _ in range(2))
    ids = torch.randint(3, 1000, (2, 40), generator=torch.Generator().manual_seed(3))
    for block in transformer_layers(student):
        for name in IN_ORDER:
            linear = block.get_submodule(name)
            # Text that spans few of the directions: the others must be kept as well.
            inputs = torch.randn(5, linear.in_features, generator=torch.Generator().manual_seed(4))
            layer = low_rank_layer(linear, decompose(linear, [inputs]), min(linear.weight.shape))
            with torch.no_grad():
                linear.weight.copy_(layer.product())
    with torch.no_grad():
        torch.testing.assert_close(student(ids).logits, teacher(ids).logits, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("shape", [(12, 9), (9, 12)])
def test_a_cut_is_the_best_for_the_activations_and_misses_what_is_cut_off(shape, monkeypatch):
    monkeypatch.setattr("stillhouse.models.low_rank_layer._DAMPING", 1e-9)
    linear, inputs = random_linear(*shape)
    found = decompose(linear, [inputs[:150], inputs[150:]])
    layer = low_rank_layer(linear, found, 3)
    energies = found.values.square()
    missed = relative_error(linear, layer, inputs)
    assert missed == pytest.approx((energies[3:].sum() / energies.sum()).item(), rel=1e-3)
    left, values, right = torch.linalg.svd(linear.weight.detach())
    plain = nn.Linear(*shape)
    with torch.no_grad():
        plain.weight.copy_(left[:, :3] @ torch.diag(values[:3]) @ right[:3])
        plain.bias.copy_(linear.bias)
    assert missed < 0.9 * relative_error(linear, plain, inputs)


def test_training_a_layer_lowers_its_loss_and_keeps_what_it_is_shown_fixed():
    linear, inputs = random_linear()
    with torch.no_grad():
        shown = Shown(inputs, linear(inputs))
    layer = low_rank_layer(linear, decompose(linear, [inputs]), 3)
    kept = linear.weight.clone(), layer.bias.clone()
    before = measure_layer(layer, shown)
    train_layer(layer, shown, LowRank(steps=60, batch_tokens=128, learning_rate=5e-3), seed=0)
    assert measure_layer(layer, shown) < before
    assert linear.weight.grad is None and torch.equal(linear.weight, kept[0]) and torch.equal(layer.bias, kept[1])


def test_inputs_of_a_layer_are_those_of_the_whole_model(dataset: Path):
    from stillhouse.data.dataset import read_split

    model = load_model(TEACHER, device="cpu", dtype="fp32")
    blocks = transformer_layers(model)
    batch = make_batch(read_split(dataset, "train"), [[0, 1], [2]], sequence_length=64, pad_id=0)
    seen = []
    handle = blocks[1].mlp.down_proj.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        model(**batch.inputs_of(model), use_cache=False)
    handle.remove()
    way = passes_before_blocks(model, blocks, batch, COMPUTE)
    assert order_of_use(way, blocks[0], 0, sorted(IN_ORDER), COMPUTE) == IN_ORDER
    stage.advance([way], blocks[0], 0, COMPUTE)
    (found,) = inputs_of([way], blocks[1], 1, "mlp.down_proj", COMPUTE)
    assert torch.equal(found, seen[0][batch.labels != -100])


def test_a_layer_that_sees_some_tokens_only_is_told(dataset: Path):
    from stillhouse.data.dataset import read_split

    class Routed(nn.Module):
        def __init__(self):
            super().__init__()
            self.expert = nn.Linear(64, 64)

        def forward(self, states, *_, **__):
            return states + self.expert(states[:, :3]).mean()

    model = load_model(TEACHER, device="cpu", dtype="fp32")
    batch = make_batch(read_split(dataset, "train"), [[0]], sequence_length=64, pad_id=0)
    way = passes_before_blocks(model, transformer_layers(model), batch, COMPUTE)
    with pytest.raises(Unavailable, match="expert in block 0 sees"):
        inputs_of([way], Routed(), 0, "expert", COMPUTE)


def test_only_the_chosen_layer_changes_and_its_loss_falls(one_layer):
    _, weights, facts = one_layer
    teacher = load_file(TEACHER / "model.safetensors")
    changed = [name for name in teacher if not torch.equal(teacher[name], weights[name])]
    assert changed == ["model.layers.1.mlp.down_proj.weight"]
    assert facts["local_loss_after"] < facts["local_loss_before"]


def test_the_saved_layer_has_the_rank_that_the_facts_name(one_layer):
    folder, weights, facts = one_layer
    assert list(facts["ranks"]) == ["1.mlp.down_proj"]
    rank = facts["ranks"]["1.mlp.down_proj"]
    values = torch.linalg.svdvals(weights["model.layers.1.mlp.down_proj.weight"].double())
    assert values[rank - 1] > 1e-3 > 1e-5 > values[rank] / values[0]
    (row,) = json.loads((folder / LOW_RANK).read_text())
    assert row["rank"] == rank and row["loss_before"] == facts["local_loss_before"]


def test_the_facts_say_what_is_saved_and_what_is_not(one_layer):
    _, _, facts = one_layer
    rank = facts["ranks"]["1.mlp.down_proj"]
    assert facts["parameters_if_factorised"] == facts["parameters"] - 64 * 160 + rank * (64 + 160)
    assert facts["parameters_if_factorised"] < facts["parameters"] == 324416
    assert "as large" in facts["saved_as"]


def test_the_student_opens_as_its_teacher_does_and_runs_none_of_our_code(one_layer):
    folder, _, _ = one_layer
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"] and "auto_map" not in config
    student = load_model(folder, device="cpu", dtype="fp32")
    teacher = load_model(TEACHER, device="cpu", dtype="fp32")
    assert type(student) is type(teacher)
    with torch.no_grad():
        ids = torch.arange(5, 45)[None]
        assert not torch.equal(student(ids).logits, teacher(ids).logits)


@pytest.mark.parametrize("inputs", ["teacher", "student", "teacher+student"])
def test_every_kind_of_input_trains_layers_bottom_first_within_the_budget(dataset: Path, tmp_path: Path, inputs: str):
    ranks = {"kind": "parameters", "share": 0.5}
    _, facts = made(dataset, tmp_path / "s", ranks=ranks, blocks=(0, 1), inputs=inputs, learning_rate=1e-3)
    in_order = [f"{block}.{name}" for block in (0, 1) for name in IN_ORDER]
    assert list(facts["ranks"]) == [name for name in in_order if name in facts["ranks"]]
    assert facts["low_rank_layers"] == len(facts["ranks"]) >= 10 and facts["whole_layers"] == 14 - len(facts["ranks"])
    chosen = 2 * (2 * 64 * 64 + 2 * 32 * 64 + 3 * 64 * 160)
    assert 0.48 * chosen < facts["parameters_if_factorised"] - (facts["parameters"] - chosen) <= 0.5 * chosen
    assert facts["local_loss_after"] < facts["local_loss_before"]


def test_a_layer_that_training_makes_worse_stays_what_the_svd_gave(dataset: Path, tmp_path: Path):
    choice = {"blocks": (0,), "linears": ("down_proj",)}
    wild, facts = made(dataset, tmp_path / "wild", learning_rate=5.0, **choice)
    tame, _ = made(dataset, tmp_path / "tame", learning_rate=1e-30, **choice)
    assert facts["layers_that_learned"] == 0 and facts["local_loss_after"] == facts["local_loss_before"]
    assert all(torch.equal(wild[name], tame[name]) for name in wild)


def test_a_killed_run_goes_on_to_the_same_bytes(dataset: Path, tmp_path: Path, monkeypatch):
    choice = {"blocks": (0, 1, 2), "linears": ("q_proj", "down_proj")}
    whole, facts = made(dataset, tmp_path / "whole", **choice)
    real, calls = stage._make_layer, []

    def killed_in_the_third_block(*given):
        calls.append(given[1:3])
        if given[1] == 2:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(stage, "_make_layer", killed_in_the_third_block)
    with pytest.raises(KeyboardInterrupt):
        made(dataset, tmp_path / "killed", **choice)
    monkeypatch.setattr(stage, "_make_layer", lambda *given: calls.append(given[1:3]) or real(*given))
    calls.clear()
    resumed, facts_after = made(dataset, tmp_path / "killed", **choice)
    assert calls == [(2, "self_attn.q_proj"), (2, "mlp.down_proj")]
    assert facts == facts_after
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def spectra() -> dict[str, Spectrum]:
    return {
        "a": Spectrum((90.0, 5.0, 4.0, 1.0, 0, 0, 0, 0), 8, 8),
        "b": Spectrum((2.0, 2.0, 2.0, 2.0, 1.0, 1.0, 0, 0), 8, 8),
    }


def test_the_fewest_dimensions_that_keep_a_share():
    assert choose_ranks(RanksByEnergy(share=0.89), {"a": spectra()["a"]}) == {"a": 1}
    assert choose_ranks(RanksByEnergy(share=0.94), {"a": spectra()["a"]}) == {"a": 2}
    # b would need 5 dimensions, and 4 already take as many parameters as the layer: it stays whole.
    assert choose_ranks(RanksByEnergy(share=0.89), spectra()) == {"a": 1}


def test_a_budget_goes_where_it_keeps_most():
    # Half of 128 parameters are 4 dimensions of 16: one each, then b's, which keep 0.2 of its output and a's 0.05.
    assert choose_ranks(RanksByParameters(share=0.5), spectra()) == {"a": 1, "b": 3}


def test_a_layer_stays_whole_where_the_budget_allows_it():
    # Of 6 dimensions b takes 3, all that are smaller than itself, and is whole for the price of a fourth.
    assert choose_ranks(RanksByParameters(share=0.75), spectra()) == {"a": 2}
    assert choose_ranks(RanksByParameters(share=0.9), spectra()) == {"a": 3}


def test_a_budget_below_one_dimension_each_is_told():
    with pytest.raises(InputError, match="one dimension each takes 32"):
        choose_ranks(RanksByParameters(share=0.2), spectra())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"blocks": (0, 6)}, "block 6, and the student has blocks 0 to 5"),
        ({"linears": ("q_proj", "c_attn")}, "c_attn, and the teacher's blocks have down_proj, gate_proj"),
    ],
)
def test_layers_that_do_not_exist_are_told(changes, words):
    blocks = transformer_layers(load_model(TEACHER, device="cpu", dtype="fp32"))
    with pytest.raises(InputError, match=words):
        chosen_linears(blocks, LowRank(**changes))


def test_a_model_without_linear_layers_is_told():
    with pytest.raises(InputError, match="no layers of type Linear"):
        chosen_linears(nn.ModuleList([nn.LayerNorm(3)]), LowRank())


@pytest.mark.parametrize(
    "wrong", [{"ranks": {"kind": "parameters", "share": 1.0}}, {"linears": ()}, {"inputs": "both"}, {"blocks": (-1,)}]
)
def test_a_section_that_cannot_be_meant_is_refused(wrong):
    with pytest.raises(ValidationError):
        LowRank.model_validate(wrong)
