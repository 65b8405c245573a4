"""Universal logit distance: two tokenizers, two vocabularies, two lengths."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stillhouse.losses.universal_logit_distance import universal_logit_distance

FIRST = torch.tensor([[0]])


def logits(*probabilities: float) -> Tensor:
    return torch.tensor([[[math.log(p) for p in probabilities]]], dtype=torch.float64)


def random_case() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Student: 7 words, 5 positions; teacher: 9 words, 6 positions. Three and four pairs are counted."""
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(2, 5, 7, generator=generator, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(2, 6, 9, generator=generator, dtype=torch.float64) * 2
    student_labels = torch.tensor([[-100, 1, 2, 3, -100], [4, 5, -100, 6, 0]])
    teacher_labels = torch.tensor([[-100, -100, 8, 7, 6, -100], [1, 2, 3, 4, -100, -100]])
    return student, teacher, student_labels, teacher_labels


def test_by_hand_over_two_vocabularies():
    """Ranks: (0.5, 0.3, 0.2) against (0.6, 0.4, nothing)."""
    found = universal_logit_distance(logits(0.4, 0.6), logits(0.2, 0.5, 0.3), FIRST, FIRST)
    assert found.item() == pytest.approx(0.1 + 0.1 + 0.2, rel=1e-12)


def test_a_renamed_vocabulary_is_no_distance():
    _, teacher, _, labels = random_case()
    renamed = teacher[..., torch.tensor([3, 1, 4, 0, 5, 8, 2, 6, 7])]
    assert universal_logit_distance(renamed, teacher, labels, labels).item() == pytest.approx(0, abs=1e-12)


def test_a_word_that_is_never_said_changes_nothing():
    """A vocabulary is padded with probabilities of 0, not with logits of 0, which would be heard."""
    student, teacher, student_labels, teacher_labels = random_case()
    padded = F.pad(teacher, (0, 3), value=-1e4)
    torch.testing.assert_close(
        universal_logit_distance(student, padded, student_labels, teacher_labels),
        universal_logit_distance(student, teacher, student_labels, teacher_labels),
    )


def test_counted_positions_are_compared_in_order():
    student, teacher, student_labels, teacher_labels = random_case()
    pairs = [(0, 1, 2), (0, 2, 3), (0, 3, 4), (1, 0, 0), (1, 1, 1), (1, 3, 2), (1, 4, 3)]
    alone = [
        universal_logit_distance(student[b : b + 1, s : s + 1], teacher[b : b + 1, t : t + 1], FIRST, FIRST)
        for b, s, t in pairs
    ]
    found = universal_logit_distance(student, teacher, student_labels, teacher_labels)
    torch.testing.assert_close(found, torch.stack(alone).mean())


def test_what_one_side_has_more_of_is_left_out_row_by_row():
    student, teacher, student_labels, teacher_labels = random_case()
    fewer = teacher_labels.clone()
    fewer[0, 4] = -100
    value = universal_logit_distance(student, teacher, student_labels, fewer)
    shortened = student_labels.clone()
    shortened[0, 3] = -100
    torch.testing.assert_close(universal_logit_distance(student, teacher, shortened, fewer), value)
    assert torch.autograd.grad(value, student)[0][0, 3].count_nonzero() == 0


def test_prompt_tokens_and_padding_contribute_nothing():
    student, teacher, student_labels, teacher_labels = random_case()
    value = universal_logit_distance(student, teacher, student_labels, teacher_labels)
    with torch.no_grad():
        noisy_student, noisy_teacher = student.clone(), teacher.clone()
        noisy_student[student_labels == -100] = torch.arange(7.0, dtype=torch.float64)
        noisy_teacher[teacher_labels == -100] = torch.arange(9.0, dtype=torch.float64)
    noisy = universal_logit_distance(noisy_student, noisy_teacher, student_labels, teacher_labels)
    torch.testing.assert_close(noisy, value)
    (slope,) = torch.autograd.grad(value, student)
    assert slope[student_labels == -100].count_nonzero() == 0
    assert (slope[student_labels != -100] != 0).any(-1).all()


def test_finite_differences():
    student, *rest = random_case()
    assert torch.autograd.gradcheck(lambda s: universal_logit_distance(s, *rest, temperature=1.5), (student,))


def test_t_squared_is_inside():
    student, teacher, *labels = random_case()
    softened = universal_logit_distance(student / 2, teacher / 2, *labels)
    found = universal_logit_distance(student, teacher, *labels, temperature=2.0)
    assert found.item() == pytest.approx(4 * softened.item())


def test_nothing_counted_on_either_side_is_zero_with_a_zero_gradient():
    student, teacher, student_labels, teacher_labels = random_case()
    for labels in (
        (torch.full_like(student_labels, -100), teacher_labels),
        (student_labels, torch.full_like(teacher_labels, -100)),
    ):
        value = universal_logit_distance(student, teacher, *labels)
        assert value.item() == 0
        assert torch.autograd.grad(value, student)[0].count_nonzero() == 0


def test_bf16_is_computed_in_fp32_and_fp64_stays():
    student, teacher, *labels = random_case()
    assert universal_logit_distance(student.bfloat16(), teacher.bfloat16(), *labels).dtype == torch.float32
    assert universal_logit_distance(student, teacher, *labels).dtype == torch.float64


def test_shapes_that_do_not_fit_are_told():
    student, teacher, student_labels, teacher_labels = random_case()
    with pytest.raises(ValueError, match=r"teacher logits without the vocabulary, \(2, 6\), got \(2, 5\)"):
        universal_logit_distance(student, teacher, student_labels, student_labels)
    with pytest.raises(ValueError, match="equally many rows, got 2 and 1"):
        universal_logit_distance(student, teacher[:1], student_labels, teacher_labels[:1])
    with pytest.raises(ValueError, match="temperature must be positive, got -1"):
        universal_logit_distance(student, teacher, student_labels, teacher_labels, temperature=-1)
