"""The model hub: download the files of a repository once for each revision, upload a folder, and explain what went wrong in one line.

`huggingface_hub` is imported by the functions that need it: a model in a local folder needs none of them.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from quickstep.types.errors import ModelError, WeightsError

WAYS_ON = "give `weights`, a local folder, or use the backbone flow-hist, which needs none"

_TIMEOUT = 5.0  # seconds after which a hub that has not answered counts as unreachable
_NAME = re.compile(r"[\w][\w.-]*/[\w][\w.-]*(@[\w./-]+)?")
_MODEL_WAYS_ON = "give the folder of a model, or owner/name of a model on the hub"
_NETWORK_LIBRARIES = ("httpx", "httpx2", "httpcore", "requests", "urllib3")

_log = logging.getLogger(__name__)


def cached_folder(repository: str, revision: str) -> Path | None:
    """Return the folder in the hub's cache that has this revision's config.json, and whatever else was downloaded of it."""
    import huggingface_hub
    from huggingface_hub.errors import HFValidationError

    try:
        config = huggingface_hub.try_to_load_from_cache(repository, "config.json", revision=revision)
    except (HFValidationError, OSError):
        return None
    return Path(config).parent if isinstance(config, str) else None


def download(repository: str, revision: str, choose: Callable[[set[str], str], list[str]]) -> Path | None:
    """Download the files that `choose` selects from those of a commit; return the path of the last one."""
    import huggingface_hub

    path, hub = None, huggingface_hub.HfApi(endpoint=_endpoint())
    info = hub.model_info(repository, revision=revision, timeout=_TIMEOUT)  # fails at once if the hub does not answer
    commit = info.sha or revision
    for name in choose({file.rfilename for file in info.siblings or ()}, commit):
        # config.json under the revision's own name: the cache then remembers which commit a branch stood for
        path = download_file(repository, name, revision if name == "config.json" else commit)
    return path


def download_file(repository: str, name: str, revision: str) -> Path:
    """Download a file, unless it is in the cache."""
    import huggingface_hub

    _log.info("downloading %s of %s at %s, unless it is cached", name, repository, revision)
    return Path(huggingface_hub.hf_hub_download(repository, name, revision=revision, endpoint=_endpoint(), etag_timeout=_TIMEOUT))


def download_folder(
    repository: str, revision: str | None = None, *, is_complete: Callable[[Path], bool], patterns: tuple[str, ...] | None = None
) -> Path:
    """Return the folder with a repository's files at a revision: from the cache if it is complete there, else downloaded."""
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    with suppress(LocalEntryNotFoundError):  # nothing of it is in the cache
        cached = Path(huggingface_hub.snapshot_download(repository, revision=revision, local_files_only=True))
        if is_complete(cached):
            return cached
    _log.info("downloading %s", repository)
    info = huggingface_hub.HfApi(endpoint=_endpoint()).model_info(repository, revision=revision, timeout=_TIMEOUT)
    return Path(
        huggingface_hub.snapshot_download(
            repository,
            revision=info.sha or revision,
            endpoint=_endpoint(),
            etag_timeout=_TIMEOUT,
            allow_patterns=list(patterns) if patterns else None,
        )
    )


def upload_folder(folder: Path, repository: str, *, private: bool, message: str) -> str:
    """Upload a folder's files to a repository, which is created if it does not exist; return the address of its page."""
    import huggingface_hub

    hub = huggingface_hub.HfApi(endpoint=_endpoint())
    hub.create_repo(repository, private=private, exist_ok=True)
    hub.upload_folder(repo_id=repository, folder_path=folder, commit_message=message)
    return f"{hub.endpoint}/{repository}"


def locate_model(where: str | Path) -> Path:
    """Return the folder of a model: a local path as it is, `owner/name[@revision]` downloaded from the hub."""
    if not is_hub_name(where):
        return Path(where)
    name, _, revision = str(where).partition("@")
    try:
        with explained(name, revision or "main", "files", ways_on=_MODEL_WAYS_ON):
            return download_folder(name, revision or None, is_complete=lambda folder: (folder / "model.json").is_file())
    except WeightsError as error:
        raise ModelError(where, f"there is no such folder, and {error}") from error


def is_hub_name(where: str | Path) -> bool:
    """Whether this is a name on the hub: `owner/name`, where no local path could be meant."""
    path = Path(where)
    return bool(_NAME.fullmatch(str(where))) and not path.exists() and not path.parent.exists()


@contextmanager
def explained(repository: str, revision: str, what: str, *, ways_on: str = WAYS_ON, effect: str | None = None) -> Iterator[None]:
    """Turn the errors of the hub and of the network into a WeightsError of one line.

    `what` is missing, or `effect` says what the error means; `ways_on` says what the user can do.
    """
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    effect = effect or f"the {what} of {repository} {'are' if what.endswith('s') else 'is'} not on this machine"
    try:
        yield
    except WeightsError:
        raise
    except (HfHubHTTPError, HFValidationError, EntryNotFoundError, OfflineModeIsEnabled) as error:
        raise WeightsError(_explain(repository, revision, error, effect, ways_on)) from error
    except Exception as error:  # the hub's client lets the errors of its network library through, and changes that library
        if isinstance(error, OSError) or type(error).__module__.split(".")[0] in _NETWORK_LIBRARIES:
            raise WeightsError(_explain(repository, revision, error, effect, ways_on)) from error
        raise


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT") or None


def _explain(repository: str, revision: str, error: Exception, effect: str, ways_on: str) -> str:
    """Say in one line what went wrong and what to do."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(error, GatedRepoError):
        return f"{repository} is gated: accept its terms on its page and log in (hf auth login), or {ways_on}"
    if isinstance(error, RevisionNotFoundError):
        return f"{repository} has no revision {revision!r}; leave it out for the newest"
    if isinstance(error, (RepositoryNotFoundError, HFValidationError)):
        return f"there is no checkpoint {repository!r} on the hub, or it is private: check the name, or {ways_on}"
    if isinstance(error, OfflineModeIsEnabled):
        return f"{effect}, and the hub is switched off (HF_HUB_OFFLINE): {ways_on}"
    if isinstance(error, OSError) and error.errno in (13, 28, 30):  # no permission, disk full, read-only
        return f"{effect} and cannot be stored: {error}; free some space or point HF_HOME elsewhere"
    return f"{effect} and the hub cannot be reached ({error}): {ways_on}"
