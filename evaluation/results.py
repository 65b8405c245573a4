"""`results.json`: every figure of a run, once, with its unit in its name (schema version 1)."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Interval = Annotated[tuple[float, float], Field(description="95% interval, low and high")]
Verdict = Literal["passed", "failed", "insufficient evidence"]


class Part(BaseModel):
    """Base of every part of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class StageRecord(Part):
    """One artifact of the run, as its manifest describes it."""

    kind: str
    """Name of the stage."""
    key: str
    """The store's key: what went in."""
    digest: str
    """SHA-256 over the files: what came out."""
    seconds: float
    """Wall time of making it, whenever that was, less what it waited for other runs."""
    peak_memory_bytes: int
    """Highest resident memory of one process while it was made."""
    inputs: dict[str, str]
    """Name of each input and its key."""


class Lineage(Part):
    """Where every number comes from."""

    recipe: dict[str, Any]
    """The recipe, whole."""
    teacher: dict[str, Any]
    """Source, digest, dtype, quantization, licence of the teacher."""
    data: list[dict[str, Any]]
    """Sets, their digests and licences, documents and tokens taken of each."""
    code: dict[str, str]
    """`commit` (with `-dirty` where the tree differs from it) and `version`."""
    environment: dict[str, Any]
    """Python, operating system, processor, memory, accelerator, versions of the libraries."""
    seed: int
    """The recipe's seed."""
    compute: dict[str, Any]
    """Device, precision and threads after every `auto` was decided."""
    stages: list[StageRecord]
    """Every artifact of the run, in order."""


class ModelFigures(Part):
    """Teacher, pruned start or student on held-out text. `None` where a figure has no meaning."""

    parameters: int
    """Weights, a tied embedding counted once."""
    layers: int
    """Transformer blocks."""
    held_out_loss_nats_per_token: float
    """Mean negative log-likelihood of the counted held-out tokens, fp32."""
    bits_per_byte: float
    """The same per byte of the text those tokens spell."""
    held_out_loss_above_teacher_nats_per_token: float | None = None
    """This model's loss less the teacher's on the same tokens."""
    kl_to_teacher_nats_per_token: float | None = None
    """KL(teacher || model) on the same positions."""
    top1_agreement_with_teacher: float | None = None
    """Share of positions whose most likely token is the teacher's."""
    tokens: int
    """Counted held-out tokens, the n of the above."""
    documents: int
    """Held-out documents, the units that intervals are drawn over."""
    intervals: dict[str, Interval] = {}
    """95% interval of each figure that has one, bootstrapped over documents."""


class Score(Part):
    """One model on one benchmark."""

    value: float
    """The benchmark's metric."""
    stderr: float
    """Its standard error over documents."""
    n: int
    """Documents."""
    difference_to_teacher: float | None = None
    """This model's value less the teacher's on the same documents; `None` for the teacher."""
    difference_interval: Interval | None = None
    """95% interval of that difference, over the documents that both models answered; `None` where they tell none."""


class Percentiles(Part):
    """A latency over its samples, in milliseconds."""

    p50: float
    p95: float
    p99: float
    """With fewer than 100 samples it lies between the slowest two."""
    samples: int
    """How many were timed."""


class Speed(Part):
    """How fast a variant is after a prompt of one length."""

    time_to_first_token_ms: Percentiles
    """Prefill of the prompt and one token."""
    inter_token_latency_ms: Percentiles
    """Between consecutive tokens, each timed."""
    prefill_tokens_per_second: float
    """Prompt tokens over time to first token, median."""
    decode_tokens_per_second: float
    """One over the median inter-token latency."""
    intervals: dict[str, Interval] = {}
    """95% interval of each figure that has one."""


