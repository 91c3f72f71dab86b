"""FlowConfig: how flow is found and kept; the table of methods. Imports no OpenCV."""

from __future__ import annotations

from dataclasses import dataclass

from quickstep.errors import ConfigError, UnknownName
from quickstep.settings import one_of, setting
from quickstep.table import Entry

PRESETS = ("quick", "usual", "fine")

METHODS: dict[str, Entry] = {
    "dis": Entry("quickstep.flow.methods:Dis", "DIS: the quickest by far, and exact"),
    "tvl1": Entry("quickstep.flow.methods:TvL1", "TV-L1: sharp edges of what moves; about a tenth of the speed"),
    "farneback": Entry("quickstep.flow.methods:Farneback", "Farneback: smooth; half the speed of DIS"),
}


@dataclass(frozen=True)
class FlowConfig:
    """How the motion between two pictures is found."""

    method: str = setting("dis", f"how motion is found: {', '.join(METHODS)}")
    preset: str = setting("usual", f"how long it takes over it: {', '.join(PRESETS)}")
    camera: bool = setting(False, "take the camera's own motion away, so that only what moves in the scene is left")
    bound: float = setting(20.0, "pixels from one picture to the next that are told apart at most; more counts as this much")

    def __post_init__(self) -> None:
        if self.method not in METHODS and ":" not in self.method:
            raise UnknownName("method of flow", self.method, METHODS)
        one_of("preset", self.preset, PRESETS)
        if not 0.5 <= self.bound <= 1000:
            raise ConfigError("bound", f"from 0.5 to 1000 pixels, not {self.bound:g}")
