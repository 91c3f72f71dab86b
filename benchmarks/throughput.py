"""From videos to features, end to end: quickstep beside the plain way, on the same videos and the same weights.

    python -m benchmarks.throughput [--size 320x240] [--frames 16] [--videos 8]

The plain way is what scripts do: cv2 reads and converts every frame of a video, some are picked, the checkpoint's own processor
takes them one by one, the network sees one video at a time in float32, and every epoch does all of it again (A). Some put every
frame through the processor before they pick (B). Each way runs in a process of its own, so that peak memory is its own too.
The weights are random, of ViT-B/32's real size: speed does not depend on their values.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.tables import show

EPOCHS = 10
REAL = Path(__file__).parents[2] / "shared" / "data" / "pushup"


def draw_videos(folder: Path, count: int, size: tuple[int, int], seconds: float) -> list[Path]:
    """H.264 videos with something moving over a textured ground, so that the encoder has inter-frame work to describe."""
    from quickstep.signals.video import write_video

    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:02d}.mp4" for number in range(count)]
    for number, path in enumerate(paths):
        write_video(path, _pictures(number, size, int(seconds * 30)), fps=30)
    return paths


def _pictures(seed: int, size: tuple[int, int], count: int) -> Iterator[NDArray[np.uint8]]:
    import cv2

    rng = np.random.default_rng(seed)
    width, height = size
    ground = cv2.resize(rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8), size, interpolation=cv2.INTER_CUBIC)
    for number in range(count):
        picture = np.roll(ground, number, axis=1)
        at = (int(width * (0.5 + 0.4 * np.sin(number / 9))), int(height * (0.5 + 0.3 * np.cos(number / 7))))
        cv2.circle(picture, at, height // 6, (int(seed * 40 % 255), 80, 200), -1, cv2.LINE_AA)
        yield np.ascontiguousarray(picture)


def save_checkpoint(folder: Path) -> Path:
    """Save a CLIP ViT-B/32 of random weights in the format of the hub."""
    import torch
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(0)
    config = CLIPVisionConfig(hidden_size=768, intermediate_size=3072, num_attention_heads=12, num_hidden_layers=12, patch_size=32)
    CLIPVisionModelWithProjection(config).save_pretrained(folder)
    CLIPImageProcessor().save_pretrained(folder)
    return folder


@dataclass(frozen=True)
class Job:
    """What every way is given."""

    paths: list[Path]
    weights: Path
    frames: int
    cache: Path


# -- the ways: each imports only what it needs, so that its peak memory is its own


def plain(job: Job, *, every_frame: bool) -> None:
    """Run the plain way, A or B."""
    import cv2
    import torch
    from PIL import Image
    from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

    processor = CLIPImageProcessor.from_pretrained(job.weights)
    network = CLIPVisionModelWithProjection.from_pretrained(job.weights).eval()
    ready()
    for path in job.paths:
        capture, pictures = cv2.VideoCapture(str(path)), []
        count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        numbers = set(np.linspace(0, count - 1, job.frames).astype(int))
        for number in range(count):
            image = Image.fromarray(cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB))
            prepared = processor(image, return_tensors="pt")["pixel_values"] if every_frame or number in numbers else None
            if number in numbers:
                pictures.append(prepared)
        pixels = torch.cat(pictures)
        with torch.no_grad():
            network(pixels).image_embeds.mean(dim=0)


def ours(job: Job, *, engine: str) -> None:
    """quickstep: decode what is wanted, at the size wanted, while the network works."""
    from dataclasses import replace

    from quickstep.backbones import open_backbone
    from quickstep.models.feature_extraction import extract
    from quickstep.storage.cache import Cache
    from quickstep.types.segment import Segment
    from quickstep.types.signals import Frames

    backbone = open_backbone("clip-vit-b32", weights=job.weights, engine=engine)
    view = replace(backbone.view, frames=job.frames)
    size = (backbone.batch, view.size, view.size, 3)
    backbone.embed([Frames(np.zeros(size, np.uint8), np.arange(backbone.batch, dtype=np.float64))])  # loads the network
    ready()
    extraction = extract([Segment(path) for path in job.paths], backbone, view=view, cache=Cache(job.cache))
    assert not extraction.failures, extraction.failures


def decode(job: Job) -> None:
    """Only the decoding of `ours`."""
    from concurrent.futures import ThreadPoolExecutor
    from dataclasses import replace

    from quickstep.backbones import open_backbone
    from quickstep.signals.video import read_windows
    from quickstep.types.segment import Segment

    view = replace(open_backbone("clip-vit-b32", weights=job.weights).view, frames=job.frames)
    ready()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda path: list(read_windows(Segment(path), view)), job.paths))


def encode(job: Job, *, engine: str) -> None:
    """Only the network of `ours`, on frames of nothing."""
    from quickstep.backbones import open_backbone
    from quickstep.types.signals import Frames

    backbone = open_backbone("clip-vit-b32", weights=job.weights, engine=engine)
    window = Frames(np.zeros((job.frames, backbone.view.size, backbone.view.size, 3), np.uint8), np.arange(job.frames, dtype=np.float64))
    per_batch = max(1, backbone.batch // job.frames)
    backbone.embed([window] * per_batch)
    ready()
    for first in range(0, len(job.paths), per_batch):
        backbone.embed([window] * min(per_batch, len(job.paths) - first))


def train_head(job: Job) -> None:
    """Ten epochs of the head on what the cache holds."""
    from dataclasses import replace

    from quickstep.backbones import open_backbone
    from quickstep.heads import Examples, FitConfig, open_head
    from quickstep.models.feature_extraction import extract
    from quickstep.storage.cache import Cache
    from quickstep.types.segment import Segment

    backbone = open_backbone("clip-vit-b32", weights=job.weights)
    view = replace(backbone.view, frames=job.frames)
    head = open_head("linear")
    ready()
    extraction = extract([Segment(path) for path in job.paths], backbone, view=view, cache=Cache(job.cache))
    labels = np.arange(len(job.paths)) % 2
    head.fit(Examples(list(extraction.features.values()), labels), None, classes=2, fitting=FitConfig(epochs=EPOCHS, patience=EPOCHS))


def ready() -> None:
    """Libraries are imported and weights loaded: from here on it counts."""
    global _began
    _began = time.perf_counter()


_began = 0.0


WAYS: dict[str, Callable[[Job], None]] = {
    "plain A": partial(plain, every_frame=False),
    "plain B": partial(plain, every_frame=True),
    "ours, torch": partial(ours, engine="torch"),
    "ours, again": partial(ours, engine="torch"),
    "ours, openvino": partial(ours, engine="openvino"),
    "decoding alone": decode,
    "torch alone": partial(encode, engine="torch"),
    "openvino alone": partial(encode, engine="openvino"),
    "head, 10 epochs": train_head,
}
SHARES = {"plain B": 1}  # of how many videos a way is given only the first ones, where all would take too long


def main() -> None:
    """Draw, save, run each way in its own process, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", action="append", help="WIDTHxHEIGHT, may be repeated (default 320x240 and 1920x1080)")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--videos", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=1, help="runs of each way, in turn; the best counts")
    parser.add_argument("--real", type=Path, nargs="*", help="videos of one's own (default: some of the shared ones, where they are)")
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--job", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        _run_one(options.way, json.loads(options.job.read_text()))
        return
    with tempfile.TemporaryDirectory() as folder:
        weights = save_checkpoint(Path(folder) / "weights")
        real = options.real if options.real is not None else sorted(REAL.glob("correct/*.mp4"))[: options.videos]
        if real:
            _compare(f"{len(real)} real videos", real, weights, options)
        for size in options.size or ["320x240", "1920x1080"]:
            width, height = map(int, size.split("x"))
            videos = draw_videos(Path(folder) / size, options.videos, (width, height), options.seconds)
            _compare(f"{len(videos)} videos of {options.seconds:g} s at {size}", videos, weights, options)


