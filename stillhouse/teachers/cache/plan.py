"""A capture as a list of stages with their settings: known before anything is made."""

from dataclasses import dataclass

from stillhouse.recipe.compute import Compute
from stillhouse.recipe.knowledge import Cached, FullTargets
from stillhouse.teachers.cache.assemble import AssembleSettings
from stillhouse.teachers.cache.capture import CaptureSettings
from stillhouse.teachers.cache.listing import ListSamplesSettings


@dataclass(frozen=True)
class CapturePlan:
    """Settings of `list_samples`, of every `capture_shard`, and of `assemble_cache`."""

    listing: ListSamplesSettings
    shards: tuple[CaptureSettings, ...]
    assemble: AssembleSettings


def plan_capture(
    cached: Cached,
    *,
    compute: Compute,
    temperature: float,
    sequence_length: int,
    train_tokens: int,
    hidden_layers: tuple[int, ...] = (),
) -> CapturePlan:
    """Plan a capture of the training split.

    Args:
        cached: The recipe's section.
        compute: Where the teacher runs. Its seed is left out: another seed of training keeps the cache.
        temperature: Of the training loss; left out too where whole distributions are stored.
        sequence_length: Tokens in a packed row.
        train_tokens: The recipe's budget, which says how many shards there are before the data is there.
        hidden_layers: Whose hidden states are kept.
    """
    listing = ListSamplesSettings()
    kept_at = 1.0 if isinstance(cached.targets, FullTargets) else temperature
    num_shards = max(1, -(-train_tokens // cached.shard_tokens))
    shards = tuple(
        CaptureSettings(
            cached=cached,
            temperature=kept_at,
            sequence_length=sequence_length,
            compute=compute.model_copy(update={"seed": 0}),
            listing=listing,
            hidden_layers=hidden_layers,
            shard=shard,
            num_shards=num_shards,
        )
        for shard in range(num_shards)
    )
    assemble = AssembleSettings(
        cached=cached, temperature=kept_at, precision=compute.precision, hidden_layers=hidden_layers
    )
    return CapturePlan(listing, shards, assemble)
