"""The stage that brings a variant of a finished package into the house, to be measured by its own bytes."""

import json
import shutil
from pathlib import Path

from stillhouse.errors import InputError
from stillhouse.recipe.settings import Settings
from stillhouse.recipe.source import Source
from stillhouse.store.artifact import FACTS, Inputs, digest_of, hash_files


class AdoptSettings(Settings):
    """Which variant."""

    source: Source
    """Its folder, and the digest of the files that the package's manifest names in it."""


def adopt_variant(settings: AdoptSettings, inputs: Inputs, folder: Path) -> None:
    """Copy the variant's files, byte for byte: the package is its owner's, and the store makes read-only what it holds.

    Raises:
        InputError: If the folder is gone, or its files are no longer those that were asked for.
    """
    source = settings.source
    if not source.path.is_dir():
        raise InputError(f"{source.name} is not there any more: {source.path} is no folder; give the package again")
    shutil.copytree(source.path, folder, dirs_exist_ok=True, copy_function=shutil.copyfile)
    if digest_of(hash_files(folder)) != source.digest:
        raise InputError(
            f"{source.name} changed while it was read: {source.path} holds other files than its package's manifest "
            "named; give the package again"
        )
    (folder / FACTS).write_text(json.dumps({"source": source.name, "digest": source.digest}) + "\n", encoding="utf-8")
