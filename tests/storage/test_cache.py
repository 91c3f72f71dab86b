"""The cache under several processes, kills, damage, and a full disk."""

from __future__ import annotations

import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from quickstep.storage.cache import Cache, canonical, hash_of
from quickstep.types.errors import CacheError, MediaError

KEY = {"kind": "features", "video": "0" * 64, "span": [0.0, None]}


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "store")


@settings(max_examples=40, deadline=None)
@given(array=hnp.arrays(np.float32, hnp.array_shapes(max_dims=3, max_side=5), elements=st.floats(width=32, allow_nan=False)))
def test_arrays_come_back_to_the_bit(array: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> None:
    cache = Cache(tmp_path_factory.getbasetemp() / "round-trip")
    cache.put(KEY, {"values": array})
    got = cache.get(KEY)
    assert got is not None
    assert got["values"].tobytes() == array.tobytes()
    assert got["values"].shape == array.shape


def test_another_key_has_another_value(cache: Cache) -> None:
    cache.put(KEY, {"values": np.zeros(3)})
    assert cache.get({**KEY, "span": [0.0, 1.0]}) is None


def test_a_strided_array_is_stored_correctly(cache: Cache) -> None:
    wide = np.arange(20).reshape(4, 5)
    cache.put(KEY, {"values": wide[:, ::2]})
    assert np.array_equal(cache.get(KEY)["values"], wide[:, ::2])


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "text"])
def test_a_damaged_entry_is_removed_and_counts_as_missing(cache: Cache, damage: str) -> None:
    cache.put(KEY, {"values": np.arange(1000.0)})
    (file,) = cache.folder.glob("arrays/??/*.safetensors")
    blob = bytearray(file.read_bytes())
    if damage == "flip":
        blob[-100] ^= 4
    file.write_bytes({"flip": bytes(blob), "cut": bytes(blob[:-9]), "empty": b"", "text": b"not a tensor"}[damage])
    assert cache.get(KEY) is None
    assert not file.exists()


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_flipped_bit_never_gives_other_values(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    cache = Cache(tmp_path_factory.mktemp("bits"))
    values = np.arange(50, dtype=np.float32)
    cache.put(KEY, {"values": values})
    (file,) = cache.folder.glob("arrays/??/*.safetensors")
    blob = bytearray(file.read_bytes())
    blob[data.draw(st.integers(0, len(blob) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    file.write_bytes(blob)
    got = cache.get(KEY)
    assert got is None or (set(got) == {"values"} and np.array_equal(got["values"], values))


def test_facts_come_back_unless_they_are_damaged(cache: Cache) -> None:
    cache.remember("probe", KEY, {"fps": 25.0, "codec": "h264"})
    assert cache.recall("probe", KEY) == {"fps": 25.0, "codec": "h264"}
    assert cache.recall("other", KEY) is None
    with sqlite3.connect(cache.folder / "facts.sqlite") as database:
        database.execute("update facts set value = replace(value, '25', '50')")
    database.close()
    assert cache.recall("probe", KEY) is None


def test_a_damaged_database_is_replaced(cache: Cache) -> None:
    cache.remember("probe", KEY, 1)
    fresh = Cache(cache.folder)
    (cache.folder / "facts.sqlite").write_bytes(b"this is no database at all" * 100)
    for suffix in ("-wal", "-shm"):
        (cache.folder / f"facts.sqlite{suffix}").unlink(missing_ok=True)
    assert fresh.recall("probe", KEY) is None
    fresh.remember("probe", KEY, 2)
    assert fresh.recall("probe", KEY) == 2


def test_a_digest_is_the_sha256_of_the_file_and_follows_changes(cache: Cache, tmp_path: Path) -> None:
    file = tmp_path / "video.mp4"
    file.write_bytes(b"one")
    os.utime(file, (1, 1))
    first = cache.digest(file)
    assert first == subprocess.run(["sha256sum", file], capture_output=True, text=True, check=True).stdout.split()[0]
    file.write_bytes(b"two")  # as long as before, and dated back
    os.utime(file, (1, 1))
    assert cache.digest(file) != first


def test_a_remembered_digest_is_computed_again_when_the_file_changes(cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is long unchanged by the clock of the test, so that its digest is remembered; the new content has the same length."""
    file = tmp_path / "video.mp4"
    file.write_bytes(b"one")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 100)
    assert cache.digest(file) == hashlib.sha256(b"one").hexdigest()
    time.sleep(0.05)
    file.write_bytes(b"two")
    assert cache.digest(file) == hashlib.sha256(b"two").hexdigest()


def test_the_digest_of_a_file_written_just_now_is_not_remembered(cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two writes within one tick of the file system's clock leave equal times."""
    file = tmp_path / "video.mp4"
    file.write_bytes(b"one")
    cache.digest(file)  # opens the database
    same = file.stat()
    monkeypatch.setattr(Path, "stat", lambda *_args, **_options: same)
    file.write_bytes(b"two")
    assert cache.digest(file) == hashlib.sha256(b"two").hexdigest()


def test_an_array_whose_shape_was_changed_counts_as_missing(cache: Cache) -> None:
    cache.put(KEY, {"values": np.arange(6.0).reshape(2, 3)})
    (entry,) = cache.entries()
    raw = entry.file.read_bytes()
    assert raw.count(b"[2,3]") == 1
    entry.file.write_bytes(raw.replace(b"[2,3]", b"[3,2]"))
    assert cache.get(KEY) is None


def test_a_missing_file_and_a_folder_are_media_errors(cache: Cache, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="no such file"):
        cache.digest(tmp_path / "nothing.mp4")
    with pytest.raises(MediaError, match="cannot be read"):
        cache.digest(tmp_path)


def test_a_cache_that_cannot_be_written_is_one_error_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CacheError, match="cache") as caught:
        Cache(tmp_path / "file" / "store").put(KEY, {"values": np.zeros(2)})
    assert "\n" not in str(caught.value)


def test_a_full_disk_is_one_error_line_and_leaves_no_temporary_file(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(CacheError, match="No space left"):
        cache.put(KEY, {"values": np.zeros(2)})
    assert not list(cache.folder.glob("arrays/??/*"))


def test_entries_are_listed_and_pruned(cache: Cache) -> None:
    for number in range(3):
        cache.put({**KEY, "number": number}, {"values": np.zeros(10)})
    assert {entry.key["number"] for entry in cache.entries()} == {0, 1, 2}
    assert cache.prune(unused_days=1) == (0, 0)
    count, size = cache.prune()
    assert count == 3
    assert size > 0
    assert not list(cache.entries())


def test_canonical_json_has_one_spelling() -> None:
    assert canonical({"b": 1, "a": [1.5, None]}) == canonical({"a": [1.5, None], "b": 1})
    assert hash_of({"a": 1}) != hash_of({"a": 1.0000001})
    with pytest.raises(ValueError):
        canonical(float("nan"))


WRITER = """
import sys
import numpy as np
from quickstep.storage.cache import Cache
store, seed = Cache(sys.argv[1]), int(sys.argv[2])
for number in range(int(sys.argv[3])):
    key = {"number": number}
    got = store.get(key)
    if got is None:
        store.put(key, {"values": np.full(20_000, number, np.float32)})
    else:
        assert (got["values"] == number).all()
    store.remember("fact", key, number)
    assert store.recall("fact", key) == number
"""


def test_several_processes_share_a_cache(cache: Cache) -> None:
    processes = [subprocess.Popen([sys.executable, "-c", WRITER, cache.folder, str(i), "60"]) for i in range(3)]
    assert [process.wait(timeout=120) for process in processes] == [0, 0, 0]
    assert all((cache.get({"number": n})["values"] == n).all() for n in range(60))


def test_many_threads_can_open_a_new_cache_at_once(tmp_path: Path) -> None:
    for round_ in range(15):
        cache, together = Cache(tmp_path / str(round_)), threading.Barrier(12)

        def use(number: int, cache: Cache = cache, together: threading.Barrier = together) -> int:
            together.wait()
            cache.remember("fact", {"number": number}, number)
            return cache.recall("fact", {"number": number})

        with ThreadPoolExecutor(12) as pool:
            assert list(pool.map(use, range(12))) == list(range(12))


def test_a_killed_process_leaves_only_complete_values(cache: Cache) -> None:
    for delay in (0.0, 0.003, 0.01, 0.03):
        process = subprocess.Popen([sys.executable, "-c", WRITER, cache.folder, "0", "100000"])
        while not list(cache.folder.glob("arrays/??/*")):
            time.sleep(0.01)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
    written = [entry.key["number"] for entry in cache.entries()]
    assert written
    assert all((cache.get({"number": n})["values"] == n).all() for n in written)
    cache.remember("fact", {"number": -1}, "still usable")
