"""The library: windows of many videos on disk, found by words, by example, by name or by what is known of them.

    schema      what a library says of itself, and the columns of its one table
    opening     Library: open, create, lock, commit; what LanceDB and the disk say is translated here
    windows     a video -> its windows: spans, vectors, thumbnails
    metadata    what a csv knows of the videos, with types
    naming      the names a model gives to windows
    beginning   the library that is there or a new one, with its backbone
    planning    what is new, changed, moved, back or gone
    filling     videos -> rows, together in one commit
    changing    rows that are there: other paths, marks, metadata
    indexing    index(): all of that
    vectors     the nearest vectors, exact or through an index (probing: how hard that is searched)
    asking      words or an example -> a vector
    cutoff      from which score on something was really found (phrases: unrelated searches)
    questions   a vector, which windows may answer, and the cut-off
    moments     windows -> moments, spread over videos
    searching   search(): all of that
    pairs       the same footage in two videos (closer: in larger pictures)
    copies      duplicates()
    retrieval   how well searching works, measured
    tags        names of the moves per video, for other programs (xmp: as media managers read them)
    sheet       moments as one picture

LanceDB and pyarrow are imported in this room only, and only when one of these names is used.
"""

import os
from importlib import import_module
from typing import Any

from quickstep.types.errors import MissingExtra

os.environ.setdefault("LANCEDB_LOG", "error")  # read once, when LanceDB is imported: its warnings are about its own future

_HOMES = {
    "Duplicates": "duplicate_footage",
    "Found": "moment_search",
    "IndexConfig": "config",
    "Indexed": "indexing",
    "Library": "table",
    "Moment": "moments",
    "Retrieval": "retrieval_metrics",
    "SearchConfig": "config",
    "duplicates": "duplicate_footage",
    "evaluate_retrieval": "retrieval_metrics",
    "export_tags": "tags",
    "index": "indexing",
    "search": "moment_search",
    "write_sheet": "contact_sheet",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'quickstep.library' has no attribute {name!r}")
    try:
        return getattr(import_module(f"quickstep.library.{_HOMES[name]}"), name)
    except ImportError as error:
        if (error.name or "").split(".")[0] in ("lancedb", "pyarrow"):
            raise MissingExtra("search", "a library") from error
        raise


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
