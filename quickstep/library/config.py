"""What one can choose when a library is filled and searched; light enough for the command line to read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from quickstep.types.config_fields import at_least, between, setting
from quickstep.types.errors import ConfigError

USUAL_BACKBONE = "clip-vit-b32"
USUAL_WINDOW = 4.0  # seconds
USUAL_HOP = 2.0
USUAL_PACE = 2.0  # frames a second, for a network that looks at single frames


@dataclass(frozen=True)
class IndexConfig:
    """How videos become windows; a library keeps to what it was begun with."""

    backbone: str | None = setting(None, "what turns frames into numbers; by default the library's own, in a new library clip-vit-b32")
    weights: str | None = setting(None, "a local folder (or another hub name) to take the backbone's weights from")
    precision: str | None = setting(None, "auto, fp32 or bf16")
    engine: str | None = setting(None, "what runs the network: torch or openvino (extra)")
    window: float | None = setting(None, "seconds a window; in a new library 4")
    stride: float | None = setting(None, "seconds from one window's start to the next; in a new library half a window")
    pace: float | None = setting(None, "frames looked at a second, where the network looks at single frames; in a new library 2")
    model: Path | None = setting(None, "a model whose names each window gets")
    metadata: Path | None = setting(None, "a csv with the column path and any others, kept beside each window and searched with --where")

    def __post_init__(self) -> None:
        if self.window is not None:
            between("window", self.window, 0.1, 3600)
        if self.stride is not None:
            between("stride", self.stride, 0.05, 3600)
        if self.pace is not None:
            between("pace", self.pace, 0.01, 240)
        if self.window is not None and self.stride is not None and self.stride > self.window:
            raise ConfigError("stride", f"at most the window ({self.window:g} s), or parts of the video are left out; not {self.stride:g}")


@dataclass(frozen=True)
class SearchConfig:
    """What to find and how much of it."""

    like: str | None = setting(None, "find what looks like this video, or a span of it: video.mp4@12.5-16")
    label: str | None = setting(None, "find what the model named so when the library was indexed")
    min_score: float | None = setting(None, "with --label: the lowest probability; by default the label must be the likeliest one")
    where: str | None = setting(None, "only windows of which this is true: SQL on the columns, such as \"year > 2020 and venue = 'Gent'\"")
    top: int = setting(10, "how many moments, at most")
    per_video: int = setting(1, "how many moments of one video, at most; 0: any number")
    all: bool = setting(False, "show also what is below the cut-off")

    def __post_init__(self) -> None:
        between("top", self.top, 1, 10_000)
        at_least("per_video", self.per_video, 0)
        if self.min_score is not None:
            between("min_score", self.min_score, 0, 1)
            if self.label is None:
                raise ConfigError("min_score", "belongs to --label; words and examples have a cut-off of their own")
        for name in ("like", "label", "where"):
            if (value := getattr(self, name)) is not None and not value.strip():
                raise ConfigError(name, "is empty")
