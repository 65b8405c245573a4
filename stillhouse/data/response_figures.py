"""What is known of each sampled response besides its text: `figures.jsonl`, a line for each line of `train.jsonl`.

It is noted where the response is drawn, so that no choice asks teacher or verifier again.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from stillhouse.data.response_statistics import Response, distinct

_FILE = "figures.jsonl"


@dataclass(frozen=True)
class Figures:
    """Of one response."""

    tokens: int
    """Its length, the token that ends the turn included."""
    token_entropy_nats: float
    """Mean over its tokens of the entropy, at temperature 1, of the distribution that each was drawn from."""
    distinct_2: float | None
    """Different pairs of its tokens over all of them; `None` of a single token."""
    right: bool | None
    """What a verifier says; `None` where the prompt has none."""


def figures_of(response: Response) -> Figures:
    """The figures of a response."""
    return Figures(len(response.ids), response.entropy, distinct([response.ids], 2), response.right)


def write_figures(folder: Path, figures: Iterable[Figures]) -> None:
    """Write figures, one JSON object a line, in the order of the documents."""
    with (folder / _FILE).open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(asdict(each)) + "\n" for each in figures)


def read_figures(folder: Path) -> Iterator[Figures]:
    """Read what `write_figures` wrote."""
    with (folder / _FILE).open(encoding="utf-8", newline="\n") as file:
        for line in file:
            yield Figures(**json.loads(line))
