"""Dense divergences: values by hand, identities, limits, other projects' formulas, and what must contribute nothing."""

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stillhouse.losses import forward_kl
from stillhouse.losses.jensen_shannon import jensen_shannon
from stillhouse.losses.reverse_kl import reverse_kl
from stillhouse.losses.skewed_forward_kl import skewed_forward_kl
from stillhouse.losses.skewed_reverse_kl import skewed_reverse_kl
from stillhouse.losses.taid import taid
from stillhouse.losses.total_variation import total_variation

Loss = Callable[..., Tensor]

LOSSES: dict[str, Loss] = {
    "forward KL": forward_kl,
    "reverse KL": reverse_kl,
    "JSD 0.5": jensen_shannon,
    "JSD 0.1": partial(jensen_shannon, beta=0.1),
    "skewed forward KL": skewed_forward_kl,
    "skewed reverse KL": skewed_reverse_kl,
    "total variation": total_variation,
    "TAID 0.4": partial(taid, t=0.4),
    "TAID 1": partial(taid, t=1.0),
}
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
FIRST = torch.tensor([[0]])


def logits(*probabilities: float) -> Tensor:
    return torch.tensor([[[math.log(p) for p in probabilities]]], dtype=torch.float64)


def random_case(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """The last two positions of the first row are padding, the first of the second row is a prompt."""
    generator = torch.Generator().manual_seed(seed)
    student = torch.randn(2, 5, 7, generator=generator, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(2, 5, 7, generator=generator, dtype=torch.float64) * 2
    labels = torch.randint(0, 7, (2, 5), generator=generator)
    labels[0, 3:] = -100
    labels[1, 0] = -100
    return student, teacher, labels


def gradient(loss: Loss, student: Tensor, teacher: Tensor, labels: Tensor, **settings: float) -> Tensor:
    (found,) = torch.autograd.grad(loss(student, teacher, labels, **settings), student)
    return found


SQRT3 = math.sqrt(3)
BY_HAND = {
    "reverse KL": (reverse_kl, 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)),
    # The mixture of one half each is (5/8, 3/8).
    "JSD 0.5": (
        jensen_shannon,
        0.5 * (0.5 * math.log(0.5 / 0.625) + 0.5 * math.log(0.5 / 0.375))
        + 0.5 * (0.75 * math.log(0.75 / 0.625) + 0.25 * math.log(0.25 / 0.375)),
    ),
    # One tenth of the teacher, nine of the student.
    "skewed forward KL": (skewed_forward_kl, 0.5 * math.log(0.5 / 0.725) + 0.5 * math.log(0.5 / 0.275)),
    # One tenth of the student, nine of the teacher.
    "skewed reverse KL": (skewed_reverse_kl, 0.75 * math.log(0.75 / 0.525) + 0.25 * math.log(0.25 / 0.475)),
    "total variation": (total_variation, 0.25),
    # Halfway in logits the odds are the geometric mean of 1 and 3.
    "TAID 0.5": (
        partial(taid, t=0.5),
        SQRT3 / (1 + SQRT3) * math.log(SQRT3 / (1 + SQRT3) / 0.75) + 1 / (1 + SQRT3) * math.log(1 / (1 + SQRT3) / 0.25),
    ),
}


@pytest.mark.parametrize(("loss", "by_hand"), BY_HAND.values(), ids=BY_HAND.keys())
def test_a_biased_student_of_a_fair_coin_by_hand(loss: Loss, by_hand: float):
    assert loss(logits(0.75, 0.25), logits(0.5, 0.5), FIRST).item() == pytest.approx(by_hand, rel=1e-12)


@every_loss
def test_kl_of_a_model_with_itself_is_zero(loss: Loss):
    student, _, labels = random_case()
    value = loss(student, student.detach(), labels, temperature=3.0)
    assert value.item() == pytest.approx(0, abs=1e-12)
    torch.testing.assert_close(torch.autograd.grad(value, student)[0], torch.zeros_like(student))


@every_loss
def test_two_models_are_apart(loss: Loss):
    assert loss(*random_case()).item() > 0.05


@every_loss
def test_t_squared_is_inside(loss: Loss):
    student, teacher, labels = random_case()
    softened = loss(student / 2, teacher / 2, labels)
    assert loss(student, teacher, labels, temperature=2.0).item() == pytest.approx(4 * softened.item())


@every_loss
def test_t_squared_scaling_keeps_the_size_of_a_divergences_gradient(loss: Loss):
    """A distance, which is not smooth where the two meet, fades once with the temperature instead of twice."""
    student, teacher, labels = random_case()
    sizes = [gradient(loss, student, teacher, labels, temperature=t).norm().item() for t in (50.0, 100.0)]
    assert sizes[1] / sizes[0] == pytest.approx(2 if loss is total_variation else 1, rel=0.1)


# TAID's target holds the student fixed, so its slope is not that of its value, except at t = 1; see below.
@pytest.mark.parametrize("name", [name for name in LOSSES if name != "TAID 0.4"])
def test_finite_differences(name: str):
    student, teacher, labels = random_case(3)
    loss = LOSSES[name]
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher, labels, temperature=1.5), (student,))


