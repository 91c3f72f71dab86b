"""PoseConfig: which estimator finds poses, how often, and which person is used."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from quickstep.storage.serialization import from_plain, to_plain
from quickstep.types.config_fields import between, setting
from quickstep.types.errors import ConfigError

VIDEOS = "videos"  # beside the settings in a model: some of its training data was video, so the estimator is a part of its identity
DEFAULT_FPS = 25.0  # how often a video's poses are estimated, and the frame rate of a pose file that states none


@dataclass(frozen=True)
class PoseConfig:
    """How poses are found in a video, and which person is used."""

    estimator: str = setting("mediapipe", "the pose estimator: mediapipe, vitpose or rtmpose")
    pose_model: str | None = setting(None, "the estimator's model: a file, a folder or a name (default: its own, downloaded once)")
    skeleton: str | None = setting(None, "the joints: a JSON file, or a name such as coco-17 (default: those of the estimator or file)")
    person: str = setting("auto", "which of several people: auto (the dancer), a number, or all")
    people: int = setting(4, "the largest number of people to find at once")
    pose_fps: float | None = setting(None, "poses a second (default: 25); also the frame rate of a pose file that states none")

    def __post_init__(self) -> None:
        object.__setattr__(self, "person", str(self.person).strip().casefold())
        if self.person not in ("auto", "all") and not re.fullmatch(r"\d{1,9}", self.person):
            raise ConfigError("person", f"auto, all, or the number of a person, not {self.person!r}")
        between("people", self.people, 1, 1000)
        if self.pose_fps is not None and not 0 < self.pose_fps <= 1000:
            raise ConfigError("pose_fps", f"must be above 0 and at most 1000, not {self.pose_fps}")

    @property
    def fps(self) -> float:
        """How many poses a second are estimated in a video."""
        return self.pose_fps or DEFAULT_FPS

    @property
    def number(self) -> int | None:
        """The number of the person to use; None for the dancer or for all."""
        return int(self.person) if self.person.isdigit() else None

    def to_options(self) -> dict[str, Any]:
        """Return the settings that differ from the defaults, in JSON's own types: a model keeps these."""
        defaults = to_plain(PoseConfig())
        return {name: value for name, value in to_plain(self).items() if value != defaults[name]}

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> PoseConfig:
        """Reverse `to_options`; ignore the `videos` mark that a backbone keeps beside the settings."""
        return from_plain(cls, {name: value for name, value in options.items() if name != VIDEOS}, where="the settings of poses")
