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
    other_teachers: list[dict[str, Any]] = []
    """The same of an ensemble's other teachers, in the recipe's order, and then of those that answer prompts
    (`data.answers.others`), with the data sets in `answered`, and in `responses` what the field of that name says of
    the recipe's own teacher."""
    data: list[dict[str, Any]]
    """Sets, their digests and licences, documents and tokens taken of each."""
    left_out: list[dict[str, Any]] = []
    """Training documents that `data.selection` left out, and responses that `data.answers.sampled.keep` did: set,
    reason, how many, and three examples."""
    answers: dict[str, int | float] = {}
    """What became of the prompts that the recipe's own teacher answered greedily: `prompts`, `answers`, `empty`,
    `too_long` (they left its context no room and are left out), `mean_tokens`, and `ended_share`, of the answers."""
    responses: dict[str, int | float | None] = {}
    """What the responses of the recipe's own teacher to the training prompts are like, all of them, where
    `data.answers.sampled` asks for several: tokens, shares, entropy of the teacher's distribution while it wrote,
    distinct-n, agreement within a prompt, and what verifiers say; and in `prompts_left` and `responses_left` what is
    trained on."""
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
    calibration_error: float | None = None
    """Of tokens: distance of the likeliest token's probability from how often it is right, over 15 bins; `None` in
    files of before it was measured."""
    tokens: int
    """Counted held-out tokens, the n of the above."""
    documents: int
    """Held-out documents, the units that intervals are drawn over."""
    intervals: dict[str, Interval] = {}
    """95% interval of each figure that has one, bootstrapped over documents."""


class DomainFigures(Part):
    """Held-out text of one data set, before and after every round of a continual route."""

    round: int
    """In which round the set came, from 1."""
    documents: int
    """Held-out documents of the set."""
    tokens: int
    """Their counted tokens."""
    loss_nats_per_token: dict[str, float]
    """Of the start, `pruned`, of the student after each round, `round-1` and so on, and after the last, `student`."""
    loss_ratio_to_own_round: float | None = None
    """The last student's loss over that of the student right after the set's own round: above 1 it forgot; `None` for
    the sets of the last round."""
    intervals: dict[str, Interval] = {}
    """95% interval of the ratio, bootstrapped over documents."""


class Score(Part):
    """One model on one benchmark."""

    value: float
    """The benchmark's metric."""
    stderr: float
    """Its standard error over documents."""
    n: int
    """Documents."""
    difference_to_teacher: float | None = None
    """This model's value less the teacher's on the same documents; `None` for the teacher. Of a variant, here and in
    `evaluation.json` of `stillhouse evaluate`, less that of `torch-fp32`, which is what variants are compared with."""
    difference_interval: Interval | None = None
    """95% interval of that difference, over the documents that both models answered; `None` where they tell none."""
    p_value: float | None = None
    """Two-sided, of no difference: exact McNemar for shares of documents, bootstrap for the rest."""
    p_value_holm: float | None = None
    """The same among all of the model's benchmarks, or all its measures of behaviour (Holm); `None` for `pooled`."""
    gained: int | None = None
    """Documents that count with this model and not with the teacher; shares only."""
    lost: int | None = None
    """Documents that count with the teacher and not with this model; shares only."""
    minimum_detectable_difference: float | None = None
    """The smallest true difference that so many documents show four times in five, at 5% two-sided."""
    cut: int | None = None
    """Requests of which the model could not read the beginning, since they are longer than its context; `None` for
    `pooled`, and in files of before it was told."""
    asked_as: Literal["chat", "plain text"] | None = None
    """Of a benchmark that is for a chat: by the model's chat template, or without one, which it does not have."""


class Contamination(Part):
    """What of a benchmark occurs in the training data, told by runs of 13 words."""

    share: float
    """Of `documents`, those that occur: half of the passage or of the question stands in the training data."""
    documents: int
    """Those that were looked for."""
    found: int
    """Those that occur."""
    touched: int
    """Those that share a run of words with a training document, whether they occur or not."""
    too_short: int
    """Documents of too few words to look for."""


class Percentiles(Part):
    """A latency over its samples, in milliseconds."""

    p50: float
    p95: float
    p99: float
    """With fewer than 100 samples it lies between the slowest two."""
    samples: int
    """How many were timed."""


class Speed(Part):
    """How fast a variant is after prompts of one length: after one prompt, or a batch of them side by side."""

    time_to_first_token_ms: Percentiles
    """Prefill of the prompt and one token; of a batch, until every prompt has its own."""
    inter_token_latency_ms: Percentiles
    """Between consecutive tokens of a text, each timed by itself."""
    prefill_tokens_per_second: float
    """Prompt tokens over time to first token, median; of a batch, those of all prompts."""
    decode_tokens_per_second: float
    """One over the median inter-token latency; of a batch, that times its size."""
    peak_memory_bytes: int | None = None
    """VmHWM of a process that has read this many prompts of this length side by side, and shorter ones; `None` in files
    of before it was told."""
    intervals: dict[str, Interval] = {}
    """95% interval of each figure that has one."""