@every_loss
def test_padded_equals_unpadded(loss: Loss):
    student, teacher, labels = random_case()
    with torch.no_grad():
        wide_student = F.pad(student, (0, 0, 0, 4), value=50.0).requires_grad_()
    wide_teacher, wide_labels = F.pad(teacher, (0, 0, 0, 4), value=-9.0), F.pad(labels, (0, 4), value=-100)
    torch.testing.assert_close(loss(wide_student, wide_teacher, wide_labels), loss(student, teacher, labels))
    wide = gradient(loss, wide_student, wide_teacher, wide_labels)
    torch.testing.assert_close(wide[:, :5], gradient(loss, student, teacher, labels))
    assert wide[:, 5:].count_nonzero() == 0


@every_loss
def test_prompt_tokens_contribute_nothing(loss: Loss):
    student, teacher, labels = random_case()
    noise = torch.zeros_like(teacher)
    noise[1, 0, 3] = 100.0
    value = loss(student + noise, teacher - noise, labels)
    torch.testing.assert_close(value, loss(student, teacher, labels))
    assert gradient(loss, student, teacher, labels)[1, 0].count_nonzero() == 0


@every_loss
def test_nothing_counted_is_zero_with_a_zero_gradient(loss: Loss):
    student, teacher, labels = random_case()
    value = loss(student, teacher, torch.full_like(labels, -100))
    assert value.item() == 0
    assert torch.autograd.grad(value, student)[0].count_nonzero() == 0


@every_loss
def test_bf16_is_computed_in_fp32_and_fp64_stays(loss: Loss):
    student, teacher, labels = random_case()
    narrow = loss(student.bfloat16(), teacher.bfloat16(), labels)
    assert narrow.dtype == torch.float32
    torch.testing.assert_close(narrow, loss(student.bfloat16().double(), teacher.bfloat16().double(), labels).float())
    assert loss(student, teacher, labels).dtype == torch.float64


@every_loss
def test_probabilities_that_underflow_leave_it_finite(loss: Loss):
    """In fp32 exp(-200) is 0; its logarithm must not be what the loss sees."""
    student = torch.tensor([[[0.0, -200.0, -300.0]]], requires_grad=True)
    value = loss(student, torch.tensor([[[-300.0, 0.0, -200.0]]]), FIRST)
    assert math.isfinite(value.item()) and torch.autograd.grad(value, student)[0].isfinite().all()


FINITE = [name for name in LOSSES if name != "reverse KL"]
"""What stays finite where the teacher rules out what the student does not."""


def without_a_word(case: tuple[Tensor, Tensor, Tensor], lowest: float) -> tuple[Tensor, Tensor, Tensor]:
    student, teacher, labels = case
    return student, teacher.index_fill(2, torch.tensor([2, 5]), lowest), labels


