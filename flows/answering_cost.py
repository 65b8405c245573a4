"""What it costs that teachers answer prompts: tokens that they write, and memory while they do."""

from collections.abc import Collection

from stillhouse.models.shape import ModelShape
from stillhouse.recipe.data import PACKAGED_TEXTS, Data, DataSet, HubSet, JsonLines, PackagedSet, names_of
from stillhouse.recipe.reasoning import Reasoning, TeacherTraces


def sets_of_own(data: Data) -> set[str]:
    """Names of the data sets that no other teacher serves."""
    return set(names_of(data.sets)) - _served(data)


def answer_tokens(data: Data, names: Collection[str]) -> int:
    """Tokens that a teacher writes to training prompts, at most; every response is written before any is left out.

    How many prompts a set has is not known before it is read: as many as its limit, or as fill the training text.
    Files and sets of a hub may hold prompts, but do where another teacher serves them, or where responses are sampled
    and no packaged set has any.

    Args:
        data: The section.
        names: Of the data sets that the teacher answers.
    """
    asked = data.answers
    samples = 1 if asked.sampled is None else asked.sampled.samples
    named = zip(names_of(data.sets), data.sets, strict=True)
    sets = {name: each for name, each in named if name in names and not isinstance(each, Reasoning)}
    holding = {name for name, each in sets.items() if _has_packaged_prompts(each)}
    if asked.sampled is not None and not holding:
        holding = {name for name, each in sets.items() if isinstance(each, JsonLines | HubSet)}
    most = max(1, data.train_tokens // (asked.max_new_tokens * samples))
    prompts = sum(sets[name].limit or most for name in holding | (_served(data) & set(sets)))
    return prompts * samples * asked.max_new_tokens + _trace_tokens(data, names)


def _trace_tokens(data: Data, names: Collection[str]) -> int:
    """Tokens of the rationales that the teacher writes, at most."""
    named = zip(names_of(data.sets), data.sets, strict=True)
    sets = [each for name, each in named if name in names and isinstance(each, Reasoning)]
    return sum(
        each.tasks * each.rationales.samples * each.rationales.max_new_tokens
        for each in sets
        if isinstance(each.rationales, TeacherTraces)
    )


def answering_bytes(data: Data, teacher: ModelShape) -> int:
    """What a model and its work hold: weights in fp32, keys and values of a batch, and its logits, twice.

    Prompts are taken to be as long as a row of training text; of a longer one only the end stands before its answer.

    Args:
        data: The section.
        teacher: Shape of the model.
    """
    size = data.answers.batch_size
    tokens = size * min(teacher.context_length, data.sequence_length + data.answers.max_new_tokens)
    kept = 2 * teacher.layers * teacher.hidden_size * tokens
    return 4 * (teacher.parameters + kept + 2 * size * teacher.vocabulary_size)


def _served(data: Data) -> set[str]:
    return {name for other in data.answers.others for name in other.serves}


def _has_packaged_prompts(data_set: DataSet) -> bool:
    return isinstance(data_set, PackagedSet) and data_set.name not in PACKAGED_TEXTS
