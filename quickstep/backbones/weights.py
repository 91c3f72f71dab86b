"""Checkpoint: the files of a pretrained network, found in a local folder or fetched once from a hub by revision.

The only file that talks to a hub. Knows the layout of checkpoint folders and reads names and sizes, never values; which network
they fill is another file's business.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors import SafetensorError, safe_open

from quickstep.errors import StoreError, WeightsError
from quickstep.store import Store

WAYS_ON = "give a local folder of weights (--weights FOLDER), or use --backbone motion, which needs none"

_ANSWER_SECONDS = 5.0  # a hub that has not answered by then is called unreachable
_SMALL = ("config.json", "preprocessor_config.json", "processor_config.json", "README.md")
_WHOLE = ("model.safetensors", "pytorch_model.bin")  # the better one first
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Published:
    """A checkpoint that we know by name: where it lies, the commit we mean, and its licence."""

    repository: str
    revision: str
    license: str


PUBLISHED = {
    "clip-vit-b32": Published("openai/clip-vit-base-patch32", "3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268", "MIT"),
    "clip-vit-b16": Published("openai/clip-vit-base-patch16", "57c216476eefef5ab752ec549e440a49ae4ae5f3", "MIT"),
    "clip-vit-l14": Published("openai/clip-vit-large-patch14", "32bd64288804d66eefd0ccbe215aa642df71cc41", "MIT"),
}


@dataclass(frozen=True)
class Checkpoint:
    """A folder that holds a whole checkpoint."""

    folder: Path
    source: str  # what to call it in a sentence
    revision: str | None  # the commit, where it came from a hub
    weights: tuple[Path, ...]  # one file, or all shards in order
    config: Mapping[str, Any]
    processor: Mapping[str, Any]
    license: str

    def digests(self, store: Store | None = None) -> dict[str, str]:
        """The sha256 of each weight file; a fetched one that is not what the hub named is refused."""
        found: dict[str, str] = {}
        for file in self.weights:
            try:
                found[file.name] = store.digest(file) if store else _sha256(file)
            except StoreError:
                raise
            except OSError as error:
                raise WeightsError(f"{file} cannot be read: {error.strerror or error}") from error
            promised = file.resolve().name  # the hub's cache names what it keeps by its sha256
            if _SHA256.fullmatch(promised) and promised != found[file.name]:
                raise WeightsError(f"{file} is damaged (its sha256 is not the hub's): delete {file.resolve()} to fetch it again")
        return found

    def tensor_names(self) -> frozenset[str] | None:
        """The names of the tensors, where the file format tells them without loading; a file cut short is refused."""
        if any(file.suffix != ".safetensors" for file in self.weights):
            return None
        names: set[str] = set()
        for file in self.weights:
            try:
                with safe_open(file, framework="np") as tensors:
                    names.update(tensors.keys())
            except (SafetensorError, OSError) as error:
                raise WeightsError(f"{file} is broken or cut short ({error}): fetch or copy it again") from error
        return frozenset(names)


def find_checkpoint(where: str | Path, *, revision: str | None = None) -> Checkpoint:
    """The checkpoint of a local folder, or of a hub name (`organisation/name`, or `organisation/name@revision`)."""
    folder = Path(where).expanduser()
    if folder.is_dir():
        return read_folder(folder, source=str(where))
    if isinstance(where, Path) or folder.exists() or _looks_like_a_path(str(where)):
        what = "is a file; give the folder it lies in" if folder.exists() else "does not exist"
        raise WeightsError(f"the folder of weights {where} {what}")
    repository, _, asked = str(where).partition("@")
    revision = asked or revision or "main"
    kept = _kept(repository, revision)
    return read_folder(kept or _fetch(repository, revision), source=repository, from_hub=True)


def at_hand(name: str) -> bool:
    """Whether a backbone's checkpoint is on this machine, whole; asks nobody else."""
    published = PUBLISHED.get(name)
    where = published.repository if published else name.partition(":")[2]
    if not published and Path(where).expanduser().is_dir():
        try:
            read_folder(Path(where).expanduser(), source=where)
        except WeightsError:
            return False
        return True
    repository, _, asked = where.partition("@")
    return _kept(repository, published.revision if published else asked or "main") is not None


def read_folder(folder: Path, *, source: str, from_hub: bool = False) -> Checkpoint:
    """A checkpoint folder's description; says which file is missing."""
    config = _json(folder / "config.json", source)
    nested = _json(folder / "processor_config.json", source, optional=True).get("image_processor")
    processor = nested if isinstance(nested, dict) else _json(folder / "preprocessor_config.json", source, optional=True)
    if not processor:
        raise WeightsError(f"{source} has no preprocessor_config.json, which says how pictures are prepared: add the checkpoint's own")
    weights = _weight_files(folder, source)
    return Checkpoint(folder, source, folder.name if from_hub else None, weights, config, processor, _license(folder))


def _weight_files(folder: Path, source: str) -> tuple[Path, ...]:
    for name in _WHOLE:
        index = folder / f"{name}.index.json"
        if (folder / name).is_file():
            return (folder / name,)
        if index.is_file():
            shards = sorted(set(_weight_map(index, source).values()))
            missing = [shard for shard in shards if not (folder / shard).is_file()]
            if missing:
                raise WeightsError(f"{source} is half a checkpoint: {', '.join(missing)} of its {len(shards)} weight files are missing")
            return tuple(folder / shard for shard in shards)
    raise WeightsError(f"{source} has no weights (model.safetensors): the checkpoint is not whole; {WAYS_ON}")


