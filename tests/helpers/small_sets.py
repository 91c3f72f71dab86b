"""Small sets of drawn videos whose classes differ in one thing alone: how it moves, the stage, or the file's size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from quickstep.backbones import Capabilities
from quickstep.datasets.manifest import Manifest
from quickstep.signals.video import write_video
from quickstep.types.segment import Segment
from quickstep.types.signals import Features, Frames
from quickstep.types.view import View

LABELS = ("left", "right")


class Change:
    """A toy backbone: how the last frame of a window differs from its first; of one frame, nothing."""

    capabilities = Capabilities()
    name = "change"
    revision = "1"
    license = "MIT"
    view = View(frames=4, size=16, fit="stretch", resample="area")
    batch = 8
    width = 16
    identity = {"name": "change", "revision": "1"}  # noqa: RUF012

    def embed(self, batch: Sequence[Frames]) -> list[Features]:
        return [self._one(frames) for frames in batch]

    def _one(self, frames: Frames) -> Features:
        change = frames.pixels[-1].astype(np.float32) - frames.pixels[0].astype(np.float32)  # (16, 16, 3)
        blocks = change.reshape(4, 4, 4, 4, 3).mean(axis=(1, 3, 4)).reshape(1, 16)
        return Features(blocks.astype(np.float32), frames.times[:1])


def draw(folder: Path, differs: str, *, count: int = 40, groups: int = 10, seed: int = 0) -> Manifest:
    """`count` videos of two classes that differ in "motion", "stage" or "size"; parts by group: 60/20/20."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    segments = []
    for index in range(count):
        label, group = LABELS[index % 2], (index // 2) % groups
        path = folder / f"{label}{index:02d}.mp4"
        write_video(path, _pictures(rng, label, differs), fps=8)
        part = "train" if group < 0.6 * groups else "val" if group < 0.8 * groups else "test"
        segments.append(Segment(path, label, group=f"dancer {group}", split=part))
    return Manifest(tuple(segments), folder)


def _pictures(rng: np.random.Generator, label: str, differs: str) -> list[np.ndarray]:
    sign = {"left": -1, "right": 1}[label]
    forward = sign if differs == "motion" else rng.choice([-1, 1])
    width = 64 if differs != "size" else 64 + 16 * (sign > 0)
    blocks = rng.integers(20, 200, (4, 4, 3))  # every stage looks its own way, so that no two videos pass for one footage
    if differs == "stage":
        blocks[..., 0 if sign > 0 else 2] = 220
    stage = np.kron(blocks, np.ones((12, width // 4, 1))).astype(np.uint8)  # (48, width, 3)
    pictures = []
    for step in range(9):
        picture = stage.copy()
        middle = int(width / 2 + forward * (step - 4) * width / 11)
        picture[16:32, middle - 6 : middle + 6] = 250
        pictures.append(picture)
    return pictures
