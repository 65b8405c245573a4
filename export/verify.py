"""What a serving team asks first: is this package what it says it is? Needs neither torch nor transformers."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stillhouse import machine
from stillhouse.errors import InputError
from stillhouse.serving.decoder import Decoder
from stillhouse.store.artifact import FACTS, MANIFEST, Manifest, find_damage, read_manifest

_KIND = "build_package"
_SMOKE = "smoke.json"


def verify(package: Path, digest: str | None = None) -> list[str]:
    """Compare every checksum, open each ONNX variant, and ask it the smoke prompts.

    A package alone shows that it is whole, and not whose it is: who changes a file can write its checksum anew. That
    takes the digest of the run that made it, by another way.

    Args:
        package: Its folder.
        digest: SHA-256 over its files, or its first 12 letters or more, as the run's `results.json` and page say.

    Returns:
        What differs, a line each that names the file; nothing if the package is what it says.

    Raises:
        InputError: If the folder is no package at all.
    """
    # A variant with a wrong file is not opened: what it would answer proves nothing.
    if differences := find_differences(package):
        return differences
    manifest = read_manifest(package)
    if digest is not None and not manifest.digest.startswith(digest.lower()):
        return [f"the package's digest is {manifest.digest}, not {digest}: it is another package"]
    return list(_ask_variants(package, manifest))


def find_differences(package: Path) -> list[str]:
    """Compare every file with its checksum, and open nothing.

    Raises:
        InputError: If there is no such folder.
    """
    if not package.is_dir():
        raise InputError(f"no package at {package}: it is not a folder; a run leaves its package in package/")
    if not (package / MANIFEST).is_file():
        return [f"{MANIFEST} is missing: {package} is no package, or lost the file that says what belongs to it"]
    try:
        manifest = read_manifest(package)
    except ValueError as error:
        return [f"{MANIFEST} cannot be read: {error}"]
    if manifest.kind != _KIND:
        return [f"{MANIFEST} is that of a {manifest.kind} artifact: {package} is no package"]
    damage = list(_no_files(package)) + find_damage(package, manifest)
    return damage or _other_facts(package, manifest)


def _no_files(package: Path) -> Iterator[str]:
    """What is neither a file nor a folder, of which no checksum tells anything."""
    for path in package.rglob("*"):
        if path.is_symlink():
            yield f"{path.relative_to(package)} is a symbolic link"
        elif not path.is_file() and not path.is_dir():
            yield f"{path.relative_to(package)} is no file"


def _other_facts(package: Path, manifest: Manifest) -> list[str]:
    """The manifest repeats `facts.json`, whose checksum it holds; an edited copy could hide a variant."""
    facts = json.loads((package / FACTS).read_text(encoding="utf-8"))
    return [] if facts == manifest.facts else [f"{MANIFEST} says other facts than {FACTS}"]


def _ask_variants(package: Path, manifest: Manifest) -> Iterator[str]:
    smoke = json.loads((package / _SMOKE).read_text(encoding="utf-8"))
    for name, variant in manifest.facts["variants"].items():
        if "stillhouse" in variant["loaders"]:
            yield from _ask(package / variant["folder"], name, smoke)


def _ask(folder: Path, name: str, smoke: dict[str, Any]) -> Iterator[str]:
    model = f"{folder.parent.name}/{name}/model.onnx"
    try:
        decoder = Decoder.open(folder, threads=machine.usable_cores())
    except Exception as error:
        yield f"{model} does not open: {error}"
        return
    for prompt in smoke["prompts"]:
        try:
            ids = decoder.encode(prompt["text"])
            found = decoder.generate(ids, max_new_tokens=smoke["new_tokens"])
        except Exception as error:
            # Errors of ONNX Runtime have no class of Python's above them.
            yield f"{model} opens, and does not answer {prompt['text']!r}: {type(error).__name__}: {error}"
            return
        if ids != prompt["ids"]:
            yield f"{folder.parent.name}/{name}/tokenizer.json encodes {prompt['text']!r} as {ids}, not {prompt['ids']}"
            continue
        expected = prompt["tokens"][name]
        if found != expected:
            yield f"{model} answers {prompt['text']!r} with tokens {found}, not {expected}"