@pytest.mark.parametrize("name", FINITE)
def test_a_word_that_the_teacher_rules_out_is_the_limit_of_one_it_gives_next_to_nothing(name: str):
    ruled_out, nearly = (without_a_word(random_case(3), lowest) for lowest in (-torch.inf, -400.0))
    loss = partial(LOSSES[name], temperature=1.5)
    torch.testing.assert_close(loss(*ruled_out), loss(*nearly), atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(gradient(loss, *ruled_out), gradient(loss, *nearly), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("name", [name for name in FINITE if name != "TAID 0.4"])
def test_finite_differences_where_the_teacher_rules_words_out(name: str):
    student, teacher, labels = without_a_word(random_case(3), -torch.inf)
    assert torch.autograd.gradcheck(lambda s: LOSSES[name](s, teacher, labels), (student,))


def test_the_reverse_kl_to_a_teacher_that_rules_a_word_out_is_infinite():
    assert reverse_kl(*without_a_word(random_case(3), -torch.inf)).item() == math.inf


@every_loss
def test_a_word_that_both_rule_out_is_as_if_it_were_not_there(loss: Loss):
    student, teacher, labels = random_case(3)
    narrow = loss(student, teacher, labels)
    (narrow_slope,) = torch.autograd.grad(narrow, student)
    wide_student = F.pad(student.detach(), (0, 1), value=-torch.inf).requires_grad_()
    wide = loss(wide_student, F.pad(teacher, (0, 1), value=-torch.inf), labels)
    (wide_slope,) = torch.autograd.grad(wide, wide_student)
    torch.testing.assert_close(wide, narrow)
    torch.testing.assert_close(wide_slope, F.pad(narrow_slope, (0, 1)))


@pytest.mark.parametrize("t", [0.0, 1.0])
def test_taid_at_its_ends_with_a_word_that_one_side_rules_out(t: float):
    ruled_out, nearly = (without_a_word(random_case(3), lowest) for lowest in (-torch.inf, -400.0))
    torch.testing.assert_close(taid(*ruled_out, t=t), taid(*nearly, t=t), atol=1e-12, rtol=1e-12)


# Of `forward_kl` its own tests; it came first.
@pytest.mark.parametrize("name", [name for name in LOSSES if name != "forward KL"])
def test_shapes_that_do_not_fit_are_told(name: str):
    with pytest.raises(ValueError, match=r"one shape, got \(1, 1, 3\) and \(1, 1, 2\)"):
        LOSSES[name](torch.zeros(1, 1, 3), torch.zeros(1, 1, 2), FIRST)
    with pytest.raises(ValueError, match=r"without the vocabulary, \(1, 4\), got \(1, 1\)"):
        LOSSES[name](torch.zeros(1, 4, 3), torch.zeros(1, 4, 3), FIRST)
    with pytest.raises(ValueError, match="temperature must be positive, got 0"):
        LOSSES[name](torch.zeros(1, 1, 3), torch.zeros(1, 1, 3), FIRST, temperature=0)


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (partial(jensen_shannon, beta=1.5), "beta must be between 0 and 1, got 1.5"),
        (partial(skewed_forward_kl, skew=-0.1), "skew must be between 0 and 1, got -0.1"),
        (partial(skewed_reverse_kl, skew=2), "skew must be between 0 and 1, got 2"),
        (partial(taid, t=1.1), "t must be between 0 and 1, got 1.1"),
    ],
)
def test_a_share_out_of_range_is_refused(loss: Loss, said: str):
    with pytest.raises(ValueError, match=said):
        loss(torch.zeros(1, 1, 3), torch.zeros(1, 1, 3), FIRST)


