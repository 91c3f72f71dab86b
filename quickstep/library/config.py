"""IndexConfig and SearchConfig: the options of a library. Imports nothing heavy, because the command line reads it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from quickstep.types.config_fields import at_least, between, setting
from quickstep.types.errors import ConfigError

if TYPE_CHECKING:
    from quickstep.backbones import BackboneSpec

USUAL_BACKBONE = "clip-vit-b32"
USUAL_WINDOW = 4.0  # seconds
USUAL_PACE = 2.0  # frames a second, for a backbone for single frames


@dataclass(frozen=True)
class IndexConfig:
    """How videos become windows; the settings of an existing library cannot be changed."""

    backbone: str | None = setting(None, "the feature extractor (default: the library's own; in a new library clip-vit-b32)")
    weights: str | None = setting(None, "a local folder (or another hub name) with the backbone's weights")
    precision: str | None = setting(None, "auto, fp32 or bf16")
    engine: str | None = setting(None, "the runtime of the network: torch or openvino (extra)")
    window: float | None = setting(None, "length of a window in seconds (default in a new library: 4)")
    stride: float | None = setting(None, "seconds from one window's start to the next (default in a new library: half a window)")
    pace: float | None = setting(None, "frames read per second, by a backbone for single frames (default in a new library: 2)")
    model: Path | None = setting(None, "a model that labels each window")
    metadata: Path | None = setting(None, "a csv with the column path and any others, which become columns of the library")

    @property
    def spec(self) -> BackboneSpec:
        """Which backbone a new library is made with."""
        from quickstep.backbones import BackboneSpec  # which imports NumPy: help texts need none

        name = self.backbone or USUAL_BACKBONE
        return BackboneSpec.named(name, weights=self.weights, precision=self.precision, engine=self.engine)

    def __post_init__(self) -> None:
        if self.window is not None:
            between("window", self.window, 0.1, 3600)
        if self.stride is not None:
            between("stride", self.stride, 0.05, 3600)
        if self.pace is not None:
            between("pace", self.pace, 0.01, 240)
        if self.window is not None and self.stride is not None and self.stride > self.window:
            raise ConfigError("stride", f"must be at most the window ({self.window:g} s), or parts are skipped; not {self.stride:g}")


@dataclass(frozen=True)
class SearchConfig:
    """What to search for, and how many moments to return."""

    like: str | None = setting(None, "search by an example, a video or a span of one: video.mp4@12.5-16")
    label: str | None = setting(None, "only windows to which the model gave this label")
    min_score: float | None = setting(None, "the lowest probability of the label (default: it must be the most probable one)")
    where: str | None = setting(None, "only windows for which this SQL on the columns is true, such as \"year > 2020 and venue = 'Gent'\"")
    top: int = setting(10, "the largest number of moments")
    per_video: int = setting(1, "the largest number of moments of one video (0: any)")
    all: bool = setting(False, "also return moments below the match threshold")

    def __post_init__(self) -> None:
        between("top", self.top, 1, 10_000)
        at_least("per_video", self.per_video, 0)
        if self.min_score is not None:
            between("min_score", self.min_score, 0, 1)
            if self.label is None:
                raise ConfigError("min_score", "needs a label; for a text or an example the match threshold is estimated")
        for name, value in (("like", self.like), ("label", self.label), ("where", self.where)):
            if value is not None and not value.strip():
                raise ConfigError(name, "is empty")
