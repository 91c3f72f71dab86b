"""Checkpoint: the files of a pretrained network, in a local folder or downloaded once from a hub by revision.

Only names and sizes of tensors are read here, never values.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from quickstep.storage import hub
from quickstep.storage.cache import Cache
from quickstep.storage.hub import WAYS_ON
from quickstep.types.errors import CacheError, WeightsError

_SMALL = ("config.json", "preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json", "README.md")
TOKENIZER_FILES = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "tokenizer.model",
    "tokenizer.json",
)
_TOKENIZERS = (("tokenizer.json",), ("vocab.json", "merges.txt"), ("spiece.model",), ("tokenizer.model",))  # one of these is complete
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # the better one first
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Published:
    """A checkpoint with a name in the table: its repository, its commit and its licence."""

    repository: str
    revision: str
    license: str


PUBLISHED = {
    "clip-vit-b32": Published("openai/clip-vit-base-patch32", "3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268", "MIT"),
    "clip-vit-b16": Published("openai/clip-vit-base-patch16", "57c216476eefef5ab752ec549e440a49ae4ae5f3", "MIT"),
    "clip-vit-l14": Published("openai/clip-vit-large-patch14", "32bd64288804d66eefd0ccbe215aa642df71cc41", "MIT"),
    "siglip2-b16": Published("google/siglip2-base-patch16-224", "main", "Apache-2.0"),
    "siglip2-l16": Published("google/siglip2-large-patch16-256", "main", "Apache-2.0"),
    "xclip-b32": Published("microsoft/xclip-base-patch32", "main", "MIT"),
    "xclip-b16": Published("microsoft/xclip-base-patch16", "main", "MIT"),
    "xclip-b16-zero-shot": Published("microsoft/xclip-base-patch16-zero-shot", "main", "MIT"),
    "xclip-l14": Published("microsoft/xclip-large-patch14", "main", "MIT"),
}


@dataclass(frozen=True)
class Checkpoint:
    """A folder with a complete checkpoint."""

    folder: Path
    source: str  # its name in messages
    revision: str | None  # the commit, where it came from a hub
    weights: tuple[Path, ...]  # one file, or all shards in order
    config: Mapping[str, Any]
    processor: Mapping[str, Any]
    license: str

    def digests(self, cache: Cache | None = None) -> dict[str, str]:
        """Return the sha256 of each weight file; a downloaded one that differs from the hub's is refused."""
        digests: dict[str, str] = {}
        for file in self.weights:
            try:
                digests[file.name] = cache.digest(file) if cache else _sha256(file)
            except CacheError:
                raise
            except OSError as error:
                raise WeightsError(f"{file} cannot be read: {error.strerror or error}") from error
            expected = file.resolve().name  # the hub's cache names files by their sha256
            if _SHA256.fullmatch(expected) and expected != digests[file.name]:
                raise WeightsError(f"{file} is damaged (its sha256 is not the hub's): delete {file.resolve()} to download it again")
        return digests

    def half(self, name: str) -> Mapping[str, Any]:
        """Return a part of the config ("vision_config"); older configs repeat it as "..._dict", which then counts."""
        for key in (f"{name}_dict", name):
            part = self.config.get(key)
            if isinstance(part, dict):
                return part
        return {}

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The names of its classes, where its makers gave them names."""
        names = self.config.get("id2label")
        if not isinstance(names, dict) or all(str(name).startswith("LABEL_") for name in names.values()):
            return None
        return tuple(str(names[key]) for key in sorted(names, key=int))

    @property
    def has_tokenizer(self) -> bool:
        """Whether a tokenizer is beside the weights."""
        return any(all((self.folder / name).is_file() for name in names) for names in _TOKENIZERS)

    def tokenizer_digests(self) -> dict[str, str]:
        """Return the sha256 of each file of the tokenizer."""
        return {name: _sha256(self.folder / name) for name in sorted(TOKENIZER_FILES) if (self.folder / name).is_file()}

    def tensor_names(self) -> frozenset[str] | None:
        """Return the names of the tensors, where the file format lists them without loading; a file cut short is refused."""
        if any(file.suffix != ".safetensors" for file in self.weights):
            return None
        names: set[str] = set()
        for file in self.weights:
            try:
                with safe_open(file, framework="np") as tensors:
                    names.update(tensors.keys())
            except (SafetensorError, OSError) as error:
                raise WeightsError(f"{file} is broken or cut short ({error}): download or copy it again") from error
        return frozenset(names)


def find_checkpoint(where: str | Path, *, revision: str | None = None) -> Checkpoint:
    """Find the checkpoint of a local folder, or of a hub name (`organisation/name`, or `organisation/name@revision`)."""
    folder = Path(where).expanduser()
    if folder.is_dir():
        return read_folder(folder, source=str(where))
    if isinstance(where, Path) or folder.exists() or _looks_like_a_path(str(where)):
        what = "is a file; give its folder" if folder.exists() else "does not exist"
        raise WeightsError(f"the folder of weights {where} {what}")
    repository, _, asked = str(where).partition("@")
    revision = asked or revision or "main"
    cached = _cached(repository, revision)
    return read_folder(cached or _download(repository, revision), source=repository, from_hub=True)


def download_tokenizer(checkpoint: Checkpoint) -> None:
    """Download a tokenizer that is missing: a checkpoint may have been cached when only its image encoder was needed."""
    if checkpoint.revision is not None and not checkpoint.has_tokenizer:
        with hub.explained(checkpoint.source, checkpoint.revision, "tokenizer"):
            hub.download(checkpoint.source, checkpoint.revision, lambda there, _: [name for name in TOKENIZER_FILES if name in there])
    if not checkpoint.has_tokenizer:
        raise WeightsError(
            f"{checkpoint.source} has no tokenizer (tokenizer.json, or vocab.json and merges.txt), so it cannot "
            "read texts: add the checkpoint's own"
        )


def is_available(name: str) -> bool:
    """Whether a backbone's complete checkpoint is on this machine; no network is used."""
    published = PUBLISHED.get(name)
    where = published.repository if published else name.partition(":")[2]
    if not published and Path(where).expanduser().is_dir():
        try:
            read_folder(Path(where).expanduser(), source=where)
        except WeightsError:
            return False
        return True
    repository, _, asked = where.partition("@")
    return _cached(repository, published.revision if published else asked or "main") is not None


