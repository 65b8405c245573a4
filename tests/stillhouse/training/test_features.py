"""Feature distillation: how projections begin, which layers meet, what learns, and what never ships."""

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from stillhouse.errors import InputError
from stillhouse.losses.hidden_states import in_teachers_scale
from stillhouse.losses.reduction import IGNORED
from stillhouse.models.load import load_model, load_tokenizer, save_model
from stillhouse.models.low_rank_linear import map_of_outputs, weighted_map
from stillhouse.recipe.compute import Compute
from stillhouse.recipe.features import LowRankFeatures
from stillhouse.teachers.local import LocalTeacher, open_local
from stillhouse.training.batches import Batch
from stillhouse.training.features import (
    FeatureMatcher,
    balanced,
    fit_feature_matcher,
    layer_map,
    student_hidden_states,
    teacher_layers_of,
)

TEACHER = Path(__file__).parents[2] / "tiny_teacher"
COMPUTE = Compute(device="cpu", precision="fp32", threads=1, seed=0)


def text(seed: int, rows: int = 4, length: int = 48) -> Batch:
    """Random tokens, a third of which are not counted."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, 1000, (rows, length + 1), generator=generator)
    labels = torch.where(torch.rand(rows, length, generator=generator) < 1 / 3, IGNORED, ids[:, 1:])
    places = torch.arange(length).expand(rows, length)
    mask = torch.ones(length, length, dtype=torch.bool).tril().expand(rows, 1, length, length)
    return Batch(ids[:, :-1], labels, places, mask, tuple(("a",) for _ in range(rows)))


def small_student(width: int = 32, blocks: int = 2) -> LlamaForCausalLM:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=1024,
            hidden_size=width,
            intermediate_size=48,
            num_hidden_layers=blocks,
            num_attention_heads=4,
            num_key_value_heads=2,
            tie_word_embeddings=True,
            initializer_range=0.2,
        )
        return LlamaForCausalLM(config).eval()


def opened(settings: LowRankFeatures, student_blocks: int) -> tuple[dict[int, int], LocalTeacher]:
    layers = layer_map(settings, student_blocks=student_blocks, teacher_blocks=6)
    return layers, open_local(TEACHER, COMPUTE, teacher_layers_of(layers))


def fitted(settings: LowRankFeatures, student: LlamaForCausalLM) -> tuple[FeatureMatcher, LocalTeacher]:
    layers, teacher = opened(settings, student.config.num_hidden_layers)
    return fit_feature_matcher(settings, layers, student, teacher, (text(seed) for seed in range(1, 6))), teacher


def loss_of(matcher: FeatureMatcher, student: LlamaForCausalLM, teacher: LocalTeacher, batch: Batch) -> Tensor:
    states = student_hidden_states(student, batch, matcher.student_layers)
    return matcher(states, teacher.targets(batch).hidden_states, batch.labels != IGNORED)


def random_moments(tokens: int = 300) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x of features that are unequal and correlated, y, and their moments."""
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(6, 6, generator=generator, dtype=torch.float64) @ torch.diag(torch.logspace(0, -3, 6).double())
    x = torch.randn(tokens, 6, generator=generator, dtype=torch.float64) @ mixing
    y = x @ torch.randn(6, 9, generator=generator, dtype=torch.float64)
    y += 0.1 * torch.randn(tokens, 9, generator=generator, dtype=torch.float64)
    return x, y, y.T @ x, x.T @ x


class GivenTeacher:
    """Says of a batch what it is told to."""

    vocabulary_size = 1024

    def __init__(self, answers):
        self.answers = answers

    def targets(self, batch: Batch):
        from stillhouse.teachers.targets import Dense, Targets

        return Targets(Dense(torch.zeros(0)), self.answers(batch))


def test_full_rank_reproduces_an_exactly_linear_relation():
    student = small_student()
    relation = torch.randn(40, 32, generator=torch.Generator().manual_seed(1))
    teacher = GivenTeacher(lambda batch: {3: student_hidden_states(student, batch, [2])[2].detach() @ relation.T})
    settings = LowRankFeatures(rank=32, layers={2: 3}, fit_tokens=400)
    matcher = fit_feature_matcher(settings, {2: 3}, student, teacher, (text(seed) for seed in range(9)))
    torch.testing.assert_close(matcher.projections["2"].product(), relation, rtol=1e-3, atol=1e-3)
    assert loss_of(matcher, student, teacher, text(99)).item() < 1e-9


