"""What a training reads of its teachers besides the recipe's own: stored answers, and the others of an ensemble."""

from flows.settings import SettingsOfStages
from flows.work import Work
from stillhouse.recipe.features import LowRankFeatures
from stillhouse.recipe.knowledge import Cached, Endpoint, Ensemble, MovingAverage, Online
from stillhouse.store.artifact import Reference
from stillhouse.teachers.cache.assemble import shard_input
from stillhouse.teachers.cache.plan import plan_capture
from stillhouse.training.features import teacher_layers_of
from tasks.assemble_cache import assemble_cache
from tasks.capture_shard import capture_shard
from tasks.fetch import load_teacher
from tasks.list_samples import list_samples

References = dict[str, Reference]


def gather_knowledge(
    settings: SettingsOfStages,
    work: Work,
    teacher: Reference,
    dataset: Reference,
    *,
    student_before: Reference | None = None,
) -> References:
    """Make what `open_teacher` reads: `cache`, and `teacher_1`, `cache_1` and so on of an ensemble.

    Args:
        settings: Of every stage.
        work: Runs them.
        teacher: The first, or only, teacher.
        dataset: What it is asked about.
        student_before: The other teacher, where a round of a continual route makes an ensemble with it.
    """
    match settings.recipe.knowledge:
        case Cached() as cached:
            return {"cache": _capture(settings, work, cached, teacher, dataset)}
        case Ensemble(own=own, members=members):
            found = {"cache": _capture(settings, work, own, teacher, dataset)} if isinstance(own, Cached) else {}
            if student_before is not None:
                return found | {"teacher_1": student_before}
            for number, (member, told) in enumerate(zip(members, settings.members, strict=True), start=1):
                other = work.make(load_teacher, told, {})
                found[f"teacher_{number}"] = other
                if isinstance(member.knowledge, Cached):
                    found[f"cache_{number}"] = _capture(settings, work, member.knowledge, other, dataset)
            return found
        case Online() | Endpoint() | MovingAverage():
            return {}


def _capture(
    settings: SettingsOfStages, work: Work, cached: Cached, teacher: Reference, dataset: Reference
) -> Reference:
    """Let a teacher read the training split once, shard by shard, each of which the store keeps."""
    asked = settings.recipe.distillation.temperature
    plan = plan_capture(
        cached,
        compute=settings.compute,
        # Only whole distributions serve a temperature that moves, and they are stored at 1.
        temperature=asked if isinstance(asked, float) else 1.0,
        sequence_length=settings.recipe.data.sequence_length,
        train_tokens=settings.recipe.data.train_tokens,
        hidden_layers=_hidden_layers(settings.recipe.distillation.features),
    )
    listing = work.make(list_samples, plan.listing, {"dataset": dataset})
    read = {"teacher": teacher, "dataset": dataset, "listing": listing}
    shards = {shard_input(each.shard): work.make(capture_shard, each, read) for each in plan.shards}
    return work.make(assemble_cache, plan.assemble, {"teacher": teacher, **shards})


def _hidden_layers(features: LowRankFeatures | None) -> tuple[int, ...]:
    """Of the teacher, which the cache keeps; the recipe refuses a cache where they are not named."""
    return teacher_layers_of(features.layers) if features is not None and features.layers != "auto" else ()
