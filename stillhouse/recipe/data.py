"""The `data` section: which documents, how many tokens of them, and who answers the prompts."""

from collections.abc import Sequence
from itertools import chain, count
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from stillhouse.recipe.reasoning import Reasoning, check_apart
from stillhouse.recipe.responses import Sampled
from stillhouse.recipe.selection import Selection
from stillhouse.recipe.settings import Settings
from stillhouse.recipe.teacher import Teacher

PackagedName = Literal["boolq-passages", "nq-open", "reasoning-gym", "pubmed-abstracts", "python-functions"]
PACKAGED_TEXTS: frozenset[PackagedName] = frozenset({"boolq-passages", "pubmed-abstracts", "python-functions"})
"""The packaged sets that are text; the others are prompts."""


class PackagedSet(Settings):
    """A set that an installable package carries (each with its licence, in `stillhouse/data/packaged.py`)."""

    kind: Literal["packaged"] = "packaged"
    name: PackagedName
    """`boolq-passages` (encyclopedia), `pubmed-abstracts` (medicine) and `python-functions` (code) are text; `nq-open`
    and `reasoning-gym` are prompts that the teacher answers."""
    limit: PositiveInt | None = None
    """Take at most this many documents; all of them when left out."""


class JsonLines(Settings):
    """A file of the user's own, one JSON object a line: `text`, or `messages` in chat form.

    Messages that end with the user's are a prompt, which may have `tests`: Python, a text or a list of lines, that is
    run after the program that a response holds, with Python's own library alone.
    """

    kind: Literal["jsonl"] = "jsonl"
    path: str
    """Read relative to the recipe's folder."""
    held_out: str | None = None
    """Another file that is only reported on; when left out, a share of `path` is set aside."""
    licence: str = "not stated"
    """Goes into the model card."""
    limit: PositiveInt | None = None
    """Take at most this many documents."""


class HubSet(Settings):
    """A data set of a hub, read with `datasets`."""

    kind: Literal["hub"] = "hub"
    path: str
    """Repository id, `org/name`."""
    config: str | None = None
    """Configuration of the set, where it has several."""
    split: str = "train"
    """Split to read."""
    text_column: str | None = None
    """Column of plain text; exactly one of this and `messages_column`."""
    messages_column: str | None = None
    """Column of chat messages, a list of `{role, content}`."""
    tests_column: str | None = None
    """Column of tests, beside `messages_column`: Python that is run after the program that a response to the row's
    prompt holds, with Python's own library alone; a row may have none."""
    licence: str = "not stated"
    """Goes into the model card."""
    limit: PositiveInt | None = None
    """Take at most this many documents."""


DataSet = Annotated[PackagedSet | JsonLines | HubSet | Reasoning, Field(discriminator="kind")]


def names_of(sets: Sequence[DataSet]) -> list[str]:
    """A name for each set that no other has: `reviews`, `reviews-2`. Documents' ids begin with it."""
    names: list[str] = []
    for data_set in sets:
        name = _name(data_set)
        others = (f"{name}-{number}" for number in count(2))
        names.append(next(free for free in chain([name], others) if free not in names))
    return names


def _name(data_set: DataSet) -> str:
    match data_set:
        case PackagedSet(name=name):
            return name
        case HubSet(path=path):
            return path
        case JsonLines(path=path):
            return Path(path).stem
        case Reasoning(kind=kind):
            return kind


def may_be_verified(data_set: DataSet) -> bool:
    """Whether prompts of a set may have a verifier; of a file, only reading it tells."""
    match data_set:
        case PackagedSet(name=name):
            return name == "reasoning-gym"
        case HubSet(tests_column=column):
            return column is not None
        case JsonLines():
            return True
        case Reasoning():
            return False


class AnsweringTeacher(Settings):
    """Another teacher that answers prompts. What it says is passed on as text, so any tokenizer will do."""

    teacher: Teacher
    """The model, with a chat template."""
    serves: tuple[str, ...]
    """Names of the data sets whose prompts it answers in the place of the recipe's own teacher, those that are only
    measured on too. A set is called as the data table of the report calls it: a packaged set or a set of a hub by its
    name, a file by its name without its ending, and a second one of a name `name-2`."""


class Answers(Settings):
    """How prompts that come without a response are answered, and by whom."""

    max_new_tokens: PositiveInt = 48
    """Longest answer, in tokens."""
    batch_size: PositiveInt = 32
    """Prompts answered side by side."""
    sampled: Sampled | None = None
    """Left out, every prompt has one greedy answer."""
    others: tuple[AnsweringTeacher, ...] = Field(default=(), exclude_if=lambda others: not others)
    """Teachers that answer the prompts of the data sets which they serve; the recipe's own one answers all others."""


