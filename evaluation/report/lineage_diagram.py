"""A run's lineage as a picture: stages, the artifacts each of them made, and what they were made from."""

from collections.abc import Iterator, Mapping, Sequence
from textwrap import wrap

from evaluation.report import markdown, words
from evaluation.report.stage_words import STAGES, about
from stillhouse.store.artifact import Manifest

KEY_CHARACTERS = 8
"""Of a key, enough to find its artifact in the store."""
_LINE_CHARACTERS = 13
"""Of a box: a drawing is made as small as its page is narrow, so narrow boxes are legible ones."""
_SETTINGS = (
    '%%{init: {"look": "classic", "flowchart": '
    '{"nodeSpacing": 12, "rankSpacing": 25, "padding": 4, "minNodeWidth": 60, "wrappingWidth": 300}}}%%'
)


def mermaid(manifests: Sequence[Manifest]) -> str:
    """A flow chart in Mermaid's language: a box for each stage, an arrow from what it read.

    A run makes some forty artifacts with a hundred and fifty inputs, which no screen shows legibly. So a stage that
    made several of them is one box; an arrow that other arrows imply is left out, and so is a box without arrows.
    """
    by_key = {manifest.key: manifest for manifest in manifests}
    stages: dict[str, list[Manifest]] = {}
    for manifest in by_key.values():
        stages.setdefault(manifest.kind, []).append(manifest)
    arrows = list(_arrows(_reads(stages, by_key)))
    drawn = {kind for arrow in arrows for kind in arrow} or set(stages)
    lines = [f'  {kind}["{_label(kind, made, by_key)}"]' for kind, made in stages.items() if kind in drawn]
    lines += [f"  {source} --> {kind}" for source, kind in arrows]
    return "\n".join([_SETTINGS, "flowchart TD", *lines])


def lineage_list(manifests: Sequence[Manifest]) -> Iterator[str]:
    """A line of Markdown for each artifact, after those it was made of: what it is, what it cost, and of which."""
    by_key = {manifest.key: manifest for manifest in manifests}
    reads = {key: {source for source in one.inputs.values() if source in by_key} for key, one in by_key.items()}
    for one in sorted(by_key.values(), key=lambda manifest: len(_before(manifest.key, reads))):
        name, subject = STAGES.get(one.kind, one.kind), about(one, by_key)
        name = f"{name}: {subject}" if subject else name
        sources = [_reference(by_key[key]) if key in by_key else f"`{words.short(key)}`" for key in one.inputs.values()]
        cost = f"{words.duration(one.seconds)}, {words.size(one.peak_memory_bytes)}"
        read = f", made of {words.listed(sources)}" if sources else ""
        yield f"- **{markdown.escape(name)}** {_reference(one)} ({cost}){read}"


def _reference(manifest: Manifest) -> str:
    return f"`{manifest.kind}/{manifest.key[:KEY_CHARACTERS]}`"


def _label(kind: str, made: Sequence[Manifest], by_key: Mapping[str, Manifest]) -> str:
    name = "<br/>".join(wrap(STAGES.get(kind, kind), _LINE_CHARACTERS, break_on_hyphens=False))
    lines = [text for one in made for text in (about(one, by_key), one.key[:KEY_CHARACTERS]) if text]
    # A quote would end the label, and a bracket begin a tag: names of models come from outside.
    plain = [line.replace('"', "'").replace("<", "‹").replace(">", "›") for line in lines]
    return "<br/>".join([f"<b>{name}</b>", *plain])


def _reads(stages: Mapping[str, Sequence[Manifest]], by_key: Mapping[str, Manifest]) -> dict[str, set[str]]:
    """For each stage the others whose artifacts it read."""
    return {
        kind: {by_key[key].kind for one in made for key in one.inputs.values() if key in by_key} - {kind}
        for kind, made in stages.items()
    }


def _arrows(reads: Mapping[str, set[str]]) -> Iterator[tuple[str, str]]:
    """Every input that does not follow from another: of a -> b -> c and a -> c the last says nothing new."""
    for kind, sources in reads.items():
        # Where students teach students, cutting and training read one another: neither then stands for what it read.
        standing = [source for source in sources if kind not in _before(source, reads)]
        implied = {further for source in standing for further in _before(source, reads)}
        yield from ((source, kind) for source in reads if source in sources - implied)


def _before(name: str, reads: Mapping[str, set[str]]) -> set[str]:
    """All stages, or artifacts, that one goes back to."""
    found: set[str] = set()
    waiting = list(reads[name])
    while waiting:
        source = waiting.pop()
        if source not in found:
            found.add(source)
            waiting += reads[source]
    return found
