"""The section `data.answers.sampled`: several responses to each prompt, which are kept, and what each counts."""

from typing import Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from stillhouse.recipe.settings import Settings

Weigh = Literal["alike", "by_prompt", "by_agreement", "by_entropy"]


class Keep(Settings):
    """Which of a prompt's responses are trained on, in the order in which the filters stand here."""

    ended: bool = False
    """Only those that the teacher ended itself, before they were cut at `max_new_tokens`."""
    verified: bool = False
    """Where a prompt has a verifier (the packaged set `reasoning-gym`, or `tests` of its own), only those that it is
    wholly content with."""
    tokens_at_least: PositiveInt | None = None
    """Only those of so many tokens or more, the one that ends the turn included."""
    tokens_at_most: PositiveInt | None = None
    """Only those of so many tokens or fewer."""
    token_entropy_nats_at_most: PositiveFloat | None = None
    """Only those that the teacher was as sure of: a response's mean, over its tokens, of the entropy in nats of the
    teacher's distribution at temperature 1."""
    distinct_2_at_least: float | None = Field(default=None, gt=0, le=1)
    """Only those that repeat themselves no more: different pairs of a response's tokens over all of its pairs."""
    distinct: bool = False
    """Of those that say the same, case and white space aside, the first."""
    most_agreed: PositiveInt | None = None
    """At most so many, and those that agree most with all of the prompt's responses."""

    @model_validator(mode="after")
    def _has_lengths_to_keep(self) -> Self:
        least, most = self.tokens_at_least, self.tokens_at_most
        if least is not None and most is not None and least > most:
            raise ValueError(
                f"tokens_at_least is {least} and tokens_at_most is {most}, and no response is both; take at least "
                f"{most} or fewer"
            )
        return self


class Sampled(Settings):
    """Training prompts are answered several times, by sampling; what is measured on is answered once and greedily."""

    samples: PositiveInt = 4
    """Responses to each prompt."""
    temperature: PositiveFloat = 1.0
    """Of the draws. 1 is the teacher's own distribution."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """The most likely tokens that hold this share are drawn from."""
    keep: Keep = Keep()
    """All of them, where nothing is said."""
    weigh: Weigh = "alike"
    """What the targets of a response count in the loss: `alike`; `by_prompt`, one over the responses that its prompt
    has left; `by_agreement`, how far it agrees with the others of its prompt; or `by_entropy`, exp(-nats) of its mean
    token entropy, one over the tokens that the teacher had in effect to choose from. A set weighs the same in all."""

    @model_validator(mode="after")
    def _has_others_to_agree_with(self) -> Self:
        if self.samples == 1 and (self.keep.most_agreed is not None or self.weigh == "by_agreement"):
            raise ValueError(
                "samples is 1, and agreement is between the responses to one prompt; raise samples, or leave "
                "keep.most_agreed and weigh: by_agreement out"
            )
        if self.keep.most_agreed is not None and self.keep.most_agreed > self.samples:
            raise ValueError(
                f"keep.most_agreed is {self.keep.most_agreed}, but samples is {self.samples}; keep {self.samples} or "
                "fewer"
            )
        return self

    @property
    def chooses(self) -> bool:
        """Whether anything is left out or weighs more than something else."""
        return self.keep != Keep() or self.weigh != "alike"
