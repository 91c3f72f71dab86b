"""Measure the vector search of large libraries: recall@10 against brute force, latency, build time, disk and memory.

    python -m benchmarks.search [--sizes 10000,100000,1000000] [--kinds scattered,footage] [--thumbnails 8000] [--folder FOLDER]

Two kinds of synthetic vectors, each with queries whose answers come from comparing every row:

scattered   uniformly distributed directions, without structure that an index could use. Half of the queries have ten neighbours at
            cosines from 0.9 down to 0.4; the others are a row with noise, whose other neighbours are random.
footage     distributed like windows of videos in the space of an image-and-text network: a common direction, few that matter, and
            a video's windows close together. Half of the queries are a window with noise, the others like texts, far from every window.

The filters pass a half, a tenth and a hundredth of all windows. Writing and building run in processes of their own, whose peak memory is
printed in units of the raw vectors' size. A million rows take some minutes and 5 GB of disk for each kind.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.tables import show
from quickstep.backbones import BackboneSpec
from quickstep.library.ann_index import build_index, ensure_index, nearest, read_tuning
from quickstep.library.table import Card, Library, schema_of, to_vectors, vectors_of
from quickstep.types.view import View

WIDTH, BLOCK, LIMIT = 512, 20_000, 10
WINDOWS = 50  # of a video
PLANTED = np.linspace(0.9, 0.4, LIMIT)  # cosines
FILTERS: Mapping[str, str | None] = {"all": None, "1/2": "part < 50", "1/10": "part < 10", "1/100": "part = 7"}
CARD = Card(BackboneSpec("made-up"), {"name": "made-up"}, WIDTH, 4.0, 2.0, View(frames=8), True, "2026-01-01", "")

Vectors = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Queries:
    """Query vectors, and their true neighbours."""

    vectors: Vectors  # (Q, D)
    truth: Mapping[str, NDArray[np.int64]]  # filter -> (Q, LIMIT) numbers of rows


@dataclass(frozen=True)
class Figures:
    """Recall and latency with one filter."""

    recall: float
    p50: float  # milliseconds
    p95: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="10000,100000", help="rows, separated by commas")
    parser.add_argument("--kinds", default="scattered,footage")
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--thumbnails", type=int, default=0, help="bytes of a thumbnail beside each vector")
    parser.add_argument("--index", action="store_true", help="build an index also where there are too few rows to need one")
    parser.add_argument("--folder", type=Path, help="where the libraries are written (default: a temporary folder)")
    parser.add_argument("--step", nargs=3, metavar=("STEP", "KIND", "ROWS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        step, kind, rows = options.step
        _report(options, step, kind, int(rows))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for kind in options.kinds.split(","):
            for size in options.sizes.split(","):
                measure(Path(folder) / f"{kind}-{size}", kind, int(size), options)


def measure(folder: Path, kind: str, rows: int, options: argparse.Namespace) -> None:
    """Measure one library and print its table."""
    wrote, built, _ = (_in_process(folder, step, kind, rows, options) for step in ("write", "build", "tidy"))
    raw = rows * WIDTH * 4
    library = Library.open(folder)
    tuning = read_tuning(library.schema)
    queries = with_answers(library, queries_for(kind, rows, options.queries))
    cold = _seconds(library, queries.vectors[0], None)
    exact = float(np.median([_seconds(library, vector, None, exact=True) for vector in queries.vectors[:3]]))
    figures = {name: run_queries(library, queries, name) for name in FILTERS}
    show(
        f"{kind}, {rows:,} windows of {WIDTH} numbers (load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores)",
        ("windows that may answer", "recall@10", "p50 ms", "p95 ms", "x exact search"),
        [(name, f"{f.recall:.3f}", f"{f.p50:.1f}", f"{f.p95:.1f}", f"{1e3 * exact / f.p50:.1f}") for name, f in figures.items()],
    )
    for what, step in (("written", wrote), ("index built and measured", built)):
        grew = f"{step['peak'] / 2**20:.0f} MiB, {step['peak'] / raw:.2f} x the raw vectors"
        print(f"  {what} in {step['seconds']:.1f} s; memory grew by {grew}")
    payload = f" and {options.thumbnails} bytes of thumbnail a window" if options.thumbnails else ""
    print(f"  on disk {size_of(folder) / raw:.2f} x the raw vectors{payload}")
    print(f"  the first search of a process took {1e3 * cold:.0f} ms; an exact search takes {1e3 * exact:.0f} ms")
    for effort in tuning.efforts if tuning else ():
        print(f"  for {effort.depth}: {effort.probes} probes, {effort.candidates} candidates; measured recall {effort.recall:.3f}")


def run_queries(library: Library, queries: Queries, name: str) -> Figures:
    """Run all queries with one filter, one after the other."""
    for vector in queries.vectors[:5]:
        _seconds(library, vector, FILTERS[name])
    seconds, hits = [], []
    for vector, truth in zip(queries.vectors, queries.truth[name], strict=True):
        began = time.perf_counter()
        rows = nearest(library.table, vector, limit=LIMIT, where=FILTERS[name], columns=["path", "start", "end", "number"])
        seconds.append(time.perf_counter() - began)
        hits.append(len(np.intersect1d(rows["number"].to_numpy(), truth)) / LIMIT)
    p50, p95 = np.percentile(np.array(seconds) * 1e3, [50, 95])
    return Figures(float(np.mean(hits)), float(p50), float(p95))


def write(folder: Path, kind: str, rows: int, thumbnail: int) -> None:
    """Write a library of synthetic windows, block by block."""
    library = Library.create(folder, CARD)
    library.commit(lambda table: table.add_columns([pa.field("part", pa.int32()), pa.field("number", pa.int64())]))
    first = 0
    for block in blocks(kind, rows, queries_for(kind, rows, 1000)):
        rows_of_block = _rows(block, first, thumbnail)
        library.commit(lambda table, block=rows_of_block: table.add(block))  # type: ignore[misc]
        first += len(block)


def blocks(kind: str, rows: int, queries: Vectors) -> Iterator[Vectors]:
    """Yield the vectors, the same in every run."""
    rng = np.random.default_rng(1)
    shape = _Shape(np.random.default_rng(2))
    places, planted = _planted(rows, queries) if kind == "scattered" else (np.empty(0, np.int64), queries[:0])
    for first in range(0, rows, BLOCK):
        count = min(BLOCK, rows - first)
        block = _unit(rng.standard_normal((count, WIDTH), dtype=np.float32)) if kind == "scattered" else shape.videos(count, rng)
        here = (places >= first) & (places < first + count)
        block[places[here] - first] = planted[here]
        yield block


def queries_for(kind: str, rows: int, count: int) -> Vectors:
    """Make queries (Q, D), half of each sort; the first of each half do not depend on the count."""
    rng = np.random.default_rng(3)
    random = _unit(rng.standard_normal((2, 500, WIDTH), dtype=np.float32))[:, : count // 2]  # (sort, Q / 2, D)
    if kind == "scattered":
        return np.concatenate([random[0], _unit(_some_rows(kind, rows)[: count // 2] + 0.5 * random[1])])
    shape = _Shape(np.random.default_rng(2))
    words = _unit(rng.standard_normal((500, WIDTH), dtype=np.float32)[: count // 2] * shape.spread @ shape.basis + 0.1 * shape.common)
    return np.concatenate([_unit(_some_rows(kind, rows)[: count // 2] + 0.3 * random[0]), words])


def with_answers(library: Library, vectors: Vectors) -> Queries:
    """Find the true neighbours of the queries by brute force, block by block."""
    best = {name: (np.full((len(vectors), LIMIT), -np.inf, np.float32), np.zeros((len(vectors), LIMIT), np.int64)) for name in FILTERS}
    for batch in library.batches(["vector", "part", "number"], size=BLOCK):
        scores = vectors @ vectors_of(batch).T
        part, number = batch["part"].to_numpy(), batch["number"].to_numpy()
        masks = {"all": part >= 0, "1/2": part < 50, "1/10": part < 10, "1/100": part == 7}
        for name, mask in masks.items():
            both = np.concatenate([best[name][0], scores[:, mask]], axis=1)
            numbers = np.concatenate([best[name][1], np.broadcast_to(number[mask], (len(vectors), int(mask.sum())))], axis=1)
            top = np.argpartition(-both, LIMIT - 1, axis=1)[:, :LIMIT]
            best[name] = np.take_along_axis(both, top, 1), np.take_along_axis(numbers, top, 1)
    return Queries(vectors, {name: numbers for name, (_, numbers) in best.items()})


def size_of(folder: Path) -> int:
    """Return the bytes of all files in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


