"""How fast 8 frames come out of 10-second videos, beside the plain way and two other libraries, in one run on the same videos.

    python benchmarks/decoding.py [--videos 8] [--rounds 3] [--real FOLDER]

Plain way A: cv2 reads every picture and converts it, 8 are kept, and CLIP's own processor makes each 224 x 224. `decord` and
`torchcodec` are measured where installed, two videos at once with one thread each, as ours; they give whole pictures, ours come
scaled to 224 x 224. Every way must give the same 8 pictures: each says its own number across its middle.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from quickstep.signals.video import read_frames, write_video
from quickstep.types.view import View

Pixels = NDArray[np.uint8]
SECONDS, FPS, FRAMES = 10, 30, 8
MOMENTS = View(frames=FRAMES).timestamps(0.0, float(SECONDS))[0]
VIEW = View(frames=FRAMES, size=224)


def drawn(width: int, height: int, seed: int, count: int) -> Iterator[Pixels]:
    """Draw frames of a camera that drifts over a soft scene with some detail, and of things that move in front of it."""
    rng = np.random.default_rng(seed)
    size = (width + 200, height + 200)
    ground = cv2.resize(rng.integers(0, 255, (9, 12, 3), dtype=np.uint8), size, interpolation=cv2.INTER_CUBIC).astype(np.int16)
    detail = cv2.resize(rng.integers(-30, 30, (size[1] // 3, size[0] // 3, 1), dtype=np.int16), size, interpolation=cv2.INTER_LINEAR)
    ground = np.clip(ground + detail[:, :, None], 0, 255).astype(np.uint8)
    for number in range(count):
        x, y = (int(100 + 90 * np.sin(number / 60 + place)) for place in (0.0, 1.6))
        picture = ground[y : y + height, x : x + width].copy()
        for ball in range(5):
            middle = (int(width * (0.5 + 0.4 * np.sin(number / 17 + ball))), int(height * (0.5 + 0.4 * np.cos(number / 13 + 2 * ball))))
            cv2.circle(picture, middle, height // 10, (50 * ball, 255 - 40 * ball, 120), -1, cv2.LINE_AA)
        yield numbered(picture, number)


def filmed(sources: Sequence[Path], width: int, height: int, seed: int, count: int) -> Iterator[Pixels]:
    """Yield the frames of a real video, scaled, played forwards and backwards until it is long enough."""
    capture, scenes = cv2.VideoCapture(str(sources[seed % len(sources)])), []
    while len(scenes) < count and (read := capture.read())[0]:
        scenes.append(cv2.cvtColor(cv2.resize(read[1], (width, height), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2RGB))
    there_and_back = scenes + scenes[-2:0:-1]
    for number in range(count):
        yield numbered(there_and_back[number % len(there_and_back)].copy(), number)


def numbered(picture: Pixels, number: int) -> Pixels:
    """Draw a frame's number as twelve blocks across its middle."""
    height, width = picture.shape[:2]
    middle = slice(height // 2 - height // 24, height // 2 + height // 24)
    left, block = (width - height * 9 // 10) // 2, height * 9 // 10 // 12
    for bit in range(12):
        picture[middle, left + bit * block : left + (bit + 1) * block] = 235 if (number >> bit) & 1 else 16
    return picture


def read_number(picture: Pixels) -> int:
    """Read the number that is drawn across the middle of a frame, cropped or not."""
    height, width = picture.shape[:2]
    left, block = (width - height * 9 // 10) / 2, height * 9 / 10 / 12
    row = picture[height // 2 - height // 60 - 1 : height // 2 + height // 60 + 1].astype(float).mean(axis=(0, 2))
    return sum(1 << bit for bit in range(12) if row[int(left + (bit + 0.5) * block)] > 127)


def ours(path: Path) -> Pixels:
    """Read the frames with quickstep."""
    return read_frames(path, MOMENTS, view=VIEW).pixels


def plain(path: Path) -> Pixels:
    """Decode every frame with OpenCV, keep the sampled ones, and run the processor on them."""
    numbers = {int(moment * FPS) for moment in MOMENTS}
    capture, pictures, number = cv2.VideoCapture(str(path)), [], 0
    while True:
        good, picture = capture.read()
        if not good:
            break
        picture = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
        if number in numbers:
            pictures.append(picture)
        number += 1
    capture.release()
    processor = clip_processor()
    for picture in pictures:
        processor(images=Image.fromarray(picture), return_tensors="np")
    return np.stack(pictures)


@cache
def clip_processor() -> Any:
    """CLIP's processor as its checkpoints have it, one picture at a time through Pillow."""
    from transformers import CLIPImageProcessor

    return CLIPImageProcessor()


def decord(path: Path) -> Pixels:
    """Read the frames with decord."""
    from decord import VideoReader, cpu

    reader = VideoReader(str(path), ctx=cpu(0), num_threads=1)
    return reader.get_batch([int(moment * FPS) for moment in MOMENTS]).asnumpy()


def torchcodec(path: Path) -> Pixels:
    """Read the frames with torchcodec."""
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(str(path), num_ffmpeg_threads=1, seek_mode="exact", dimension_order="NHWC")
    return decoder.get_frames_played_at(MOMENTS.tolist()).data.numpy()


OURS = "quickstep, two at once"
WAYS: dict[str, tuple[Callable[[Path], Pixels], int]] = {"plain way A (cv2)": (plain, 1), "plain way A, two at once": (plain, 2)}
WAYS |= {"decord, two at once": (decord, 2), "torchcodec, two at once": (torchcodec, 2), OURS: (ours, 2)}


def available() -> dict[str, tuple[Callable[[Path], Pixels], int]]:
    """Return the ways whose libraries are installed."""
    return {name: way for name, way in WAYS.items() if name.split(",")[0] not in ("decord", "torchcodec") or find_spec(name.split(",")[0])}


def measure(paths: Sequence[Path], rounds: int) -> tuple[dict[str, float], dict[str, float]]:
    """Measure the best seconds, and seconds of processor time, of each way; the ways take turns, so that other load slows all of them."""
    best: dict[str, float] = {}
    worked: dict[str, float] = {}
    for _ in range(rounds):
        for name, (read, workers) in available().items():
            began, idle = time.perf_counter(), time.process_time()
            with ThreadPoolExecutor(workers) as pool:
                results = list(pool.map(read, paths))
            best[name] = min(best.get(name, np.inf), time.perf_counter() - began)
            worked[name] = min(worked.get(name, np.inf), time.process_time() - idle)
            for pictures in results:
                assert [read_number(picture) for picture in pictures] == [int(moment * FPS) for moment in MOMENTS], name
    return best, worked


def peak_memory(path: Path) -> float:
    """MiB at the most that a fresh process holds, which only reads one video."""
    code = "import sys; from benchmarks.decoding import *; read_frames(sys.argv[1], [float(t) for t in sys.argv[2:]], view=VIEW)"
    code += "; print(int(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0]) / 1024)"
    length = 10 if "short" in path.name else 600
    moments = [str(moment) for moment in VIEW.timestamps(0.0, length)[0]]
    root = Path(__file__).parents[1]
    return float(
        subprocess.run([sys.executable, "-c", code, str(path), *moments], cwd=root, check=True, capture_output=True, text=True).stdout
    )


def show(size: str, best: dict[str, float], worked: dict[str, float], pictures: int) -> None:
    """One table: seconds, frames of video passed a second, and ours as a multiple of each."""
    mine = best[OURS]
    print(f"\n{size}: {pictures // (SECONDS * FPS)} videos of {SECONDS} s, {FRAMES} frames each, the same frames in every way")
    print(f"  {'way':28s} {'seconds':>8s} {'video frames/s':>15s} {'quickstep is':>13s} {'in CPU time':>12s}")
    for name, seconds in best.items():
        print(f"  {name:28s} {seconds:8.2f} {pictures / seconds:15.0f} {seconds / mine:12.2f}x {worked[name] / worked[OURS]:11.2f}x")


def main() -> None:
    """Measure all ways of reading frames, and print the tables."""
    parser = argparse.ArgumentParser(description="How fast 8 frames come out of 10-second videos, beside other ways.")
    parser.add_argument("--videos", type=int, default=8, help="at 320x240; half as many at 1080p")
    parser.add_argument("--rounds", type=int, default=3, help="each way's best round counts")
    parser.add_argument("--real", type=Path, default=Path(__file__).parents[2] / "shared" / "data", help="folder of real videos")
    chosen = parser.parse_args()
    count = SECONDS * FPS
    real = {240: sorted(chosen.real.glob("kinetics_smoke/*.mp4")), 1080: sorted(chosen.real.glob("decode_originals/Ollie[268]*.mov"))}
    with tempfile.TemporaryDirectory() as folder:
        for width, height in ((320, 240), (1920, 1080)):
            for kind in ("drawn", *(["real"] if real[height] else [])):
                paths = [
                    Path(folder) / f"{kind}-{height}-{seed}.mp4" for seed in range(max(2, chosen.videos // (1 if height < 1000 else 2)))
                ]
                for seed, path in enumerate(paths):
                    pictures = drawn(width, height, seed, count) if kind == "drawn" else filmed(real[height], width, height, seed, count)
                    write_video(path, pictures, fps=FPS, crf=23, threads=2)
                show(f"{kind}, {width}x{height}", *measure(paths, chosen.rounds), len(paths) * count)
        peaks = {}
        for name, seconds in {"short": 10, "long": 600}.items():
            path = Path(folder) / f"{name}.mp4"
            write_video(path, drawn(320, 240, 0, seconds * FPS), fps=FPS, crf=28, threads=2)
            peaks[name] = peak_memory(path)
    print(f"\npeak memory of a process that reads 8 frames: {peaks['short']:.0f} MiB of 10 s, {peaks['long']:.0f} MiB of 600 s (320x240)")


if __name__ == "__main__":
    main()
