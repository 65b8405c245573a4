"""What really goes into each matrix when the model reads its own training text.

Shapes: T tokens, K inputs of a matrix.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.onnx.files import MODEL
from stillhouse import progress
from stillhouse.serving.decoder import Decoder
from stillhouse.store.links import content_files, link_file

# Moments in memory at once; more inputs than that are gathered in several passes over the text.
MOMENTS_BYTES = 2**30


def gather_moments(
    variant: Path, widths: Mapping[str, int], texts: Sequence[Sequence[int]], *, work: Path, threads: int
) -> Iterator[dict[str, NDArray[np.float64]]]:
    """Yield the sum of `x.T @ x` over all tokens for each named input x of a matrix, a few names at a time.

    Args:
        variant: The `onnx-fp32` variant that reads the texts.
        widths: K of each input, by its name in the graph.
        texts: Token ids, no text longer than the context.
        work: Scratch folder.
        threads: CPU threads of the reading.
    """
    for names in _groups(widths):
        decoder = _open_showing(variant, names, work, threads)
        moments = {name: np.zeros((widths[name], widths[name])) for name in names}
        for done, ids in enumerate(texts):
            progress.step("reads text to see what the matrices are given", done, len(texts))
            for name, found in decoder.outputs(ids, names).items():
                inputs_TK = found.reshape(-1, widths[name])
                moments[name] += inputs_TK.T @ inputs_TK
        yield moments


def _groups(widths: Mapping[str, int]) -> Iterator[list[str]]:
    """Group names such that their moments fit into memory."""
    group: list[str] = []
    for name, width in widths.items():
        if group and sum(8 * widths[each] ** 2 for each in group) + 8 * width**2 > MOMENTS_BYTES:
            yield group
            group = []
        group.append(name)
    if group:
        yield group


def _open_showing(variant: Path, names: Collection[str], work: Path, threads: int) -> Decoder:
    """Open the variant with some of its inner tensors made outputs."""
    import onnx

    for path in content_files(variant):
        link_file(path, work / path.relative_to(variant))
    graph: onnx.ModelProto = onnx.load(variant / MODEL, load_external_data=False)
    for name in names:
        graph.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    # Unlinked first: writing through the link would change the variant.
    (work / MODEL).unlink()
    onnx.save(graph, work / MODEL)
    return Decoder.open(work, threads=threads)
