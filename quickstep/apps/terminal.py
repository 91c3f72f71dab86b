"""What a person sees in a terminal: progress with an ETA and words on stderr, tables on stdout; knows no video and no model."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Sequence
from threading import Lock
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table

from quickstep.apps.option_names import as_options

_SAY_EVERY = float(os.environ.get("QUICKSTEP_SAY_EVERY") or 15.0)  # seconds between lines where no bar can be drawn


class TerminalProgress:
    """A bar a stage with time left; where stderr is no terminal, a line now and then and one at the end of each stage."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._stages: dict[str, tuple[TaskID, float]] = {}
        self._said = time.monotonic()
        self._lock = Lock()

    def __enter__(self) -> TerminalProgress:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bars.stop()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show how far a stage is."""
        with self._lock:
            if stage not in self._stages:
                self._stages[stage] = (self._bars.add_task(stage, total=total), time.monotonic())
            task, began = self._stages[stage]
            self._bars.update(task, completed=done, total=total)
            if self._bars.disable:
                self._say(stage, done, total, time.monotonic() - began)
            if done >= total:
                del self._stages[stage]

    def _say(self, stage: str, done: int, total: int, seconds: float) -> None:
        now = time.monotonic()
        if done >= total:
            self._console.print(f"{escape(stage)}: {total} in {seconds:.1f} s", highlight=False, soft_wrap=True)
        elif now - self._said > _SAY_EVERY and done:
            left = seconds / done * (total - done)
            self._console.print(f"{escape(stage)}: {done} of {total}, about {left:.0f} s left", highlight=False, soft_wrap=True)
        else:
            return
        self._said = now


def say(text: str, *, style: str = "") -> None:
    """Print a message for the user: on stderr, never among the data."""
    Console(stderr=True).print(escape(as_options(text)), style=style, highlight=False, soft_wrap=True)


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None) -> None:
    """A table of data on stdout; columns of numbers stand right, and nothing is cut off where output goes into a file."""
    listed = [[str(cell) for cell in row] for row in rows]
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        numeric = bool(listed) and all(_is_number(row[number]) for row in listed)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in listed:
        table.add_row(*(escape(cell) for cell in row))
    console = Console()
    if not sys.stdout.isatty():
        console.width = 1000
    console.print(table, highlight=False)


def _is_number(text: str) -> bool:
    return not text.strip() or text.strip().rstrip("%").replace(".", "", 1).replace(",", "").lstrip("-+").isdigit()
