"""Long work in processes of their own: the commands that anybody could type, one after the other; how far they are, and their end.

So the pages stay quick, what is killed goes on where it was, and what was done can be typed again. A job belongs to the app, not to a
person: whoever opens the page sees it.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

_STEP = re.compile(r"^(?P<stage>[^:]+): (?P<done>\d+) of (?P<total>\d+), about (?P<left>[\d.]+) s left$")
_DONE = re.compile(r"^(?P<stage>[^:]+): (?P<total>\d+) in [\d.]+ s$")
_LINES = 400


@dataclass(frozen=True)
class Far:
    """How far a command is."""

    stage: str = "starting"
    share: float = 0.0
    left: float | None = None  # seconds


@dataclass
class Job:
    """Commands that run one after the other until one fails."""

    title: str
    commands: Sequence[Sequence[str]]  # what stands after `quickstep`
    result: Path  # the model's folder
    began: float = field(default_factory=time.time)
    lines: list[str] = field(default_factory=list)
    far: Far = field(default_factory=Far)
    at: int = 0  # the command that runs
    status: int | None = None  # None while it runs
    stopped: bool = False
    _process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Begin."""
        threading.Thread(target=self._run, name="job", daemon=True).start()

    @property
    def running(self) -> bool:
        return self.status is None

    @property
    def told(self) -> str:
        """The line that says what went wrong, or the last one."""
        errors = [line.removeprefix("quickstep: ") for line in self.lines if line.startswith("quickstep: ")]
        return errors[-1] if errors else self.lines[-1] if self.lines else "it ended without a word"

    def stop(self) -> None:
        """End it as Ctrl-C would; what was computed is kept."""
        self.stopped = True
        if self._process is not None:
            self._process.terminate()

    def _run(self) -> None:
        status = 0
        for place, command in enumerate(self.commands):
            self.at, self.far = place, Far()
            self.lines.append(f"$ quickstep {shlex.join(command)}")
            status = self._one(command)
            if status != 0 or self.stopped:
                break
        self.status = status if not self.stopped else status or 1

    def _one(self, command: Sequence[str]) -> int:
        environment = {**os.environ, "QUICKSTEP_SAY_EVERY": "1", "COLUMNS": "400", "NO_COLOR": "1"}
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "quickstep", *command],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                text=True,
                errors="replace",
                env=environment,
            )
        except OSError as error:
            self.lines.append(f"quickstep: {error}")
            return 1
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                self._take(line.rstrip())
        return self._process.wait()

    def _take(self, line: str) -> None:
        if not line:
            return
        step, done = _STEP.match(line), _DONE.match(line)
        if step:
            self.far = Far(step["stage"], int(step["done"]) / max(1, int(step["total"])), float(step["left"]))
            return
        if done:
            self.far = Far(done["stage"], 1.0, None)
        self.lines.append(line)
        del self.lines[:-_LINES]


class Jobs:
    """The app's jobs: one at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.latest: Job | None = None

    def begin(self, job: Job) -> bool:
        """Start it, unless another one runs."""
        with self._lock:
            if self.latest is not None and self.latest.running:
                return False
            self.latest = job
            job.start()
            return True
