"""PoseConfig: which poses are looked for and of whom; knows no estimator and no file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from quickstep.storage.serialization import from_plain, to_plain
from quickstep.types.config_fields import between, setting
from quickstep.types.errors import ConfigError

VIDEOS = "videos"  # beside the settings in a model: that some of what it learnt from was video, so that its estimator counts
USUAL_FPS = 25.0  # the pace at which videos are looked at, and that of pose files which say none


@dataclass(frozen=True)
class PoseConfig:
    """What finds the bodies in a video, how often it looks, and which person counts."""

    estimator: str = setting("mediapipe", "what finds joints in a video: mediapipe, vitpose or rtmpose")
    pose_model: str | None = setting(None, "the estimator's model: a file, a folder or a name (default: its own, downloaded once)")
    skeleton: str | None = setting(None, "which joints: a JSON file, or a name such as coco-17 (default: those of the estimator or file)")
    person: str = setting("auto", "who counts where several are seen: auto (the dancer), a number, or all")
    people: int = setting(4, "how many people are looked for at once, at most")
    pose_fps: float | None = setting(None, "moments looked at a second (default: 25), and the pace of pose files that do not say theirs")

    def __post_init__(self) -> None:
        object.__setattr__(self, "person", str(self.person).strip().casefold())
        if self.person not in ("auto", "all") and not re.fullmatch(r"\d{1,9}", self.person):
            raise ConfigError("person", f"auto, all, or the number of a person, not {self.person!r}")
        between("people", self.people, 1, 1000)
        if self.pose_fps is not None and not 0 < self.pose_fps <= 1000:
            raise ConfigError("pose_fps", f"above 0 and at most 1000, not {self.pose_fps}")

    @property
    def fps(self) -> float:
        """How many moments of a second of video are looked at."""
        return self.pose_fps or USUAL_FPS

    @property
    def number(self) -> int | None:
        """The number of the person asked for; None for the dancer."""
        return int(self.person) if self.person.isdigit() else None

    def to_options(self) -> dict[str, Any]:
        """What differs from the defaults, in JSON's own types: what a model keeps of it."""
        usual = to_plain(PoseConfig())
        return {name: value for name, value in to_plain(self).items() if value != usual[name]}

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> PoseConfig:
        """The reverse of `to_options`; what else a backbone keeps beside it is its own."""
        return from_plain(cls, {name: value for name, value in options.items() if name != VIDEOS}, where="the settings of poses")
