"""What happens to a run when a variant cannot be made."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from flows import compress
from flows.work import Work
from stillhouse.errors import Unavailable
from stillhouse.store.artifact import Reference
from stillhouse.store.store import Store

STUDENT, DATASET = Reference("distill", "1" * 64), Reference("encode_documents", "2" * 64)


def make_variants(variants: tuple[str, ...], broken: str, tmp_path: Path) -> tuple[set[str], dict[str, str]]:
    """Name the variants that come out, and those noted as absent, when the stage `broken` cannot run."""

    def call(task, store, settings, inputs) -> Reference:
        if task.fn.__name__ == broken:
            raise Unavailable("this architecture has none")
        return Reference(task.fn.__name__, "3" * 64)

    work = Work(Store(tmp_path), call)
    settings = SimpleNamespace(variants=variants, copy_student=None, export_onnx=None, quantize_int4=None)
    return set(compress.make_variants(settings, work, STUDENT, DATASET)), work.absent


EVERY = ("torch-fp32", "onnx-fp32", "onnx-int4")
WHY = "this architecture has none"


@pytest.mark.parametrize(
    ("variants", "broken", "made", "absent"),
    [
        (EVERY, "nothing", {"torch-fp32", "onnx-fp32", "onnx-int4"}, {}),
        (EVERY, "quantize_int4", {"torch-fp32", "onnx-fp32"}, {"onnx-int4": WHY}),
        (EVERY, "export_onnx", {"torch-fp32"}, {"onnx-fp32": WHY, "onnx-int4": WHY}),
        (("onnx-int4",), "export_onnx", {"torch-fp32"}, {"onnx-int4": WHY}),
        (("onnx-int4",), "nothing", {"torch-fp32", "onnx-int4"}, {}),
        (("torch-fp32",), "export_onnx", {"torch-fp32"}, {}),
    ],
)
def test_a_variant_that_cannot_be_made_is_named_with_its_reason(variants, broken, made, absent, tmp_path):
    names, noted = make_variants(variants, broken, tmp_path)
    assert names == {f"variant_{name}" for name in made}
    assert noted == absent