@pytest.mark.parametrize("rank", [1, 2, 4, 6])
def test_a_lower_rank_is_the_best_there_is(rank: int):
    """Eckart and Young on whitened inputs: what is missed beyond the least squares is the sum of the squares cut."""
    x, y, cross, second = random_moments()
    up, down = weighted_map(cross, second).factors(rank)
    missed = (y - x @ (up @ down).T).square().sum()
    whitened = cross @ torch.linalg.inv(torch.linalg.cholesky(second)).T
    values = torch.linalg.svdvals(whitened)
    least = y.square().sum() - (values**2).sum()
    torch.testing.assert_close(missed, least + (values[rank:] ** 2).sum(), rtol=1e-8, atol=1e-8)


def test_cutting_off_the_map_itself_is_worse():
    x, y, cross, second = random_moments()
    up, down = weighted_map(cross, second).factors(2)
    left, values, right = torch.linalg.svd(cross @ torch.linalg.inv(second))
    plain = left[:, :2] @ torch.diag(values[:2]) @ right[:2]
    assert (y - x @ (up @ down).T).square().sum() < 0.9 * (y - x @ plain.T).square().sum()


def test_the_two_factors_are_of_equal_size():
    _, _, cross, second = random_moments()
    up, down = weighted_map(cross, second).factors(3)
    torch.testing.assert_close(up.norm(dim=0), down.norm(dim=1))


