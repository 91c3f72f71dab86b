"""fetch: a file from its official address, once, checked against the sha256 it is known by; knows no model's format."""

from __future__ import annotations

import hashlib
import os
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO

from quickstep.storage.cache import Cache
from quickstep.types.errors import CacheError, WeightsError

_PATIENCE = 10.0  # seconds without a byte after which an address is called unreachable
_PIECE = 1 << 20


def fetch(address: str, *, sha256: str, cache: Cache, way_on: str) -> Path:
    """The file of that address: the one kept in the cache, else downloaded into it. `way_on` says what else one can do."""
    kept = cache.folder / "downloads" / sha256[:16] / address.rpartition("/")[2]
    if kept.is_file():
        if cache.digest(kept) == sha256:
            return kept
        kept.unlink(missing_ok=True)  # damaged since: fetched again
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=kept.parent, prefix=".", suffix=".part", delete=False) as handle:
            aside = Path(handle.name)
    except OSError as error:
        raise CacheError(cache.folder, f"nothing can be kept there: {error.strerror or error}; {way_on}") from error
    try:
        with aside.open("wb") as target:
            found = _download(address, target)
        if found != sha256:
            raise WeightsError(f"what {address} sends is not the file that is known by this name (sha256 {found[:12]}...): {way_on}")
        aside.chmod(0o644)
        aside.replace(kept)
    except (urllib.error.URLError, OSError) as error:
        if isinstance(error, WeightsError):
            raise
        why = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise WeightsError(f"{kept.name} is not on this machine and {address} cannot be reached ({why}): {way_on}") from error
    finally:
        aside.unlink(missing_ok=True)
    return kept


def _download(address: str, target: IO[bytes]) -> str:
    """Write what an address sends; returns its sha256."""
    digest = hashlib.sha256()
    with urllib.request.urlopen(address, timeout=_PATIENCE) as answer:
        while piece := answer.read(_PIECE):
            digest.update(piece)
            target.write(piece)
    target.flush()
    os.fsync(target.fileno())
    return digest.hexdigest()
