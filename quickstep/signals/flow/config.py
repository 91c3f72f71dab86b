"""FlowConfig: how optical flow is computed; FlowLook: how it is drawn; and the table of methods. Importing it does not import OpenCV."""

from __future__ import annotations

from dataclasses import dataclass

from quickstep.types.config_fields import between, one_of, setting
from quickstep.types.errors import ConfigError, UnknownName
from quickstep.types.registry import Entry

PRESETS = ("quick", "usual", "fine")

METHODS: dict[str, Entry] = {
    "dis": Entry("quickstep.signals.flow.methods:Dis", "DIS: fast, accurate, follows large motion"),
    "tvl1": Entry("quickstep.signals.flow.methods:TvL1", "TV-L1, initialized with DIS: the most accurate, at a twentieth of the speed"),
    "farneback": Entry("quickstep.signals.flow.methods:Farneback", "Farneback: smooth; somewhat slower and less accurate than DIS"),
}


@dataclass(frozen=True)
class FlowConfig:
    """How the motion between two frames is computed."""

    method: str = setting("dis", f"method of optical flow: {', '.join(METHODS)}")
    preset: str = setting("usual", f"speed against accuracy: {', '.join(PRESETS)}")
    camera: bool = setting(False, "remove the camera's own motion, so that only motion in the scene is left")
    bound: float = setting(20.0, "largest motion in pixels from one frame to the next; larger motion is clipped to it")

    def __post_init__(self) -> None:
        if self.method not in METHODS and ":" not in self.method:
            raise UnknownName("method of flow", self.method, METHODS)
        one_of("preset", self.preset, PRESETS)
        if not 0.5 <= self.bound <= 1000:
            raise ConfigError("bound", f"must be from 0.5 to 1000 pixels, not {self.bound:g}")


def parse_flow(text: str | None) -> FlowConfig:
    """Parse flow settings such as "tvl1", "dis,fine" or "dis,camera"; None gives the defaults."""
    method, *more = [part.strip() for part in (text or "dis").split(",")]
    unknown = [part for part in more if part not in (*PRESETS, "camera")]
    if unknown:
        raise ConfigError("flow", f"a method, optionally with {', '.join(PRESETS)} or camera, such as dis,fine,camera: not {unknown[0]!r}")
    presets = [part for part in more if part in PRESETS]
    return FlowConfig(method, presets[-1] if presets else "usual", camera="camera" in more)


@dataclass(frozen=True)
class FlowLook:
    """Which part of a video's flow is drawn, and how."""

    beside: bool = setting(False, "show each frame to the left of its flow")
    size: int = setting(256, "pixels of the short edge of the frames")
    fps: float | None = setting(None, "frames a second (default: the video's own)")
    start: float = setting(0.0, "seconds at which to start")
    end: float | None = setting(None, "seconds at which to stop (default: where the video ends)")

    def __post_init__(self) -> None:
        between("size", self.size, 32, 2160)
        between("start", self.start, 0, 1e7)
        if self.fps is not None and not 0.1 <= self.fps <= 240:
            raise ConfigError("fps", f"must be from 0.1 to 240 frames a second, not {self.fps:g}")
        if self.end is not None and not self.start < self.end <= 1e7:
            raise ConfigError("end", f"must be after the start ({self.start:g} s), not {self.end:g}")
