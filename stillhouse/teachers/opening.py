"""From the recipe's `knowledge` section to a teacher that answers."""

from pathlib import Path

from stillhouse.errors import InputError
from stillhouse.models.tokenizer import open_tokenizer, tokenizer_digest
from stillhouse.recipe.compute import Compute
from stillhouse.recipe.knowledge import (
    OTHER_WAYS,
    ByDomain,
    Cached,
    Endpoint,
    Ensemble,
    Knowledge,
    MovingAverage,
    Online,
)
from stillhouse.store.artifact import Inputs
from stillhouse.teachers.cache.identity import identity_of
from stillhouse.teachers.cached import open_cached
from stillhouse.teachers.endpoint import EndpointTeacher
from stillhouse.teachers.ensemble import ensemble
from stillhouse.teachers.local import open_local
from stillhouse.teachers.moving_average import open_moving_average
from stillhouse.teachers.teacher import Teacher
from stillhouse.teachers.vocabulary import true_vocabulary_size


def open_teacher(
    knowledge: Knowledge,
    inputs: Inputs,
    compute: Compute,
    *,
    temperature: float,
    hidden_layers: tuple[int, ...] = (),
) -> Teacher:
    """Open the teacher that a run asks for.

    Args:
        knowledge: How it is asked.
        inputs: `teacher`, a model folder; `cache` where it is cached; `start` where the student is its own. The other
            teachers of an ensemble lie under `teacher_1`, `cache_1` and so on.
        compute: Where a local model runs.
        temperature: Of the training loss; decides which cache fits.
        hidden_layers: Whose hidden states are wanted.

    Raises:
        InputError: If something cannot be opened, does not fit the run, or knows less than is wanted.
    """
    match knowledge:
        case Online() | Cached():
            return _open_one(knowledge, inputs["teacher"], inputs.get("cache"), compute, temperature, hidden_layers)
        case Ensemble():
            _refuse_hidden_layers(hidden_layers, "an ensemble")
            return _open_ensemble(knowledge, inputs, compute, temperature)
        case Endpoint():
            _refuse_hidden_layers(hidden_layers, "an endpoint")
            return EndpointTeacher(knowledge, true_vocabulary_size(open_tokenizer(inputs["teacher"])))
        case MovingAverage(decay=decay):
            _refuse_hidden_layers(hidden_layers, "the student's moving average")
            return open_moving_average(inputs["start"], compute, decay)


def _open_one(
    knowledge: Online | Cached,
    folder: Path,
    cache: Path | None,
    compute: Compute,
    temperature: float,
    hidden_layers: tuple[int, ...] = (),
) -> Teacher:
    if isinstance(knowledge, Online):
        return open_local(folder, compute, hidden_layers)
    assert cache is not None
    return open_cached(cache, identity_of(folder, compute.precision, knowledge, temperature, hidden_layers))


def _open_ensemble(knowledge: Ensemble, inputs: Inputs, compute: Compute, temperature: float) -> Teacher:
    own = tokenizer_digest(open_tokenizer(inputs["teacher"]))
    teachers = [_open_one(knowledge.own, inputs["teacher"], inputs.get("cache"), compute, temperature)]
    for number, member in enumerate(knowledge.members, start=1):
        folder = inputs[f"teacher_{number}"]
        other = tokenizer_digest(open_tokenizer(folder))
        if other != own:
            raise InputError(
                f"{member.teacher.source} has another tokenizer (digest {other[:12]}) than the recipe's teacher "
                f"({own[:12]}), so its probabilities are of other tokens; take teachers of one family, or {OTHER_WAYS}"
            )
        teachers.append(_open_one(member.knowledge, folder, inputs.get(f"cache_{number}"), compute, temperature))
    weights = [knowledge.weight, *(member.weight for member in knowledge.members)]
    own_sets = knowledge.weighting.own if isinstance(knowledge.weighting, ByDomain) else ()
    served = [own_sets, *(member.serves for member in knowledge.members)]
    return ensemble(teachers, weights, knowledge.weighting, served)


def _refuse_hidden_layers(layers: tuple[int, ...], whose: str) -> None:
    if layers:
        raise InputError(
            f"hidden states of layers {', '.join(map(str, layers))} are wanted, and {whose} has none; take one "
            "teacher, online or cached, or drop the loss on hidden states"
        )