def _weight_map(index: Path, source: str) -> dict[str, str]:
    shards = _json(index, source).get("weight_map")
    if not isinstance(shards, dict) or not shards or not all(isinstance(s, str) and s == Path(s).name for s in shards.values()):
        raise WeightsError(f"{source}: {index.name} is no index of weight files; fetch or copy it again")
    return shards


def _json(file: Path, source: str, *, optional: bool = False) -> dict[str, Any]:
    try:
        read = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if optional:
            return {}
        raise WeightsError(f"{source} is no checkpoint: it has no {file.name}") from None
    except (OSError, ValueError) as error:
        raise WeightsError(f"{source}: {file.name} cannot be read ({error}): fetch or copy it again") from error
    if not isinstance(read, dict):
        raise WeightsError(f"{source}: {file.name} is not what a checkpoint has there: fetch or copy it again")
    return read


def _license(folder: Path) -> str:
    """What the checkpoint's own card says."""
    card = folder / "README.md"
    found = None
    if card.is_file():
        head = card.read_text(encoding="utf-8", errors="replace")[:20_000].split("\n---", 1)[0]
        found = re.search(r"^license:\s*[\"']?([\w.+-]+)", head, re.MULTILINE)
    return found.group(1) if found else "unknown"


def _sha256(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _looks_like_a_path(where: str) -> bool:
    return where.startswith((".", "/", "~")) or "\\" in where or where.count("/") > 1 or where.endswith("/")


# -- the hub -------------------------------------------------------------------------------------------------------------------


def _kept(repository: str, revision: str) -> Path | None:
    """The folder in the hub's cache that holds a whole checkpoint of this revision."""
    try:
        config = huggingface_hub.try_to_load_from_cache(repository, "config.json", revision=revision)
    except (HFValidationError, OSError):
        return None
    if not isinstance(config, str):
        return None
    try:
        read_folder(Path(config).parent, source=repository)
    except WeightsError:
        return None
    return Path(config).parent


def _fetch(repository: str, revision: str) -> Path:
    """Fetch what is missing of a checkpoint, small files first, so that the weights' presence means complete."""
    endpoint = os.environ.get("HF_ENDPOINT") or None
    try:
        hub = huggingface_hub.HfApi(endpoint=endpoint)
        info = hub.model_info(repository, revision=revision, timeout=_ANSWER_SECONDS)  # fails at once where nobody answers
        there = {file.rfilename for file in info.siblings or ()}
        commit = info.sha or revision
        files = [name for name in _SMALL if name in there] + _wanted(repository, commit, there, endpoint)
        for name in files:
            # by the name asked for: the cache then remembers which commit a branch meant
            asked = revision if name == "config.json" else commit
            path = huggingface_hub.hf_hub_download(repository, name, revision=asked, endpoint=endpoint, etag_timeout=_ANSWER_SECONDS)
    except (HfHubHTTPError, HFValidationError, EntryNotFoundError, OfflineModeIsEnabled) as error:
        raise WeightsError(_why(repository, revision, error)) from error
    except Exception as error:  # the hub's client lets its network library's errors through, and changes that library
        if isinstance(error, OSError) or type(error).__module__.split(".")[0] in ("httpx", "httpx2", "httpcore", "requests", "urllib3"):
            raise WeightsError(_why(repository, revision, error)) from error
        raise
    if not files:
        raise WeightsError(f"{repository} is no checkpoint: it has no config.json; {WAYS_ON}")
    return Path(path).parent


def _wanted(repository: str, commit: str, there: set[str], endpoint: str | None) -> list[str]:
    for name in _WHOLE:
        index = f"{name}.index.json"
        if name in there:
            return [name]
        if index in there:
            kept = huggingface_hub.hf_hub_download(repository, index, revision=commit, endpoint=endpoint, etag_timeout=_ANSWER_SECONDS)
            return sorted(set(_weight_map(Path(kept), repository).values()))
    raise WeightsError(f"{repository} has no weights that can be read here (model.safetensors or pytorch_model.bin); {WAYS_ON}")


def _why(repository: str, revision: str, error: Exception) -> str:
    """One line: what went wrong, and how to go on."""
    if isinstance(error, GatedRepoError):
        what = f"{repository} is gated: accept its terms on its page and log in (hf auth login), or {WAYS_ON}"
    elif isinstance(error, RevisionNotFoundError):
        what = f"{repository} has no revision {revision!r}; leave it out for the newest"
    elif isinstance(error, (RepositoryNotFoundError, HFValidationError)):
        what = f"there is no checkpoint {repository!r} on the hub, or it is private: check the name, or {WAYS_ON}"
    elif isinstance(error, OfflineModeIsEnabled):
        what = f"the weights of {repository} are not on this machine, and the hub is switched off (HF_HUB_OFFLINE): {WAYS_ON}"
    elif getattr(error, "errno", None) in (13, 28, 30):  # not allowed, full, read-only
        what = f"the weights of {repository} cannot be kept: {error}; free some space or point HF_HOME elsewhere"
    else:
        what = f"the weights of {repository} are not on this machine and the hub cannot be reached ({error}): {WAYS_ON}"
    return what
