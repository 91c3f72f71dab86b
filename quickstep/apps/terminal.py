"""What a user sees in a terminal: progress with the time left and messages on stderr, tables on stdout."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from pathlib import PurePath
from threading import Lock
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table

from quickstep.apps.option_names import as_options
from quickstep.storage.serialization import to_plain
from quickstep.types.escaping import escaped
from quickstep.types.progress import ProgressUpdate, RemainingTime

PROGRESS = "QUICKSTEP_PROGRESS"  # "json" in the environment: progress as lines of JSON on stderr, for programs
MACHINE_OUTPUT_VERSION = 2  # of all that programs read, see docs/machine-output.md: raise it when a name or a meaning changes
EVERY = 15.0  # seconds between lines of text, where no bar can be drawn
EVERY_JSON = 0.5  # seconds between lines of JSON

_quiet: ContextVar[bool] = ContextVar("quiet", default=False)


class TerminalProgress:
    """Show progress on stderr: bars in a terminal, a line now and then elsewhere, lines of JSON for programs."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._json = os.environ.get(PROGRESS) == "json"
        self._quiet = _quiet.get()
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=self._json or self._quiet or not self._console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._remaining = RemainingTime()
        self._printed = time.monotonic()
        self._lock = Lock()

    def __enter__(self) -> TerminalProgress:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bars.stop()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show how far a stage is."""
        update = ProgressUpdate(stage, done, total)
        with self._lock:
            if not self._bars.disable:
                self._draw(update)
            elif self._json:
                if done >= total or time.monotonic() - self._printed > EVERY_JSON:
                    self._print(update.to_line())
            elif not self._quiet:
                self._print_text(update)

    def _draw(self, update: ProgressUpdate) -> None:
        if update.stage not in self._tasks:
            self._tasks[update.stage] = self._bars.add_task(update.stage, total=update.total)
        self._bars.update(self._tasks[update.stage], completed=update.done, total=update.total)
        if update.done >= update.total:
            del self._tasks[update.stage]

    def _print_text(self, update: ProgressUpdate) -> None:
        elapsed, left = self._remaining.elapsed(update.stage), self._remaining.seconds(update)
        if update.done >= update.total:
            self._print(f"{update.stage}: {update.total} in {max(0.0, elapsed):.1f} s")
        elif left is not None and time.monotonic() - self._printed > EVERY:
            self._print(f"{update.stage}: {update.done} of {update.total}, about {left:.0f} s left")

    def _print(self, line: str) -> None:
        self._console.print(escape(line), highlight=False, soft_wrap=True)
        self._printed = time.monotonic()


def set_verbosity(*, quiet: bool, verbose: bool) -> None:
    """Print results and errors only, or the library's log too."""
    _quiet.set(quiet)
    if quiet or verbose:
        logging.basicConfig(stream=sys.stderr)
        for handler in logging.getLogger().handlers:
            handler.setFormatter(_Escaping("%(levelname)s %(name)s: %(message)s"))
    logging.getLogger("quickstep").setLevel(logging.ERROR if quiet else logging.DEBUG if verbose else logging.NOTSET)


class _Escaping(logging.Formatter):
    """Formats records without characters that steer a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, with line ends and tabs as they are."""
        return escaped(super().format(record), keep="\n\t")


def say(text: str, *, style: str = "") -> None:
    """Print a message for the user: on stderr, never among the data."""
    if not _quiet.get():
        Console(stderr=True).print(escape(escaped(as_options(text), keep="\n")), style=style, highlight=False, soft_wrap=True)


def print_json(value: object) -> None:
    """Print a value on stdout as one line of JSON; `value` may also be the text of a JSON document, such as a report's."""
    plain = json.loads(value) if isinstance(value, str) else value
    text = json.dumps(plain, ensure_ascii=False, allow_nan=False, default=_to_json)
    print(text if text.isprintable() else json.dumps(plain, allow_nan=False, default=_to_json), flush=True)


def _to_json(value: object) -> object:
    """Return what JSON has for a path or a dataclass."""
    return str(value) if isinstance(value, PurePath) else to_plain(value)


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None) -> None:
    """Print a table on stdout: numbers are right-aligned, and nothing is cut off where the output goes into a file."""
    listed = [[escaped(str(value)) for value in row] for row in rows]
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        numeric = bool(listed) and all(_is_number(row[number]) for row in listed)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in listed:
        table.add_row(*(escape(value) for value in row))
    console = Console()
    if not sys.stdout.isatty():
        console.width = 1000
    console.print(table, highlight=False)


def _is_number(text: str) -> bool:
    return not text.strip() or text.strip().rstrip("%").replace(".", "", 1).replace(",", "").lstrip("-+").isdigit()
