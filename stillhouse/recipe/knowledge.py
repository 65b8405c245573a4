"""The `knowledge` section: how the teacher is asked what it knows of a text."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from stillhouse.recipe.features import LowRankFeatures
from stillhouse.recipe.losses import Following, ForwardKl, Loss, Moves, Moving
from stillhouse.recipe.settings import Settings
from stillhouse.recipe.teacher import Teacher


class FullTargets(Settings):
    """The whole distribution at every target: a hundred kilobytes a token, and every loss can use it."""

    kind: Literal["full"] = "full"
    dtype: Literal["fp16", "bf16"] = "fp16"
    """Log-probabilities in 16 bits. fp16 keeps likely tokens eight times as exactly as bf16 does."""


class TopKTargets(Settings):
    """The likeliest tokens, and how much probability all others have together."""

    kind: Literal["top_k"] = "top_k"
    k: PositiveInt = 50
    """Tokens kept; 2 to 4 bytes for each id and 2 for its log-probability."""


class SampledTargets(Settings):
    """Tokens drawn from the teacher's distribution: a few dozen bytes a token, and right on average."""

    kind: Literal["sampled"] = "sampled"
    draws: PositiveInt = 50
    """Independent draws at every target. Fewer take less room and add noise to the gradient."""
    seed: NonNegativeInt = 0
    """Decides the draws, together with the text; another seed of training keeps the cache."""


StoredTargets = Annotated[FullTargets | TopKTargets | SampledTargets, Field(discriminator="kind")]


class Online(Settings):
    """The teacher reads every batch beside the student."""

    kind: Literal["online"] = "online"


class Cached(Settings):
    """The teacher reads every text once, before training, and what it says is looked up by text."""

    kind: Literal["cached"] = "cached"
    targets: StoredTargets = SampledTargets()
    """How much of what it says is kept."""
    batch_rows: PositiveInt = 8
    """Packed rows that the teacher reads at a time; part of the key, because it decides low bits."""
    shard_tokens: PositiveInt = 262_144
    """Training tokens in a shard, about. A killed capture repeats no more than one shard."""


class Member(Settings):
    """One teacher of an ensemble."""

    teacher: Teacher
    """The model, with the tokenizer of the first."""
    weight: PositiveFloat = 1.0
    """Its share of the mixture is this over the sum of all weights."""
    knowledge: Annotated[Online | Cached, Field(discriminator="kind")] = Online()
    """Online, or cached with `full` targets."""
    serves: tuple[str, ...] = ()
    """With `by_domain`, the names of the data sets that it teaches."""


class FixedWeights(Settings):
    """Every text is taught by all teachers, each with its weight."""

    kind: Literal["fixed"] = "fixed"


class ByDomain(Settings):
    """A text is taught by the teachers that serve its data set and by no other, by their weights."""

    kind: Literal["by_domain"] = "by_domain"
    own: tuple[str, ...] = ()
    """Names of the data sets that the recipe's own teacher teaches; what a member teaches stands in its `serves`. A set
    is called as the data table of the report calls it: a packaged set or a set of a hub by its name, a file by its
    name without its ending, and a second one of a name `name-2`."""


class ByConfidence(Settings):
    """A text is taught most by the teachers that are surest of it: weight times exp(-sharpness * nats per token)."""

    kind: Literal["by_confidence"] = "by_confidence"
    measure: Literal["entropy", "cross_entropy"] = "entropy"
    """What is taken of a teacher's distributions, as a mean over the counted tokens of one text: their `entropy`, which
    is sureness whether right or wrong, or the `cross_entropy` with the text, which is sureness of what stands there
    (FuseLLM, Wan et al., 2024; CA-MKD, Zhang et al., 2022). Of answers that one of the teachers wrote the latter
    favours that one."""
    sharpness: PositiveFloat = 1.0
    """How much a nat counts: at 1 a teacher that is a nat surer has e times the share, near 0 the weights alone count,
    and at 10 nearly all is the surest one's."""


