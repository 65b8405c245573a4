"""Low-rank layers of a student that was cut first: each learns what the teacher's layer at its place says."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from stillhouse.data.dataset import read_split, write_split
from stillhouse.models import low_rank as stage
from stillhouse.models.load import load_model
from stillhouse.models.low_rank import LowRankSettings, low_rank
from stillhouse.models.narrow_students import (
    PruneLayersAndWidthsSettings,
    PruneWidthsSettings,
    prune_layers_and_widths,
    prune_widths,
)
from stillhouse.models.pruning import PruneSettings, prune_layers, transformer_layers
from stillhouse.models.side_by_side import Texts, before_blocks, open_models
from stillhouse.models.standing import read_standing
from stillhouse.recipe.low_rank import LowRank
from stillhouse.recipe.pruned import DepthAndWidthPruned, DepthPruned, Pruned, WidthPruned
from stillhouse.training.batches import make_batch
from tests.stillhouse.models.low_rank_cases import COMPUTE, TEACHER, split

CUTS: dict[str, Pruned] = {
    "depth": DepthPruned(layers=3, ranking="drop_one", ranking_tokens=128),
    "width": WidthPruned(hidden_size=32, feed_forward_size=96, key_value_heads=1, statistics_tokens=256),
    "both": DepthAndWidthPruned(
        layers=3, feed_forward_size=96, ranking="drop_one", ranking_tokens=128, statistics_tokens=256
    ),
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Path]]:
    """What the stage reads, by what the teacher was cut to."""
    folder = tmp_path_factory.mktemp("cut")
    write_split(folder, "train", split(24, 1))
    write_split(folder, "validation", split(8, 2))
    read = {"teacher": TEACHER, "dataset": folder}
    found = {}
    for name, cut in CUTS.items():
        start = folder / name
        start.mkdir()
        match cut:
            case DepthPruned():
                prune_layers(PruneSettings(student=cut, sequence_length=64, compute=COMPUTE), read, start)
            case WidthPruned():
                prune_widths(PruneWidthsSettings(student=cut, sequence_length=64, compute=COMPUTE), read, start)
            case DepthAndWidthPruned():
                settings = PruneLayersAndWidthsSettings(student=cut, sequence_length=64, compute=COMPUTE)
                prune_layers_and_widths(settings, read, start)
        found[name] = read | {"start": start}
    return found


def settings(cut: str, **changes) -> LowRankSettings:
    told = {"train_tokens": 768, "validation_tokens": 256, "steps": 20, "batch_tokens": 256, "learning_rate": 1e-3}
    student = LowRank(**told | {"cut": CUTS[cut], "ranks": {"kind": "parameters", "share": 0.5}} | changes)
    return LowRankSettings(student=student, sequence_length=64, compute=COMPUTE)


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("name", ["self_attn.q_proj", "self_attn.o_proj", "mlp.down_proj"])
def test_a_layer_learns_what_the_teachers_layer_at_its_place_says(inputs, cut: str, name: str):
    """Of the channels that are left, as the whole teacher runs; and it is shown what the student's own layer reads."""
    read, last = inputs[cut], len(transformer_layers(load_model(inputs[cut]["start"], device="cpu", dtype="fp32"))) - 1
    models = open_models(read, "cpu")
    batch = make_batch(read_split(read["dataset"], "train"), [[0, 1], [2]], sequence_length=64, pad_id=0)
    counted = batch.labels != -100
    heard = {}
    for whose, model, blocks, place in (
        ("teacher", models.teacher, models.teacher_blocks, models.standing.blocks[last]),
        ("student", models.student, models.student_blocks, last),
    ):
        layer = blocks[place].get_submodule(name)
        handle = layer.register_forward_hook(
            lambda _, given, said, whose=whose: heard.update({whose: (given[0][counted], said[counted])})
        )
        with torch.no_grad():
            model(**batch.inputs_of(model), use_cache=False)
        handle.remove()
    ways = before_blocks(models, [batch], COMPUTE)
    texts = Texts(ways, before_blocks(models, [batch], COMPUTE))
    for index in range(last):
        place = models.standing.blocks[index]
        texts.reach(models.teacher_blocks, place, COMPUTE)
        texts.advance(models.teacher_blocks[place], place, models.student_blocks[index], index, COMPUTE)
    place = models.standing.blocks[last]
    texts.reach(models.teacher_blocks, place, COMPUTE)
    pair = stage._Pair(models.teacher_blocks[place], models.student_blocks[last], models.standing)
    (of_teacher,), shown = pair.shown(ways, last, name, "student", COMPUTE)
    linear = models.student_blocks[last].get_submodule(name)
    assert shown.answers.shape[1] == linear.out_features and of_teacher.shape[1] == linear.in_features
    assert torch.equal(shown.inputs, heard["student"][0])
    # Which channels: those whose rows and columns of the teacher's weight are the student's weight.
    outputs, features = _places(models.teacher_blocks[place].get_submodule(name).weight, linear.weight)
    assert torch.equal(shown.answers, heard["teacher"][1][:, outputs])
    assert torch.equal(of_teacher, heard["teacher"][0][:, features])