class _Shape:
    """The distribution of footage in the space of a network."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.basis = np.linalg.qr(rng.standard_normal((WIDTH, WIDTH)))[0].astype(np.float32)
        falling = 1 / np.sqrt(1 + np.arange(WIDTH) / 10)
        falling[80:] *= 0.3
        self.spread = (2.5 * falling / np.linalg.norm(falling)).astype(np.float32)
        common = rng.standard_normal(WIDTH).astype(np.float32)
        self.common = 3 * common / np.linalg.norm(common)

    def videos(self, rows: int, rng: np.random.Generator) -> Vectors:
        """Draw the windows of whole videos: each is a random walk from the first window."""
        count = -(-rows // WINDOWS)
        begin, steps, noise = (rng.standard_normal((count, n, WIDTH), dtype=np.float32) for n in (1, WINDOWS, WINDOWS))
        windows = (begin + 0.05 * np.cumsum(steps, axis=1) + 0.07 * noise) * self.spread
        return _unit(windows.reshape(-1, WIDTH)[:rows] @ self.basis + self.common)


def _planted(rows: int, queries: Vectors) -> tuple[NDArray[np.int64], Vectors]:
    """Return the rows and vectors of the planted neighbours of the first half of the queries."""
    rng = np.random.default_rng(4)
    centres = np.repeat(queries[: len(queries) // 2], LIMIT, axis=0)
    cosines = np.tile(PLANTED, len(queries) // 2)[:, None].astype(np.float32)
    away = rng.standard_normal(centres.shape, dtype=np.float32)
    away = _unit(away - (away * centres).sum(axis=1, keepdims=True) * centres)
    return rng.permutation(rows)[: len(centres)], (cosines * centres + np.sqrt(1 - cosines**2) * away).astype(np.float32)


def _some_rows(kind: str, rows: int) -> Vectors:
    """Return rows of the first block, which is the same for all sizes."""
    rng = np.random.default_rng(1)
    count = min(BLOCK, rows)
    first = (
        rng.standard_normal((count, WIDTH), dtype=np.float32)
        if kind == "scattered"
        else _Shape(np.random.default_rng(2)).videos(count, rng)
    )
    places = np.random.default_rng(5).permutation(np.linspace(0, count - 1, 500).astype(int))
    return _unit(first[places])


def _rows(vectors: Vectors, first: int, thumbnail: int) -> pa.Table:
    count = len(vectors)
    numbers = np.arange(first, first + count)
    rng = np.random.default_rng(first)
    thumbnails = [rng.bytes(thumbnail) for _ in range(count)] if thumbnail else [None] * count
    paths = [f"/videos/{number // WINDOWS}.mp4" for number in numbers]
    columns = {
        "vector": to_vectors(vectors),
        "path": pa.array(paths),
        "digest": pa.array([f"{number // WINDOWS:064x}" for number in numbers]),
        "start": pa.array(2.0 * (numbers % WINDOWS)),
        "end": pa.array(2.0 * (numbers % WINDOWS) + 4),
        "duration": pa.array(np.full(count, 2.0 * WINDOWS + 2)),
        "gone": pa.array(np.zeros(count, bool)),
        "thumbnail": pa.array(thumbnails, pa.binary()),
        "part": pa.array(rng.integers(0, 100, count), pa.int32()),
        "number": pa.array(numbers, pa.int64()),
    }
    schema = schema_of(CARD).append(pa.field("part", pa.int32())).append(pa.field("number", pa.int64()))
    return pa.table([columns.get(field.name, pa.nulls(count, field.type)) for field in schema], schema=schema)


def _unit(vectors: NDArray[np.floating[Any]]) -> Vectors:
    unit: Vectors = (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)
    return unit


def _seconds(library: Library, vector: Vectors, where: str | None, *, exact: bool = False) -> float:
    began = time.perf_counter()
    nearest(library.table, vector, limit=LIMIT, where=where, columns=["path", "start", "end", "number"], exact=exact)
    return time.perf_counter() - began


def _in_process(folder: Path, step: str, kind: str, rows: int, options: argparse.Namespace) -> dict[str, float]:
    """Run one step in a process of its own; return its seconds, and by how many bytes its memory grew at most."""
    command = [sys.executable, "-m", "benchmarks.search", "--step", step, kind, str(rows), "--folder", str(folder)]
    command += ["--thumbnails", str(options.thumbnails), *(["--index"] if options.index else [])]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def _report(options: argparse.Namespace, step: str, kind: str, rows: int) -> None:
    before, began = _most_memory(), time.perf_counter()
    if step == "write":
        write(options.folder, kind, rows, options.thumbnails)
    elif step == "tidy":
        Library.open(options.folder).compact(before=timedelta(0))
    else:
        change = build_index if options.index else ensure_index
        Library.open(options.folder).commit(lambda table: change(table))
    print(json.dumps({"seconds": time.perf_counter() - began, "peak": _most_memory() - before}))


def _most_memory() -> int:
    """Bytes this process held at most; what getrusage says would be its parent's, had that held more when it began."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return 1024 * next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM"))


if __name__ == "__main__":
    main()
