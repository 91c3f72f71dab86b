"""Decoding in processes of their own: the same frames, no other powers, and a decoder that dies costs its video alone."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from costly_videos import KINDS
from places import ROOT
from videos import RECIPES, read_number, write_numbered

from quickstep.signals.video import VideoReader, decoder_pool, probe, read_frames
from quickstep.signals.video.decoder_pool import PooledDecoder
from quickstep.signals.video.limits import DecodingLimits
from quickstep.signals.video.remote_reader import RemoteReader
from quickstep.types.errors import MediaError
from quickstep.types.progress import Stopped, StopSignal
from quickstep.types.view import View

BY_NAME = {recipe.name: recipe for recipe in RECIPES}
# What a decoder that a video has taken over might try; each line must fail.
ATTEMPTS = """
import os, resource, signal, socket, subprocess, sys, threading
from quickstep.types.sandbox import restrict
own, written = open(sys.argv[1]), open(sys.argv[2], "wb", buffering=0)
held = restrict(300)
def attempt(name, work):
    try:
        work()
    except (OSError, ValueError, MemoryError):
        return
    print(name, flush=True)
attempt("open", lambda: open("/etc/passwd"))
attempt("list", lambda: os.listdir("/"))
attempt("create", lambda: open(sys.argv[2] + "2", "w"))
attempt("write", lambda: written.write(b"more"))
attempt("remove", lambda: os.unlink(sys.argv[1]))
attempt("socket", lambda: socket.socket())
attempt("run", lambda: subprocess.run(["true"]))
attempt("fork", os.fork)
attempt("kill", lambda: os.kill(os.getppid(), signal.SIGTERM))
attempt("raise", lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1, 1)))
attempt("memory", lambda: bytearray(400 * 2**20))
thread = threading.Thread(target=lambda: print("thread", own.read(), held.all_hold, flush=True))
thread.start()
thread.join()
"""


@pytest.fixture(autouse=True)
def isolated() -> Iterator[None]:
    with DecodingLimits(isolate="always").active():
        yield


def running() -> PooledDecoder:
    """Return the decoder that is idle, after a video was read."""
    return decoder_pool._idle[-1]


def test_a_restricted_process_can_do_nothing_but_read_what_it_has_open(tmp_path: Path) -> None:
    (tmp_path / "own").write_text("mine")
    command = [sys.executable, "-c", ATTEMPTS, str(tmp_path / "own"), str(tmp_path / "written")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout.split() == ["thread", "mine", "True"]
    assert (tmp_path / "own").exists()


@pytest.mark.parametrize("name", ["mp4-h264", "mkv-h264", "avi-mpeg4-b", "raw-h264", "webm-vp9", "gif"])
def test_the_frames_are_those_of_this_process(name: str, tmp_path: Path) -> None:
    path = write_numbered(tmp_path / f"a{BY_NAME[name].suffix}", BY_NAME[name], count=40)
    times = np.arange(0, 1.6, 0.04)
    remote, info = read_frames(path, times, view=View(size=48)), probe(path)
    with DecodingLimits(isolate="never").active():
        local = read_frames(path, times, view=View(size=48))
        assert info == probe(path)
    assert np.array_equal(remote.pixels, local.pixels)
    assert np.array_equal(remote.times, local.times)


def test_a_window_larger_than_the_shared_memory_comes_whole(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "a.mp4", BY_NAME["mp4-h264-no-b"], count=12)
    frames = read_frames(path, np.tile(np.arange(12) / 25, 120))  # 26 MB
    assert [read_number(pixels) for pixels in frames.pixels] == list(range(12)) * 120


def test_a_reader_can_be_left_in_the_middle_and_asked_again(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "a.mp4", BY_NAME["mp4-h264"], count=100)
    with VideoReader(path) as video:
        for start in (0, 50, 20):
            windows = video.windows([[number / 25] for number in range(start, 100)])
            assert read_number(next(windows).pixels[0]) == start
        assert video.info.frames == 100
        assert read_number(video.frames([1.0]).pixels[0]) == 25


def test_a_decoder_that_is_killed_is_replaced_and_no_window_is_lost(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "a.mp4", BY_NAME["mp4-h264"], count=100)
    numbers = []
    with VideoReader(path) as video:
        assert isinstance(video._reader, RemoteReader)
        for frames in video.windows([[number / 25] for number in range(100)]):
            numbers.append(read_number(frames.pixels[0]))
            if len(numbers) in (30, 60):
                video._reader._opened().process.kill()
    assert numbers == list(range(100))


@pytest.mark.parametrize(("number", "words"), [(signal.SIGSEGV, "SIGSEGV"), (signal.SIGSTOP, "stopped answering")])
def test_a_decoder_that_crashes_or_hangs_costs_its_video_alone(
    number: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder_pool, "SILENT", 0.5)
    path = write_numbered(tmp_path / "a.mp4", BY_NAME["mp4-h264"], count=20)
    probe(path)
    os.kill(running().process.pid, number)
    if number == signal.SIGSEGV:  # it crashes while it is asked
        monkeypatch.setattr(running().process, "poll", lambda: None)
    with pytest.raises(MediaError, match=words) as raised:
        probe(path)
    assert str(path) in str(raised.value)
    assert probe(path).frames == 20


def test_memory_is_limited_and_the_error_says_so(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "a.mp4", BY_NAME["mp4-h264"], count=20)
    with DecodingLimits(isolate="always", decoder_mb=40).active(), pytest.raises(MediaError, match="40 MB of memory"):
        read_frames(path, np.zeros(10_000))
    assert len(read_frames(path, [0.0])) == 1


def test_a_step_that_never_ends_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder_pool, "STEP", 0.0)
    monkeypatch.setattr(decoder_pool, "LOOK", 0.02)
    monkeypatch.setattr(PooledDecoder, "_steps", 7)  # as if no packet followed
    path = write_numbered(tmp_path / "a.mp4", BY_NAME["mp4-h264-no-b"], count=60)
    with VideoReader(path) as video, pytest.raises(MediaError, match="one step of decoding"):
        video.frames(np.arange(0, 2.4, 0.04), view=View(size=2048, fit="stretch"))


def test_a_stop_signal_ends_a_remote_reading_at_once(tmp_path: Path) -> None:
    path = KINDS["slow"](tmp_path)
    stop = StopSignal()
    threading.Timer(0.2, stop.stop).start()
    began = time.monotonic()
    with stop.active(), pytest.raises(Stopped), VideoReader(path) as video:
        for _ in video.windows(np.arange(0, 278, 0.001)[:, None], view=View(size=64)):
            pass
    assert time.monotonic() - began < 2


def test_idle_decoders_keep_no_file_open_and_little_memory(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "a.mp4", BY_NAME["mp4-h264"], count=20)
    before = len([*Path("/proc/self/fd").iterdir()])
    for _ in range(5):
        probe(path)
    assert len([*Path("/proc/self/fd").iterdir()]) <= before + 4
    status = Path(f"/proc/{running().process.pid}/statm").read_text().split()
    assert int(status[1]) * resource.getpagesize() < 150e6
    assert running().held.memory