Weighting = Annotated[FixedWeights | ByDomain | ByConfidence, Field(discriminator="kind")]


OTHER_WAYS = (
    "let it write answers, which the student learns as text (data.answers.others), or take a loss that "
    "compares distributions over two tokenizers (distillation.loss universal_logit_distance, with that one as the "
    "recipe's teacher)"
)
"""What a teacher with another tokenizer is still good for, for the refusals of one in an ensemble."""


class Ensemble(Settings):
    """Several teachers of one vocabulary, whose probabilities are mixed."""

    kind: Literal["ensemble"] = "ensemble"
    weighting: Weighting = FixedWeights()
    """What each teacher's share of a text depends on, besides its weight."""
    weight: PositiveFloat = 1.0
    """Of the recipe's own teacher."""
    own: Annotated[Online | Cached, Field(discriminator="kind")] = Online()
    """How the recipe's own teacher is asked."""
    members: tuple[Member, ...] = Field(min_length=1)
    """The others."""


class Endpoint(Settings):
    """A server with OpenAI's completions protocol that tells the log-probabilities of a prompt."""

    kind: Literal["endpoint"] = "endpoint"
    url: str | None = Field(default=None, exclude=True, pattern=r"^https?://")
    """Where it is, up to and with `/v1`. A training needs it; it is not part of the key, so name the model well, nor of
    what a run leaves."""
    model: str
    """The model's name there. It must be the recipe's teacher, whose tokenizer is used."""
    k: PositiveInt = 20
    """Likeliest tokens asked for. vLLM gives 20 unless it is started with a larger `--max-logprobs`."""
    ask_by: Literal["prompt_logprobs", "echo"] = "prompt_logprobs"
    """`prompt_logprobs` is vLLM's own way; `echo` is OpenAI's, for servers that name tokens by id in it."""
    batch_samples: PositiveInt = Field(default=8, exclude=True)
    """Texts in one request."""
    timeout_seconds: PositiveFloat = Field(default=120.0, exclude=True)
    """Longest wait for one answer."""
    retries: NonNegativeInt = Field(default=5, exclude=True)
    """Times that a request is repeated when the network or the server fails."""
    retry_seconds: PositiveFloat = Field(default=1.0, exclude=True)
    """Wait before the first repetition; it doubles each time, up to a minute."""
    api_key_variable: str | None = Field(default=None, exclude=True)
    """Environment variable that holds the server's key."""

    def reached(self) -> dict[str, Any]:
        """What is in no key: where it is and how it is asked, for another process of the same training."""
        return {name: getattr(self, name) for name, field in type(self).model_fields.items() if field.exclude}


class MovingAverage(Settings):
    """The student's own weights, averaged over its steps: no second model is asked (Tarvainen and Valpola, 2017).

    What it knows comes from the text, so `distillation.alpha` must leave the text a share.
    """

    kind: Literal["moving_average"] = "moving_average"
    decay: float = Field(default=0.99, ge=0, le=1)
    """Share of the average that stays at every optimizer step: at 0.99 it remembers some hundred steps."""


Knowledge = Annotated[Online | Cached | Ensemble | Endpoint | MovingAverage, Field(discriminator="kind")]


def check_knowledge(knowledge: Knowledge, loss: Loss, temperature: float | Moves) -> None:
    """Refuse what no loss could use, before anything is captured.

    Args:
        knowledge: The section.
        loss: Of the training.
        temperature: Of the training loss.

    Raises:
        ValueError: If targets are asked for at a temperature they cannot have, or for a loss that needs more of the
            distribution than they hold, or an ensemble of ones that cannot be mixed.
    """
    match knowledge:
        case Cached(targets=TopKTargets() | SampledTargets() as targets):
            _check_stored(f"{targets.kind} targets", loss)
            _check_temperature(targets, temperature)
        case Endpoint():
            _check_stored("an endpoint's likeliest tokens", loss)
            if temperature != 1:
                raise ValueError(
                    f"an endpoint gives log-probabilities at temperature 1 whatever it is asked, but the loss has "
                    f"temperature {_shown(temperature)}; set it to 1, or take a local teacher"
                )
        case Ensemble(own=own, members=members):
            for each in (own, *(member.knowledge for member in members)):
                if isinstance(each, Cached) and not isinstance(each.targets, FullTargets):
                    raise ValueError(
                        f"an ensemble mixes whole distributions, and a cache of {each.targets.kind} targets does not "
                        "hold them; set targets.kind to full, or kind to online"
                    )


