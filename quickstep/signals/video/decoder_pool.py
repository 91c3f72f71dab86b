"""PooledDecoder: a restricted process that decodes one video after another; idle ones wait in a pool.

One that hangs or takes too much is ended, and the error says which limit. One that somebody else ended is `Killed`, which is not the fault
of its video.
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
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import quickstep
from quickstep.signals.video.decoder_messages import HEARTBEAT, SLOT, SLOTS, Message, receive, send
from quickstep.signals.video.limits import DecodingLimits, current_limits
from quickstep.types.errors import MediaError
from quickstep.types.progress import check_stop
from quickstep.types.sandbox import Restrictions

STEP = 3.0  # times `cpu_seconds`: the processor time that one step inside FFmpeg may take
START = 60.0  # seconds in which a decoder starts
SILENT = 30.0  # seconds without a step, an answer or the use of a processor after which a decoder hangs
LOOK = 0.2  # seconds between two checks of a decoder that works
KEPT = 8  # idle decoders
_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ")


class Killed(Exception):
    """The decoder was killed by somebody else."""


class PooledDecoder:
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
            raise self.failure(path, f"its decoder answered nonsense ({error}), so it is made to harm") from error
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
            raise self.failure(path, f"{why}, so it is damaged or made to harm; a higher `cpu_seconds` allows more")
        elif now - at > SILENT and processor - used < 1 and state != "D":
            raise self.failure(path, f"its decoder stopped answering for {SILENT:.0f} s")

    def failure(self, path: Path, why: str) -> MediaError:
        """End the process, and return the error that says why."""
        self.end()
        return MediaError(path, why)

    def _raise_death(self, path: Path) -> None:
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(2)
        self.end()
        number = -self.process.returncode
        if number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
            raise Killed
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
    decoder = take(current_limits())
    give_back(decoder)
    return decoder.held


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


_idle: list[PooledDecoder] = []
_lock = threading.Lock()


def take(limits: DecodingLimits) -> PooledDecoder:
    """Return a decoder with these limits that is alive: one that is idle, else a new one."""
    while True:
        with _lock:
            place = next((at for at, decoder in enumerate(_idle) if decoder.limits == limits), None)
            decoder = None if place is None else _idle.pop(place)
        if decoder is None:
            return PooledDecoder(limits)
        if decoder.process.poll() is None:
            return decoder
        decoder.end()


def give_back(decoder: PooledDecoder) -> None:
    """Let a decoder wait for the next video; end those that are too many."""
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
