"""What a cache is a cache of: everything that must agree before a run may learn from it."""

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from stillhouse.errors import InputError
from stillhouse.models.load import is_quantized
from stillhouse.models.tokenizer import open_tokenizer, tokenizer_digest
from stillhouse.recipe.compute import Precision
from stillhouse.recipe.knowledge import Cached, FullTargets, SampledTargets
from stillhouse.store.artifact import FACTS, MANIFEST, FileRecord, digest_of, hash_file, read_manifest
from stillhouse.teachers.vocabulary import true_vocabulary_size

FORMAT = 1
"""Rises when a cache that is written today could not be read as one of yesterday."""
POSITIONS = "record of position t: distribution of token t + 1 given tokens 0 to t of its sample; targets only"


@dataclass(frozen=True)
class CacheIdentity:
    """A cache's own account of itself, and a run's account of the cache it needs."""

    format: int
    """Of the files."""
    teacher_digest: str
    """SHA-256 over the teacher's config and weights, as they were read."""
    teacher_dtype: str
    """Precision that it computed in."""
    quantization: str
    """What was done to its weights before: `none`, or a 4-bit teacher passes for a whole one."""
    tokenizer_digest: str
    """SHA-256 of all that decides which ids a text gets."""
    chat_template_digest: str
    """SHA-256 of the template that conversations were rendered with; `none` where there is none."""
    vocabulary_size: int
    """Tokens of the true vocabulary: stored distributions cover these and no padding of the head."""
    targets: dict[str, Any]
    """Kind of targets, and its numbers."""
    temperature: float
    """Of the stored distributions. What is stored whole is stored at 1 and can have any."""
    sampler_seed: int | None
    """Of the draws; `None` where nothing is drawn."""
    position_convention: str
    """Which position a record belongs to."""
    hidden_layers: tuple[int, ...]
    """Whose hidden states are stored, as `Targets.hidden_states` counts them."""


def identity_of(
    teacher: Path, precision: Precision, cached: Cached, temperature: float, hidden_layers: tuple[int, ...] = ()
) -> CacheIdentity:
    """What a cache of this teacher is; the same function says it of a cache that is made and of one that is needed.

    Args:
        teacher: A model folder.
        precision: That the teacher computes in.
        cached: The recipe's section.
        temperature: Of the training loss.
        hidden_layers: Whose hidden states are stored, or needed.

    Raises:
        InputError: If the folder's tokenizer cannot be opened.
    """
    tokenizer = open_tokenizer(teacher)
    kind = cached.targets
    template = tokenizer.chat_template
    return CacheIdentity(
        format=FORMAT,
        teacher_digest=_digest_of_model(teacher),
        teacher_dtype="as stored" if is_quantized(teacher) else precision,
        quantization=_quantization(teacher),
        tokenizer_digest=tokenizer_digest(tokenizer),
        chat_template_digest=hashlib.sha256(str(template).encode()).hexdigest() if template else "none",
        vocabulary_size=true_vocabulary_size(tokenizer),
        targets=kind.model_dump(mode="json", exclude={"seed"}),
        temperature=1.0 if isinstance(kind, FullTargets) else temperature,
        sampler_seed=kind.seed if isinstance(kind, SampledTargets) else None,
        position_convention=POSITIONS,
        hidden_layers=tuple(hidden_layers),
    )


def as_json(identity: CacheIdentity) -> dict[str, Any]:
    """The form that a cache's manifest holds."""
    return asdict(identity) | {"hidden_layers": list(identity.hidden_layers)}


def from_json(content: dict[str, Any], where: Path) -> CacheIdentity:
    """Read an identity back.

    Raises:
        InputError: If a field is missing, or one is there that this version does not know.
    """
    names = {field.name for field in fields(CacheIdentity)}
    if set(content) != names:
        odd = ", ".join(sorted(names ^ set(content)))
        raise InputError(
            f"{where} is not a teacher cache of format {FORMAT}: it lacks or adds {odd}; capture the cache again"
        )
    return CacheIdentity(**content | {"hidden_layers": tuple(content["hidden_layers"])})


def refuse_mismatch(cache: CacheIdentity, run: CacheIdentity, where: Path) -> None:
    """Refuse a cache that is not of what the run distils.

    Args:
        cache: What the cache says of itself.
        run: What the run needs.
        where: The cache's folder.

    Raises:
        InputError: At the first field that differs; it names the field, what the cache has and what the run has.
    """
    for name in (field.name for field in fields(CacheIdentity)):
        has, needs = getattr(cache, name), getattr(run, name)
        # More layers than are needed do no harm.
        if name == "hidden_layers" and set(needs) <= set(has):
            continue
        if has != needs:
            raise InputError(
                f"the teacher cache {where.name[:12]} does not fit this run: {name} is {_shown(has)} in the cache and "
                f"{_shown(needs)} in the run; {_REMEDIES.get(name, _CAPTURE_AGAIN)}"
            )


_CAPTURE_AGAIN = "capture the cache again with this run's settings, or run with those of the cache"
_REMEDIES = {
    "teacher_digest": "it was captured from another teacher: name that one, or capture the cache again",
    "quantization": "it was captured from another form of the teacher: name that one, or capture the cache again",
    "temperature": "stored targets cannot be softened afterwards: set distillation.temperature to the cache's, or "
    "capture the cache again",
    "tokenizer_digest": "its ids mean other tokens: take the teacher that it was captured from, or capture it again",
    "chat_template_digest": "conversations were rendered in another way: restore that template, or capture it again",
}


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {value[key]}" for key in sorted(value, reverse=True))
    return repr(value[:12] if isinstance(value, str) and len(value) == 64 else value)


def _digest_of_model(folder: Path) -> str:
    """SHA-256 over the files that make a model what it is; of an artifact, the store has hashed them already."""
    if (folder / MANIFEST).is_file():
        files = {path: record for path, record in read_manifest(folder).files.items() if _decides(path)}
    else:
        paths = sorted(path for path in folder.iterdir() if path.is_file() and _decides(path.name))
        files = {path.name: FileRecord(hash_file(path), path.stat().st_size) for path in paths}
    return digest_of(files)


def _decides(path: str) -> bool:
    return path == "config.json" or path.endswith((".safetensors", ".py"))


def _quantization(folder: Path) -> str:
    if (folder / FACTS).is_file():
        said = json.loads((folder / FACTS).read_text(encoding="utf-8")).get("quantization")
        if said is not None:
            return str(said)
    if not is_quantized(folder):
        return "none"
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))["quantization_config"]
    return str(config.get("quant_method", "unnamed"))
