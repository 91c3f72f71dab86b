"""Arrays with their times in seconds: Frames (pixels), Flow (motion), Poses (joints), Features (vectors); and Texts (sentences).

`Audio` belongs here too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from quickstep.types.skeleton import Skeleton


@dataclass(frozen=True, eq=False, repr=False)
class Frames:
    """Upright RGB pictures with square pixels, each with the second at which it is shown.

    `lost` counts the timestamps whose picture is damaged, so that the nearest readable one replaces it.
    """

    pixels: NDArray[np.uint8]  # (T, H, W, 3)
    times: NDArray[np.float64]  # (T,)
    lost: int = 0

    def __post_init__(self) -> None:
        if self.pixels.dtype != np.uint8 or self.pixels.ndim != 4 or self.pixels.shape[3] != 3:
            raise ValueError(f"frames are uint8 (T, H, W, 3), not {self.pixels.dtype} {self.pixels.shape}")
        if self.times.shape != self.pixels.shape[:1]:
            raise ValueError(f"{len(self.pixels)} frames have {self.times.shape} times")

    def __len__(self) -> int:
        return len(self.times)

    def __repr__(self) -> str:
        return f"Frames({'x'.join(map(str, self.pixels.shape))}, {_span(self.times)}, lost={self.lost})"


@dataclass(frozen=True, eq=False, repr=False)
class Flow:
    """Optical flow: how far each pixel moves until the next picture, in 8 bits.

    Level 128 means no motion; `bound` pixels (or more) to the right or down are 255, to the left or up 1.
    """

    levels: NDArray[np.uint8]  # (T, H, W, 2): x to the right, y down
    times: NDArray[np.float64]  # (T,) of the earlier picture
    bound: float = 20.0  # pixels at the size of these levels
    lost: int = 0

    def __post_init__(self) -> None:
        if self.levels.dtype != np.uint8 or self.levels.ndim != 4 or self.levels.shape[3] != 2:
            raise ValueError(f"flow is uint8 (T, H, W, 2), not {self.levels.dtype} {self.levels.shape}")
        if self.times.shape != self.levels.shape[:1]:
            raise ValueError(f"{len(self.levels)} fields of flow have {self.times.shape} times")

    @classmethod
    def of(cls, pixels: NDArray[np.float32], times: NDArray[np.float64], *, bound: float = 20.0, lost: int = 0) -> Flow:
        """Quantize motion in pixels (T, H, W, 2), clipped at the bound."""
        levels = np.rint(np.clip(pixels / bound, -1, 1) * 127) + 128
        return cls(levels.astype(np.uint8), times, bound, lost)

    @property
    def pixels(self) -> NDArray[np.float32]:
        """Return the motion in pixels, (T, H, W, 2)."""
        return (self.levels.astype(np.float32) - 128) * np.float32(self.bound / 127)

    def __len__(self) -> int:
        return len(self.times)

    def __repr__(self) -> str:
        return f"Flow({'x'.join(map(str, self.levels.shape))}, {_span(self.times)}, up to {self.bound:g} pixels, lost={self.lost})"


@dataclass(frozen=True, eq=False, repr=False)
class Poses:
    """The joints of people at several timestamps.

    2D in pixels of the upright picture, 3D in metres or the unit of the file. An invisible joint has score 0 and NaN coordinates; all
    joints of a person who is absent at a timestamp are such.
    """

    joints: NDArray[np.float32]  # (T, P, K, C): x, y[, z], score
    times: NDArray[np.float64]  # (T,) seconds, ascending
    skeleton: Skeleton
    people: tuple[int, ...]  # the P numbers of the people
    size: tuple[int, int] | None = None  # width and height of the picture, where known

    def __post_init__(self) -> None:
        shape = self.joints.shape
        if self.joints.dtype != np.float32 or len(shape) != 4 or shape[2:] != (len(self.skeleton), self.skeleton.dimensions + 1):
            raise ValueError(f"poses of {self.skeleton} are float32 (T, P, K, C), not {self.joints.dtype} {shape}")
        if self.times.shape != shape[:1] or len(self.people) != shape[1] or len(set(self.people)) != shape[1]:
            raise ValueError(f"joints {shape} have times {self.times.shape} and people {self.people}")
        if len(self.times) > 1 and not (np.diff(self.times) > 0).all():
            raise ValueError("the times of poses ascend")
        invisible = ~(self.joints[..., -1] > 0) | ~np.isfinite(self.joints[..., :-1]).all(axis=-1)  # (T, P, K)
        if invisible.any():
            joints = np.where(invisible[..., None], np.float32(np.nan), self.joints)
            joints[..., -1] = np.where(invisible, 0, self.joints[..., -1])
            object.__setattr__(self, "joints", joints)

    def __len__(self) -> int:
        return len(self.times)

    @property
    def seen(self) -> NDArray[np.bool_]:
        """Return which joints are visible, (T, P, K)."""
        return self.joints[..., -1] > 0

    def person(self, number: int) -> Poses:
        """Return only the person of that number; KeyError if there is none."""
        if number not in self.people:
            raise KeyError(number)
        place = self.people.index(number)
        return replace(self, joints=self.joints[:, place : place + 1], people=(number,))

    def span(self, start: float, end: float | None = None) -> Poses:
        """Return only the timestamps from `start` on and before `end`."""
        inside = (self.times >= start) & (self.times < (np.inf if end is None else end))
        return replace(self, joints=self.joints[inside], times=self.times[inside])

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.joints.shape))
        return f"Poses({shape}, {self.skeleton.name}, {_span(self.times)}, people: {', '.join(map(str, self.people)) or 'none'})"


@dataclass(frozen=True, eq=False, repr=False)
class Features:
    """The features of a segment: one vector for each of several timestamps, in time order."""

    values: NDArray[np.float32]  # (T, D)
    times: NDArray[np.float64]  # (T,)

    def __post_init__(self) -> None:
        if self.values.dtype != np.float32 or self.values.ndim < 2:
            raise ValueError(f"features are float32 (T, D, ...), not {self.values.dtype} {self.values.shape}")
        if len(self.values) == 0 or self.times.shape != self.values.shape[:1]:
            raise ValueError(f"features {self.values.shape} have {self.times.shape} times")

    def __len__(self) -> int:
        return len(self.times)

    def __repr__(self) -> str:
        return f"Features({'x'.join(map(str, self.values.shape))}, {_span(self.times)})"


@dataclass(frozen=True, eq=False)
class Matching:
    """How a network compares a text with a video: the score is `scale * cosine + bias`.

    `prompting` are the weights of X-CLIP's video-specific prompts, which change the text vectors by the video. Features are then
    (T, 1 + P, D): the vector of the video, and P patch vectors that the prompts are made of.
    """

    scale: float = 1.0
    bias: float = 0.0
    prompting: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, repr=False)
class Texts:
    """Vectors of the sentences for several classes, from the text encoder of a backbone."""

    vectors: NDArray[np.float32]  # (S, D), one for each sentence
    owners: NDArray[np.int64]  # (S,): the class of each sentence
    matching: Matching = Matching()

    def __post_init__(self) -> None:
        if self.vectors.dtype != np.float32 or self.vectors.ndim != 2 or self.owners.shape != self.vectors.shape[:1]:
            raise ValueError(f"vectors {self.vectors.dtype} {self.vectors.shape} have owners {self.owners.shape}")
        if len(self.owners) == 0 or set(self.owners.tolist()) != set(range(self.classes)):
            raise ValueError("every class has at least one sentence")

    @property
    def classes(self) -> int:
        """Return the number of classes."""
        return int(self.owners.max()) + 1

    def __repr__(self) -> str:
        return f"Texts({len(self.owners)} sentences of {self.classes} classes, {self.vectors.shape[1]} dimensions)"


def _span(times: NDArray[np.float64]) -> str:
    return f"{times[0]:.3f}-{times[-1]:.3f} s" if len(times) else "empty"
