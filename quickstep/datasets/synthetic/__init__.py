"""Draws dancers: named moves, known joints, no download. Knows nothing of manifests, models or reports.

    body      proportions, poses, and where every joint then is
    moves     the named moves, as poses over time
    camera    from the world to pixels
    stage     walls, floors, light
    looks     skin, hair, clothes
    figure    a body drawn as a camera sees it
    scene     one video: all of it together, frame by frame

What tells the moves apart is the dancing alone: who, where, how filmed, how long and how encoded are drawn without looking at the move.
"""

from __future__ import annotations

import csv
import os
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from quickstep.datasets.synthetic.moves import MOVES
from quickstep.datasets.synthetic.scene import Dancer, Scene
from quickstep.signals.video import write_video
from quickstep.signals.video.prefetch import map_ahead
from quickstep.types.config_fields import at_least, between, setting
from quickstep.types.errors import ConfigError, MediaError, QuickstepError, UnknownName
from quickstep.types.progress import Progress, silent

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
    """Draw videos into `folder`/MOVE/, the truth about their joints beside each, and give the csv that lists them.

    The csv is dancers.csv with path, label, group (the dancer), stage and joints. A joints file (.npz) holds `joints` (T, 17, 3): x, y
    in pixels from the top left corner and whether it is visible; `joints_3d` (T, 17, 3) in metres; `times` (T,) in seconds; `skeleton`.
    """
    config, folder = config or DemoConfig(), Path(folder)
    dancers = [Dancer.drawn(index, config.seed, config.height) for index in range(min(config.dancers, config.videos))]
    jobs = [(move, number) for move in config.moves for number in range(config.videos)]
    rows: list[list[str]] = []
    try:
        for move in config.moves:
            (folder / move).mkdir(parents=True, exist_ok=True)
        count = workers or min(8, os.cpu_count() or 1)
        draw = partial(_draw_one, folder, config, dancers)
        with ThreadPoolExecutor(count) as pool, closing(map_ahead(draw, jobs, pool=pool, size=2 * count)) as drawn:
            for row in drawn:
                rows.append(row)
                progress("drawing", len(rows), len(jobs))
        return _write_list(folder / "dancers.csv", rows)
    except QuickstepError:
        raise
    except OSError as error:
        raise MediaError(folder, f"cannot be written: {error.strerror or error}") from error


def _draw_one(folder: Path, config: DemoConfig, dancers: Sequence[Dancer], job: tuple[str, int]) -> list[str]:
    """Draw one video; its row of the list. The same move and number give the same video whatever else is drawn."""
    move, number = job
    dancer = dancers[number % len(dancers)]
    seeds = (config.seed, 102, zlib.crc32(move.encode()), number)
    size = (config.width, config.height)
    scene = Scene.drawn(move, dancer, seeds, size=size, fps=config.fps, seconds=config.seconds, clutter=config.clutter)
    path = folder / move / f"{dancer.name}-{number // len(dancers) + 1:02d}.mp4"
    truth = path.with_suffix(".npz")
    np.savez(truth, joints=scene.joints, joints_3d=scene.figure.coco.astype(np.float32), times=scene.times, skeleton=np.array("coco-17"))
    write_video(path, scene.frames(), fps=config.fps, crf=scene.quality)
    return [f"{move}/{path.name}", move, dancer.name, dancer.stage.kind, f"{move}/{truth.name}"]


def _write_list(path: Path, rows: Sequence[Sequence[str]]) -> Path:
    aside = path.with_name(f".{path.name}.part")
    with aside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["path", "label", "group", "stage", "joints"])
        writer.writerows(rows)
    aside.replace(path)
    return path
