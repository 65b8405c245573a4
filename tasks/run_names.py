"""What task runs are called: their stage, and the model or variant that they work on, which tells six of them apart."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from evaluation.report.stage_words import STAGES, made
from export.quantization.bnb import QuantizeBnbSettings
from stillhouse.models.adopted import AdoptSettings
from stillhouse.models.teacher import LoadTeacherSettings
from stillhouse.recipe.settings import Settings
from stillhouse.recipe.source import Source
from stillhouse.store.store import References, Stage, Store


def naming(stage: Stage) -> Callable[..., str]:
    """A namer of a stage's task runs; without it Prefect puts three digits behind the task's name that say nothing."""
    words = STAGES[stage.__name__]

    def name(parameters: dict[str, Any]) -> str:
        subject = _subject(parameters["store"], parameters["settings"], parameters["inputs"])
        return f"{words}: {subject}" if subject else words

    return name


def _subject(store: Store, settings: Settings, inputs: References) -> str:
    """The model or variant that a stage takes, makes or measures; empty where its words tell enough."""
    match settings:
        case AdoptSettings(source=source) | LoadTeacherSettings(source=source):
            return _short(source)
        case QuantizeBnbSettings(kind=kind):
            return kind
    measured = inputs.get("variant") or inputs.get("model")
    if measured is None:
        return ""
    manifest = store.manifest(measured)
    return made(manifest.kind, manifest.settings, manifest.facts)


def _short(source: Source) -> str:
    """A model's name without the folders of this machine."""
    return source.name if source.kind == "hub" else Path(source.name).name
