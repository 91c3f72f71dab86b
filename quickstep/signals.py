"""What is seen and what is made of it: Frames (pixels in time), Features (vectors in time), Texts (words as vectors).

Knows no file and no network.

`Flow`, `Poses` and `Audio` will stand here too when something reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False, repr=False)
class Frames:
    """Pictures, upright, RGB, with square pixels, each with the second at which it is shown.

    `lost` counts the moments whose own picture was damaged, so that the nearest readable one stands in for it.
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
class Features:
    """What a backbone makes of a segment: one vector for each of some moments, in time order."""

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
    """How a network holds words against what it sees: a score is `scale * cosine + bias`.

    `prompting` are the weights with which X-CLIP lets the video rewrite the words first; its features are then (T, 1 + P, D): the
    video's vector, and the P parts of the picture that do the rewriting.
    """

    scale: float = 1.0
    bias: float = 0.0
    prompting: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, repr=False)
class Texts:
    """What a backbone's text side makes of the words for some classes."""

    vectors: NDArray[np.float32]  # (S, D), one a sentence
    owners: NDArray[np.int64]  # (S,): the class that each sentence is about
    matching: Matching = Matching()

    def __post_init__(self) -> None:
        if self.vectors.dtype != np.float32 or self.vectors.ndim != 2 or self.owners.shape != self.vectors.shape[:1]:
            raise ValueError(f"vectors {self.vectors.dtype} {self.vectors.shape} have owners {self.owners.shape}")
        if len(self.owners) == 0 or set(self.owners.tolist()) != set(range(self.classes)):
            raise ValueError("every class has at least one sentence")

    @property
    def classes(self) -> int:
        """C: how many classes there are."""
        return int(self.owners.max()) + 1

    def __repr__(self) -> str:
        return f"Texts({len(self.owners)} sentences of {self.classes} classes, {self.vectors.shape[1]} numbers each)"


def _span(times: NDArray[np.float64]) -> str:
    return f"{times[0]:.3f}-{times[-1]:.3f} s" if len(times) else "empty"
