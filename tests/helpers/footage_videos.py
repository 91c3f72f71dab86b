"""Draw takes (a figure that moves on a stage, with camera noise), and copies of them: scaled, cropped, trimmed, mirrored, darker."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from quickstep.signals.video import write_video

Pixels = NDArray[np.uint8]
WIDTH, HEIGHT, FPS = 160, 120, 25


def stage(seed: int) -> NDArray[np.float32]:
    """Return the blurred background of a stage; each seed gives another one."""
    rng = np.random.default_rng(seed)
    blotches = cv2.resize(rng.uniform(30, 200, (6, 8, 3)).astype(np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    return np.clip(blotches, 10, 230)


def take(place: int, performance: int, *, seconds: float = 3.0, move: float = 1.0) -> list[Pixels]:
    """Return frames of a swaying figure on a stage; another performance has other rhythms, and with `move=0` the figure stands still."""
    rng, noise = np.random.default_rng([7, performance]), np.random.default_rng([8, place, performance])
    background = stage(place)
    rates, phases = rng.uniform(0.4, 1.6, (3, 2)), rng.uniform(0, 2 * np.pi, (3, 2))
    frames = []
    for index in range(int(seconds * FPS)):
        angle = 2 * np.pi * rates * index / FPS + phases  # (3, 2)
        frame = background.copy()
        for part, (x, y) in enumerate(np.sin(angle) * move):
            centre = (int(80 + 30 * x + 8 * part), int(45 + 18 * part + 10 * y))
            cv2.circle(frame, centre, 11 - 2 * part, (240 - 60 * part, 60 + 50 * part, 20), -1, cv2.LINE_AA)
        frames.append(np.clip(frame + noise.normal(0, 2, frame.shape), 0, 255).astype(np.uint8))
    return frames


def scaled(frames: list[Pixels]) -> list[Pixels]:
    return [cv2.resize(frame, (96, 72), interpolation=cv2.INTER_AREA) for frame in frames]


def cropped(frames: list[Pixels]) -> list[Pixels]:
    return [frame[3:117, 4:156] for frame in frames]


def cornered(frames: list[Pixels]) -> list[Pixels]:
    return [frame[:114, :152] for frame in frames]


def trimmed(frames: list[Pixels]) -> list[Pixels]:
    return frames[9:-12]


def mirrored(frames: list[Pixels]) -> list[Pixels]:
    return [np.ascontiguousarray(frame[:, ::-1]) for frame in frames]


def darker(frames: list[Pixels]) -> list[Pixels]:
    return [(frame * 0.8 + 5).astype(np.uint8) for frame in frames]


def everything(frames: list[Pixels]) -> list[Pixels]:
    return scaled(cropped(trimmed(darker(frames))))


def written(path: Path, frames: list[Pixels], **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, frames, fps=FPS, **options)  # type: ignore[arg-type]
    return path
