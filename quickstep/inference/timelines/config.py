"""TimelineConfig: how a long video is looked at, and how scores over time become spans; knows no model and no video."""

from __future__ import annotations

import math
from dataclasses import dataclass

from quickstep.types.config_fields import between, setting
from quickstep.types.errors import ConfigError

# Measured on drawn long videos of several kinds of dancing (benchmarks/timeline.py).
STEADINESS = 1.0


@dataclass(frozen=True)
class TimelineConfig:
    """How a long video is looked at, and how scores over time become spans; the defaults fit the model."""

    window: float | None = setting(None, "seconds that are looked at together (default: as long as what the model learnt from)")
    stride: float | None = setting(
        None, "seconds from one window to the next (default: half a window, or a quarter where they share pictures)"
    )
    min_duration: float | None = setting(None, "seconds a span lasts at least (default: half a window)")
    smoothing: float = setting(STEADINESS, "how strong the evidence for a change of label must be; 0: each window by itself")
    min_confidence: float | None = setting(
        None, "score below which a span is unsure (default: 0.5, or less where the model is sure below that; 0: never)"
    )

    def __post_init__(self) -> None:
        for name in ("window", "stride"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0.02):
                raise ConfigError(name, f"seconds, at least 0.02, not {value:g}")
        if self.min_duration is not None and not (math.isfinite(self.min_duration) and self.min_duration >= 0):
            raise ConfigError("min_duration", f"seconds from 0 on, not {self.min_duration:g}")
        between("smoothing", self.smoothing, 0, 1000)
        if self.min_confidence is not None:
            between("min_confidence", self.min_confidence, 0, 1)
        if self.window is not None and self.stride is not None and self.stride > self.window:
            raise ConfigError("stride", f"at most a window ({self.window:g} s), so that nothing is left out, not {self.stride:g}")