def _places(whole: torch.Tensor, cut: torch.Tensor) -> tuple[list[int], list[int]]:
    """Rows and columns of a matrix that a smaller one consists of."""
    columns = _matching(whole, cut)
    return _matching(whole[:, columns].T, cut.T), columns


def _matching(whole: torch.Tensor, cut: torch.Tensor) -> list[int]:
    """The columns of `whole` that hold all values of one of `cut`'s columns, in the order of these."""
    held = [set(column) for column in whole.T.tolist()]
    found = []
    for column in cut.T.tolist():
        (place,) = [at for at, other in enumerate(held) if other.issuperset(column)]
        found.append(place)
    return found


@pytest.mark.parametrize("cut", CUTS)
def test_a_cut_student_is_trained_layer_by_layer_and_keeps_its_shape(inputs, cut: str, tmp_path: Path):
    low_rank(settings(cut), inputs[cut], tmp_path)
    start, facts = inputs[cut]["start"], json.loads((tmp_path / "facts.json").read_text())
    before, after = (load_file(folder / "model.safetensors") for folder in (start, tmp_path))
    assert {name: each.shape for name, each in before.items()} == {name: each.shape for name, each in after.items()}
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {f"model.layers.{name}.weight" for name in facts["ranks"]}
    assert facts["local_loss_after"] < facts["local_loss_before"] and facts["layers_that_learned"] > 0
    assert facts["parameters_if_factorised"] < facts["parameters"]
    assert facts["kept_layers"] == json.loads((start / "facts.json").read_text())["kept_layers"]
    for name in ("ranking.json", "widths.json"):
        assert (tmp_path / name).is_file() == (start / name).is_file()
    for name, rank in facts["ranks"].items():
        values = torch.linalg.svdvals(after[f"model.layers.{name}.weight"].double())
        assert values[rank] / values[0] < 1e-5


def test_layers_of_a_cut_student_make_up_for_what_is_missing_below_them(inputs, tmp_path: Path):
    """Shown what the student's own layers give, they say what the teacher's say better than if shown the teacher's."""
    found = {}
    for which in ("teacher", "student"):
        (tmp_path / which).mkdir()
        low_rank(settings("depth", inputs=which, steps=60, learning_rate=3e-3), inputs["depth"], tmp_path / which)
        found[which] = _apart(tmp_path / which, inputs["depth"])
    assert found["student"] < found["teacher"]


def _apart(folder: Path, read: dict[str, Path]) -> float:
    """Squared distance of the last block's states to the teacher's, over the square of these, on validation text."""
    batch = make_batch(
        read_split(read["dataset"], "validation"), [[each] for each in range(4)], sequence_length=64, pad_id=0
    )
    states = []
    for each, place in ((TEACHER, read_standing(read["start"]).blocks[-1]), (folder, -1)):
        model = load_model(each, device="cpu", dtype="fp32")
        handle = transformer_layers(model)[place].register_forward_hook(
            lambda _, __, said: states.append(said[0] if isinstance(said, tuple) else said)
        )
        with torch.no_grad():
            model(**batch.inputs_of(model), use_cache=False)
        handle.remove()
    counted = batch.labels != -100
    teacher, student = (each[counted] for each in states)
    return ((student - teacher).square().sum() / teacher.square().sum()).item()


def test_a_killed_run_of_a_cut_student_goes_on_to_the_same_bytes(inputs, tmp_path: Path, monkeypatch):
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    low_rank(settings("both"), inputs["both"], tmp_path / "whole")
    real = stage._make_layer

    def killed_in_the_last_block(*given):
        if given[1] == 2:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(stage, "_make_layer", killed_in_the_last_block)
    with pytest.raises(KeyboardInterrupt):
        low_rank(settings("both"), inputs["both"], tmp_path / "killed")
    monkeypatch.setattr(stage, "_make_layer", real)
    low_rank(settings("both"), inputs["both"], tmp_path / "killed")
    name = "model.safetensors"
    assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
