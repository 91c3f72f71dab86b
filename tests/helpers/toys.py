"""Toy backbones that read colours, words and flow, and tiny videos that they classify in a second."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quickstep.backbones import Capabilities
from quickstep.datasets.manifest import Manifest
from quickstep.signals.flow import FlowConfig
from quickstep.signals.video import write_video
from quickstep.types.segment import Segment
from quickstep.types.signals import Features, Flow, Frames, Matching
from quickstep.types.view import View

COLOURS = {"blue": (40, 40, 180), "green": (40, 180, 40), "red": (180, 40, 40)}


class Colours:
    """The mean colour of each frame; `salt` stands for the weights of a real network."""

    capabilities = Capabilities()
    name, revision, license, width, batch = "colours", "1", "MIT", 3, 8
    view = View(frames=3, size=8, fit="stretch", resample="area")

    def __init__(self, salt: str = "a") -> None:
        self.identity = {"name": "colours", "weights": salt}

    def embed(self, batch: Sequence[Frames]) -> list[Features]:
        return [Features(frames.pixels.mean(axis=(1, 2), dtype=np.float32), frames.times) for frames in batch]


def draw_colours(folder: Path, *, each: int = 8, labels: Sequence[str] = tuple(COLOURS), splits: bool = True) -> Manifest:
    """Draw `each` videos for each label, 6 frames of 32 x 24; of eight, five are for training, two for validation, one for testing."""
    rng = np.random.default_rng(0)
    segments = []
    for label in labels:
        for number in range(each):
            path = folder / label / f"{number}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            colour = np.clip(np.array(COLOURS[label]) + rng.integers(-30, 30, 3), 0, 255)
            noise = rng.integers(-20, 20, (6, 24, 32, 3))
            write_video(path, list(np.clip(colour + noise, 0, 255).astype(np.uint8)), fps=6)
            part = "train" if number % 8 < 5 else "val" if number % 8 < 7 else "test"
            segments.append(Segment(path, label, group=f"{label}{number}", split=part if splits else None))
    return Manifest(tuple(segments), folder)


class Words(Colours):
    """Reads the names of colours too: the vector of a sentence is the mean of the colours in it, or grey."""

    capabilities = Capabilities(embeds_text=True)
    templates = ()
    name = "words"
    matching = Matching(scale=40.0, bias=-3.0)

    def __init__(self, salt: str = "a") -> None:
        self.identity = {"name": "words", "weights": salt}

    @property
    def text_identity(self) -> dict[str, str]:
        return self.identity

    def embed_text(self, words: Sequence[str]) -> NDArray[np.float32]:
        named = [[COLOURS[word] for word in sentence.lower().split() if word in COLOURS] for sentence in words]
        return np.array([np.mean(colours, axis=0) if colours else (100, 100, 100) for colours in named], dtype=np.float32)


class Drift:
    """Reads flow: the mean motion of each field; `salt` stands for the weights of a real network."""

    name, revision, license, width = "drift", "1", "MIT", 2
    view = View(frames=5, fps=10, size=96, edge=120, windows=None)

    def __init__(self, salt: str | FlowConfig = "a", *, batch: int = 8, parallel: bool = False) -> None:
        self.flow_config = salt if isinstance(salt, FlowConfig) else FlowConfig()
        self.identity = {"name": "drift", "weights": salt if isinstance(salt, str) else "a"}
        self.batch, self.capabilities = batch, Capabilities(reads="flow", parallel=parallel)

    def embed(self, batch: Sequence[Flow]) -> list[Features]:
        return [Features(np.median(flow.pixels, axis=(1, 2)).astype(np.float32), flow.times) for flow in batch]


class AllRight:
    """A flow method from outside the project: everything moves one pixel to the right."""

    def __init__(self, preset: str) -> None:
        self.preset = preset

    def between(self, before: NDArray[np.uint8], after: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.stack([np.ones(before.shape, np.float32), np.zeros(before.shape, np.float32)], axis=-1)
