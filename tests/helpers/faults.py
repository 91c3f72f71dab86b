"""Run commands whose changes to files are counted, and let the n-th change kill the command or fail.

`file_faults.c` is compiled once and preloaded. A first process imports quickstep; each command is a fork of it, which takes a fraction of
a second instead of several.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import mmap
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

HELPERS = Path(__file__).parent
OFF, KILL_BEFORE, KILL_AFTER, KILL_HALF, FAIL, FAIL_FROM = range(6)
KILLS = {"before": KILL_BEFORE, "after": KILL_AFTER, "half": KILL_HALF}
PATIENCE = 180  # seconds for one command


class _Control(ctypes.Structure):
    """The control block of file_faults.c."""

    _fields_ = (
        ("count", ctypes.c_uint64),
        ("at", ctypes.c_uint64),
        ("mode", ctypes.c_int32),
        ("error", ctypes.c_int32),
        ("only", ctypes.c_int32),
        ("root", ctypes.c_char * 1024),
        ("log", ctypes.c_char * 1024),
    )


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int  # negative: the signal that killed it
    out: str
    err: str
    calls: int  # changes of files below the root
    log: tuple[str, ...] = ()

    @property
    def was_killed(self) -> bool:
        """Whether the fault killed it."""
        return self.status == -9

    def message(self) -> str:
        """Return the last lines of stderr, for the message of a failed test."""
        return f"status {self.status}: {self.err[-1500:]}"


def build() -> Path:
    """Compile the library, once for each version of its source; skip the test where that is not possible."""
    compiler = shutil.which("cc")
    if sys.platform != "linux" or compiler is None:
        pytest.skip("needs Linux and a C compiler")
    source = HELPERS / "file_faults.c"
    out = Path(tempfile.gettempdir()) / f"quickstep-file-faults-{os.getuid()}-{hashlib.sha256(source.read_bytes()).hexdigest()[:16]}.so"
    if not out.exists():
        temporary = out.with_suffix(f".{os.getpid()}")
        subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", temporary, source, "-ldl"], check=True)
        temporary.replace(out)
    return out


class Faults:
    """A process that runs commands in a folder, with a fault at one of their changes."""

    def __init__(self, folder: Path, *, light: bool = False) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        control = folder / "control"
        control.write_bytes(bytes(ctypes.sizeof(_Control)))
        self._file = control.open("r+b")
        self._block = mmap.mmap(self._file.fileno(), 0)
        self._control = _Control.from_buffer(self._block)
        environment = {**os.environ, "FAULTS_CONTROL": str(control), "LD_PRELOAD": str(build()), "OMP_NUM_THREADS": "1"}
        environment["PYTHONPATH"] = os.pathsep.join((str(HELPERS.parents[1]), str(HELPERS)))
        command = [sys.executable, str(HELPERS / "fault_runner.py"), *(["light"] if light else [])]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)
        assert self._process.stdout is not None
        self._process.stdout.close()
        del self._control
        self._block.close()
        self._file.close()

    def run(
        self, words: Sequence[str | Path], root: Path, *, mode: int = OFF, at: int = 0, error: int = 0, only_opens: bool = False
    ) -> Ended:
        """Run `quickstep WORDS` (or, after "-c", Python) in a folder with a cache inside; faults hit changes below it."""
        log = self.folder / "log"
        log.unlink(missing_ok=True)
        control = self._control
        control.count, control.at, control.mode, control.error, control.only = 0, at, mode, error, int(only_opens)
        control.root, control.log = f"{root.resolve()}/".encode(), str(log).encode()
        job = {"words": [str(word) for word in words], "folder": str(root), "out": str(self.folder / "out"), "patience": PATIENCE}
        job["environment"] = {"QUICKSTEP_CACHE": str(root / "cache")}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        control.root = b""
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        out, err = ((self.folder / f"out.{name}").read_text(errors="replace") for name in ("stdout", "stderr"))
        return Ended(answer["status"], out, err, int(control.count), tuple(lines))
