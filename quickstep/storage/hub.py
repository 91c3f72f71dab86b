"""The hub: files of a checkpoint, fetched once by revision and kept; a folder sent there; what goes wrong is said in one line.

Knows no checkpoint's and no model's layout.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from quickstep.types.errors import WeightsError

WAYS_ON = "give a local folder of weights (--weights FOLDER), or use --backbone flow-hist, which needs none"

_ANSWER_SECONDS = 5.0  # a hub that has not answered by then is called unreachable


def kept(repository: str, revision: str) -> Path | None:
    """The folder in the hub's cache that holds this revision's config.json, and what else was fetched of it."""
    try:
        config = huggingface_hub.try_to_load_from_cache(repository, "config.json", revision=revision)
    except (HFValidationError, OSError):
        return None
    return Path(config).parent if isinstance(config, str) else None


def download(repository: str, revision: str, choose: Callable[[set[str], str], list[str]]) -> Path | None:
    """Fetch the files that `choose` takes of those there are at a commit; the last one's path."""
    path, hub = None, huggingface_hub.HfApi(endpoint=_endpoint())
    info = hub.model_info(repository, revision=revision, timeout=_ANSWER_SECONDS)  # fails at once where nobody answers
    commit = info.sha or revision
    for name in choose({file.rfilename for file in info.siblings or ()}, commit):
        # by the name asked for: the cache then remembers which commit a branch meant
        path = download_one(repository, name, revision if name == "config.json" else commit)
    return path


def download_one(repository: str, name: str, revision: str) -> Path:
    """Fetch a file, unless it is kept."""
    return Path(huggingface_hub.hf_hub_download(repository, name, revision=revision, endpoint=_endpoint(), etag_timeout=_ANSWER_SECONDS))


def fetch_folder(
    repository: str, revision: str | None = None, *, whole: Callable[[Path], bool], patterns: tuple[str, ...] | None = None
) -> Path:
    """The folder that holds a repository's files at a revision: the one kept where it is `whole`, else fetched."""
    with suppress(LocalEntryNotFoundError):  # nothing of it is here yet
        kept = Path(huggingface_hub.snapshot_download(repository, revision=revision, local_files_only=True))
        if whole(kept):
            return kept
    info = huggingface_hub.HfApi(endpoint=_endpoint()).model_info(repository, revision=revision, timeout=_ANSWER_SECONDS)
    return Path(
        huggingface_hub.snapshot_download(
            repository,
            revision=info.sha or revision,
            endpoint=_endpoint(),
            etag_timeout=_ANSWER_SECONDS,
            allow_patterns=list(patterns) if patterns else None,
        )
    )


def send_folder(folder: Path, repository: str, *, private: bool, message: str) -> str:
    """Put a folder's files into a repository, which is made where there is none yet; its page's address."""
    there = huggingface_hub.HfApi(endpoint=_endpoint())
    there.create_repo(repository, private=private, exist_ok=True)
    there.upload_folder(repo_id=repository, folder_path=folder, commit_message=message)
    return f"{there.endpoint}/{repository}"


@contextmanager
def told(repository: str, revision: str, what: str, *, ways_on: str = WAYS_ON, here: str | None = None) -> Iterator[None]:
    """What the hub and the network between say, in one line; `here` says what that means, where it is not that `what` is missing."""
    try:
        yield
    except WeightsError:
        raise
    except (HfHubHTTPError, HFValidationError, EntryNotFoundError, OfflineModeIsEnabled) as error:
        raise WeightsError(_why(repository, revision, error, here or _missing(repository, what), ways_on)) from error
    except Exception as error:  # the hub's client lets its network library's errors through, and changes that library
        if isinstance(error, OSError) or type(error).__module__.split(".")[0] in ("httpx", "httpx2", "httpcore", "requests", "urllib3"):
            raise WeightsError(_why(repository, revision, error, here or _missing(repository, what), ways_on)) from error
        raise


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT") or None


def _why(repository: str, revision: str, error: Exception, here: str, ways_on: str) -> str:
    """One line: what went wrong, and how to go on."""
    if isinstance(error, GatedRepoError):
        why = f"{repository} is gated: accept its terms on its page and log in (hf auth login), or {ways_on}"
    elif isinstance(error, RevisionNotFoundError):
        why = f"{repository} has no revision {revision!r}; leave it out for the newest"
    elif isinstance(error, (RepositoryNotFoundError, HFValidationError)):
        why = f"there is no checkpoint {repository!r} on the hub, or it is private: check the name, or {ways_on}"
    elif isinstance(error, OfflineModeIsEnabled):
        why = f"{here}, and the hub is switched off (HF_HUB_OFFLINE): {ways_on}"
    elif getattr(error, "errno", None) in (13, 28, 30):  # not allowed, full, read-only
        why = f"{here} and cannot be kept: {error}; free some space or point HF_HOME elsewhere"
    else:
        why = f"{here} and the hub cannot be reached ({error}): {ways_on}"
    return why


def _missing(repository: str, what: str) -> str:
    return f"the {what} of {repository} {'are' if what.endswith('s') else 'is'} not on this machine"
