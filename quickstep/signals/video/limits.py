"""DecodingLimits: what reading one video may cost. The defaults are generous for every real video; a damaged or a malicious one meets them."""

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
    """The processor time that FFmpeg may still take for one video: `with budget:` around each call."""

    def __init__(self, path: Path, seconds: float) -> None:
        self._path, self._seconds = path, seconds
        self._used = self._began = 0.0

    def __enter__(self) -> None:
        self._began = time.thread_time()

    def __exit__(self, *error: object) -> None:
        self._used += time.thread_time() - self._began
        if self._used > self._seconds:
            raise MediaError(
                self._path,
                f"decoding it took more than {self._seconds:.0f} s of processor time, so it is damaged or made to harm;"
                " a higher `cpu_seconds` allows more",
            )
