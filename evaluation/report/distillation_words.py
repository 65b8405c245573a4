"""A recipe's loss and its teacher's knowledge, in sentences."""

from collections.abc import Iterator, Mapping
from typing import Any

from evaluation.report import words

_LOSSES = {
    "forward_kl": "KL(teacher || student)",
    "reverse_kl": "KL(student || teacher)",
    "jensen_shannon": "the Jensen-Shannon divergence with {beta} of the teacher",
    "skewed_forward_kl": "KL from the teacher to a mixture with {skew} of it",
    "skewed_reverse_kl": "KL from the student to a mixture with {skew} of it",
    "total_variation": "total variation",
    "universal_logit_distance": "the distance of both models' probabilities, sorted, over two tokenizers where both "
    "have read the same text",
    "taid": "KL from a target that moves from the student to the teacher, TAID, from {start} on",
}
_TARGETS = {
    "full": "its whole distribution",
    "top_k": "its {k} likeliest tokens and the weight of all others",
    "sampled": "{draws} draws from its distribution",
}

_WEIGHTINGS = {
    "fixed": "by their weights",
    "by_domain": "for each text those of the ones that serve its data set, by their weights",
    "by_confidence": "text by text, by their weights and by how sure each was of the text",
}
_DIFFICULTIES = {
    "teacher_loss": "the teacher's mean loss",
    "start_loss": "the mean loss of the student before its training",
    "length": "length",
}


def loss(settings: Mapping[str, Any]) -> str:
    """What was minimised.

    Args:
        settings: The recipe's `distillation` section.
    """
    asked = settings.get("loss") or {"kind": "forward_kl"}
    divergence = _LOSSES.get(asked["kind"], asked["kind"]).format_map(asked)
    alpha, temperature = settings.get("alpha", 0), settings.get("temperature", 1)
    rest = "the rest" if isinstance(alpha, Mapping) else f"weight {1 - float(alpha):g}"
    return (
        f"The loss is the teacher's distribution with weight {_number(alpha)} ({divergence} at temperature "
        f"{_number(temperature)}, times its square) and the text itself with {rest} (cross-entropy), a mean over the "
        "tokens that count."
    )


def knowledge(settings: Mapping[str, Any], *, is_asked: bool) -> str:
    """How the teacher was asked.

    Args:
        settings: The recipe's `knowledge` section.
        is_asked: Whether it had a share in the training.
    """
    if not is_asked:
        return "No teacher was asked in training: the student learned from the text alone."
    match settings.get("kind", "online"):
        case "cached":
            targets = settings.get("targets") or {"kind": "sampled", "draws": 50}
            kept = _TARGETS.get(targets["kind"], targets["kind"]).format_map(targets)
            return f"The teacher read every training text once, before training, and {kept} were kept."
        case "ensemble":
            kind = (settings.get("weighting") or {"kind": "fixed"})["kind"]
            number = 1 + len(settings.get("members", ()))
            return f"The distributions of {number} teachers were mixed, {_WEIGHTINGS.get(kind, kind)}."
        case "endpoint":
            return f"The teacher answered over HTTP, as {settings.get('model')}, with its likeliest tokens."
        case "moving_average":
            decay = float(settings.get("decay", 0.99))
            return (
                "The student taught itself: the teacher in the loss is the average of the student's own weights over "
                f"the steps before, of which {decay:g} stays at each step. The recipe's teacher was only compared with."
            )
    return "The teacher read every training text beside the student."


