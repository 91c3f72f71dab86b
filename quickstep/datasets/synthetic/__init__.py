"""Draw synthetic videos of dancers: known moves, known joints, no download.

Only the movement depends on the label: person, stage, camera, length and encoding are drawn independently of it.

    body        proportions, poses, and the positions of the joints
    moves       the moves as poses over time
    routine     several moves one after the other
    camera      projection from the world to pixels
    background  wall, ground and light
    figure      a person as the camera sees them
    scene       one video, frame by frame
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from quickstep.datasets.synthetic.moves import MOVES
from quickstep.datasets.synthetic.scene import Dancer, Scene
from quickstep.signals.video import write_video
from quickstep.storage.files import write_csv
from quickstep.types.config_fields import at_least, between, setting
from quickstep.types.errors import ConfigError, MediaError, QuickstepError, UnknownName
from quickstep.types.parallel import run_parallel
from quickstep.types.progress import Progress, silent

_NEW_SEED = 1000  # added to the seed for people who are not in the dataset
_PRESET = "veryfast"  # of x264: encoding takes a third of the time, and the file is a little larger
CLASS_SECONDS = 40.0
HARD_MOVES = ("windmill", "halo", "toprock", "walk", "moonwalk", "spin-left", "spin-right")  # confusable for flow-hist

__all__ = ["CLASS_SECONDS", "HARD_MOVES", "MOVES", "DemoConfig", "DemoVideos", "draw_class", "draw_dancers", "draw_demo"]


@dataclass(frozen=True)
class DemoConfig:
    """The videos to draw; the same settings give the same files."""

    moves: tuple[str, ...] = setting(("halo", "toprock", "drop", "rise", "groove-fast", "groove-slow"), "the moves to draw")
    videos: int = setting(24, "videos of each move")
    dancers: int = setting(24, "number of people; each is a group of its own")
    seconds: float = setting(1.8, "mean length of a video; lengths vary by 15 percent")
    width: int = setting(320, "width in pixels, an even number")
    height: int = setting(240, "height in pixels, an even number")
    fps: float = setting(25.0, "frames a second")
    clutter: float = setting(0.1, "share of videos with a person behind the dancer, and share with a post in front (0 to 1)")
    seed: int = setting(0, "random seed; another seed draws other people, stages and performances")

    def __post_init__(self) -> None:
        for move in self.moves:
            if move not in MOVES:
                raise UnknownName("move", move, MOVES)
        if len(set(self.moves)) != len(self.moves) or not self.moves:
            raise ConfigError("moves", "must name at least one move, and none twice")
        at_least("videos", self.videos, 1)
        at_least("dancers", self.dancers, 1)
        between("seconds", self.seconds, 0.5, 600)
        between("width", self.width, 64, 3840)
        between("height", self.height, 64, 2160)
        if self.width % 2 or self.height % 2:
            raise ConfigError("width" if self.width % 2 else "height", "must be an even number of pixels, as h264 requires")
        between("fps", self.fps, 5, 120)
        between("clutter", self.clutter, 0, 1)
        at_least("seed", self.seed, 0)


@dataclass(frozen=True)
class DemoVideos:
    """The videos of the demo: a labelled dataset, and videos of people who are not in it."""

    dataset: Path  # csv
    new_videos: Path  # csv
    class_video: Path
    class_spans: Path  # csv


def draw_demo(folder: str | Path, config: DemoConfig | None = None, *, progress: Progress = silent) -> DemoVideos:
    """Draw a dataset into `folder`/dancers, a video of each move by another person into `folder`/new, and a class of a third person."""
    config, folder = config or DemoConfig(), Path(folder)
    dataset = draw_dancers(folder / "dancers", config, progress=progress)
    other = replace(config, videos=1, dancers=1, seed=config.seed + _NEW_SEED, clutter=0.0)
    new = draw_dancers(folder / "new", other, progress=progress)
    progress("drawing a class", 0, 1)
    class_video, class_spans = draw_class(folder, config)
    progress("drawing a class", 1, 1)
    return DemoVideos(dataset, new, class_video, class_spans)


def draw_class(folder: str | Path, config: DemoConfig | None = None) -> tuple[Path, Path]:
    """Draw class.mp4, in which a person who is not in the dataset performs the moves in turn, and class.csv, the spans of the moves."""
    config, folder = config or DemoConfig(), Path(folder)
    rng = np.random.default_rng([config.seed, 103])
    routine: list[tuple[str, float]] = []
    while (left := CLASS_SECONDS - sum(seconds for _, seconds in routine)) >= 1:
        following = [move for move in config.moves if not routine or move != routine[-1][0]] or list(config.moves)
        unseen = [move for move in following if move not in {move for move, _ in routine}]
        move = str(rng.choice(unseen or following))
        seconds = config.seconds * rng.uniform(0.9, 1.15) if MOVES[move].once else rng.uniform(4.0, 6.5)
        routine.append((move, round(min(max(seconds, 1.0), left), 2)))
    routine[-1] = (routine[-1][0], round(routine[-1][1] + left, 2))
    dancer = Dancer.drawn(1, config.seed + _NEW_SEED, config.height)
    scene = Scene.of_routine(routine, dancer, (config.seed, 104), size=(config.width, config.height), fps=config.fps)
    video, spans = folder / "class.mp4", folder / "class.csv"
    ends = np.cumsum([seconds for _, seconds in routine])
    rows = [[f"{end - seconds:.2f}", f"{end:.2f}", move] for end, (move, seconds) in zip(ends, routine, strict=True)]
    write_video(video, scene.frames(), fps=config.fps, crf=scene.quality, preset=_PRESET)
    write_csv(spans, ["start", "end", "label"], rows)
    return video, spans


def draw_dancers(folder: str | Path, config: DemoConfig | None = None, *, workers: int | None = None, progress: Progress = silent) -> Path:
    """Draw videos into `folder`/MOVE/ with their true joints beside them, and return the csv that lists them.

    The csv is dancers.csv with path, label, group (the dancer), stage and joints. A joints file (.npz) has `joints` (T, 17, 3): x, y in
    pixels from the top left corner and whether the joint is visible; `joints_3d` (T, 17, 3) in metres; `times` (T,) in seconds; `skeleton`.
    """
    config, folder = config or DemoConfig(), Path(folder)
    dancers = [Dancer.drawn(index, config.seed, config.height) for index in range(min(config.dancers, config.videos))]
    jobs = [(move, number) for move in config.moves for number in range(config.videos)]
    rows: dict[tuple[str, int], list[str]] = {}
    try:
        for move in config.moves:
            (folder / move).mkdir(parents=True, exist_ok=True)
        drawn = run_parallel(lambda job: _draw_video(folder, config, dancers, job), jobs, "drawing", workers=workers, progress=progress)
        for job, row in drawn:
            if isinstance(row, QuickstepError):
                raise row
            rows[job] = row
        write_csv(folder / "dancers.csv", ["path", "label", "group", "stage", "joints"], [rows[job] for job in jobs])
    except QuickstepError:
        raise
    except OSError as error:
        raise MediaError(folder, f"cannot be written: {error.strerror or error}") from error
    return folder / "dancers.csv"


def _draw_video(folder: Path, config: DemoConfig, dancers: Sequence[Dancer], job: tuple[str, int]) -> list[str]:
    """Draw one video and return its row of the csv; it depends on its move and number alone."""
    move, number = job
    dancer = dancers[number % len(dancers)]
    seeds = (config.seed, 102, zlib.crc32(move.encode()), number)
    size = (config.width, config.height)
    scene = Scene.drawn(move, dancer, seeds, size=size, fps=config.fps, seconds=config.seconds, clutter=config.clutter)
    path = folder / move / f"{dancer.name}-{number // len(dancers) + 1:02d}.mp4"
    joints = path.with_suffix(".npz")
    np.savez(joints, joints=scene.joints, joints_3d=scene.figure.coco.astype(np.float32), times=scene.times, skeleton=np.array("coco-17"))
    write_video(path, scene.frames(), fps=config.fps, crf=scene.quality, preset=_PRESET)
    return [f"{move}/{path.name}", move, dancer.name, dancer.stage.kind, f"{move}/{joints.name}"]
