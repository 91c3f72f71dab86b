"""RemoteReader: a video that is decoded in a restricted process of its own, so that it costs no more than itself.

A decoder is used for one video after another. One that dies, hangs or takes too much is ended, and its video is a MediaError that says
which limit; if something else ended it, another decoder resumes there.
"""

from __future__ import annotations

import atexit
import mmap
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import quickstep
from quickstep.signals.video.file_reader import VideoInfo
from quickstep.signals.video.limits import DecodingLimits, current_limits
from quickstep.signals.video.messages import HEARTBEAT, SLOT, SLOTS, Message, receive, send
from quickstep.signals.video.source import check_file, translated
from quickstep.types.errors import ConfigError, MediaError
from quickstep.types.progress import check_stop
from quickstep.types.sandbox import Restrictions
from quickstep.types.signals import Frames
from quickstep.types.view import View

STEP = 3.0  # times `cpu_seconds`: the processor time that one step inside FFmpeg may take
START = 60.0  # seconds in which a decoder starts
SILENT = 30.0  # seconds without a step, an answer or the use of a processor after which a decoder hangs
LOOK = 0.2  # seconds between two checks of a decoder that works
RETRIES = 3  # of a video whose decoder was killed from outside
KEPT = 8  # idle decoders
_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ")
_FIELDS = ("frames", "fps", "size", "fit", "windows", "resample", "edge", "stride", "crops")


class _Killed(Exception):
    """The decoder was killed by somebody else."""


def is_isolated() -> bool:
    """Whether videos are decoded in processes of their own now."""
    isolate = current_limits().isolate
    if isolate == "always" and not sys.platform.startswith("linux"):
        raise ConfigError("isolate", "decoding in restricted processes needs Linux; `isolate=auto` decodes in this process elsewhere")
    return isolate != "never" and sys.platform.startswith("linux")


class Decoder:
    """A process that decodes, and the memory that it shares with this one."""

    def __init__(self, limits: DecodingLimits) -> None:
        self.limits = limits
        self.connection, theirs = socket.socketpair()
        size = HEARTBEAT + SLOTS * SLOT
        shared = os.memfd_create("quickstep-decoder")
        try:
            os.ftruncate(shared, size)
            self.memory = mmap.mmap(shared, size)
            command = [sys.executable, "-P", "-m", "quickstep.signals.video.decoder_process"]
            self.process = subprocess.Popen(
                [*command, str(theirs.fileno()), str(shared), str(limits.decoder_mb)],
                pass_fds=(theirs.fileno(), shared),
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
            )
        finally:
            theirs.close()
            os.close(shared)
        self._mark = (0, 0.0, 0.0)  # steps, processor time and time when a step was last seen
        try:
            if not select.select([self.connection], [], [], START)[0]:
                raise MediaError(sys.executable, f"a decoder did not start in {START:.0f} s")
            self.held = Restrictions(**self.receive(Path(sys.executable)).data["held"])
        except BaseException:
            self.end()
            raise

    def send(self, data: dict[str, Any], payload: bytes = b"", descriptors: Sequence[int] = ()) -> None:
        """Send a request; that the decoder is gone is found when the answer is awaited."""
        with suppress(BrokenPipeError, ConnectionResetError):
            send(self.connection, Message(data, payload, list(descriptors)))

    def receive(self, path: Path) -> Message:
        """Wait for the next message; end a decoder that hangs or takes too much."""
        check_stop()
        self._mark = (self._steps, _processor_time(self.process.pid)[0], time.monotonic())
        while not select.select([self.connection], [], [], LOOK)[0]:
            check_stop()
            self._check(path)
        try:
            message = receive(self.connection)
        except (EOFError, ConnectionResetError):
            message = None
        except ValueError as error:
            raise self._failure(path, f"its decoder answered nonsense ({error}), so it is made to harm") from error
        if message is None:
            self._raise_death(path)
        assert message is not None
        if message.data.get("memory"):
            why = f"decoding it took more than {self.limits.decoder_mb} MB of memory, so it is damaged or made to harm"
            raise MediaError(path, f"{why}; a higher `decoder_mb` allows more")
        if "error" in message.data:
            raise MediaError(path, str(message.data["error"]))
        return message

    @property
    def _steps(self) -> int:
        return int.from_bytes(self.memory[:8], "little")

    def _check(self, path: Path) -> None:
        steps, used, at = self._mark
        now, (processor, state) = time.monotonic(), _processor_time(self.process.pid)
        if self._steps != steps:
            self._mark = (self._steps, processor, now)
        elif processor - used > STEP * self.limits.cpu_seconds:
            why = f"one step of decoding it took more than {STEP * self.limits.cpu_seconds:.0f} s of processor time"
            raise self._failure(path, f"{why}, so it is damaged or made to harm; a higher `cpu_seconds` allows more")
        elif now - at > SILENT and processor - used < 1 and state != "D":
            raise self._failure(path, f"its decoder stopped answering for {SILENT:.0f} s")

    def _failure(self, path: Path, why: str) -> MediaError:
        self.end()
        return MediaError(path, why)

    def _raise_death(self, path: Path) -> None:
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(2)
        self.end()
        number = -self.process.returncode
        if number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
            raise _Killed
        name = signal.Signals(number).name if number > 0 else f"exit status {-number}"
        raise MediaError(path, f"it crashed its decoder ({name}), so it is damaged or made to harm")

    def end(self) -> None:
        """End the process, if it has not ended by itself."""
        if self.connection.fileno() < 0:
            return
        self.process.kill()
        self.process.wait()
        self.connection.close()
        self.memory.close()


