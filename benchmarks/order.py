"""Video networks trained from scratch on dancers whose classes differ in direction, order or pace alone.

    python -m benchmarks.order [--each 128] [--epochs 10] [--size 48] [--tasks direction,order,pace] [--streams i3d-rgb,i3d-flow]

The two classes of a pair have the same frames, in another order or at another pace: an arm that circles in one direction or the other; arm
then leg, or leg then arm; part of a turn, or three times as much of it. A method that averages over single frames cannot tell them apart.
The baseline is such a method: the mean over time of small frames (and of their squares), with the linear head.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.tables import show
from quickstep.backbones import Capabilities
from quickstep.datasets.manifest import Manifest
from quickstep.evaluation import evaluate
from quickstep.models.model import Model
from quickstep.signals.video import write_video
from quickstep.storage.cache import Cache
from quickstep.training.augmentation.augment import Augment
from quickstep.training.finetuning import FinetuneConfig, finetune
from quickstep.training.train import TrainConfig, train
from quickstep.types import confidence_intervals
from quickstep.types.segment import Segment
from quickstep.types.signals import Features, Frames
from quickstep.types.view import View

FRAMES, FPS = 16, 12.5
SIZE = 64  # pixels of a video
PARTS = ("train",) * 18 + ("val",) * 4 + ("test",) * 10  # of so many dancers


class Pictures:
    """The frame-averaging baseline: each frame by itself, resized to a small one, with its squares."""

    capabilities = Capabilities()
    name, revision, license, batch = "small-pictures", "1", "MIT", 64
    view = View(frames=FRAMES, size=16, fit="stretch", resample="area")
    width = 2 * 16 * 16 * 3
    identity = {"name": "small-pictures", "revision": "1"}  # noqa: RUF012

    def embed(self, batch: Sequence[Frames]) -> list[Features]:
        """Return small frames and their squares as features."""
        return [self._one(frames) for frames in batch]

    def _one(self, frames: Frames) -> Features:
        flat = frames.pixels.reshape(len(frames), -1).astype(np.float32) / 255
        return Features(np.hstack([flat, flat**2]), frames.times)


Limbs = tuple[float, float]  # the angles of the arm and of the leg, in turns
Move = Callable[[float, float], Limbs]  # share of the time, where it begins -> limbs


def _circle(turns: float) -> Move:
    return lambda share, begin: (begin + turns * share, 0.0)


def _lift(share: float) -> float:
    """Up and down again within 0..1; at rest outside."""
    return 0.3 * float(np.sin(np.pi * np.clip(share, 0, 1)))


TASKS: dict[str, dict[str, Move]] = {
    "direction": {"clockwise": _circle(0.5), "anticlockwise": _circle(-0.5)},
    "order": {
        "arm then leg": lambda share, _: (0.5 + _lift(2 * share), _lift(2 * share - 1)),
        "leg then arm": lambda share, _: (0.5 + _lift(2 * share - 1), _lift(2 * share)),
    },
    "pace": {"slow": _circle(0.3), "fast": _circle(0.9)},
}


def draw(folder: Path, moves: dict[str, Move], *, each: int, seed: int) -> Manifest:
    """`each` videos a class by 32 dancers, of whom ten are tested."""
    rng = np.random.default_rng(seed)
    segments = []
    for number in range(each):
        dancer = number % len(PARTS)
        looks = np.random.default_rng([seed, dancer])
        colours = looks.integers(((20,) * 3, (80,) * 3, (170,) * 3), ((80,) * 3, (150,) * 3, (250,) * 3))  # dark stage, bright limbs
        for label, move in moves.items():
            path = folder / label.replace(" ", "-") / f"{number:03d}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_video(path, _pictures(move, colours, rng), fps=FPS)
            segments.append(Segment(path, label, group=f"dancer {dancer}", split=PARTS[dancer]))
    return Manifest(tuple(segments), folder)


def _pictures(move: Move, colours: NDArray[np.int64], rng: np.random.Generator) -> list[NDArray[np.uint8]]:
    begin, place, size = rng.random(), rng.uniform(-4, 4, 2), rng.uniform(0.85, 1.15)
    stage, body, limb = (tuple(map(int, colour)) for colour in colours)
    blocks = np.clip(np.array(stage) + rng.integers(-15, 16, (4, 4, 3)), 0, 255)
    ground = np.kron(blocks, np.ones((SIZE // 4, SIZE // 4, 1))).astype(np.uint8)
    pictures = []
    for frame in range(FRAMES):
        picture = ground.copy()
        arm, leg = move((frame + 0.5) / FRAMES, begin)
        shoulder, hip = np.array([32, 26]) + place, np.array([32, 38]) + place
        cv2.line(picture, _point(shoulder), _point(hip), body, 7)
        cv2.circle(picture, _point(shoulder - (0, 9 * size)), int(4 * size), body, -1)
        for start, turn, length in ((shoulder, arm, 22), (hip, 0.5 - leg, 20), (hip, 0.5, 20)):
            tip = start + size * length * np.array([np.sin(2 * np.pi * turn), -np.cos(2 * np.pi * turn)])
            cv2.line(picture, _point(start), _point(tip), limb, 6)
        pictures.append(np.clip(picture + rng.integers(-6, 7, picture.shape), 0, 255).astype(np.uint8))
    return pictures


def _point(place: NDArray[np.float64]) -> tuple[int, int]:
    return round(float(place[0])), round(float(place[1]))


def accuracy_of(model: Model, cache: Cache) -> str:
    """Accuracy on dancers that were not learnt from, with its interval over them."""
    result = evaluate(model, cache=cache, baselines=False).figures.accuracy
    return f"{result.value:.3f} ({confidence_intervals.between(result)})"


def tuned(stream: str, manifest: Manifest, args: argparse.Namespace, cache: Cache, folder: Path) -> tuple[str, str, str]:
    """Train a network from random weights; return its accuracy, epochs and minutes."""
    config = FinetuneConfig(
        backbone=stream, init="scratch", width=args.width, frames=FRAMES - (stream == "i3d-flow"), fps=FPS, size=args.size,
        epochs=args.epochs, batch=8, learning_rate=args.rate, dropout=0.0, patience=args.epochs, precision="fp32", weight_decay=0.05,
    )  # fmt: skip
    augmentation = Augment(augment=0.0, crop=0.3, colour=0.2)
    began = time.perf_counter()
    result = finetune(manifest, config, augment=augmentation, cache=cache, folder=folder, tell=print if args.verbose else lambda _: None)
    minutes = (time.perf_counter() - began) / 60
    return accuracy_of(result.model, cache), f"{result.history.best_epoch}/{result.history.epochs}", f"{minutes:.1f}"


def main() -> None:
    """Measure whether the models learn the order of frames, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=128, help="videos of each class")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--size", type=int, default=48, help="pixels that the networks see")
    parser.add_argument("--width", type=float, default=0.25, help="of the networks")
    parser.add_argument("--rate", type=float, default=1e-3, help="the learning rate")
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--streams", default="i3d-rgb,i3d-flow")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        cache = Cache(folder / "store")
        for task in args.tasks.split(","):
            manifest = draw(folder / task, TASKS[task], each=args.each, seed=args.seed)
            plain = train(manifest, replace(TrainConfig(), seed=args.seed), backbone=Pictures(), cache=cache)
            rows.append((" / ".join(TASKS[task]), "frames averaged", accuracy_of(plain.model, cache), "", ""))
            for stream in args.streams.split(","):
                rows.append((" / ".join(TASKS[task]), stream, *tuned(stream, manifest, args, cache, folder / f"{task}-{stream}")))
                if args.verbose:
                    print(rows[-1])
    show("accuracy on dancers not learnt from; chance is 0.5", ("what differs", "looked at by", "accuracy", "epoch", "minutes"), rows)


if __name__ == "__main__":
    main()
