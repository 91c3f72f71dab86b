"""TimelineConfig: the windows of a long video, and how their scores become spans."""

from __future__ import annotations

import math
from dataclasses import dataclass

from quickstep.types.config_fields import between, setting
from quickstep.types.errors import ConfigError

SMOOTHING = 1.0  # measured on drawn long videos of several kinds of dancing (benchmarks/timeline.py)


@dataclass(frozen=True)
class TimelineConfig:
    """The windows of a long video, and how their scores become spans; the defaults fit the model."""

    window: float | None = setting(None, "length of a window in seconds (default: that of the training segments)")
    stride: float | None = setting(
        None, "seconds from one window to the next (default: half a window, or a quarter where windows share frames)"
    )
    min_duration: float | None = setting(None, "shortest span in seconds (default: half a window)")
    smoothing: float = setting(SMOOTHING, "penalty for a change of label; 0: every window by itself")
    min_confidence: float | None = setting(
        None, "score below which a span is unsure (default: 0.5, or the model's threshold where that is lower; 0: never)"
    )

    def __post_init__(self) -> None:
        for name, seconds in (("window", self.window), ("stride", self.stride)):
            if seconds is not None and not (math.isfinite(seconds) and seconds >= 0.02):
                raise ConfigError(name, f"at least 0.02 seconds, not {seconds:g}")
        if self.min_duration is not None and not (math.isfinite(self.min_duration) and self.min_duration >= 0):
            raise ConfigError("min_duration", f"0 seconds or more, not {self.min_duration:g}")
        between("smoothing", self.smoothing, 0, 1000)
        if self.min_confidence is not None:
            between("min_confidence", self.min_confidence, 0, 1)
        if self.window is not None and self.stride is not None and self.stride > self.window:
            raise ConfigError("stride", f"at most a window ({self.window:g} s), so that nothing is left out, not {self.stride:g}")
