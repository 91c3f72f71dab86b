"""One SIGTERM or Ctrl-C ends a command within two seconds, with threads, native code and children; devices and pipes are never opened."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from places import ROOT

# A thread in native code, a child that ignores SIGTERM, and a main thread that refuses to end.
STUBBORN = """
import subprocess, sys, time
from concurrent.futures import ThreadPoolExecutor
from quickstep.apps import cli
deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
child = subprocess.Popen([sys.executable, "-c", deaf])
ThreadPoolExecutor(1).submit(time.sleep, 60)
def command(*_, **__):
    print(child.pid, flush=True)
    while True:
        try:
            time.sleep(60)
        except BaseException:
            if sys.argv[1] == "end":
                raise
cli.app = command
cli.main([])
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("main_thread", ["end", "go on"])
def test_one_signal_ends_threads_and_children(number: int, status: int, main_thread: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", STUBBORN, main_thread]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        first, second = sorted(int(running.stdout.readline()) for _ in range(2))
        assert first == 1
        sent = time.monotonic()
        running.send_signal(number)
        _, error = running.communicate(timeout=20)
        assert time.monotonic() - sent < 2
    assert running.returncode == status
    assert error.count("quickstep: stopped") == 1
    assert any(has_ended(second) for _ in range(100))


def has_ended(process: int) -> bool:
    """Whether a process is gone, or dead and waiting for init; waits a little otherwise."""
    time.sleep(0.01)
    file = Path(f"/proc/{process}/stat")
    return not file.exists() or file.read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.parametrize("kind", ["/dev/zero", "pipe", "socket"])
def test_what_is_no_file_is_refused_before_it_is_opened(kind: str, tmp_path: Path) -> None:
    """Opening a pipe waits for its writer, and /dev/zero never ends."""
    place = Path(kind) if kind.startswith("/") else tmp_path / kind
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(place))
    listed = tmp_path / "list.csv"
    listed.write_text(f"path,label\n{place},a\n", encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "quickstep", "check", str(listed)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0
    assert str(place) in done.stdout
    assert "is a device or a pipe, not a file" in done.stdout
