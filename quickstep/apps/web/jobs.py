"""Long work of the app: commands of the command line, run in processes of their own, with their progress and their log.

So the pages stay fast, an interrupted job resumes, and a user can type the same commands. A job belongs to the app: every session sees it.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from quickstep.apps.terminal import PROGRESS
from quickstep.types.progress import ProgressUpdate, RemainingTime
from quickstep.types.registry import trusted_modules

LOG_LINES = 400
START = ProgressUpdate("starting", 0, 1)
ERROR = "quickstep: "  # the beginning of a line that says why a command failed


@dataclass
class Job:
    """Commands that run one after the other until one fails."""

    title: str
    commands: Sequence[Sequence[str]]  # without the word `quickstep`
    result: Path  # the folder of the model that is made
    began: float = field(default_factory=time.time)
    log: list[str] = field(default_factory=list)
    progress: ProgressUpdate = START
    seconds_left: float | None = None
    current: int = 0  # the command that runs
    status: int | None = None  # None while it runs
    stopped: bool = False
    _process: subprocess.Popen[str] | None = None
    _remaining: RemainingTime = field(default_factory=RemainingTime)

    def start(self) -> None:
        """Run the commands in a thread."""
        threading.Thread(target=self._run, name="job", daemon=True).start()

    @property
    def running(self) -> bool:
        """Whether a command still runs."""
        return self.status is None

    @property
    def message(self) -> str:
        """The error of the command that failed, or the last line of the log."""
        errors = [line.removeprefix(ERROR) for line in self.log if line.startswith(ERROR)]
        return errors[-1] if errors else self.log[-1] if self.log else "ended without a message"

    def stop(self) -> None:
        """End the job as Ctrl-C would; what was computed is kept."""
        self.stopped = True
        if self._process is not None:
            self._process.terminate()

    def take(self, line: str) -> None:
        """Read one line of a command's output: progress, or a line of the log."""
        update = ProgressUpdate.from_line(line)
        if update is not None:
            self.progress, self.seconds_left = update, self._remaining.seconds(update)
        elif line:
            self.log.append(line)
            del self.log[:-LOG_LINES]

    def _run(self) -> None:
        status = 0
        for number, command in enumerate(self.commands):
            self.current, self.progress, self.seconds_left = number, START, None
            self.log.append(f"$ quickstep {shlex.join(command)}")
            status = self._run_command(command)
            if status != 0 or self.stopped:
                break
        self.status = status if not self.stopped else status or 1

    def _run_command(self, command: Sequence[str]) -> int:
        trusted = [word for module in trusted_modules() for word in ("--trust", module)]
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "quickstep", *command, *trusted],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                text=True,
                errors="replace",
                env={**os.environ, PROGRESS: "json", "COLUMNS": "400", "NO_COLOR": "1"},
            )
        except OSError as error:
            self.log.append(f"{ERROR}{error}")
            return 1
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                self.take(line.rstrip())
        return self._process.wait()


class Jobs:
    """The app's jobs: one at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.latest: Job | None = None

    def begin(self, job: Job) -> bool:
        """Start a job, unless another one runs; return whether it was started."""
        with self._lock:
            if self.latest is not None and self.latest.running:
                return False
            self.latest = job
            job.start()
            return True