class NotBatched(Part):
    """Why a variant was not timed on several prompts at once."""

    reason: str
    """Why."""


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


class Costs(Part):
    """What it takes to serve a model, measured from its saved bytes."""

    size_bytes: int
    """Its directory as shipped."""
    peak_memory_bytes: int
    """VmHWM of a process that loads it and generates, a prompt at a time."""
    peak_memory_above_imports_bytes: int
    """The same less what the process held before it loaded the model."""
    load_seconds: float
    """From nothing to ready in a process that has the libraries, median."""
    cold_start_seconds: float | None = None
    """From the start of a process to its first token, the model's files not in the system's file cache, median; `None`
    where the system does not let go of them, or the recipe asks for no starts."""
    warm_start_seconds: float | None = None
    """The same with the model's files cached."""
    starts: int | None = None
    """Fresh processes behind each of the two."""
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
    by_batch_size: dict[str, dict[str, Speed] | NotBatched] = {}
    """The same for every batch size of the recipe beyond 1, and in it every prompt length."""
    repeats: int
    """Repeats behind the speed figures."""
    threads: int
    """CPU threads of the benchmark process."""
    intervals: dict[str, Interval] = {}
    """95% interval of each figure that has one."""


class VariantFigures(Costs):
    """One deployable form, measured from its saved bytes."""

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
    capability: dict[str, Score] = {}
    """Benchmark, and `pooled`: on the recipe's `evaluation.variant_documents`; the differences are to torch-fp32."""
    batch_dependence_nats: float | None = None
    """How far the log-probability of an answer moves, at most, when others are asked beside it. Above 0.001 the variant
    is scored one request at a time, and must not be served in batches; `None` in files of before it was measured."""


class VariantAbsent(Part):
    """A variant that could not be made or measured."""

    reason: str
    """Why."""


class NoiseFloor(Part):
    """A/A: one variant measured twice as if it were two. What sets the two apart is the machine and not the variant."""

    variant: str
    """Which one: measured in its turn, and again after all the others."""
    relative: dict[str, float]
    """By a figure's path within a variant: two variants differ in it only by a factor above 1 + this."""


class GateResult(Part):
    """One gate with its verdict."""

    figure: str
    """Path in this file."""
    value: float | None
    """What was compared with the limit: the figure, or its difference or ratio to `relative_to`."""
    interval: Annotated[tuple[float, float], Field(description="Low and high")] | None
    """Bounds of `value`, each holding at `confidence`, or both at once at 95% where there is none."""
    limit: str
    """As in `at most 0.75`, `at most 1.1 x torch-fp32` or `within 0.02 of teacher`."""
    action: Literal["block", "warn"]
    """What a verdict other than `passed` does."""
    verdict: Verdict
    """`insufficient evidence` where the bounds lie on both sides of the limit, or there is no value."""
    margin: float | None = None
    """How much worse than `relative_to` was allowed; `None` where the limit was given as such."""
    confidence: float | None = None
    """One-sided, of each bound of `interval`; `None` in files of before gates had one."""
    documents_needed: int | None = None
    """With insufficient evidence: documents that would decide it four times in five, were `value` the truth.
    `None` where no number would, since `value` lies on the limit, or where it is no matter of documents."""


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
    before: dict[str, ModelFigures] = {}
    """The students before the student, in their order, where `route` is not direct; beside the same teacher."""
    domains: dict[str, DomainFigures] = {}
    """Data set, where `route` is continual: what was kept of each."""
    capability: dict[str, dict[str, Score]]
    """Benchmark, then model; `pooled` holds the documents of all benchmarks together."""
    contamination: dict[str, Contamination] = {}
    """Benchmark, of those that have text to look for in the training data; none in files of before it was done."""
    behaviour: dict[str, dict[str, Score]] = {}
    """Measure, then model."""
    variants: dict[str, VariantFigures | VariantAbsent]
    """Each deployable form."""
    noise_floor: NoiseFloor | None = None
    """What differences of speed and memory must exceed; `None` in files of before it was measured."""
    teacher_costs: Costs | None = None
    """What it takes to serve the teacher, where the recipe's `benchmark.teacher` asks for it."""
    gates: list[GateResult]
    """In the recipe's order."""
    package: PackageRecord | None = None
    """`None` where a gate blocked, and in the copy inside the package itself."""

    @property
    def tokens_differ(self) -> bool:
        """Whether student and teacher have different tokens, so that only bits per byte compare them."""
        student = self.models.get("student")
        alone = student is not None and student.held_out_loss_above_teacher_nats_per_token is None
        return "teacher" in self.models and alone