def check_domains(knowledge: Knowledge, sets: Sequence[str]) -> None:
    """Refuse teachers by domain that leave a data set untaught, or that serve one which is not there.

    Args:
        knowledge: The section.
        sets: Names of all data sets.

    Raises:
        ValueError: Naming the set.
    """
    if not isinstance(knowledge, Ensemble):
        return
    members = {f"knowledge.members.{number}.serves": each.serves for number, each in enumerate(knowledge.members)}
    if not isinstance(knowledge.weighting, ByDomain):
        for name, serves in members.items():
            if serves:
                raise ValueError(
                    f"{name} names {', '.join(serves)}, but knowledge.weighting is {knowledge.weighting.kind}, in "
                    "which every teacher teaches every set; set knowledge.weighting.kind to by_domain, or leave serves "
                    "out"
                )
        return
    served = {"knowledge.weighting.own": knowledge.weighting.own, **members}
    known = ", ".join(sets)
    for name, serves in served.items():
        if not serves and name in members:
            raise ValueError(f"{name} is empty, so that teacher teaches nothing; name some of {known}, or leave it out")
        for each in serves:
            if each not in sets:
                raise ValueError(f"{name} names {each}, which is none of the data sets; they are {known}")
    if not knowledge.weighting.own and (isinstance(knowledge.own, Cached) or knowledge.weight != 1):
        raise ValueError(
            "knowledge.weighting.own names no set, so the recipe's own teacher teaches nothing, and knowledge.own and "
            "knowledge.weight would change nothing; name a set there, or leave both out"
        )
    for each in sets:
        if not any(each in serves for serves in served.values()):
            raise ValueError(
                f"no teacher serves the data set {each}; name it in knowledge.weighting.own or in the serves of a "
                "member, or take it out of data.sets"
            )


def check_features(knowledge: Knowledge, features: LowRankFeatures) -> None:
    """Refuse hidden states of what has none.

    Raises:
        ValueError: If an ensemble, an endpoint or the student's own average is asked, or a cache is to hold layers
            that are not named.
    """
    match knowledge:
        case Ensemble() | Endpoint() | MovingAverage():
            raise ValueError(
                f"distillation.features compares hidden states, and knowledge of kind {knowledge.kind} has none; take "
                "one teacher, online or cached, or leave features out"
            )
        case Cached() if features.layers == "auto":
            raise ValueError(
                "distillation.features.layers is auto, but a cache must know before which layers it keeps; name them, "
                "student layer to teacher layer, or set knowledge.kind to online"
            )


def check_on_policy(knowledge: Knowledge, max_new_tokens: int, sequence_length: int) -> None:
    """Refuse a teacher that cannot be asked about text that nobody has written yet, and continuations without room.

    Args:
        knowledge: The section.
        max_new_tokens: Of the student's own continuations.
        sequence_length: Tokens in a row, of which a prompt takes one at least.

    Raises:
        ValueError: If so.
    """
    asked = (knowledge.own, *(each.knowledge for each in knowledge.members)) if isinstance(knowledge, Ensemble) else ()
    if any(isinstance(each, Cached) for each in (knowledge, *asked)):
        raise ValueError(
            "distillation.on_policy trains on what the student writes, and a cache knows the texts of the data alone; "
            "set kind to online wherever knowledge says cached, or leave on_policy out"
        )
    if isinstance(knowledge, MovingAverage):
        raise ValueError(
            "distillation.on_policy lets the teacher alone judge what the student writes, and knowledge is the "
            "student's own moving average, which knows no better; set knowledge.kind to online, or leave on_policy out"
        )
    if max_new_tokens >= sequence_length:
        raise ValueError(
            f"distillation.on_policy.max_new_tokens is {max_new_tokens}, and a row of data.sequence_length "
            f"{sequence_length} holds prompt and continuation; ask for {sequence_length - 1} or fewer"
        )