def start_decoder() -> Restrictions:
    """Start a decoder, so that the first video need not wait for it; return what restricts it."""
    decoder = _take(current_limits())
    _give_back(decoder)
    return decoder.held


class RemoteReader:
    """One open video, decoded in another process."""

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        self.path, self._threads, self._limits = path, threads, current_limits()
        self._size = check_file(path)
        self._decoder: Decoder | None = None
        self._busy = False  # a request is not answered to its end
        self._info: VideoInfo | None = None
        self._retries = RETRIES
        try:
            self._again(lambda: None)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the decoder to the next video."""
        decoder, self._decoder = self._decoder, None
        if decoder is not None and not self._busy:
            _give_back(decoder)
        elif decoder is not None:
            decoder.end()

    @property
    def info(self) -> VideoInfo:
        """The properties of the video."""
        if self._info is None:
            self._info = self._again(self._ask_info)
        return self._info

    def windows(self, rows: list[NDArray[np.float64]], view: View | None) -> Iterator[Frames]:
        """Yield one Frames for each row of seconds, in order."""
        done = 0
        while done < len(rows):
            try:
                for frames in self._windows(rows[done:], view):
                    done += 1
                    yield frames
            except _Killed as killed:
                self._lose(killed)
                self._again(lambda: None)

    def _again(self, work: Any) -> Any:
        """Do something with the open video; with another decoder where this one was killed from outside."""
        while True:
            try:
                if self._decoder is None:
                    self._open()
                return work()
            except _Killed as killed:
                self._lose(killed)

    def _lose(self, killed: _Killed) -> None:
        """Forget the decoder that was killed; give the video up when that happens again and again."""
        self._decoder, self._busy, self._retries = None, False, self._retries - 1
        if self._retries < 0:
            why = f"its decoder was killed {RETRIES + 1} times, by the system or a person: there may be too little memory"
            raise MediaError(self.path, why) from killed

    def _open(self) -> None:
        self._decoder = _take(self._limits)
        request = {"do": "open", "path": str(self.path), "threads": self._threads, "limits": self._limits.to_text()}
        with translated(self.path):
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            self._ask(request, descriptors=[descriptor])
        finally:
            os.close(descriptor)

    def _ask(self, request: dict[str, Any], descriptors: Sequence[int] = ()) -> Message:
        self._finish()
        decoder = self._opened()
        self._busy = True
        decoder.send(request, descriptors=descriptors)
        answer = self._receive(decoder)
        self._busy = False
        return answer

    def _ask_info(self) -> VideoInfo:
        values = self._ask({"do": "info"}).data["info"]
        return VideoInfo(path=self.path, **{**values, "coded_size": tuple(values["coded_size"])})

    def _windows(self, rows: list[NDArray[np.float64]], view: View | None) -> Iterator[Frames]:
        self._finish()
        decoder = self._opened()
        plain = None if view is None else {name: getattr(view, name) for name in _FIELDS}
        times = np.concatenate(rows)
        decoder.send({"do": "windows", "view": plain, "rows": [len(row) for row in rows]}, times.tobytes())
        self._busy = True
        for row in rows:
            yield self._receive_frames(decoder, len(row))
        self._receive(decoder)
        self._busy = False

    def _receive_frames(self, decoder: Decoder, count: int) -> Frames:
        """Put a window together from its pieces."""
        first = message = self._receive(decoder)
        shape = tuple(int(number) for number in first.data["shape"])
        if len(shape) != 4 or shape[0] != count or shape[3] != 3 or not 0 <= shape[1] * shape[2] <= 4 * self._limits.max_pixels:
            raise decoder._failure(self.path, f"its decoder answered with frames of {shape}, so it is made to harm")
        pixels = np.empty(shape, np.uint8)
        flat, filled = pixels.reshape(-1), 0
        while True:
            slot, size = int(message.data["slot"]), int(message.data["bytes"])
            if not (0 <= slot < SLOTS and 0 <= size <= min(SLOT, len(flat) - filled)):
                raise decoder._failure(self.path, "its decoder answered with more than it was asked for, so it is made to harm")
            place = HEARTBEAT + slot * SLOT
            flat[filled : filled + size] = np.frombuffer(decoder.memory, np.uint8, size, place)
            decoder.send({"free": slot})
            filled += size
            if filled == len(flat):
                break
            message = self._receive(decoder)
        return Frames(pixels, np.frombuffer(first.payload, np.float64, count).copy(), int(first.data["lost"]))

    def _receive(self, decoder: Decoder) -> Message:
        try:
            return decoder.receive(self.path)
        except MediaError:
            self._busy = False
            if decoder.process.returncode is not None:
                self._decoder = None
            raise

    def _finish(self) -> None:
        """Stop the request that was not read to its end."""
        if not self._busy:
            return
        decoder = self._opened()
        decoder.send({"do": "stop"})
        with suppress(MediaError):
            while "done" not in (message := decoder.receive(self.path)).data:
                decoder.send({"free": message.data.get("slot", 0)})
        self._busy = False

    def _opened(self) -> Decoder:
        if self._decoder is None:
            raise MediaError(self.path, "is closed")
        return self._decoder


def _environment() -> dict[str, str]:
    """Return what a decoder needs of this process's variables, and nothing secret."""
    kept = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
    ours = str(Path(quickstep.__file__).parent.parent)
    paths = os.pathsep.join(filter(None, [ours, os.environ.get("PYTHONPATH", "")]))
    return {**kept, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}


def _processor_time(process: int) -> tuple[float, str]:
    """Return the processor seconds that a process has used, and its state."""
    try:
        words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0, "X"
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK"), words[0]


_idle: list[Decoder] = []
_lock = threading.Lock()


def _take(limits: DecodingLimits) -> Decoder:
    """Return a decoder with these limits that is alive: one that is idle, else a new one."""
    while True:
        with _lock:
            place = next((at for at, decoder in enumerate(_idle) if decoder.limits == limits), None)
            decoder = None if place is None else _idle.pop(place)
        if decoder is None:
            return Decoder(limits)
        if decoder.process.poll() is None:
            return decoder
        decoder.end()


def _give_back(decoder: Decoder) -> None:
    with _lock:
        _idle.append(decoder)
        extra = _idle[:-KEPT]
        del _idle[:-KEPT]
    for one in extra:
        one.end()


def idle_processes() -> list[int]:
    """Return the numbers of the decoders that wait for a video."""
    return [decoder.process.pid for decoder in _idle]


@atexit.register
def _end_all() -> None:
    while _idle:
        _idle.pop().end()
