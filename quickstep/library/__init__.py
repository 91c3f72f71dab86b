"""The library: windows of many videos on disk, searchable by text, by example, by label and by metadata.

LanceDB and pyarrow are imported by this package only, when one of its public names is first used.
"""

import os
from importlib import import_module
from typing import Any

from quickstep.types.errors import MissingExtra

os.environ.setdefault("LANCEDB_LOG", "error")  # read when LanceDB is imported: its warnings announce changes of its own

_MODULES = {
    "Duplicates": "duplicate_footage",
    "IndexConfig": "config",
    "IndexResult": "indexing",
    "Library": "table",
    "Moment": "moments",
    "RetrievalMetrics": "retrieval_metrics",
    "SearchConfig": "config",
    "SearchResult": "moment_search",
    "duplicates": "duplicate_footage",
    "evaluate_retrieval": "retrieval_metrics",
    "export_tags": "tags",
    "index": "indexing",
    "search": "moment_search",
    "write_sheet": "moments",
}

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module 'quickstep.library' has no attribute {name!r}")
    try:
        return getattr(import_module(f"quickstep.library.{_MODULES[name]}"), name)
    except ImportError as error:
        if (error.name or "").split(".")[0] in ("lancedb", "pyarrow"):
            raise MissingExtra("search", "a library") from error
        raise


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
