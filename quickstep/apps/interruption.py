"""One SIGTERM or Ctrl-C ends a command within two seconds, even while threads, native code or children are at work.

The signal raises in the main thread, as Python does it, so that temporary files are removed. Threads end at their next `check_stop`. A
thread of this module watches: what still runs after the time of grace is in native code or waits, and is ended with the process.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import FrameType
from typing import NoReturn

from quickstep.types.progress import EVERYTHING

GRACE = 1.2  # seconds


class Terminated(KeyboardInterrupt):
    """Raised at SIGTERM: ends the program as Ctrl-C does, so that temporary files are removed and threads joined."""


_stop_printed = threading.Event()
_received: list[int] = []  # signals


def obey_signals() -> None:
    """Let SIGTERM and SIGINT end this process; servers that install handlers of their own are left alone."""
    EVERYTHING.clear()
    _stop_printed.clear()
    _received.clear()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)
        signal.set_wakeup_fd(_watched(), warn_on_full_buffer=False)


def exit_status() -> int:
    """Say once that the command was stopped; return its exit status."""
    if not _stop_printed.is_set():
        _stop_printed.set()
        with suppress(OSError, ValueError):
            os.write(sys.stderr.fileno(), b"quickstep: stopped; what was computed is kept, and the same command resumes\n")
    return 128 + (_received[-1] if _received else signal.SIGINT)


def _terminate(number: int, _frame: FrameType | None) -> NoReturn:
    _received.append(number)
    raise Terminated


@cache
def _watched() -> int:
    """Start the thread that watches, once; return the descriptor to which Python writes the number of each signal."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    threading.Thread(target=_watch, args=(reader,), name="signals", daemon=True).start()
    return writer


def _watch(reader: int) -> None:
    ours = {signal.SIGTERM: _terminate, signal.SIGINT: signal.default_int_handler}
    while True:
        for number in os.read(reader, 64):
            if number in ours and signal.getsignal(number) is ours[signal.Signals(number)]:
                _received.append(number)
                EVERYTHING.stop()
                time.sleep(GRACE)
                if EVERYTHING.is_set:  # else another command runs in this process by now
                    _end()


def _end() -> NoReturn:
    """End this process and all that it started, without waiting for anything."""
    for child in _descendants(os.getpid()):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(child, signal.SIGKILL)
    os._exit(exit_status())


def _descendants(process: int) -> list[int]:
    """Return the processes that this one started, and those that they started; none where the system does not list them."""
    with suppress(OSError):
        lists = [file.read_text() for file in Path(f"/proc/{process}/task").glob("*/children")]
        children = [int(number) for listed in lists for number in listed.split()]
        return [descendant for child in children for descendant in (*_descendants(child), child)]
    return []