class Candidate(Part):
    """A way to quantize that was tried before one was chosen."""

    kind: str
    """As in the recipe, `weight-only`."""
    chosen: bool
    """Whether the variant is made this way: of all candidates it had the lowest `kl_to_fp32`."""
    kl_to_fp32: float
    """KL(onnx-fp32 || candidate) on validation text, nats per token."""
    bits_per_byte: float
    """On the same text."""
    size_bytes: int
    """Of the graph and its weights."""
    validation_tokens: int
    """Tokens behind the figures."""


class VariantFigures(Part):
    """One deployable form, measured from its saved bytes."""

    size_bytes: int
    """Its directory as shipped."""
    peak_memory_bytes: int
    """VmHWM of a process that loads it and generates."""
    peak_memory_above_imports_bytes: int
    """The same less what the process held before it loaded the model."""
    load_seconds: float
    """From nothing to ready, median."""
    time_to_first_token_ms: Percentiles
    """Prefill of the prompt and one token, after a prompt of `prompt_tokens`, as the three below."""
    inter_token_latency_ms: Percentiles
    """Between consecutive tokens, each timed."""
    prefill_tokens_per_second: float
    """Prompt tokens over time to first token, median."""
    decode_tokens_per_second: float
    """One over the median inter-token latency."""
    prompt_tokens: int
    """Length of the prompt behind the four figures above: the middle one of the recipe's."""
    by_prompt_tokens: dict[str, Speed]
    """The same for every prompt length of the recipe."""
    candidates: list[Candidate] = []
    """Where the variant's kind was chosen by validation text: every kind that was tried."""
    bits_per_byte: float
    """On the parity tokens."""
    kl_to_fp32: float
    """KL(torch-fp32 || variant) in nats per token."""
    top1_agreement: float
    """Share of positions whose most likely token is torch-fp32's."""
    greedy_prefix_tokens: float
    """Greedy tokens equal to torch-fp32's before the first that differs, mean over prompts."""
    bits_per_byte_ratio_to_fp32: float
    """bits_per_byte over torch-fp32's."""
    parity_tokens: int
    """Tokens behind the quality figures."""
    repeats: int
    """Repeats behind the speed figures."""
    threads: int
    """CPU threads of the benchmark process."""
    intervals: dict[str, Interval] = {}
    """95% interval of each figure that has one."""


class VariantAbsent(Part):
    """A variant that could not be made or measured."""

    reason: str
    """Why."""


class GateResult(Part):
    """One gate with its verdict."""

    figure: str
    """Path in this file."""
    value: float | None
    """What was compared with the limit: the figure, or its difference or ratio to `relative_to`."""
    interval: Interval | None
    """95% interval of `value`."""
    limit: str
    """As in `at most 0.75` or `at most 1.1 x torch-fp32`."""
    action: Literal["block", "warn"]
    """What a verdict other than `passed` does."""
    verdict: Verdict
    """`insufficient evidence` where the interval lies on both sides of the limit, or there is no value."""


class PackageRecord(Part):
    """The package of the run."""

    path: str
    """Relative to the run's folder."""
    key: str
    """The store's key."""
    digest: str
    """SHA-256 over its files."""
    variants: list[str]
    """Variants inside."""
    left_out: dict[str, str]
    """Variants that were made but do not ship, with the reason."""


class Results(Part):
    """Everything a run found."""

    schema_version: Literal[1] = 1
    """Rises when a reader of this file would break."""
    lineage: Lineage
    """Where it comes from."""
    models: dict[Literal["teacher", "pruned", "student"], ModelFigures]
    """On held-out text."""
    capability: dict[str, dict[str, Score]]
    """Benchmark, then model; `pooled` holds the documents of all benchmarks together."""
    behaviour: dict[str, dict[str, Score]] = {}
    """Measure, then model."""
    variants: dict[str, VariantFigures | VariantAbsent]
    """Each deployable form."""
    gates: list[GateResult]
    """In the recipe's order."""
    package: PackageRecord | None = None
    """`None` where a gate blocked, and in the copy inside the package itself."""
