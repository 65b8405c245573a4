"""A teacher that is the average of the student's own weights."""

import torch

from stillhouse.models.load import load_model
from stillhouse.recipe.compute import Compute
from stillhouse.teachers.moving_average import open_moving_average

COMPUTE = Compute(device="cpu", precision="fp32", threads=1, seed=0)


def moved(model, by: float):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += by
    return model


def test_it_moves_by_its_share_and_takes_no_gradient(tiny_model):
    student = load_model(tiny_model, device="cpu", dtype="fp32")
    first = next(student.parameters()).detach().clone()
    teacher = open_moving_average(tiny_model, COMPUTE, decay=0.75)
    teacher.follow(moved(student, 1.0))
    torch.testing.assert_close(next(teacher.weights.parameters()), first + 0.25)
    assert not any(parameter.requires_grad for parameter in teacher.weights.parameters())


def test_its_ends_are_the_student_and_the_start(tiny_model):
    student = moved(load_model(tiny_model, device="cpu", dtype="fp32"), 1.0)
    start = load_model(tiny_model, device="cpu", dtype="fp32")
    for decay, expected in ((0.0, student), (1.0, start)):
        teacher = open_moving_average(tiny_model, COMPUTE, decay=decay)
        teacher.follow(student)
        for own, other in zip(teacher.weights.parameters(), expected.parameters(), strict=True):
            torch.testing.assert_close(own, other)


def test_small_steps_are_not_rounded_away_in_bf16(tiny_model):
    student = load_model(tiny_model, device="cpu", dtype="fp32")
    teacher = open_moving_average(tiny_model, COMPUTE.model_copy(update={"precision": "bf16"}), decay=0.999)
    before = next(teacher.weights.parameters()).clone()
    teacher.follow(moved(student, 1e-3))
    assert next(teacher.weights.parameters()).dtype == torch.float32
    assert (next(teacher.weights.parameters()) != before).any()
