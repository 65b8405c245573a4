"""Every kind of data set, checked before anything expensive starts, and read as documents."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from stillhouse.data.document import Document, Kind, problem, words
from stillhouse.data.hub import check_columns, commit_of, read_hub
from stillhouse.data.jsonl import read_jsonl
from stillhouse.data.packaged import ATTRIBUTIONS, digest_packaged, read_packaged
from stillhouse.data.splits import normalised
from stillhouse.errors import InputError
from stillhouse.reasoning.problems import digest_of, read_problems
from stillhouse.recipe.data import PACKAGED_TEXTS, Data, DataSet, HubSet, JsonLines, PackagedSet, names_of
from stillhouse.recipe.reasoning import Reasoning
from stillhouse.recipe.source import Source
from stillhouse.store.artifact import hash_file


@dataclass(frozen=True)
class ReadSet:
    """The documents of one set of the recipe, not split yet."""

    name: str
    """What the documents' ids begin with; sets that would share a name are numbered."""
    documents: tuple[Document, ...]
    """To train on, to choose on and, where there is no file for it, to report on."""
    held_out: tuple[Document, ...] | None
    """Only reported on; `None` where the set has no file of its own for that."""
    licence: str
    credit: str
    """Whom to name in a model card."""


def check_data(data: Data, base: Path) -> tuple[Source, ...]:
    """Refuse data that cannot work, and say what they are by content.

    Args:
        data: The recipe's section.
        base: The folder that relative paths start from.

    Returns:
        For each set in order its source; for a file with a held-out file two, the held-out one second.

    Raises:
        InputError: If a file is missing, empty or not what it must be, if a held-out text is trained on as well,
            if a set of a hub names no column or two, if a set cannot be found, or if a file that a teacher is to answer
            has no prompt.
    """
    sources = tuple(source for data_set in data.sets for source in _sources_of(data_set, base))
    _refuse_leaks(data.sets, sources)
    _refuse_unknown_sets(data)
    _refuse_nothing_to_answer(data, sources)
    return sources


def read_sets(sets: Sequence[DataSet], sources: Sequence[Source]) -> tuple[ReadSet, ...]:
    """Read every set from the sources that `check_data` found.

    Raises:
        InputError: As `check_data`, for what only reading shows; or if a file is no longer what was checked.
    """
    remaining = iter(sources)
    return tuple(_read(data_set, name, remaining) for data_set, name in zip(sets, names_of(sets), strict=True))


def needs_chat_template(sets: Sequence[DataSet], sources: Sequence[Source]) -> bool:
    """Whether any document is in chat form, which a teacher without a chat template cannot read."""
    return _any_is(("prompt", "problem", "messages"), sets, sources)


def holds_prompts(sets: Sequence[DataSet], sources: Sequence[Source]) -> bool:
    """Whether a teacher answers any document; of a hub's conversations that is not known before they are read."""
    return _any_is(("prompt",), sets, sources)


def _any_is(kinds: Sequence[Kind], sets: Sequence[DataSet], sources: Sequence[Source]) -> bool:
    remaining = iter(sources)
    return any([_holds(kinds, data_set, remaining) for data_set in sets])


def _holds(kinds: Sequence[Kind], data_set: DataSet, sources: Iterator[Source]) -> bool:
    first = next(sources)
    match data_set:
        case PackagedSet(name=name):
            return name not in PACKAGED_TEXTS and "prompt" in kinds
        case HubSet(messages_column=column):
            return column is not None and "messages" in kinds
        case Reasoning():
            return "problem" in kinds
        case JsonLines(held_out=held_out):
            files = [first] if held_out is None else [first, next(sources)]
            documents = (document for file in files for document in read_jsonl(file.path, file.name))
            return any(document.kind in kinds for document in documents)


def _sources_of(data_set: DataSet, base: Path) -> Iterator[Source]:
    match data_set:
        case PackagedSet(name=name):
            yield Source(kind="file", digest=digest_packaged(name), location=name, name=name)
        case HubSet(path=path):
            check_columns(data_set)
            yield Source(kind="hub", digest=commit_of(data_set), location=path, name=path)
        case Reasoning(kind=kind):
            yield Source(kind="file", digest=digest_of(data_set), location=kind, name=kind)
        case JsonLines(path=path, held_out=held_out):
            yield _file_source(path, base)
            if held_out is not None:
                yield _file_source(held_out, base)


