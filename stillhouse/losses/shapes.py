"""What the tensors of a loss must look like, said before any arithmetic."""

from torch import Tensor


def check_labels(logits: Tensor, labels: Tensor, whose: str = "student") -> None:
    """One label for each position of the logits.

    Raises:
        ValueError: If there is not.
    """
    if labels.shape != logits.shape[:-1]:
        raise ValueError(
            f"the labels must have the shape of the {whose} logits without the vocabulary, {tuple(logits.shape[:-1])}, "
            f"got {tuple(labels.shape)}; labels[b, t] is the token that logits[b, t] predicts"
        )


def check_one_vocabulary(student_logits: Tensor, teacher_logits: Tensor) -> None:
    """The same positions over the same vocabulary.

    Raises:
        ValueError: If the two shapes differ.
    """
    if student_logits.shape != teacher_logits.shape:
        raise ValueError(
            f"student and teacher logits must have one shape, got {tuple(student_logits.shape)} and "
            f"{tuple(teacher_logits.shape)}; cut padded vocabularies to the tokenizer's, and for two tokenizers take "
            "universal_logit_distance"
        )


def check_temperature(temperature: float) -> None:
    """A positive temperature.

    Raises:
        ValueError: If it is not.
    """
    if not temperature > 0:
        raise ValueError(f"the temperature must be positive, got {temperature}; 1 leaves the distributions as they are")


def check_share(name: str, share: float) -> None:
    """A share between 0 and 1.

    Raises:
        ValueError: If it is not.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"{name} must be between 0 and 1, got {share}")


def check_stored(ids: Tensor, values: Tensor, labels: Tensor) -> None:
    """Stored targets: K ids and K values at every position.

    Raises:
        ValueError: If shapes do not fit each other or the labels.
    """
    if ids.shape != values.shape or ids.shape[:-1] != labels.shape:
        raise ValueError(
            f"stored ids and their values must both have the shape of the labels, {tuple(labels.shape)}, and one more "
            f"axis, got {tuple(ids.shape)} and {tuple(values.shape)}"
        )


def check_ids(ids: Tensor, vocabulary: int) -> None:
    """Ids that the student's vocabulary has.

    Raises:
        ValueError: If one is outside of it.
    """
    if ids.numel() and (ids.min() < 0 or ids.max() >= vocabulary):
        raise ValueError(
            f"stored ids must lie in the student's vocabulary of {vocabulary}, got {int(ids.min())} to "
            f"{int(ids.max())}; they belong to another tokenizer"
        )
