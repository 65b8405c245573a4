"""What `stillhouse evaluate` can be given, and what of it is scored."""

from pathlib import Path

from export.verify import find_differences
from flows.finished_run import is_run
from flows.preflight import find_model
from stillhouse.errors import InputError
from stillhouse.models.adopted import AdoptSettings
from stillhouse.models.teacher import LoadTeacherSettings
from stillhouse.recipe.source import Source
from stillhouse.recipe.teacher import Teacher
from stillhouse.store.artifact import MANIFEST, digest_of, read_manifest

MODEL = "model"
"""The name of a model that is no package's variant."""
Subjects = dict[str, AdoptSettings | LoadTeacherSettings]


def find_subjects(given: str, variant: str | None) -> Subjects:
    """Find the variants of a package, or the one model that is no package.

    Args:
        given: A package's folder, a run's folder that holds one, or the words that name a model.
        variant: Only this one of the package.

    Raises:
        InputError: If there is nothing there, the package is damaged, or has no such variant.
    """
    folder = Path(given)
    if is_run(folder):
        folder = folder / "package"
        if not folder.is_dir():
            raise InputError(f"{given} has no package: a gate blocked its run, or it did not finish, or only evaluated")
    if (folder / MANIFEST).is_file():
        return _variants(folder, variant)
    if variant is not None:
        raise InputError(f"{given} is no package, so it has no variant {variant!r}: leave --variant out")
    source = str(folder.resolve()) if folder.exists() else given
    return {MODEL: LoadTeacherSettings(source=find_model(Teacher(source=source), Path.cwd()))}


def _variants(package: Path, variant: str | None) -> Subjects:
    if different := find_differences(package):
        raise InputError(f"{package} is not what it says ({different[0]}): no score would be that of a package")
    manifest = read_manifest(package)
    inside = manifest.facts["variants"]
    if variant is not None and variant not in inside:
        raise InputError(f"{package} has no variant {variant!r}; it has {', '.join(inside)}")
    found: Subjects = {}
    for name in inside if variant is None else [variant]:
        place = inside[name]["folder"]
        files = {path: digest for path, digest in manifest.files.items() if path.startswith(f"{place}/")}
        digest = digest_of({path.removeprefix(f"{place}/"): each for path, each in files.items()})
        location = str((package / place).resolve())
        source = Source(kind="directory", digest=digest, location=location, name=name)
        found[name] = AdoptSettings(source=source)
    return found