def test_a_known_matrix_is_cut_alike_by_its_inputs_and_by_its_outputs():
    x, _, _, second = random_moments()
    weight = torch.randn(4, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    by_inputs, by_outputs = weighted_map(weight @ second, second), map_of_outputs(weight, weight @ second @ weight.T)
    torch.testing.assert_close(by_inputs.values, by_outputs.values)
    for rank in (1, 3, 4):
        products = [up @ down for up, down in (by_inputs.factors(rank), by_outputs.factors(rank))]
        torch.testing.assert_close(*products)


def test_the_first_projections_are_the_least_of_all_of_their_rank_on_the_text_they_are_fitted_to():
    student = small_student()
    settings = LowRankFeatures(rank=4, layers={2: 6}, fit_tokens=100)
    layers, teacher = opened(settings, 2)
    batch = text(1)
    matcher = fit_feature_matcher(settings, layers, student, teacher, [batch])
    counted = batch.labels != IGNORED
    states = student_hidden_states(student, batch, [2])[2].detach()[counted]
    x, y = in_teachers_scale(states, teacher.targets(batch).hidden_states[6][counted])
    x, y = x.double(), y.double()
    best = torch.linalg.svdvals(torch.linalg.qr(x)[0].T @ y)[:4].square().sum()
    expected = (y.square().sum() - best) / y.numel()
    assert loss_of(matcher, student, teacher, batch).item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("kind", ["mean_squared_error", "l1_and_cosine"])
def test_positions_that_are_not_counted_change_neither_loss_nor_gradient(kind):
    student = small_student()
    matcher, teacher = fitted(LowRankFeatures(rank=8, fit_tokens=200, loss=kind), student)
    batch = text(7)
    counted = batch.labels != IGNORED
    states = {k: v.detach() for k, v in student_hidden_states(student, batch, matcher.student_layers).items()}
    answers = teacher.targets(batch).hidden_states

    def gradients(spoil: float) -> tuple[float, list[Tensor]]:
        ours = {
            layer: value.masked_fill(~counted[..., None], spoil).requires_grad_() for layer, value in states.items()
        }
        theirs = {layer: value.masked_fill(~counted[..., None], spoil) for layer, value in answers.items()}
        loss = matcher(ours, theirs, counted)
        return loss.item(), list(torch.autograd.grad(loss, [*ours.values(), *matcher.parameters()]))

    plain, spoilt = gradients(0.0), gradients(float("nan"))
    assert plain[0] == spoilt[0]
    assert all(torch.equal(one, other) for one, other in zip(plain[1], spoilt[1], strict=True))
    assert plain[1][0][~counted].count_nonzero() == 0 and plain[1][0].count_nonzero() > 0
    assert matcher(states, answers, torch.zeros_like(counted)).item() == 0


@pytest.mark.parametrize("kind", ["mean_squared_error", "l1_and_cosine"])
def test_weights_multiply_each_positions_loss_and_are_not_divided_by(kind):
    student = small_student()
    matcher, teacher = fitted(LowRankFeatures(rank=8, fit_tokens=200, loss=kind), student)
    batch = text(7)
    counted = batch.labels != IGNORED
    weights = torch.rand(counted.shape, generator=torch.Generator().manual_seed(0)) * 3
    states = student_hidden_states(student, batch, matcher.student_layers)
    answers = teacher.targets(batch).hidden_states
    found = matcher(states, answers, counted, weights)
    each = [
        matcher(states, answers, torch.zeros_like(counted).index_put_(tuple(p), torch.tensor(True)))
        for p in counted.nonzero()
    ]
    expected = (torch.stack(each) * weights[counted]).sum() / counted.sum()
    torch.testing.assert_close(found, expected)
    parameters = list(matcher.parameters())
    for one, other in zip(
        *(torch.autograd.grad(loss, parameters, retain_graph=True) for loss in (found, expected)), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_within_autocast_the_loss_is_what_it_is_outside():
    student = small_student()
    matcher, teacher = fitted(LowRankFeatures(rank=8, fit_tokens=200), student)
    batch = text(7)
    states = student_hidden_states(student, batch, matcher.student_layers)
    answers = teacher.targets(batch).hidden_states
    outside = matcher(states, answers, batch.labels != IGNORED)
    with torch.autocast("cpu", torch.bfloat16):
        inside = matcher(states, answers, batch.labels != IGNORED)
    assert inside.dtype == torch.float32 and torch.equal(inside, outside)


@pytest.mark.parametrize("kind", ["mean_squared_error", "l1_and_cosine"])
def test_training_on_features_brings_the_student_nearer_on_other_text(kind):
    student = small_student()
    matcher, teacher = fitted(LowRankFeatures(rank=16, fit_tokens=500, loss=kind), student)
    with torch.no_grad():
        before = loss_of(matcher, student, teacher, text(50)).item()
    optimizer = torch.optim.AdamW([*student.parameters(), *matcher.parameters()], lr=3e-3)
    for step in range(25):
        optimizer.zero_grad()
        loss_of(matcher, student, teacher, text(step % 5)).backward()
        optimizer.step()
    with torch.no_grad():
        assert loss_of(matcher, student, teacher, text(50)).item() < 0.95 * before


@pytest.mark.parametrize(("width", "blocks"), [(32, 2), (64, 6), (96, 8)])
def test_narrower_and_wider_shallower_and_deeper_students_learn(width: int, blocks: int):
    student = small_student(width, blocks)
    matcher, teacher = fitted(LowRankFeatures(rank=8, fit_tokens=640), student)
    loss = loss_of(matcher, student, teacher, text(5))
    loss.backward()
    # Saying nothing, the projections would miss 1.
    assert 0 < loss.item() < 1
    assert all(weight.grad is not None for weight in student.model.layers.parameters())
    assert matcher.student_layers == tuple(range(1, blocks + 1))


def test_a_model_matches_itself():
    student = load_model(TEACHER, device="cpu", dtype="fp32")
    matcher, teacher = fitted(LowRankFeatures(rank=64, fit_tokens=500), student)
    with torch.no_grad():
        assert loss_of(matcher, student, teacher, text(50)).item() < 1e-6


def test_layers_are_paired_at_equal_shares_of_the_depth():
    every = LowRankFeatures()
    assert layer_map(every, student_blocks=3, teacher_blocks=6) == {1: 2, 2: 4, 3: 6}
    assert layer_map(every, student_blocks=4, teacher_blocks=6) == {1: 2, 2: 3, 3: 5, 4: 6}
    assert layer_map(every, student_blocks=5, teacher_blocks=2) == {1: 1, 2: 1, 3: 1, 4: 2, 5: 2}


def test_a_given_map_is_taken_and_may_hold_the_embeddings():
    settings = LowRankFeatures.model_validate({"layers": {"2": 6, "0": 0}})
    assert layer_map(settings, student_blocks=2, teacher_blocks=6) == {0: 0, 2: 6}


@pytest.mark.parametrize(("layers", "who"), [({3: 6}, "3 of the student, .* 2 "), ({2: 7}, "7 of the teacher, .* 6 ")])
def test_a_layer_that_does_not_exist_is_told(layers, who):
    with pytest.raises(InputError, match=who):
        layer_map(LowRankFeatures(layers=layers), student_blocks=2, teacher_blocks=6)


@pytest.mark.parametrize("wrong", [{"layers": {}}, {"layers": {-1: 2}}, {"rank": 0}, {"loss": "l2"}, {"weight": 0}])
def test_a_section_that_cannot_be_meant_is_refused(wrong):
    with pytest.raises(ValidationError):
        LowRankFeatures.model_validate(wrong)


def test_what_cannot_be_fitted_is_told():
    student = small_student()
    with pytest.raises(InputError, match="rank is 33, .* 32 features"):
        fitted(LowRankFeatures(rank=33, fit_tokens=200), student)
    layers, teacher = opened(LowRankFeatures(), 2)
    with pytest.raises(InputError, match="counted tokens cannot tell how 32 features"):
        fit_feature_matcher(LowRankFeatures(rank=8), layers, student, teacher, [text(1, rows=1, length=20)])
    with pytest.raises(InputError, match="asks for layer 3"):
        fit_feature_matcher(LowRankFeatures(rank=8), layers, student, GivenTeacher(lambda _: {}), [text(1)])


def test_projections_are_fitted_on_sixteen_tokens_a_feature():
    layers, teacher = opened(LowRankFeatures(rank=8), 2)
    batches = [text(seed) for seed in range(8)]
    left = iter(batches)
    fit_feature_matcher(LowRankFeatures(rank=8), layers, small_student(), teacher, left)
    read = batches[: len(batches) - len(list(left))]
    assert sum(batch.num_counted for batch in read[:-1]) < 16 * 32 <= sum(batch.num_counted for batch in read)


def test_no_more_text_is_read_than_is_fitted_on():
    settings = LowRankFeatures(rank=8, fit_tokens=150)
    layers, teacher = opened(settings, 2)
    batches = iter([text(seed) for seed in range(4)])
    fit_feature_matcher(settings, layers, small_student(), teacher, batches)
    assert len(list(batches)) == 2


def test_a_loss_is_balanced_in_its_value_and_not_in_its_direction():
    feature, logit = torch.tensor(0.2, requires_grad=True), torch.tensor(3.0, requires_grad=True)
    fixed = balanced(feature, logit, LowRankFeatures(balance="fixed", weight=0.5))
    assert fixed.item() == pytest.approx(0.1)
    scaled = balanced(feature, logit, LowRankFeatures(balance="logit_loss", weight=0.5))
    assert scaled.item() == pytest.approx(1.5)
    scaled.backward()
    assert feature.grad.item() == pytest.approx(0.5 * 3.0 / 0.2)
    assert logit.grad is None


def test_a_feature_loss_of_nothing_is_balanced_to_nothing():
    scaled = balanced(torch.zeros(()), torch.tensor(3.0), LowRankFeatures(balance="logit_loss"))
    assert scaled.item() == 0


def test_projections_go_through_a_checkpoint_and_not_into_the_students_folder(tmp_path: Path):
    student = small_student()
    settings = LowRankFeatures(rank=8, fit_tokens=200)
    matcher, teacher = fitted(settings, student)
    save_file(matcher.state_dict(), tmp_path / "matcher.safetensors")
    other = FeatureMatcher(settings, matcher.layers, student_width=32, teacher_width=64)
    other.load_state_dict(load_file(tmp_path / "matcher.safetensors"))
    with torch.no_grad():
        assert torch.equal(loss_of(other, student, teacher, text(7)), loss_of(matcher, student, teacher, text(7)))
    save_model(student, load_tokenizer(TEACHER), tmp_path / "student")
    # A tied head is not written a second time.
    saved = set(load_file(tmp_path / "student" / "model.safetensors"))
    assert saved == set(small_student().state_dict()) - {"lm_head.weight"}
    assert not [name for name in saved if "projection" in name or "down" in name and "down_proj" not in name]