def _run_one(way: str, given: dict[str, str]) -> None:
    paths = [Path(path) for path in given["paths"]][: SHARES.get(way)]
    WAYS[way](Job(paths, Path(given["weights"]), int(given["frames"]), Path(given["store"])))
    seconds = time.perf_counter() - _began
    print(json.dumps({"seconds": seconds, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


def _compare(title: str, paths: list[Path], weights: Path, options: argparse.Namespace) -> None:
    times: dict[str, float] = {}
    peaks: dict[str, float] = {}
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            for way in WAYS:
                cache = Path(folder) / ("store-openvino" if way == "ours, openvino" else "store-torch")
                job = Path(folder) / "job.json"
                job.write_text(
                    json.dumps({"paths": list(map(str, paths)), "weights": str(weights), "frames": options.frames, "store": str(cache)})
                )
                command = [sys.executable, "-m", "benchmarks.throughput", "--way", way, "--job", str(job)]
                done = subprocess.run(command, capture_output=True, text=True)
                if done.returncode != 0:
                    print(f"{way}: left out ({done.stderr.strip().splitlines()[-1]})", file=sys.stderr)
                    continue
                result = json.loads(done.stdout.splitlines()[-1])
                share = SHARES.get(way, len(paths)) / len(paths)
                times[way] = min(times.get(way, float("inf")), result["seconds"] / share)
                peaks[way] = result["peak"]
    _print(title, times, peaks, len(paths) * options.frames)


def _print(title: str, times: dict[str, float], peaks: dict[str, float], frames: int) -> None:
    base = times["plain A"]
    rows = [(way, f"{s:.3f}", f"{frames / s:.1f}", f"{base / s:.2f}x", f"{peaks[way]:.0f}") for way, s in times.items()]
    show(title, ("way", "seconds", "frames/s", "of plain A", "peak MB"), rows)
    for engine in ("torch", "openvino"):
        alone, together = times.get(f"{engine} alone"), times.get(f"ours, {engine}")
        if alone and together:
            # Both keep every core busy, so that one after the other is what the machine allows.
            print(f"{engine}: {(alone + times['decoding alone']) / together:.0%} of what decoding alone and encoding alone allow")
    if "head, 10 epochs" in times:
        print(f"ten epochs of head training: {EPOCHS * base / times['head, 10 epochs']:.0f}x encoding again in every epoch")
        print(f"  with the first pass counted: {EPOCHS * base / (times['ours, torch'] + times['head, 10 epochs']):.1f}x")
    if "ours, again" in times:
        print(f"a second run from the cache: {times['ours, torch'] / times['ours, again']:.0f}x the first")


if __name__ == "__main__":
    main()
