"""The section `data.answers.sampled`: several responses to each prompt, which are kept, and what each counts."""

from typing import Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from stillhouse.recipe.settings import Settings

Weigh = Literal["alike", "by_prompt", "by_agreement"]


class Keep(Settings):
    """Which of a prompt's responses are trained on, in the order in which the filters stand here."""

    ended: bool = False
    """Only those that the teacher ended itself, before they were cut at `max_new_tokens`."""
    verified: bool = False
    """Where a prompt has a verifier (the packaged set `reasoning-gym`), only those that it is wholly content with."""
    distinct: bool = False
    """Of those that say the same, case and white space aside, the first."""
    most_agreed: PositiveInt | None = None
    """At most so many, and those that agree most with all of the prompt's responses."""


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
    has left; or `by_agreement`, how far it agrees with the others of its prompt. A set weighs the same in all three."""

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
