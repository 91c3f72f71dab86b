"""Measure the service under load on loopback: latency and throughput of clients that send one video after the other.

    python -m benchmarks.service [--clients 8] [--requests 25] [--backbone flow-hist|clip]

One process serves, as `quickstep serve` does; this one sends. The table compares several clients with a single one, and with the number of
videos that Python classifies in the same time without a service. The weights of `clip` are random, of the size of ViT-B/32: the speed does
not depend on their values. Nothing is cached: each request is decoded and embedded.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np

from benchmarks.tables import show
from benchmarks.throughput import draw_videos, save_checkpoint

SECONDS = 3.0
SIZE = (320, 240)


@dataclass(frozen=True)
class Load:
    """What some clients measured."""

    clients: int
    seconds: list[float]  # of each request
    errors: int
    took: float
    retries: int  # after a 503

    @property
    def row(self) -> tuple[str, ...]:
        """The load as a row of the table."""
        middle, late, latest = np.percentile(self.seconds, [50, 95, 100]).tolist()
        rate = len(self.seconds) / self.took
        return (str(self.clients), str(len(self.seconds)), str(self.errors), f"{middle:.3f}", f"{late:.3f}", f"{latest:.3f}", f"{rate:.2f}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--requests", type=int, default=25, help="of each client")
    parser.add_argument("--backbone", choices=("flow-hist", "clip"), default="clip")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        videos = draw_videos(folder / "videos", 8, SIZE, SECONDS)
        model = make_model(folder, options.backbone)
        log = folder / "log.txt"
        with log.open("w") as errors:
            server = subprocess.Popen(
                [sys.executable, "-m", "quickstep", "serve", str(model), "--port", "0"], stdout=subprocess.PIPE, stderr=errors, text=True
            )
        try:
            assert server.stdout is not None
            address = server.stdout.readline().strip()
            if not address:
                sys.exit(log.read_text())
            alone = send(address, videos, 1, options.requests)
            before = batches_of(address)
            together = send(address, videos, options.clients, options.requests)
            batched, batches = (now - then for now, then in zip(batches_of(address), before, strict=True))
        finally:
            server.terminate()
            server.wait(60)
        bare = throughput_in_python(model, videos, len(together.seconds), folder)
    title = f"{options.backbone}: videos of {SECONDS:g} s at {SIZE[0]}x{SIZE[1]}, {os.cpu_count()} cores, client and server on one machine"
    columns = ("clients", "requests", "errors", "median s", "p95 s", "slowest s", "videos/s")
    show(title, columns, [alone.row, together.row])
    rate = len(together.seconds) / together.took
    print(f"  {batched / batches:.1f} videos in a batch, {together.retries} retries after a 503")
    print(f"  {rate / bare:.2f} of the throughput of Python without a service ({bare:.2f} videos/s)")
    print(f"  {rate / (len(alone.seconds) / alone.took):.2f} times the throughput of one client")
    if together.errors or alone.errors:
        sys.exit(1)


def make_model(folder: Path, backbone: str) -> Path:
    """Train a model of two moves and save it."""
    from quickstep.datasets.manifest import read_manifest
    from quickstep.datasets.synthetic import DemoConfig, draw_dancers
    from quickstep.training.train import TrainConfig, train

    drawn = DemoConfig(moves=("windmill", "toprock"), videos=5, dancers=5, seconds=1.0, width=160, height=120)
    weights = str(save_checkpoint(folder / "weights")) if backbone == "clip" else None
    config = TrainConfig(backbone="flow-hist" if weights is None else "clip-vit-b32", weights=weights, epochs=5)
    train(read_manifest(draw_dancers(folder / "dancers", drawn)), config).model.save(folder / "model")
    return folder / "model"


def send(address: str, videos: list[Path], clients: int, requests: int) -> Load:
    """Send the requests of each client one after the other; all clients at the same time."""
    blobs = [path.read_bytes() for path in videos]
    seconds: list[float] = []
    errors: list[str] = []
    waits: list[float] = []

    def work(number: int) -> None:
        with httpx.Client(base_url=address, timeout=300, trust_env=False) as client:
            for turn in range(requests):
                began = time.perf_counter()
                while (
                    answer := client.post("/predict", files={"file": ("a.mp4", blobs[(number + turn) % len(blobs)])})
                ).status_code == 503:
                    waits.append(float(answer.headers["retry-after"]))
                    time.sleep(waits[-1])
                seconds.append(time.perf_counter() - began)
                if answer.status_code != 200:
                    errors.append(answer.text)

    began = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        list(pool.map(work, range(clients)))
    for error in errors[:3]:
        print(error, file=sys.stderr)
    return Load(clients, seconds, len(errors), time.perf_counter() - began, len(waits))


def batches_of(address: str) -> tuple[float, float]:
    """Return the numbers of videos and of batches, from the counters of the service."""
    lines = httpx.get(f"{address}/metrics", trust_env=False).text.splitlines()
    counters = {line.split()[0]: float(line.split()[-1]) for line in lines if line.startswith("quickstep_batch_videos_")}
    return counters["quickstep_batch_videos_sum"], counters["quickstep_batch_videos_count"]


def throughput_in_python(model: Path, videos: list[Path], count: int, folder: Path) -> float:
    """Measure the videos per second that Python classifies in one call, without a cache."""
    from quickstep.models.model import Model
    from quickstep.storage.cache import Cache
    from quickstep.types.segment import Segment

    loaded = Model.load(model)
    loaded.predict(videos[:1], cache=Cache(folder / "warm"))
    # Each segment is a millisecond shorter, so that no two are equal and none comes from the cache.
    segments = [Segment(videos[n % len(videos)], end=SECONDS - 0.001 * (n // len(videos))) for n in range(count)]
    began = time.perf_counter()
    predictions = loaded.predict(segments, cache=Cache(folder / "store"))
    assert not predictions.failures
    return count / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
