"""FlowConfig: how flow is found; FlowLook: how it is drawn; the table of methods. Imports no OpenCV."""

from __future__ import annotations

from dataclasses import dataclass

from quickstep.types.config_fields import between, one_of, setting
from quickstep.types.errors import ConfigError, UnknownName
from quickstep.types.registry import Entry

PRESETS = ("quick", "usual", "fine")

METHODS: dict[str, Entry] = {
    "dis": Entry("quickstep.signals.flow.methods:Dis", "DIS: quick, exact, follows large motion"),
    "tvl1": Entry("quickstep.signals.flow.methods:TvL1", "TV-L1, begun from DIS: the most exact, at about a twentieth of the speed"),
    "farneback": Entry("quickstep.signals.flow.methods:Farneback", "Farneback: smooth; somewhat slower and less exact than DIS"),
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


def flow_named(words: str | None) -> FlowConfig:
    """How flow is found, in one word or some: "tvl1", "dis,fine", "dis,camera"."""
    method, *more = [word.strip() for word in (words or "dis").split(",")]
    strange = [word for word in more if word not in (*PRESETS, "camera")]
    if strange:
        raise ConfigError("flow", f"a method and perhaps {', '.join(PRESETS)} or camera, as in dis,fine,camera: not {strange[0]!r}")
    presets = [word for word in more if word in PRESETS]
    return FlowConfig(method, presets[-1] if presets else "usual", camera="camera" in more)


@dataclass(frozen=True)
class FlowLook:
    """What of a video's flow is drawn, and how."""

    beside: bool = setting(False, "show each picture to the left of its flow")
    size: int = setting(256, "pixels of the short edge of the picture whose flow is found and drawn")
    fps: float | None = setting(None, "pictures a second (default: the video's own)")
    start: float = setting(0.0, "seconds at which to begin")
    end: float | None = setting(None, "seconds at which to stop (default: where the video ends)")

    def __post_init__(self) -> None:
        between("size", self.size, 32, 2160)
        between("start", self.start, 0, 1e7)
        if self.fps is not None and not 0.1 <= self.fps <= 240:
            raise ConfigError("fps", f"from 0.1 to 240 pictures a second, not {self.fps:g}")
        if self.end is not None and not self.start < self.end <= 1e7:
            raise ConfigError("end", f"after the start ({self.start:g} s), not {self.end:g}")
