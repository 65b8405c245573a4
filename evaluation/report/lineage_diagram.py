"""A run's lineage as a picture: stages, the artifacts each of them made, and what they were made from."""

from collections.abc import Iterator, Mapping, Sequence

from evaluation.report.stage_words import STAGES, about
from stillhouse.store.artifact import Manifest

KEY_CHARACTERS = 8
"""Of a key, enough to find its artifact in the store."""


def mermaid(manifests: Sequence[Manifest]) -> str:
    """A flow chart in Mermaid's language: a box for each stage, an arrow from what it read.

    A run makes some forty artifacts with a hundred and fifty inputs, which no screen shows legibly. So a stage that
    made several of them is one box, and an arrow that other arrows imply is left out.
    """
    by_key = {manifest.key: manifest for manifest in manifests}
    stages: dict[str, list[Manifest]] = {}
    for manifest in by_key.values():
        stages.setdefault(manifest.kind, []).append(manifest)
    lines = [f'  {kind}["{_label(kind, made, by_key)}"]' for kind, made in stages.items()]
    lines += [f"  {source} --> {kind}" for source, kind in _arrows(_reads(stages, by_key))]
    return "\n".join(["flowchart TD", *lines])


def _label(kind: str, made: Sequence[Manifest], by_key: Mapping[str, Manifest]) -> str:
    lines = [STAGES.get(kind, kind)]
    lines += [f"{about(one, by_key)} {one.key[:KEY_CHARACTERS]}".strip() for one in made]
    # A quote would end the label; names of models come from outside.
    return "<br/>".join(line.replace('"', "'").replace("<", "‹").replace(">", "›") for line in lines)


def _reads(stages: Mapping[str, Sequence[Manifest]], by_key: Mapping[str, Manifest]) -> dict[str, set[str]]:
    """For each stage the others whose artifacts it read."""
    return {
        kind: {by_key[key].kind for one in made for key in one.inputs.values() if key in by_key} - {kind}
        for kind, made in stages.items()
    }


def _arrows(reads: Mapping[str, set[str]]) -> Iterator[tuple[str, str]]:
    """Every input that does not follow from another: of a -> b -> c and a -> c the last says nothing new."""
    for kind, sources in reads.items():
        implied = {further for source in sources for further in _before(source, reads)}
        yield from ((source, kind) for source in reads if source in sources - implied)


def _before(kind: str, reads: Mapping[str, set[str]]) -> set[str]:
    """All stages that a stage goes back to."""
    found: set[str] = set()
    waiting = list(reads[kind])
    while waiting:
        source = waiting.pop()
        if source not in found:
            found.add(source)
            waiting += reads[source]
    return found
