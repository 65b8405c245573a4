"""Files that appear in a second place without being copied."""

import errno
import os
import shutil
from pathlib import Path

from stillhouse.store.artifact import FACTS, MANIFEST, WORK

_NO_LINKS = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EACCES)


def link_file(source: Path, target: Path) -> None:
    """Make `target` the same file as `source` by a hard link, or a copy where there are no links.

    Never a symbolic link: what leaves the house must not lean on files that stay.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        shutil.copyfile(source, target)


def link_tree(source: Path, target: Path) -> None:
    """Link a file, or every file of a folder."""
    if source.is_file():
        link_file(source, target)
        return
    for path in sorted(source.rglob("*")):
        if path.is_file():
            link_file(path, target / path.relative_to(source))


def content_files(artifact: Path) -> list[Path]:
    """The files of an artifact without the store's own: manifest, facts, work."""
    inside = sorted(path for path in artifact.rglob("*") if path.is_file())
    return [path for path in inside if path.relative_to(artifact).parts[0] not in (MANIFEST, FACTS, WORK)]
