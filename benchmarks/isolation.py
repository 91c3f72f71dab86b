"""What decoding in a process of its own costs: the time for 8 frames a second of a video, in pairs with decoding in this process.

    python -m benchmarks isolation [--pairs 15]

Each pair is measured one right after the other, so that what else the machine does meets both. The ratio falls below 1 where the decoder
works ahead on another core.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.decoding import drawn
from quickstep.signals.video import VideoReader, decoder_pool, write_video
from quickstep.signals.video.limits import DecodingLimits, Isolate
from quickstep.types.view import View

SIZES = ((320, 240), (640, 480), (1280, 720), (1920, 1080))
SECONDS, FPS = 5, 30


def read(path: Path, isolate: Isolate) -> float:
    """Return the seconds that it takes to read a video in windows of eight frames."""
    with DecodingLimits(isolate=isolate).active():
        began = time.perf_counter()
        with VideoReader(path) as video:
            for _ in video.windows(np.arange(0, SECONDS, 1 / 8).reshape(-1, 8), view=View(size=224)):
                pass
        return time.perf_counter() - began


def main() -> None:
    """Print the median ratio of each size, and the memory of a decoder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=15)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for width, height in SIZES:
            path = Path(folder) / f"{width}.mp4"
            write_video(path, drawn(width, height, 1, SECONDS * FPS), fps=FPS)
            read(path, "never"), read(path, "always")
            pairs = [(read(path, "never"), read(path, "always")) for _ in range(options.pairs)]
            here, ratio = statistics.median(pair[0] for pair in pairs), statistics.median(pair[1] / pair[0] for pair in pairs)
            pages = int(Path(f"/proc/{decoder_pool.idle_processes()[-1]}/statm").read_text().split()[1])
            megabytes = pages * resource.getpagesize() / 1e6
            print(f"{width}x{height}: {1000 * here:.0f} ms here, {ratio:.3f} times that in a decoder of {megabytes:.0f} MB", flush=True)


if __name__ == "__main__":
    main()
