"""Work on a video follows what its file holds, whatever its header claims; what it may cost at most is a limit that can be set."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from itertools import count, islice
from pathlib import Path
from typing import Any

import av
import pytest
from costly_videos import KINDS, write_costly
from places import ROOT
from videos import RECIPES, read_number, write_numbered

from quickstep.signals.video import VideoReader, probe, read_frames
from quickstep.signals.video.limits import VARIABLE, DecodingLimits, current_limits
from quickstep.types.errors import ConfigError, MediaError

REFUSED = {"table", "vast"}
REAL_SECONDS = {"fragment": 1.92, "flipped": 2.4, "slow": 279.0, "cut": 24.0, "growing": 1.24}
MEMORY = 2 * 2**30  # of addresses: the program and its libraries take three quarters of it
# Every tenth of a second of what is claimed is read, as a timeline reads it.
READ = """
import json, resource, sys, time
import numpy as np
from quickstep.signals.video import VideoReader, probe
from quickstep.types.errors import MediaError
from quickstep.types.view import View
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]), int(sys.argv[1])))
for path in sys.argv[2:]:
    began, line = time.process_time(), {}
    try:
        line["duration"] = probe(path).duration
        times = np.arange(0, line["duration"], 0.1)
        with VideoReader(path) as video:
            for frames in video.windows(times[:, None], view=View(frames=1, size=32)):
                pass
    except MediaError as error:
        line["error"] = str(error)
    print(json.dumps({**line, "path": path, "cpu": time.process_time() - began}), flush=True)
"""


@pytest.fixture(scope="module")
def costs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Read each costly video in a process with little memory; return what it printed about each."""
    files = write_costly(tmp_path_factory.mktemp("costly"))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", READ, str(MEMORY), *map(str, files.values())]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    lines = {json.loads(line)["path"]: json.loads(line) for line in done.stdout.splitlines()}
    assert done.returncode == 0, done.stderr[-2000:]
    return {kind: lines[str(path)] for kind, path in files.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_a_small_file_costs_little_whatever_it_claims(costs: dict[str, dict[str, Any]], kind: str) -> None:
    assert costs[kind]["cpu"] < 10


@pytest.mark.parametrize("kind", sorted(REFUSED))
def test_what_a_file_cannot_hold_is_refused_in_one_line(costs: dict[str, dict[str, Any]], kind: str) -> None:
    assert "\n" not in costs[kind]["error"]
    assert costs[kind]["path"] in costs[kind]["error"]


@pytest.mark.parametrize("kind", sorted(REAL_SECONDS))
def test_a_video_lasts_as_long_as_its_frames(costs: dict[str, dict[str, Any]], kind: str) -> None:
    assert costs[kind]["duration"] == pytest.approx(REAL_SECONDS[kind], rel=0.15)


def test_a_stream_does_not_grow_beyond_what_it_announced(costs: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    """The large frame is lost, and the frame before it stands for it."""
    assert "error" not in costs["growing"]
    frames = read_frames(KINDS["growing"](tmp_path), [0.0, 1.3])
    assert frames.pixels.shape[1:3] == (96, 128)


def test_decoding_ends_with_its_budget_of_processor_time(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "long.mkv", next(r for r in RECIPES if r.name == "mkv-h264"), count=100)
    with DecodingLimits(cpu_seconds=0.01).active(), VideoReader(path) as video, pytest.raises(MediaError, match="processor time"):
        all(video.frames([3.9, 0.0, 2.0]) for _ in range(1000))
    assert len(read_frames(path, [3.9, 0.0]).pixels) == 2


def test_memory_that_is_not_there_costs_one_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg's bindings raise MemoryError for sizes that a damaged file claims."""

    def exhausted(*_: object, **__: object) -> None:
        raise MemoryError

    path = write_numbered(tmp_path / "a.mp4", RECIPES[0], count=3)
    monkeypatch.setattr(av, "open", exhausted)
    with pytest.raises(MediaError, match="memory"):
        probe(path)


def test_frames_are_no_larger_than_the_limit(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "a.mp4", RECIPES[0], count=3)
    with DecodingLimits(max_pixels=96 * 64 - 1).active(), pytest.raises(MediaError, match=r"96x64|pixels"):
        probe(path)
    with pytest.raises(ConfigError):
        DecodingLimits(cpu_seconds=0)


def test_a_video_of_many_hours_is_refused_in_one_line(tmp_path: Path) -> None:
    path = KINDS["slow"](tmp_path)
    with DecodingLimits(max_hours=0.05).active(), pytest.raises(MediaError, match=r"0\.1 hours.*`max_hours`"):
        probe(path)
    assert probe(path).disbelieved is None  # its frames follow each other


def test_timestamps_are_taken_as_they_are_needed(tmp_path: Path) -> None:
    """A plan as long as a claimed duration would be built before the first frame."""
    taken = []

    def endless() -> Iterator[list[float]]:
        for number in count():
            taken.append(number)
            yield [(number % 50) / 25]

    path = write_numbered(tmp_path / "a.mp4", RECIPES[0], count=50)
    with VideoReader(path) as video:
        numbers = [read_number(frames.pixels[0]) for frames in islice(video.windows(endless()), 120)]
    assert numbers == [number % 50 for number in range(120)]
    assert len(taken) < 20_000


def test_limits_reach_the_processes_that_a_command_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = DecodingLimits(cpu_seconds=3.5, max_hours=7)
    monkeypatch.setenv(VARIABLE, limits.to_text())
    assert current_limits() == limits
    monkeypatch.setenv(VARIABLE, "cpu_seconds=2,seconds=3")
    with pytest.raises(ConfigError, match="seconds=3"):
        current_limits()


@pytest.mark.parametrize("path", sorted((ROOT / "tests/fixtures/fuzz").iterdir()), ids=lambda path: path.name)
def test_what_the_fuzzer_found_is_refused_or_read(path: Path) -> None:
    with suppress(MediaError):
        assert probe(path).duration < 48 * 3600
