"""DecodingLimits: what reading one video may cost. The defaults are generous: only damaged or malicious videos meet them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from quickstep.types.config_fields import at_least
from quickstep.types.errors import MediaError


@dataclass(frozen=True)
class DecodingLimits:
    """The most that decoding one video may take."""

    cpu_seconds: float = 10.0  # of processor time for each second of the video, and as much to begin with
    max_pixels: int = 2**26  # of a frame: 8192 x 8192

    def __post_init__(self) -> None:
        at_least("cpu_seconds", self.cpu_seconds, 0.01)
        at_least("max_pixels", self.max_pixels, 64)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Apply these limits to every video that the process opens in this block, in all its threads."""
        global _limits
        before, _limits = _limits, self
        try:
            yield
        finally:
            _limits = before


_limits = DecodingLimits()


def current_limits() -> DecodingLimits:
    """Return the limits that apply now."""
    return _limits


class ProcessorBudget:
    """The processor time that FFmpeg may still take for one video: `with budget:` around each call.

    FFmpeg's own threads are not counted one by one: with several, the time that passes is counted instead.
    """

    def __init__(self, path: Path, seconds: float, *, threads: int) -> None:
        self._path, self._seconds = path, seconds
        self._clock = time.thread_time if threads == 1 else time.monotonic
        self._used = self._began = 0.0

    def __enter__(self) -> None:
        self._began = self._clock()

    def __exit__(self, *error: object) -> None:
        self._used += self._clock() - self._began
        if self._used > self._seconds:
            raise MediaError(
                self._path,
                f"decoding it took more than {self._seconds:.0f} s of processor time, so it is damaged or made to harm;"
                " a higher `cpu_seconds` allows more",
            )
