"""The stage that brings a variant of a finished package into the house, to be measured by its own bytes."""

import json
import shutil
from pathlib import Path

from stillhouse.errors import InputError
from stillhouse.recipe.settings import Settings
from stillhouse.recipe.source import Source
from stillhouse.store.artifact import FACTS, Inputs


class AdoptSettings(Settings):
    """Which variant."""

    source: Source
    """Its folder, and the digest of the files that the package's manifest names in it."""


def adopt_variant(settings: AdoptSettings, inputs: Inputs, folder: Path) -> None:
    """Copy the variant's files, byte for byte: the package is its owner's, and the store makes read-only what it holds.

    Raises:
        InputError: If the folder is gone.
    """
    source = settings.source
    if not source.path.is_dir():
        raise InputError(f"{source.name} is not there any more: {source.path} is no folder; give the package again")
    shutil.copytree(source.path, folder, dirs_exist_ok=True, copy_function=shutil.copyfile)
    (folder / FACTS).write_text(json.dumps({"source": source.name, "digest": source.digest}) + "\n", encoding="utf-8")
