"""What the files of a run prove, for its gates."""

import json
from math import log
from pathlib import Path

import numpy as np
import pytest

from evaluation.evidence import of_two_ratios
from evaluation.gates import judge
from evaluation.run_evidence import evidence_of
from stillhouse.recipe.gates import Gate

BITS = "models.student.bits_per_byte"


def held_out(folder: Path, nats, num_bytes, *, first: int = 0, gap: float = 0.0) -> Path:
    """Write what a model that was read alone leaves, of documents numbered from `first`."""
    rows = [
        {
            "document": f"set/{number}",
            "tokens": int(count // 3),
            "bytes": int(count),
            "loss_nats": float(loss),
            "teacher_loss_nats": None,
            "kl_to_teacher_nats": None,
            "top1_agreements": None,
            "calibration_gaps": [gap * (number + 1), *[0.0] * 14],
        }
        for number, (loss, count) in enumerate(zip(nats, num_bytes, strict=True), start=first)
    ]
    folder.mkdir()
    (folder / "held_out.json").write_text(json.dumps({"figures": {}, "documents": rows}))
    return folder


def test_bits_per_byte_of_other_tokens_are_compared_document_by_document(tmp_path):
    """What makes a document hard for both cancels, though each counts its own bytes."""
    generator = np.random.default_rng(0)
    num_bytes = generator.integers(50, 400, size=60)
    hard = generator.gamma(4, 0.3, size=60)
    teacher_bytes = num_bytes - generator.integers(0, 3, size=60)
    own, other = 1.1 * hard * num_bytes, hard * teacher_bytes
    inputs = {
        "held_out_student": held_out(tmp_path / "student", own, num_bytes),
        "held_out_teacher": held_out(tmp_path / "teacher", other, teacher_bytes),
    }
    evidence = evidence_of(inputs, {}, seed=0)
    ratio, difference = evidence[BITS, "ratio"], evidence[BITS, "difference"]
    # Alone either is known to some 10%: their ratio to less than 1%.
    assert ratio.interval_at(0.95) == (pytest.approx(1.1, abs=0.01), pytest.approx(1.1, abs=0.01))
    bits = [sum(one) / sum(count) / log(2) for one, count in ((own, num_bytes), (other, teacher_bytes))]
    assert difference.value == pytest.approx(bits[0] - bits[1]) and difference.documents == 60
    results = {"models": {"student": {"bits_per_byte": bits[0]}, "teacher": {"bits_per_byte": bits[1]}}}
    asked = {"figure": BITS, "relative_to": "teacher", "compare": "ratio"}
    found = judge([Gate(**asked, margin=0.12), Gate(**asked, margin=0.08)], results, evidence)
    assert [gate.verdict for gate in found] == ["passed", "failed"]


def test_documents_that_one_of_two_models_did_not_read_take_no_part(tmp_path):
    nats, num_bytes = np.arange(1.0, 9.0), np.full(8, 4)
    inputs = {
        "held_out_student": held_out(tmp_path / "student", nats, num_bytes),
        "held_out_teacher": held_out(tmp_path / "teacher", nats[2:], num_bytes[2:], first=2),
    }
    found = evidence_of(inputs, {}, seed=0)[BITS, "difference"]
    assert (found.documents, found.value) == (6, 0.0)


def test_one_document_says_nothing_of_two_ratios():
    assert of_two_ratios(([1.0, 2.0], [1.0, 0.0]), ([1.0, 2.0], [1.0, 1.0]), ratio=True, seed=0) is None


def test_calibration_error_is_judged_by_its_documents(tmp_path):
    """Of 20 documents of 10 tokens the gaps are 0.1 to 2: 21 in 200, and its spread is that of a mean."""
    inputs = {"held_out_student": held_out(tmp_path / "student", [1.0] * 20, [30] * 20, gap=0.1)}
    found = evidence_of(inputs, {}, seed=0)["models.student.calibration_error", "alone"]
    assert found.value == pytest.approx(0.105)
    assert found.standard_error == pytest.approx(np.std(np.arange(1, 21) / 100) / np.sqrt(20), rel=0.05)
    limits = {"figure": "models.student.calibration_error"}
    results = {"models": {"student": {"calibration_error": found.value}}}
    verdicts = [
        judge([Gate(**limits, at_most=most)], results, {} | evidence_of(inputs, {}, seed=0))[0].verdict
        for most in (0.15, 0.11, 0.05)
    ]
    assert verdicts == ["passed", "insufficient evidence", "failed"]
