"""Network: one checkpoint of transformers, found in a folder or on the hub, described by its digests, loaded strictly.

Knows no picture. What is missing, of another shape or left over in the weights is refused by name, in one line.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError

from quickstep.storage import hub
from quickstep.storage.cache import Cache
from quickstep.types.errors import WeightsError

_FILES = ("config.json", "preprocessor_config.json", "*.safetensors", "*.safetensors.index.json")
_COUNTERS = ("num_batches_tracked", "position_ids")  # older versions saved them, nobody needs them
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
_WRONG = (
    ("lacks", "missing_keys"),
    ("has of another shape", "mismatched_keys"),
    ("has besides what its config says:", "unexpected_keys"),
)
_BROKEN = (OSError, RuntimeError, ValueError, KeyError, TypeError, EOFError, pickle.UnpicklingError, SafetensorError)


@dataclass(frozen=True)
class Network:
    """Where a checkpoint is; its files are looked at when they are asked for."""

    where: str  # a folder, or a name on the hub (with @revision, if one likes)
    what: str  # what it is for, in a sentence

    @cached_property
    def folder(self) -> Path:
        """Its folder on this machine; fetched once from the hub where it is a name."""
        folder = Path(self.where).expanduser()
        if folder.is_dir():
            if not (folder / "config.json").is_file():
                raise WeightsError(f"{self.where} is no checkpoint of {self.what}: it has no config.json")
            return folder
        if folder.exists() or self.where.startswith((".", "/", "~")) or self.where.count("/") != 1:
            there = "is no folder" if folder.exists() else "does not exist"
            raise WeightsError(f"{self.where} {there}; give the folder or the hub's name (organisation/name) of {self.what}")
        return self._fetched()

    @cached_property
    def config(self) -> Any:
        """The checkpoint's config, as its own class."""
        with self._told():
            return transformers.AutoConfig.from_pretrained(self.folder, local_files_only=True)

    @cached_property
    def processor(self) -> Any:
        """What prepares pictures for it and reads what it says."""
        if not (self.folder / "preprocessor_config.json").is_file():
            why = "has no preprocessor_config.json, which says how pictures are prepared"
            raise WeightsError(f"{self.where} {why}: add the checkpoint's own")
        with self._told():
            return transformers.AutoImageProcessor.from_pretrained(self.folder, local_files_only=True)

    def digests(self, cache: Cache) -> dict[str, str]:
        """The sha256 of each file of weights, and of what says how to use them."""
        files = [file for pattern in _WEIGHTS for file in sorted(self.folder.glob(pattern))]
        if not files:
            raise WeightsError(f"{self.where} has no weights (model.safetensors): the checkpoint of {self.what} is not whole")
        small = {}
        for name in ("config.json", "preprocessor_config.json"):
            file = self.folder / name
            small[name] = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""
        return {file.name: cache.digest(file) for file in files} | small

    def load(self, kind: Any, device: str) -> Any:
        """The network, ready to run."""
        with self._told():
            loaded, info = kind.from_pretrained(
                self.folder, dtype=torch.float32, local_files_only=True, output_loading_info=True, ignore_mismatched_sizes=True
            )
        for what, name in _WRONG:
            named = (str(key[0] if isinstance(key, tuple) else key) for key in info[name])
            keys = sorted(key for key in named if not key.endswith(_COUNTERS))
            if keys:
                more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
                raise WeightsError(f"{self.where} {what} {', '.join(keys[:3])}{more}: its config and its weights do not belong together")
        return loaded.eval().requires_grad_(False).to(device)

    def _fetched(self) -> Path:
        repository, _, revision = self.where.partition("@")
        ways_on = "give a folder of its checkpoint (--pose-model DETECTOR,POSE)"
        with hub.told(repository, revision or "main", "files", ways_on=ways_on):
            return hub.fetch_folder(repository, revision or None, whole=_whole, patterns=_FILES)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What goes wrong inside is said in one line; the library's own tables and bars say less."""
        logging = transformers.utils.logging
        before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
        logging.set_verbosity(logging.CRITICAL)
        logging.disable_progress_bar()
        try:
            yield
        except WeightsError:
            raise
        except _BROKEN as error:
            raise WeightsError(f"{self.where} cannot be loaded as {self.what} ({_line(error)}): fetch or copy it again") from error
        finally:
            logging.set_verbosity(before)
            if bars:
                logging.enable_progress_bar()


def _whole(folder: Path) -> bool:
    """Whether a folder fetched earlier has all that is needed of it; a shard that is missing is noticed when it is loaded."""
    return (folder / "config.json").is_file() and any(True for pattern in _WEIGHTS for _ in folder.glob(pattern))


def _line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:200]
