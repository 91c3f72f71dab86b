"""Changes to rows that are there: other paths, marks, metadata, and dropping what is gone. Looks at no video."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from quickstep.library.ingestion_plan import videos_of
from quickstep.library.schema import among
from quickstep.library.table import KEPT, Library
from quickstep.library.video_metadata import Metadata

TOGETHER = 256  # videos a commit
FRAGMENTS = 16  # files of rows beyond which they are joined


def take_over(library: Library, taken: Mapping[str, str], moved: Collection[str], digests: Mapping[str, str]) -> list[str]:
    """Give the rows of known bytes to further paths (path -> where the rows are), or move them; returns those that had none."""
    missed: list[str] = []
    paths = list(taken)
    for first in range(0, len(paths), TOGETHER):
        some = {path: taken[path] for path in paths[first : first + TOGETHER]}
        rows = library.rows(library.schema.names, among("path", set(some.values())))
        tables = []
        for path, old in some.items():
            own = rows.filter(pc.and_(pc.equal(rows["path"], old), pc.equal(rows["digest"], digests[path])))
            if len(own) == 0:  # another process was quicker
                missed.append(path)
                continue
            own = own.set_column(own.schema.get_field_index("path"), library.schema.field("path"), pa.array([path] * len(own), pa.string()))
            tables.append(_with(own, "gone", False))
        left = {some[path] for path in some if path in moved and path not in missed}
        if tables:
            whole = pa.concat_tables(tables).cast(library.schema)
            library.replace(whole, sorted({*left, *(path for path in some if path not in missed)}))
    return missed


def mark(library: Library, paths: Sequence[str], *, gone: bool) -> None:
    """Say of videos that they are there no more, or again."""
    for first in range(0, len(paths), TOGETHER):
        where = among("path", paths[first : first + TOGETHER])
        library.commit(lambda table, where=where: table.update(where=where, values={"gone": gone}))  # type: ignore[misc]


def prune(library: Library) -> int:
    """Drop the videos that are gone; returns how many."""
    gone = sum(known.gone for known in videos_of(library).values())
    if gone:
        library.commit(lambda table: table.delete("gone"))
    return gone


def add_columns(library: Library, metadata: Metadata) -> None:
    """The columns that the library does not have yet."""

    def change(table: Any) -> None:
        there = set(table.schema.names)
        fields = [pa.field(name, kind) for name, kind in metadata.kinds.items() if name not in there]
        if fields:
            table.add_columns(fields)

    if set(metadata.kinds) - set(library.schema.names):
        library.commit(change)


def tell(library: Library, metadata: Metadata) -> None:
    """Bring what is known of videos up to date where it differs; what a list does not say stays as it is."""
    if not metadata.values:
        return
    known = videos_of(library)
    rows = []
    for path, said in metadata.values.items():
        if path in known and any(known[path].metadata.get(name) != value for name, value in said.items()):
            rows.append({"path": path, **{name: known[path].metadata.get(name) for name in metadata.kinds}, **said})
    for first in range(0, len(rows), 4096):
        schema = pa.schema([library.schema.field(name) for name in ("path", *metadata.kinds)])
        some = pa.Table.from_pylist(rows[first : first + 4096], schema=schema)
        library.commit(lambda table, some=some: table.merge_insert("path").when_matched_update_all().execute(some))  # type: ignore[misc]


def tidy_where_due(library: Library) -> None:
    """Join files and drop old versions when there are many of them."""
    files = library.table.stats()["fragment_stats"]["num_fragments"]
    if files > FRAGMENTS or len(library.table.list_versions()) > FRAGMENTS:
        library.tidy(before=KEPT)


def _with(table: pa.Table, column: str, value: object) -> pa.Table:
    """The same rows with one value for all in a column."""
    field = table.schema.field(column)
    return table.set_column(table.schema.get_field_index(column), field, pa.array([value] * len(table), field.type))