def route(settings: Mapping[str, Any], *, is_asked: bool) -> Iterator[str]:
    """By which students the student was reached; nothing where the teacher taught it itself.

    Args:
        settings: The recipe's `route` section.
        is_asked: Whether a teacher had a share in the training.
    """
    match settings.get("kind", "direct"):
        case "progressive":
            through = (
                f"The student was reached through {len(settings['through'])} larger: each was cut from the one before"
            )
            yield (
                f"{through} and taught by it, the first by the teacher. What is said here of the teacher in training "
                "is true of the one before; all are compared with the teacher itself."
                if is_asked
                else f"{through}, and trained before the next was cut. All are compared with the teacher."
            )
        case "born_again":
            first = (
                "the first by nobody: it learned from the text alone"
                if settings.get("first") == "text"
                else "the first by the teacher"
            )
            yield (
                f"This is generation {settings.get('generations', 2)}: each generation began as the first one did and "
                f"was taught by the one before, {first}. What is said here of the teacher in training is true of the "
                "one before; all are compared with the teacher itself."
            )
        case "continual":
            yield _rounds(settings, is_asked=is_asked)


def _rounds(settings: Mapping[str, Any], *, is_asked: bool) -> str:
    """In which rounds the domains came, and what kept the earlier ones."""
    came = "; then ".join(words.listed(told["sets"]) for told in settings["rounds"])
    share = float(settings.get("replay", 0.25))
    seen = f"{share:.0%} of the training documents of every earlier round were seen again" if share else ""
    taught = {
        "none": "",
        "replayed": "on those the student of the round before taught in the place of the teacher",
        "everywhere": (
            "the student of the round before taught beside the teacher on all text, with weight "
            f"{float(settings.get('previous_weight', 1.0)):g} to the teacher's 1"
        ),
    }[settings.get("previous_student", "replayed") if is_asked else "none"]
    kept = ", and ".join(filter(None, (seen, taught)))
    kept = f"In each later round {kept}." if kept else "Nothing kept the earlier ones: this is naive fine-tuning."
    return f"The student was trained round by round, going on from where it was: {came}. {kept}"


def on_policy(settings: Mapping[str, Any]) -> Iterator[str]:
    """Which text the student wrote itself; nothing where it wrote none.

    Args:
        settings: The recipe's `distillation` section.
    """
    if asked := settings.get("on_policy"):
        yield (
            f"At {float(asked['share']):.0%} of the steps, drawn from the seed, the student went on with the texts "
            f"itself, by up to {asked['max_new_tokens']} tokens at temperature {float(asked['temperature']):g}, and "
            "learned the teacher's distribution over what it had written, with weight 1."
        )


def curriculum(settings: Mapping[str, Any]) -> Iterator[str]:
    """In which order the texts came, and which were left out; nothing where they were shuffled, all of them.

    Args:
        settings: The recipe's `curriculum` section.
    """
    order = settings.get("order") or {"kind": "easy_first"} if settings else {"kind": "shuffled"}
    hard = _DIFFICULTIES[settings.get("difficulty", "teacher_loss")]
    match order["kind"]:
        case "easy_first":
            yield f"Each pass took its rows from easy to hard, by {hard}."
        case "hard_first":
            yield f"Each pass took its rows from hard to easy, by {hard}."
        case "growing_pool":
            yield (
                f"Each step drew from the easiest rows, by {hard}: {float(order.get('start_share', 0.1)):.0%} of them "
                f"at first, all after {float(order.get('full_at', 0.5)):.0%} of the steps."
            )
    if out := settings.get("leave_out"):
        share, above = out.get("worst_share"), out.get("above")
        which = f"the worst {float(share):.0%}" if share is not None else f"those above {above:g} nats a target"
        yield f"Of the training texts {which} by the teacher's {out.get('measure', 'loss')} were left out."


def _number(asked: Any) -> str:
    if isinstance(asked, Mapping) and asked.get("shape") == "agreement":
        return (
            f"{asked['start']:g} moving to {asked['end']:g} (as the share of tokens at which the student finds the "
            f"same one likeliest as the teacher rises to {asked['enough']:g})"
        )
    if isinstance(asked, Mapping):
        return f"{asked['start']:g} moving to {asked['end']:g} ({asked.get('shape', 'linear')})"
    return f"{float(asked):g}"
