"""DecodingLimits: what reading one video may cost. The defaults are generous: only damaged or malicious videos meet them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from quickstep.types.config_fields import at_least, one_of, setting
from quickstep.types.errors import ConfigError, MediaError

Isolate = Literal["never", "auto", "always"]
ISOLATE = ("never", "auto", "always")
VARIABLE = "QUICKSTEP_DECODING"  # how a command hands its limits to the processes that it starts


@dataclass(frozen=True, kw_only=True)
class DecodingLimits:
    """The most that decoding one video may take."""

    cpu_seconds: float = setting(10.0, "processor seconds that decoding may take for each second of a video, and as many to begin with")
    max_pixels: int = setting(2**26, "the most pixels that a frame of a video may have")
    max_hours: float = setting(48.0, "the longest video that is read, in hours")

    isolate: Isolate = setting("never", "decode in restricted processes: always, never, or auto (where the system can restrict them)")
    decoder_mb: int = setting(1024, "megabytes of memory that decoding a video in a process of its own may take")

    def __post_init__(self) -> None:
        one_of("isolate", self.isolate, ISOLATE)
        at_least("decoder_mb", self.decoder_mb, 1)
        at_least("cpu_seconds", self.cpu_seconds, 0.01)
        at_least("max_pixels", self.max_pixels, 64)
        at_least("max_hours", self.max_hours, 0.001)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Apply these limits to every video that the process opens in this block, in all its threads."""
        global _limits
        before, _limits = _limits, self
        try:
            yield
        finally:
            _limits = before

    def to_text(self) -> str:
        """Return the limits as `from_text` reads them."""
        return ",".join(f"{name}={value}" for name, value in asdict(self).items())

    @classmethod
    def from_text(cls, text: str) -> DecodingLimits:
        """Read limits such as `cpu_seconds=20,max_hours=100`; what is not named keeps its default."""
        kinds: dict[str, Callable[[str], Any]] = {name: type(default) for name, default in asdict(cls()).items()}
        values: dict[str, Any] = {}
        for part in filter(None, text.split(",")):
            name, _, value = part.partition("=")
            try:
                values[name] = kinds[name](value)
            except (KeyError, ValueError) as error:
                raise ConfigError(VARIABLE, f"holds {part!r}; it takes {', '.join(kinds)}, each with `=` and a value") from error
        return cls(**values)


_limits: DecodingLimits | None = None


def current_limits() -> DecodingLimits:
    """Return the limits that apply now: those of the block that is active, else of the environment, else the defaults."""
    return _limits if _limits is not None else DecodingLimits.from_text(os.environ.get(VARIABLE, ""))


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
