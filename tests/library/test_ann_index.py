"""Nearest vectors: exact in small tables, nearly so with an index; filters come first, and changes of the table are followed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from quickstep.library import ann_index
from quickstep.library.ann_index import DISTANCE, Effort, Tuning, build_index, ensure_index, nearest, read_tuning
from quickstep.library.table import translated_errors
from quickstep.types.errors import ConfigError, LibraryError, QuickstepError

WIDTH = 32
Vectors = NDArray[np.float32]


def schema(width: int = WIDTH, kind: pa.DataType | None = None) -> pa.Schema:
    vector = pa.field("vector", pa.list_(kind or pa.float32(), width))
    more = {"number": pa.int64(), "part": pa.int32(), "Dance Style": pa.string(), "thumbnail": pa.binary()}
    return pa.schema([vector, *(pa.field(name, kind) for name, kind in more.items())])


def rows(vectors: Vectors, first: int = 0, kind: pa.DataType | None = None) -> pa.Table:
    numbers = np.arange(first, first + len(vectors))
    flat = pa.array(np.ascontiguousarray(vectors, dtype=(kind or pa.float32()).to_pandas_dtype()).reshape(-1))
    columns = [
        pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
        pa.array(numbers),
        pa.array(numbers % 100, pa.int32()),
        pa.array([("salsa", "tango")[number % 2] for number in numbers]),
        pa.array([b"picture" * 100 for _ in numbers], pa.binary()),
    ]
    return pa.table(columns, schema=schema(vectors.shape[1], kind))


def random_vectors(count: int, seed: int = 0, width: int = WIDTH) -> Vectors:
    return np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)


def table_of(folder: Path, vectors: Vectors, kind: pa.DataType | None = None) -> Any:
    table = lancedb.connect(folder).create_table("windows", schema=schema(vectors.shape[1], kind))
    for first in range(0, len(vectors), 1000):
        table.add(rows(vectors[first : first + 1000], first, kind))
    return table


def cosines(vectors: Vectors, query: Vectors) -> NDArray[np.float32]:
    return vectors @ query / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query)


def best(vectors: Vectors, query: Vectors, limit: int, mask: NDArray[np.bool_] | None = None) -> list[int]:
    scores = cosines(vectors, query)
    if mask is not None:
        scores[~mask] = -np.inf
    return np.argsort(-scores)[:limit].tolist()


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    """Videos of 20 windows each, in random directions."""
    return np.repeat(random_vectors(200), 20, axis=0) + 0.3 * random_vectors(4000, 1)


@pytest.fixture(scope="module")
def indexed(vectors: Vectors, tmp_path_factory: pytest.TempPathFactory) -> Any:
    table = table_of(tmp_path_factory.mktemp("indexed"), vectors)
    build_index(table)
    return table


def test_small_tables_are_searched_exactly(tmp_path: Path) -> None:
    vectors = random_vectors(300)
    table = table_of(tmp_path, vectors)
    ensure_index(table)
    assert not list(table.list_indices())  # too small for one
    for query in random_vectors(5, 2):
        result = nearest(table, query, limit=7)
        assert result["number"].to_pylist() == best(vectors, query, 7)
        np.testing.assert_allclose(1 - result[DISTANCE].to_numpy(), cosines(vectors, query)[result["number"].to_numpy()], atol=1e-5)
        assert result.schema.names == ["number", "part", "Dance Style", "thumbnail", DISTANCE]


def test_requested_columns_are_returned(indexed: Any, vectors: Vectors) -> None:
    for columns in (["vector", "number"], ["thumbnail", "Dance Style"], ["number"], []):
        result = nearest(indexed, vectors[5], limit=3, columns=columns)
        assert result.schema.names == [*columns, DISTANCE]
        assert len(result) == 3
    assert result[DISTANCE][0].as_py() == pytest.approx(0, abs=1e-6)
    whole = nearest(indexed, vectors[5], limit=30, columns=["number", "vector"])
    np.testing.assert_array_equal(whole["vector"].to_pylist(), vectors[whole["number"].to_numpy()])


def test_half_precision_and_lists_are_accepted(tmp_path: Path) -> None:
    vectors = random_vectors(300).astype(np.float16).astype(np.float32)
    table = table_of(tmp_path, vectors, pa.float16())
    assert nearest(table, vectors[7].tolist(), limit=3, columns=["number"])["number"].to_pylist() == best(vectors, vectors[7], 3)
    build_index(table)
    assert nearest(table, vectors[7].tolist(), limit=3, columns=["number"])["number"].to_pylist() == best(vectors, vectors[7], 3)


def test_an_index_has_a_high_recall_and_exact_distances(indexed: Any, vectors: Vectors) -> None:
    tuning = read_tuning(indexed.schema)
    assert tuning is not None
    assert tuning.rows == len(vectors)
    assert min(effort.recall for effort in tuning.efforts) > 0.9
    hits = 0
    for query in np.concatenate([vectors[::200] + 0.2 * random_vectors(20, 3), random_vectors(20, 4)]):
        result = nearest(indexed, query, limit=10, columns=["number"])
        hits += len(set(result["number"].to_pylist()) & set(best(vectors, query, 10)))
        np.testing.assert_allclose(1 - result[DISTANCE].to_numpy(), cosines(vectors, query)[result["number"].to_numpy()], atol=1e-5)
        assert (np.diff(result[DISTANCE].to_numpy()) >= 0).all()
    assert hits / 400 >= 0.95


@pytest.mark.parametrize(
    ("where", "passes"),
    [
        ("part < 50", lambda n: n % 100 < 50),
        ("part = 7", lambda n: n % 100 == 7),
        ("part >= 0", lambda n: n >= 0),
        ("number < 1500 AND part > 20", lambda n: (n < 1500) & (n % 100 > 20)),
        ("`Dance Style` = 'tango'", lambda n: n % 2 == 1),
    ],
)
def test_a_filter_is_applied_before_the_search(indexed: Any, vectors: Vectors, where: str, passes: Any) -> None:
    mask = passes(np.arange(len(vectors)))
    hits = 0
    for query in random_vectors(20, 5):
        result = nearest(indexed, query, limit=10, where=where, columns=["number"])["number"].to_pylist()
        assert len(result) == 10
        assert mask[result].all()
        hits += len(set(result) & set(best(vectors, query, 10, mask)))
        exact = nearest(indexed, query, limit=10, where=where, columns=["number"], exact=True)["number"].to_pylist()
        assert exact == best(vectors, query, 10, mask)
    assert hits / 200 >= 0.95


def test_a_filter_that_excludes_all_near_rows_finds_far_ones(indexed: Any, vectors: Vectors) -> None:
    """All near rows are filtered out, although three of four rows pass."""
    query = vectors[10]
    near = best(vectors, query, 1000)
    low = np.ones(len(vectors), bool)
    low[near] = False
    where = f"number NOT IN ({', '.join(map(str, near))})"
    result = nearest(indexed, query, limit=10, where=where, columns=["number"])["number"].to_pylist()
    assert len(set(result) & set(best(vectors, query, 10, low))) >= 9


def test_rows_added_and_deleted_after_the_index_was_built(tmp_path: Path, vectors: Vectors) -> None:
    table = table_of(tmp_path, vectors[:3000])
    build_index(table)
    table.add(rows(vectors[3000:3100], 3000))
    query = vectors[3050]
    assert nearest(table, query, limit=5)["number"].to_pylist() == best(vectors[:3100], query, 5)
    table.delete("number = 3050")
    assert 3050 not in nearest(table, query, limit=100)["number"].to_pylist()
    table.optimize()
    assert nearest(table, query, limit=1)["number"].to_pylist() == best(vectors[:3100], query, 2)[1:]
    assert read_tuning(table.schema) is not None


def test_the_index_is_built_at_a_size_and_updated_with_new_rows(tmp_path: Path, vectors: Vectors, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ann_index, "EXACT_ROWS", 1000)
    monkeypatch.setattr(ann_index, "NEW_ROWS", 100)
    table = table_of(tmp_path, vectors[:900])
    ensure_index(table)
    assert read_tuning(table.schema) is None
    table.add(rows(vectors[900:1600], 900))
    stages: list[str] = []
    ensure_index(table, progress=lambda stage, done, total: stages.append(stage))
    tuning = read_tuning(table.schema)
    assert tuning is not None
    assert "index" in stages
    assert {"vector", "number", "part"} <= {name for index in table.list_indices() for name in index.columns}
    table.add(rows(vectors[1600:1650], 1600))
    ensure_index(table)
    assert table.index_stats(ann_index.INDEX).num_unindexed_rows == 50  # so few are compared one by one
    table.add(rows(vectors[1650:1800], 1650))
    ensure_index(table)
    assert table.index_stats(ann_index.INDEX).num_unindexed_rows == 0
    assert read_tuning(table.schema) == tuning
    table.add(rows(vectors[1800:], 1800))
    ensure_index(table)
    again = read_tuning(table.schema)
    assert again is not None
    assert again.rows == len(vectors)  # it grew so much that it was built again


def test_columns_of_every_type_can_be_filtered(tmp_path: Path, vectors: Vectors) -> None:
    table = table_of(tmp_path, vectors[:1000])
    more = {
        "score": pa.array(np.arange(1000) / 1000),
        "year": pa.array([2000 + number % 20 for number in range(1000)]),
        "gone": pa.array([number % 3 == 0 for number in range(1000)]),
        "day": pa.array([20_000 + number for number in range(1000)], pa.int32()).cast(pa.date32()),
        "label": pa.array([None if number % 2 else "windmill" for number in range(1000)]),
        "nothing": pa.nulls(1000, pa.string()),
        "names": pa.array([["windmill", "halo"]] * 1000),
    }
    whole = rows(vectors[:1000])
    for name, column in more.items():
        whole = whole.append_column(name, column)
    table = lancedb.connect(tmp_path).create_table("more", whole)
    build_index(table)
    assert {"score", "year", "gone", "day", "label", "nothing"} <= {name for index in table.list_indices() for name in index.columns}
    where = "score < 0.5 AND year > 2010 AND NOT gone AND label = 'windmill' AND day < date '2024-12-31' AND nothing IS NULL"
    numbers = np.arange(1000)
    mask = (numbers < 88) & (numbers % 20 > 10) & (numbers % 3 != 0) & (numbers % 2 == 0)
    result = nearest(table, vectors[3], limit=5, where=where + " AND array_has(names, 'halo')", columns=["number"])["number"].to_pylist()
    assert result == best(vectors[:1000], vectors[3], 5, mask)


def test_a_limit_above_the_number_of_rows(indexed: Any, vectors: Vectors, tmp_path: Path) -> None:
    assert len(nearest(indexed, vectors[0], limit=10_000, columns=["number"])) == len(vectors)
    assert len(nearest(indexed, vectors[0], limit=100, where="part = 3", columns=["number"])) == 40
    assert len(nearest(indexed, vectors[0], where="part = 300")) == 0
    empty = table_of(tmp_path, random_vectors(0))
    result = nearest(empty, vectors[0])
    assert len(result) == 0
    assert result.schema.names[-1] == DISTANCE
    ensure_index(empty)
    with pytest.raises(QuickstepError, match="empty library"):
        build_index(empty)


@pytest.mark.parametrize("where", ["colour = 'red'", "part = = 3", "part + 1"])
def test_a_filter_that_cannot_be_read_names_the_columns(indexed: Any, vectors: Vectors, where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        nearest(indexed, vectors[0], where=where)
    assert "\n" not in str(caught.value)
    assert caught.value.field == "where"
    assert "number, part, Dance Style" in str(caught.value)
    assert ".rs:" not in str(caught.value)


def test_invalid_query_vectors_are_refused(indexed: Any, vectors: Vectors) -> None:
    with pytest.raises(QuickstepError, match=r"32.*31"):
        nearest(indexed, vectors[0, :31])
    for wrong in (np.full(WIDTH, np.nan), np.full(WIDTH, np.inf), np.zeros(WIDTH)):
        with pytest.raises(QuickstepError, match="finite"):
            nearest(indexed, wrong)
    with pytest.raises(ConfigError, match="limit"):
        nearest(indexed, vectors[0], limit=0)


def test_a_width_that_is_not_a_multiple_of_eight(tmp_path: Path) -> None:
    vectors = random_vectors(1500, width=20)
    table = table_of(tmp_path, vectors)
    build_index(table)
    query = random_vectors(1, 9, width=20)[0]
    assert nearest(table, query, limit=5, columns=["number"])["number"].to_pylist() == best(vectors, query, 5)


@pytest.mark.parametrize(
    ("message", "line"), [("Permission denied (os error 13)", "read-only"), ("No space left on device (os error 28)", "full")]
)
def test_a_folder_that_cannot_be_written_is_an_error_and_can_be_searched(
    tmp_path: Path, vectors: Vectors, monkeypatch: pytest.MonkeyPatch, message: str, line: str
) -> None:
    table = table_of(tmp_path, vectors[:1000])

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError(f"lance error: LanceError(IO): {message}")

    monkeypatch.setattr(type(table), "create_index", refuse)
    with pytest.raises(LibraryError, match=line):
        build_index(table)
    assert nearest(table, vectors[0], limit=3)["number"].to_pylist() == best(vectors[:1000], vectors[0], 3)


def test_a_table_that_is_rewritten_during_a_search_is_searched_again(
    indexed: Any, vectors: Vectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    original = ann_index.nearest_codes

    def moved(*given: Any, **more: Any) -> Any:
        calls.append(1)
        result = original(*given, **more)
        return result + np.uint64(1 << 40) if len(calls) == 1 else result  # where no rows exist

    monkeypatch.setattr(ann_index, "nearest_codes", moved)
    assert nearest(indexed, vectors[5], limit=5)["number"].to_pylist()[0] == 5
    assert len(calls) == 2


def test_efforts_between_and_beyond_the_measured_ones() -> None:
    tuning = Tuning(10_000, 16, (Effort(10, 4, 50, 0.99), Effort(100, 9, 200, 0.98)))
    assert tuning.effort(1) == tuning.efforts[0]
    assert tuning.effort(100).candidates == 200
    between = tuning.effort(31.7)
    assert (between.probes, between.candidates) == (7, 101)
    assert tuning.effort(1000) == Effort(1000, 9, 2000, 0.98)


def test_a_quickstep_error_is_not_translated() -> None:
    with pytest.raises(ConfigError, match="where"), translated_errors("place", "cannot be read"):
        raise ConfigError("where", "cannot be read")
