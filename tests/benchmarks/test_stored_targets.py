"""The forms that a teacher's answers are stored in, and the page that tells what they cost."""

import torch

from benchmarks.stored_targets import _stored, page
from stillhouse.teachers.targets import Draws, TopK


def test_every_form_is_made_of_the_same_distribution():
    whole = torch.randn(2, 3, 100, generator=torch.Generator().manual_seed(0))
    forms = list(_stored(whole))
    assert [name for name, _ in forms].count("50 draws") == 5
    p = whole.softmax(-1)
    for name, form in forms:
        match form:
            case TopK(ids, log_probabilities):
                torch.testing.assert_close(log_probabilities.exp(), p.gather(-1, ids))
            case Draws(ids, weights) if "alone" in name:
                torch.testing.assert_close(weights, p.gather(-1, ids))
            case Draws(ids, weights):
                assert ids.shape == (2, 3, 50) and (weights == 1).all()


def test_the_page_compares_each_seed_with_online_of_that_seed():
    def student(kind: str, seed: int, kl: float, size: float | None = None) -> dict:
        return {"kind": kind, "seed": seed, "kl_to_teacher_nats_per_token": kl, "bytes_per_target": size}

    told = page(
        {
            "recipe": {"name": "demo"},
            "environment": {"processor": "a processor"},
            "compute": {"precision": "fp32"},
            "angles": [{"kind": "50 draws", "degrees": angle, "size": 1.01, "tokens": 1000} for angle in (7.0, 9.0)],
            "students": [
                student("whole distribution, online", 0, 1.0),
                student("50 draws", 0, 1.02, 35.1),
                student("whole distribution, online", 1, 2.0),
                student("50 draws", 1, 1.98, 35.1),
            ],
        }
    )
    assert "| 50 draws | 7.0 to 9.0 | 1.01 to 1.01 |" in told
    assert "| 50 draws | 1.0200, 1.9800 | +2.0%, -1.0% | 35.1 |" in told
    assert "trained in fp32 on a processor" in told
