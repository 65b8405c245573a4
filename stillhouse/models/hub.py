"""Models of a hub: which commit is meant, and a folder with the files of that commit.

Both work without a network for what the local cache of the hub client holds.
"""

import logging
import re
from pathlib import Path

from stillhouse import progress
from stillhouse.errors import InputError
from stillhouse.models.checkpoint import SMALL_FILES, WEIGHTS, WEIGHTS_INDEX, check_names, weight_files

log = logging.getLogger(__name__)

_COMMIT = re.compile(r"[0-9a-f]{40}")
_TIMEOUT_S = 10.0


def find_commit(repository: str, revision: str | None) -> str:
    """The commit that a revision of a repository stands for: as the hub says, or as it was when last cached.

    Raises:
        InputError: If there is no such repository or revision, if it holds no safe weights, or if the hub cannot be
            reached and nothing is cached.
    """
    cached = _whole_copy(repository, revision)
    if cached and revision and _COMMIT.fullmatch(revision):
        return cached.name
    try:
        commit, names = _ask(repository, revision)
    except OSError as error:
        if cached is None:
            raise InputError(
                f"the hub cannot be reached for {repository!r}, and no whole copy of it is cached here "
                f"({_first_line(error)}): check the network, or give a local directory or .gguf file"
            ) from None
        log.warning("the hub cannot be reached; taking %s at the cached commit %s", repository, cached.name)
        return cached.name
    check_names(names, repository)
    return commit


def snapshot(repository: str, commit: str, *, weights: bool) -> Path:
    """A folder with the files of one commit that are read, fetched where the cache lacks them.

    Raises:
        InputError: If they cannot be fetched.
    """
    from huggingface_hub import snapshot_download

    cached = _whole_copy(repository, commit)
    if cached:
        return cached
    wanted = [*SMALL_FILES, "README.md", "*.py"]
    if weights:
        wanted += [WEIGHTS, WEIGHTS_INDEX, "model-*-of-*.safetensors"]
        progress.step(f"fetching {repository}")
    try:
        return Path(snapshot_download(repository, revision=commit, allow_patterns=wanted))
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot fetch {repository} at commit {commit[:12]}: {_first_line(error)}; check the network and try again"
        ) from None


def _ask(repository: str, revision: str | None) -> tuple[str, list[str]]:
    """Commit and file names, from the hub itself."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        found = HfApi().model_info(repository, revision=revision, timeout=_TIMEOUT_S)
    except GatedRepoError:
        raise InputError(f"{repository} asks for an agreement on the hub: accept it there, then log in here") from None
    except RevisionNotFoundError:
        raise InputError(f"{repository} has no revision {revision!r}: give a commit, tag or branch of it") from None
    except (RepositoryNotFoundError, HFValidationError):
        raise InputError(
            f"the hub has no {repository!r} that this account may see: check the spelling, or log in"
        ) from None
    return str(found.sha), [entry.rfilename for entry in found.siblings or []]


def _whole_copy(repository: str, revision: str | None) -> Path | None:
    """Snapshot folder in the local cache, if config and weights are all there."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        path = try_to_load_from_cache(repository, "config.json", revision=revision)
        if not isinstance(path, str):
            return None
        folder = Path(path).parent
        check_names([entry.name for entry in folder.iterdir()], repository)
        weight_files(folder, repository)
    except (HFValidationError, InputError):
        return None
    return folder


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).split("\n")[0]