def read_folder(folder: Path, *, source: str, from_hub: bool = False) -> Checkpoint:
    """Read a checkpoint folder; a missing file is named."""
    config = _json(folder / "config.json", source)
    newer = _json(folder / "processor_config.json", source, optional=True)
    nested = newer.get("image_processor") or newer.get("video_processor")
    processor = nested if isinstance(nested, dict) else _json(folder / "preprocessor_config.json", source, optional=True)
    processor = processor or _json(folder / "video_preprocessor_config.json", source, optional=True)
    if not processor:
        raise WeightsError(f"{source} has no preprocessor_config.json, which says how frames are prepared: add the checkpoint's own")
    weights = _weight_files(folder, source)
    return Checkpoint(folder, source, folder.name if from_hub else None, weights, config, processor, _license(folder))


def _weight_files(folder: Path, source: str) -> tuple[Path, ...]:
    for name in _WEIGHTS:
        index = folder / f"{name}.index.json"
        if (folder / name).is_file():
            return (folder / name,)
        if index.is_file():
            shards = sorted(set(_weight_map(index, source).values()))
            missing = [shard for shard in shards if not (folder / shard).is_file()]
            if missing:
                raise WeightsError(f"{source} is incomplete: {', '.join(missing)} of its {len(shards)} weight files are missing")
            return tuple(folder / shard for shard in shards)
    raise WeightsError(f"{source} has no weights (model.safetensors): the checkpoint is not complete; {WAYS_ON}")


def _weight_map(index: Path, source: str) -> dict[str, str]:
    shards = _json(index, source).get("weight_map")
    if not isinstance(shards, dict) or not shards or not all(isinstance(s, str) and s == Path(s).name for s in shards.values()):
        raise WeightsError(f"{source}: {index.name} is not an index of weight files; download or copy it again")
    return shards


def _json(file: Path, source: str, *, optional: bool = False) -> dict[str, Any]:
    try:
        read = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if optional:
            return {}
        raise WeightsError(f"{source} is not a checkpoint: it has no {file.name}") from None
    except (OSError, ValueError) as error:
        raise WeightsError(f"{source}: {file.name} cannot be read ({error}): download or copy it again") from error
    if not isinstance(read, dict):
        raise WeightsError(f"{source}: {file.name} is not the {file.name} of a checkpoint: download or copy it again")
    return read


def _license(folder: Path) -> str:
    """Read the licence in the checkpoint's own card."""
    card = folder / "README.md"
    match = None
    if card.is_file():
        head = card.read_text(encoding="utf-8", errors="replace")[:20_000].split("\n---", 1)[0]
        match = re.search(r"^license:\s*[\"']?([\w.+-]+)", head, re.MULTILINE)
    return match.group(1) if match else "unknown"


def _sha256(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _looks_like_a_path(where: str) -> bool:
    return where.startswith((".", "/", "~")) or "\\" in where or where.count("/") > 1 or where.endswith("/")


# -- checkpoints of a hub -------------------------------------------------------------------------------------------------------


def _cached(repository: str, revision: str) -> Path | None:
    """Return the folder in the hub's cache with a complete checkpoint of this revision."""
    folder = hub.cached_folder(repository, revision)
    try:
        return folder and read_folder(folder, source=repository).folder
    except WeightsError:
        return None


def _download(repository: str, revision: str) -> Path:
    """Download the missing files of a checkpoint, small ones first: where there are weights, it is complete."""

    def files(there: set[str], commit: str) -> list[str]:
        return [name for name in (*_SMALL, *TOKENIZER_FILES) if name in there] + _weights_to_download(repository, commit, there)

    with hub.explained(repository, revision, "weights"):
        path = hub.download(repository, revision, files)
    if path is None:
        raise WeightsError(f"{repository} is not a checkpoint: it has no config.json; {WAYS_ON}")
    return path.parent


def _weights_to_download(repository: str, commit: str, there: set[str]) -> list[str]:
    for name in _WEIGHTS:
        index = f"{name}.index.json"
        if name in there:
            return [name]
        if index in there:
            return sorted(set(_weight_map(hub.download_file(repository, index, commit), repository).values()))
    raise WeightsError(f"{repository} has no weights that can be read here (model.safetensors or pytorch_model.bin); {WAYS_ON}")