class Data(Settings):
    """What is distilled on, what choices are made on, and what is only reported."""

    sets: tuple[DataSet, ...] = Field(min_length=1)
    """Documents of every set are mixed in the proportions that their sizes give."""
    train_tokens: PositiveInt = 200_000
    """Upper bound on training tokens; the data may hold fewer."""
    validation_tokens: PositiveInt = 10_000
    """Upper bound on tokens that choices may be made on."""
    held_out_tokens: PositiveInt = 10_000
    """Upper bound on tokens that are only reported."""
    sequence_length: int = Field(default=256, ge=16)
    """Tokens in a packed row; longer documents are cut into pieces of this length."""
    answers: Answers = Answers()
    """How the teacher answers prompts."""
    selection: Selection | None = None
    """Which training documents are left out, and how often the others are seen; all of them once when left out."""

    @model_validator(mode="after")
    def _has_what_verifies(self) -> Self:
        sampled = self.answers.sampled
        if sampled is not None and sampled.keep.verified and not any(map(may_be_verified, self.sets)):
            raise ValueError(
                "answers.sampled.keep.verified is true, but no set has prompts with a verifier; sets are "
                f"{', '.join(names_of(self.sets))}; add the packaged set reasoning-gym or a file whose prompts have "
                "tests, or leave keep.verified out"
            )
        return self

    @model_validator(mode="after")
    def _has_prompts_to_sample(self) -> Self:
        if self.answers.sampled is not None and all(map(without_prompts, self.sets)):
            raise ValueError(
                "answers.sampled says how prompts are answered, and no set has prompts; sets are "
                f"{', '.join(names_of(self.sets))}; add one that has, or leave sampled out"
            )
        return self

    @model_validator(mode="after")
    def _has_each_task_once(self) -> Self:
        named = zip(names_of(self.sets), self.sets, strict=True)
        check_apart([(name, each) for name, each in named if isinstance(each, Reasoning)])
        return self

    @model_validator(mode="after")
    def _chooses_from_other_sets(self) -> Self:
        target = None if self.selection is None else self.selection.similar_to
        if target is not None and names_of(self.sets) == [target.set]:
            raise ValueError(
                f"selection.similar_to keeps of other sets what is like {target.set}, and there is no other set; "
                "add what is to be chosen from, or leave similar_to out"
            )
        return self

    @model_validator(mode="after")
    def _has_room_for_the_shortest_kept(self) -> Self:
        sampled, longest = self.answers.sampled, self.answers.max_new_tokens
        least = None if sampled is None else sampled.keep.tokens_at_least
        if least is not None and least > longest:
            raise ValueError(
                f"answers.sampled.keep.tokens_at_least is {least}, but answers.max_new_tokens is {longest}, so that no "
                "response is kept; lower the one or raise the other"
            )
        return self

    @model_validator(mode="after")
    def _others_have_prompts_to_answer(self) -> Self:
        sets = dict(zip(names_of(self.sets), self.sets, strict=True))
        served: dict[str, str] = {}
        for number, each in enumerate(self.answers.others):
            key = f"answers.others.{number}.serves"
            if not each.serves:
                raise ValueError(
                    f"{key} is empty, so that teacher answers nothing; name some of {', '.join(sets)}, or leave it out"
                )
            for name in each.serves:
                if name not in sets:
                    raise ValueError(f"{key} names {name}, which is none of the data sets; they are {', '.join(sets)}")
                if name in served:
                    raise ValueError(
                        f"{key} names {name}, which {served[name]} names too; a prompt is answered by one teacher, so "
                        "name the set once"
                    )
                _refuse_without_prompts(key, name, sets[name])
                served[name] = key
        return self


def _refuse_without_prompts(key: str, name: str, data_set: DataSet) -> None:
    """Refuse to let another teacher answer what is known to hold no prompt."""
    if seen := without_prompts(data_set):
        raise ValueError(
            f"{key} names {name}, which {seen}; a teacher serves sets of prompts, so leave {name} out of it"
        )


def without_prompts(data_set: DataSet) -> str:
    """What a set holds that is known to hold no prompt; empty where it may."""
    match data_set:
        case PackagedSet(name=packaged) if packaged in PACKAGED_TEXTS:
            return "is text"
        case HubSet(text_column=str(column)):
            return f"is text, the column {column}"
        case Reasoning():
            return "holds problems, whose rationales the recipe's own teacher or a program writes"
        case _:
            return ""