def check_unasked(knowledge: Knowledge) -> None:
    """Refuse teachers and caches that are named and never asked; whoever gives the text no teacher, names none.

    Raises:
        ValueError: If so.
    """
    if isinstance(knowledge, Cached | Ensemble | Endpoint):
        named = {"cached": "a cache", "ensemble": "the teachers of an ensemble", "endpoint": "a server"}[knowledge.kind]
        raise ValueError(
            f"knowledge.kind is {knowledge.kind}, and distillation.alpha is 0, so that {named} would never be asked; "
            "set alpha above 0, or leave knowledge out"
        )


def check_moving_average(
    knowledge: MovingAverage,
    alpha: float | Moves,
    temperature: float | Moves,
    processes: int,
    *,
    has_lora: bool,
) -> None:
    """Refuse a student that would learn from itself alone or not at all, or whose average is in no one place.

    Args:
        knowledge: The section.
        alpha: The teacher's share of the loss.
        temperature: Of the teacher's term.
        processes: That the training is spread over.
        has_lora: Whether adapters are trained in the place of weights.

    Raises:
        ValueError: If so.
    """
    shares = {alpha.start, alpha.end} if isinstance(alpha, Moving) else {alpha}
    if shares == {1.0}:
        raise ValueError(
            "knowledge is the student's own moving average, which at the first step is the student itself, and "
            "distillation.alpha gives the text no share; set alpha below 1"
        )
    if shares == {0.0}:
        raise ValueError(
            "knowledge is the student's own moving average, and distillation.alpha is 0, so that it is never asked; "
            "set alpha above 0, or leave knowledge out"
        )
    for name, value in (("alpha", alpha), ("temperature", temperature)):
        if isinstance(value, Following):
            raise ValueError(
                f"distillation.{name} moves as the student comes to agree with its teacher, and with its own moving "
                f"average it agrees from the first step; give {name} a number, or let it move by the step (shape "
                "linear or cosine)"
            )
    if knowledge.decay == 0:
        raise ValueError(
            "knowledge.decay is 0, so that the average is the student as it is, from which it learns nothing; set it "
            "above 0"
        )
    if processes > 1 or has_lora:
        seen = f"compute.processes is {processes}" if processes > 1 else "compute.lora is set"
        raise ValueError(
            f"{seen}, and a moving average is kept of whole weights in one process; leave that out, or set "
            "knowledge.kind to online"
        )


def _check_stored(what: str, loss: Loss) -> None:
    if not isinstance(loss, ForwardKl):
        raise ValueError(
            f"distillation.loss is {loss.kind}, which needs the whole distribution, and {what} are a part of it, which "
            "forward_kl alone can use; set loss.kind to forward_kl, or targets.kind to full, or kind to online"
        )


def _check_temperature(targets: TopKTargets | SampledTargets, temperature: float | Moves) -> None:
    if isinstance(targets, SampledTargets) and temperature != 1:
        raise ValueError(
            f"sampled targets are drawn at temperature 1 and cannot be softened afterwards, but the loss has "
            f"temperature {_shown(temperature)}; set it to 1, or knowledge.targets.kind to top_k or full"
        )
    if isinstance(temperature, Moves):
        raise ValueError(
            f"top_k targets are stored at one temperature, but the loss's moves, {_shown(temperature)}; give it one "
            "number, or set knowledge.targets.kind to full"
        )


def _shown(temperature: float | Moves) -> str:
    if isinstance(temperature, Moves):
        return f"from {temperature.start:g} to {temperature.end:g}"
    return f"{temperature:g}"
