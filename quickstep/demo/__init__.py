"""Draws dancers: named moves, known joints, no download. See `draw_dancers`; knows nothing of models or reports."""

from __future__ import annotations

import csv
import os
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from quickstep.demo.moves import MOVES
from quickstep.demo.scene import Dancer, Scene
from quickstep.errors import ConfigError, UnknownName
from quickstep.media import write_video
from quickstep.progress import Progress, silent
from quickstep.settings import at_least, between, setting

__all__ = ["MOVES", "DemoConfig", "draw_dancers"]


@dataclass(frozen=True)
class DemoConfig:
    """What is drawn. The same settings give the same files."""

    moves: tuple[str, ...] = setting(("windmill", "halo", "toprock", "moonwalk", "spin-left", "spin-right"), "the moves to draw")
    videos: int = setting(10, "videos of each move")
    dancers: int = setting(10, "how many people; each is a group of its own")
    seconds: float = setting(3.0, "how long a video is, give or take a seventh")
    width: int = setting(320, "pixels across, even")
    height: int = setting(240, "pixels down, even")
    fps: float = setting(25.0, "frames a second")
    clutter: float = setting(0.15, "the share of videos with somebody behind the dancer, and with a post in front, from 0 to 1")
    seed: int = setting(0, "another seed draws other people, stages and performances")

    def __post_init__(self) -> None:
        for move in self.moves:
            if move not in MOVES:
                raise UnknownName("move", move, MOVES)
        if len(set(self.moves)) != len(self.moves) or not self.moves:
            raise ConfigError("moves", "at least one, and none twice")
        at_least("videos", self.videos, 1)
        at_least("dancers", self.dancers, 1)
        between("seconds", self.seconds, 0.5, 600)
        between("width", self.width, 64, 3840)
        between("height", self.height, 64, 2160)
        if self.width % 2 or self.height % 2:
            raise ConfigError("width" if self.width % 2 else "height", "an even number of pixels, as h264 wants it")
        between("fps", self.fps, 5, 120)
        between("clutter", self.clutter, 0, 1)
        at_least("seed", self.seed, 0)


def draw_dancers(folder: str | Path, config: DemoConfig | None = None, *, workers: int | None = None, progress: Progress = silent) -> Path:
    """Draw videos into `folder`/MOVE/ with their joints beside them, and give the csv that lists them with label and group."""
    config, folder = config or DemoConfig(), Path(folder)
    dancers = [Dancer.drawn(index, config.seed, config.height) for index in range(config.dancers)]
    jobs = [(move, number) for move in config.moves for number in range(config.videos)]
    for move in config.moves:
        (folder / move).mkdir(parents=True, exist_ok=True)
    rows, done = [], 0
    with ThreadPoolExecutor(workers or min(8, os.cpu_count() or 1)) as pool:
        for row in pool.map(lambda job: _draw_one(folder, config, dancers, job), jobs):
            rows.append(row)
            done += 1
            progress("drawing", done, len(jobs))
    manifest = folder / "dancers.csv"
    aside = manifest.with_suffix(".csv.part")
    with aside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["path", "label", "group", "stage", "joints"])
        writer.writerows(rows)
    aside.replace(manifest)
    return manifest


def _draw_one(folder: Path, config: DemoConfig, dancers: list[Dancer], job: tuple[str, int]) -> list[str]:
    """Draw one video; its row of the csv."""
    move, number = job
    dancer = dancers[number % len(dancers)]
    seeds = (config.seed, 102, zlib.crc32(move.encode()), number)
    size = (config.width, config.height)
    scene = Scene.drawn(move, dancer, seeds, size=size, fps=config.fps, seconds=config.seconds, clutter=config.clutter)
    path = folder / move / f"{dancer.name}-{number // len(dancers) + 1:02d}.mp4"
    write_video(path, scene.frames(), fps=config.fps, crf=scene.quality)
    truth = path.with_suffix(".npz")
    np.savez(truth, joints=scene.joints, times=scene.times, joints_3d=scene.figure.coco.astype(np.float32), skeleton=np.array("coco-17"))
    return [f"{move}/{path.name}", move, dancer.name, dancer.stage.kind, f"{move}/{truth.name}"]
