"""Indexing that is killed, runs twice at once, or cannot write: finished videos stay, and none is written in part."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from library_sets import TracingBackbone, draw, index_videos, rows_of
from places import HELPERS, ROOT
from toys import COLOURS, Words

from quickstep.library import Library, index, search
from quickstep.types.errors import LibraryError

VIDEOS = 24
INDEX = """
import sys
from library_sets import TracingBackbone
from quickstep.library import index
index(sys.argv[1], sys.argv[2:], backbone=TracingBackbone())
"""


def draw_many(folder: Path) -> list[Path]:
    names = list(COLOURS)
    return [draw(folder / f"{n:02d}.mp4", (names[n % 3], 1 + n % 5), (names[n % 2], 2), seed=n) for n in range(VIDEOS)]


def start(library: Path, videos: Path, trace: Path, cache: Path) -> subprocess.Popen[bytes]:
    tests = HELPERS
    environment = {**os.environ, "PYTHONPATH": f"{tests}{os.pathsep}{ROOT}", "TRACE": str(trace), "QUICKSTEP_CACHE": str(cache)}
    command = [sys.executable, "-c", INDEX, str(library), str(videos)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)


def count_embedded(trace: Path) -> int:
    return len(trace.read_text().splitlines()) if trace.exists() else 0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twenty_kills_lose_no_finished_video(tmp_path: Path) -> None:
    draw_many(tmp_path / "videos")
    undisturbed = start(tmp_path / "undisturbed", tmp_path / "videos", tmp_path / "undisturbed.txt", tmp_path / "cache-1")
    began = time.monotonic()
    assert undisturbed.wait(120) == 0
    whole = time.monotonic() - began
    rng = np.random.default_rng(0)
    library, trace = tmp_path / "killed", tmp_path / "killed.txt"
    kills, finished, windows = 0, 0, 0
    while kills < 20:
        process = start(library, tmp_path / "videos", trace, tmp_path / "cache-2")
        time.sleep(float(rng.uniform(0.3, 1.0)) * whole)
        if process.poll() is not None:  # it finished: start another library, so that twenty runs are killed at work
            assert process.returncode == 0
            finished += 1
            assert rows_of(Library.open(library)) == rows_of(Library.open(tmp_path / "undisturbed"))
            library, trace = tmp_path / f"killed-{finished}", tmp_path / f"killed-{finished}.txt"
            windows = 0
            continue
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
        if (library / "windows.lance" / "_versions").exists():
            now = Library.open(library).count()
            assert now >= windows  # finished windows stay
            windows = now
    process = start(library, tmp_path / "videos", trace, tmp_path / "cache-2")
    assert process.wait(120) == 0
    assert rows_of(Library.open(library)) == rows_of(Library.open(tmp_path / "undisturbed"))
    before = count_embedded(trace)
    process = start(library, tmp_path / "videos", trace, tmp_path / "cache-2")
    assert process.wait(120) == 0
    assert count_embedded(trace) == before


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_after_a_kill_only_unfinished_videos_are_repeated(tmp_path: Path) -> None:
    draw_many(tmp_path / "videos")
    assert start(tmp_path / "undisturbed", tmp_path / "videos", tmp_path / "undisturbed.txt", tmp_path / "cache-1").wait(120) == 0
    process = start(tmp_path / "killed", tmp_path / "videos", tmp_path / "killed.txt", tmp_path / "cache-2")
    while count_embedded(tmp_path / "killed.txt") < count_embedded(tmp_path / "undisturbed.txt") / 2:
        time.sleep(0.01)
        assert process.poll() is None
    process.kill()
    process.wait()
    assert start(tmp_path / "killed", tmp_path / "videos", tmp_path / "killed.txt", tmp_path / "cache-2").wait(120) == 0
    # as many frames as two decoding threads and their queue can hold
    assert (
        count_embedded(tmp_path / "killed.txt") - count_embedded(tmp_path / "undisturbed.txt")
        < count_embedded(tmp_path / "undisturbed.txt") / 3
    )


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_processes_share_the_work(tmp_path: Path) -> None:
    draw_many(tmp_path / "videos")
    assert start(tmp_path / "undisturbed", tmp_path / "videos", tmp_path / "undisturbed.txt", tmp_path / "cache-1").wait(120) == 0
    both = [start(tmp_path / "shared", tmp_path / "videos", tmp_path / f"{n}.txt", tmp_path / f"cache-of-{n}") for n in range(2)]
    for process in both:
        assert process.wait(120) == 0
    library = Library.open(tmp_path / "shared")
    assert rows_of(library) == rows_of(Library.open(tmp_path / "undisturbed"))
    places = Counter((row["path"], row["start"]) for row in library.rows(["path", "start"]).to_pylist())
    assert set(places.values()) == {1}
    # each has its own cache: no video was embedded by both (the few extra frames are of the black window)
    shares = [count_embedded(tmp_path / f"{n}.txt") for n in range(2)]
    assert sum(shares) <= count_embedded(tmp_path / "undisturbed.txt") + 3


def index_one_by_one(library: Path, videos: list[Path]) -> None:
    for video in videos:
        index_videos(library, [video])


@pytest.mark.slow
def test_a_full_disk_is_an_error_and_loses_nothing(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.name != "posix" or os.geteuid() != 0 or os.system(f"mount -t tmpfs -o size=600k tmpfs {disk} 2>/dev/null"):
        pytest.skip("a small disk cannot be mounted here")
    try:
        videos = draw_many(tmp_path / "videos")
        index_videos(disk / "library", videos[:2])
        (disk / "ballast").write_bytes(b"x" * 400_000)
        with pytest.raises(LibraryError, match="disk is full"):
            index_one_by_one(disk / "library", videos[2:])
        before = Library.open(disk / "library").count()
        assert before >= 2
        assert search(disk / "library", "red", backbone=Words()).moments
        (disk / "ballast").unlink()
        library, result = index_videos(disk / "library", videos[:5])
        assert not result.failures
        assert library.count("start = 0") >= 5
    finally:
        os.system(f"umount {disk}")


def test_a_read_only_library_can_be_searched(tmp_path: Path) -> None:
    video = draw(tmp_path / "red.mp4", ("red", 6))
    other = draw(tmp_path / "blue.mp4", ("blue", 6))
    index_videos(tmp_path / "library", [video])
    read_only = tmp_path / "read_only"
    read_only.mkdir()
    if os.name != "posix" or os.geteuid() != 0 or os.system(f"mount -o bind,ro {tmp_path / 'library'} {read_only} 2>/dev/null"):
        pytest.skip("a read-only folder cannot be mounted here")
    try:
        result = search(read_only, "red", backbone=Words())
        assert [Path(moment.path) for moment in result.moments] == [video]
        with pytest.raises(LibraryError, match="read-only"):
            index(read_only, [other], backbone=Words())
    finally:
        os.system(f"umount {read_only}")


def test_a_folder_without_a_first_version_is_created_again(tmp_path: Path) -> None:
    (tmp_path / "library" / "windows.lance" / "data").mkdir(parents=True)
    (tmp_path / "library" / ".locks").mkdir()
    library, _ = index_videos(tmp_path / "library", [draw(tmp_path / "red.mp4", ("red", 1))], backbone=TracingBackbone())
    assert library.count() == 1