def test_limits_of_jsd():
    """Over beta it nears forward KL at small beta, over 1 - beta reverse KL at large beta; gradients too."""
    case = random_case()
    small, large = 1e-6, 1 - 1e-6
    for beta, scale, limit in ((small, small, forward_kl), (large, 1 - large, reverse_kl)):
        value = jensen_shannon(*case, beta=beta) / scale
        torch.testing.assert_close(value, limit(*case), rtol=1e-4, atol=0)
        slope = gradient(partial(jensen_shannon, beta=beta), *case) / scale
        torch.testing.assert_close(slope, gradient(limit, *case), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_jsd_is_continuous_at_its_ends(beta: float):
    case = random_case()
    assert jensen_shannon(*case, beta=beta).item() == pytest.approx(0, abs=1e-12)
    assert jensen_shannon(*case, beta=abs(beta - 1e-9)).item() == pytest.approx(0, abs=1e-7)
    assert gradient(partial(jensen_shannon, beta=beta), *case).abs().max() < 1e-12


def test_jsd_with_equal_weights_is_symmetric_and_at_most_the_logarithm_of_two():
    student, teacher, labels = random_case()
    assert jensen_shannon(student, teacher, labels).item() == pytest.approx(
        jensen_shannon(teacher, student, labels).item()
    )
    far = jensen_shannon(logits(1 - 1e-12, 1e-12), logits(1e-12, 1 - 1e-12), FIRST)
    assert far.item() == pytest.approx(math.log(2), rel=1e-9)


@pytest.mark.parametrize(
    ("skewed", "plain"), [(skewed_forward_kl, forward_kl), (skewed_reverse_kl, reverse_kl)], ids=["forward", "reverse"]
)
def test_without_skew_a_skewed_kl_is_the_plain_one(skewed: Loss, plain: Loss):
    case = random_case()
    torch.testing.assert_close(skewed(*case, skew=0.0), plain(*case))
    torch.testing.assert_close(gradient(partial(skewed, skew=0.0), *case), gradient(plain, *case))
    assert skewed(*case, skew=0.3) < skewed(*case, skew=0.1) < plain(*case)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_taid_is_forward_kl_to_a_fixed_target_between_the_two_logits(temperature: float):
    student, teacher, labels = random_case()
    target = (0.6 * student + 0.4 * teacher).detach()
    expected = forward_kl(student, target, labels, temperature=temperature)
    torch.testing.assert_close(taid(student, teacher, labels, t=0.4, temperature=temperature), expected)
    slope = gradient(partial(taid, t=0.4), student, teacher, labels, temperature=temperature)
    torch.testing.assert_close(slope, torch.autograd.grad(expected, student)[0])


def test_taid_starts_at_nothing_to_learn_and_ends_at_forward_kl():
    case = random_case()
    assert taid(*case, t=0.0).item() == pytest.approx(0, abs=1e-12)
    assert gradient(partial(taid, t=0.0), *case).abs().max() < 1e-12
    torch.testing.assert_close(taid(*case, t=1.0), forward_kl(*case))


def trl_generalized_jsd(student: Tensor, teacher: Tensor, labels: Tensor, beta: float, temperature: float) -> Tensor:
    """The formula of TRL's `GKDTrainer.generalized_jsd_loss`, with the mean over counted tokens that it takes."""
    log_q, log_p = F.log_softmax(student / temperature, -1), F.log_softmax(teacher / temperature, -1)
    if beta == 0:
        jsd = F.kl_div(log_q, log_p, reduction="none", log_target=True)
    elif beta == 1:
        jsd = F.kl_div(log_p, log_q, reduction="none", log_target=True)
    else:
        log_m = torch.logsumexp(torch.stack([log_q + math.log1p(-beta), log_p + math.log(beta)]), dim=0)
        of_teacher = F.kl_div(log_m, log_p, reduction="none", log_target=True)
        of_student = F.kl_div(log_m, log_q, reduction="none", log_target=True)
        jsd = beta * of_teacher + (1 - beta) * of_student
    mask = labels != -100
    return jsd[mask].sum() / mask.sum()


@pytest.mark.parametrize("beta", [0.1, 0.5, 0.9])
def test_jsd_is_that_of_trl_times_t_squared(beta: float):
    """TRL leaves the square of the temperature out, so its gradient fades as the temperature grows; ours does not."""
    case = random_case()
    trl = trl_generalized_jsd(*case, beta, 3.0)
    torch.testing.assert_close(jensen_shannon(*case, beta=beta, temperature=3.0), 9 * trl)


def test_at_its_ends_trl_jumps_to_a_whole_kl_where_the_formula_goes_to_zero():
    """Its value at beta = 0.001 is a hundredth of that at 0. Ours has one formula; ask for `forward_kl` by name."""
    case = random_case()
    torch.testing.assert_close(trl_generalized_jsd(*case, 0, 1.0), forward_kl(*case))
    torch.testing.assert_close(trl_generalized_jsd(*case, 1, 1.0), reverse_kl(*case))
    assert trl_generalized_jsd(*case, 0.001, 1.0) < 0.01 * trl_generalized_jsd(*case, 0, 1.0)
    assert jensen_shannon(*case, beta=0.001) < 0.01 * forward_kl(*case)


def torchtune_forward_kl(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    """The formula of torchtune's `ForwardKLLoss`, which DistiLLM's and TAID's code share."""
    products = F.softmax(teacher, -1) * F.log_softmax(student, -1)
    mask = (labels != -100).int()
    return -(products.sum(-1) * mask).sum() / mask.sum()


def test_forward_kl_of_torchtune_is_a_cross_entropy_with_the_same_gradient():
    """Theirs is above ours by the teacher's entropy: not 0 for a perfect student, and not comparable with a JSD."""
    student, teacher, labels = random_case()
    torch.testing.assert_close(
        gradient(torchtune_forward_kl, student, teacher, labels), gradient(forward_kl, student, teacher, labels)
    )
    entropy = torchtune_forward_kl(teacher, teacher, labels)
    assert entropy > 0.5
    torch.testing.assert_close(torchtune_forward_kl(student, teacher, labels) - entropy, forward_kl(*random_case()))


def test_skewed_kl_and_total_variation_are_distillms():
    """DistiLLM's formulas, with the logarithm taken after mixing; its `lam` in JSD is the student's weight."""
    student, teacher, labels = random_case()
    q, p = F.softmax(student, -1), F.softmax(teacher, -1)
    mask = (labels != -100).double()

    def kl(first: Tensor, second: Tensor) -> Tensor:
        return ((first * (first.log() - second.log())).sum(-1) * mask).sum() / mask.sum()

    case = (student, teacher, labels)
    torch.testing.assert_close(skewed_forward_kl(*case), kl(p, 0.1 * p + 0.9 * q))
    torch.testing.assert_close(skewed_reverse_kl(*case), kl(q, 0.9 * p + 0.1 * q))
    torch.testing.assert_close(total_variation(*case), ((0.5 * (p - q).abs()).sum(-1) * mask).sum() / mask.sum())
    m = 0.1 * p + 0.9 * q
    torch.testing.assert_close(jensen_shannon(*case, beta=0.1), 0.9 * kl(q, m) + 0.1 * kl(p, m))