def _file_source(path: str, base: Path) -> Source:
    found = (base / path).absolute()
    if not found.exists():
        raise InputError(f"no data file at {found} (the recipe says {path!r}, which starts from {base.absolute()})")
    if not found.is_file():
        raise InputError(f"{found} is not a file; name one file of JSON lines")
    try:
        return Source(kind="file", digest=hash_file(found), location=str(found), name=path)
    except OSError as error:
        raise InputError(f"cannot read {found}: {error.strerror}") from None


def _read(data_set: DataSet, name: str, sources: Iterator[Source]) -> ReadSet:
    match data_set:
        case PackagedSet(name=packaged):
            next(sources)
            terms = ATTRIBUTIONS[packaged]
            documents = read_packaged(packaged, name, data_set.limit)
            return ReadSet(name, tuple(documents), None, terms.licence, terms.credit)
        case HubSet(path=path):
            commit = next(sources).digest
            documents = list(read_hub(data_set, commit, name))
            return ReadSet(name, tuple(documents), None, data_set.licence, f"{path} at commit {commit[:12]}")
        case Reasoning():
            next(sources)
            asked = enumerate(read_problems(data_set))
            documents = [problem(f"{name}/{number}", each.question) for number, each in asked]
            terms = ATTRIBUTIONS["reasoning-gym"]
            return ReadSet(name, tuple(documents), None, terms.licence, _credit(data_set))
        case JsonLines(held_out=held_out):
            documents = list(read_jsonl(_unchanged(next(sources)), name, data_set.limit))
            reported = None if held_out is None else tuple(read_jsonl(_unchanged(next(sources)), f"{name}/held-out"))
            return ReadSet(name, tuple(documents), reported, data_set.licence, "the user's own file")


def _unchanged(source: Source) -> Path:
    if not source.path.is_file() or hash_file(source.path) != source.digest:
        raise InputError(f"{source.path} was changed or removed after this run was planned; start the run again")
    return source.path


def _refuse_unknown_sets(data: Data) -> None:
    if (asked := data.selection) is None:
        return
    known, target = names_of(data.sets), asked.similar_to
    for key, names in (("weights", list(asked.weights)), ("similar_to.set", [target.set] if target else [])):
        if unknown := [name for name in names if name not in known]:
            raise InputError(
                f"data.selection.{key} names {', '.join(map(repr, unknown))}; the sets of this recipe are "
                f"{', '.join(known)}"
            )


def _refuse_nothing_to_answer(data: Data, sources: Sequence[Source]) -> None:
    """Refuse files without prompts that another teacher serves; of a set of a hub it is known once it is read."""
    served = {name for each in data.answers.others for name in each.serves}
    remaining = iter(sources)
    for data_set, name in zip(data.sets, names_of(data.sets), strict=True):
        files = [next(remaining)]
        if not isinstance(data_set, JsonLines):
            continue
        if data_set.held_out is not None:
            files.append(next(remaining))
        if name in served and not any(
            each.kind == "prompt" for file in files for each in read_jsonl(file.path, file.name)
        ):
            raise InputError(
                f"data.answers.others lets a teacher answer the prompts of {name}, and {files[0].path} has none; give "
                "messages that end with the user's turn, or leave it out of serves"
            )


def _credit(asked: Reasoning) -> str:
    writer = "a program" if asked.rationales.kind == "ground_truth" else "the teacher"
    return f"tasks by reasoning-gym (Stojanovski et al., 2025), rationales by {writer}"


def _refuse_leaks(sets: Sequence[DataSet], sources: Sequence[Source]) -> None:
    """Read every file once, strictly, and compare held-out texts with all that is trained on."""
    remaining = iter(sources)
    training: list[tuple[Source, int | None]] = []
    reported: list[Source] = []
    for data_set in sets:
        source = next(remaining)
        if isinstance(data_set, JsonLines):
            training.append((source, data_set.limit))
            if data_set.held_out is not None:
                reported.append(next(remaining))
    trained_on: dict[bytes, str] = {}
    for source, limit in training:
        for document in read_jsonl(source.path, source.name, limit):
            trained_on.setdefault(_fingerprint(document), document.id)
    for source in reported:
        _refuse_known(read_jsonl(source.path, source.name), trained_on)


def _refuse_known(held_out: Iterable[Document], trained_on: dict[bytes, str]) -> None:
    for document in held_out:
        twin = trained_on.get(_fingerprint(document))
        if twin is not None:
            here, there = (" line ".join(found.rsplit("/", 1)) for found in (document.id, twin))
            raise InputError(
                f"held-out text is trained on as well: {here} says the same as {there} (case and white space aside); "
                "take it out of one of them, or leave held_out away and let a share be set aside"
            )


def _fingerprint(document: Document) -> bytes:
    return sha256(normalised(words(document)).encode()).digest()
