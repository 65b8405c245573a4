"""What a student with a tokenizer of its own can learn from its teacher, and what it cannot."""

from stillhouse.recipe.data import Data
from stillhouse.recipe.distillation import Distillation
from stillhouse.recipe.knowledge import Knowledge, MovingAverage, Online
from stillhouse.recipe.losses import Moves, UniversalLogitDistance
from stillhouse.recipe.reasoning import Reasoning
from stillhouse.recipe.route import Direct, Route
from stillhouse.recipe.student import Student, has_own_tokenizer

WAYS = (
    "set student.tokenizer to own and distillation.loss.kind to universal_logit_distance, or distillation.alpha to 0, "
    "with which it learns texts and the teacher's written answers"
)
"""What a student with another tokenizer may still learn, for the refusals of one."""


def check_tokenizers(student: Student, distillation: Distillation, knowledge: Knowledge, route: Route) -> None:
    """Refuse what compares the ids of two tokenizers, and a loss across tokenizers where there is one alone.

    Args:
        student: The section.
        distillation: The section.
        knowledge: The section.
        route: The section.

    Raises:
        ValueError: Naming what was asked, and what can be.
    """
    crosses = isinstance(distillation.loss, UniversalLogitDistance)
    if not has_own_tokenizer(student):
        if crosses:
            raise ValueError(
                "distillation.loss is universal_logit_distance, which compares two tokenizers, and the student has the "
                "teacher's; take forward_kl, or a student of kind fresh or model with a tokenizer of its own"
            )
        return
    own = "the student has a tokenizer of its own"
    if not isinstance(route, Direct):
        raise ValueError(f"{own}, and on a {route.kind} route students teach the next one; leave route out")
    if distillation.on_policy is not None:
        raise ValueError(
            f"{own}, and distillation.on_policy lets the teacher judge each token that the student wrote, which are "
            "none of its own; leave on_policy out"
        )
    if distillation.features is not None:
        raise ValueError(f"{own}, so its hidden states are of other positions than the teacher's; leave features out")
    if distillation.follows_agreement:
        raise ValueError(
            f"{own}, so there is no token at which it agrees with the teacher; give alpha and temperature a number, or "
            "let them move by the step (shape linear or cosine)"
        )
    if isinstance(knowledge, MovingAverage):
        if crosses:
            raise ValueError(
                "the student's own moving average has its tokenizer; take forward_kl, or set knowledge.kind to online"
            )
        return
    if not distillation.asks_teacher:
        return
    if not crosses:
        raise ValueError(
            f"{own}, and distillation.loss is {distillation.loss.kind}, which compares distributions over one "
            "vocabulary; set loss.kind to universal_logit_distance, or alpha to 0 to learn the text alone, the "
            "teacher's answers in it"
        )
    if not isinstance(knowledge, Online):
        raise ValueError(
            f"{own}, and knowledge.kind is {knowledge.kind}, which stores or mixes what is said of one tokenizer's "
            "tokens; set it to online"
        )
    _leave_the_text_a_share(distillation)


def check_data(student: Student, distillation: Distillation, data: Data) -> None:
    """Refuse what weighs tokens, which a loss across tokenizers would not see.

    Raises:
        ValueError: If a set has such tasks, or the teacher's responses weigh unlike.
    """
    if not (has_own_tokenizer(student) and isinstance(distillation.loss, UniversalLogitDistance)):
        return
    if any(isinstance(each, Reasoning) for each in data.sets):
        raise ValueError(
            "data.sets holds reasoning, whose tasks weigh each token, and universal_logit_distance counts all alike; "
            "leave that set out, or leave distillation.loss out and set alpha to 0"
        )
    if data.answers.sampled is not None and data.answers.sampled.weigh != "alike":
        raise ValueError(
            f"data.answers.sampled.weigh is {data.answers.sampled.weigh}, and universal_logit_distance counts all "
            "tokens alike; set it to alike, or leave distillation.loss out and set alpha to 0"
        )


def _leave_the_text_a_share(distillation: Distillation) -> None:
    alpha = distillation.alpha
    # Not a bound of the numbers: a student that hears the shape of predictions alone learns no word of any of them.
    if alpha == 1 or (isinstance(alpha, Moves) and alpha.start == alpha.end == 1):
        raise ValueError(
            "universal_logit_distance does not say which token is meant, and distillation.alpha leaves the text no "
            "share; set alpha below 1"
        )
