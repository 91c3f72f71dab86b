"""Measure whether poison delays the good clients of one service: latency with and without it, while its decoders are killed.

    python -m benchmarks.service_poison [--clients 32] [--seconds 60] [--most 2.0]

First two thirds of the clients send good videos, alone. Then they do the same, while a third sends damaged videos, truncated ones and ones
that claim hours, and processes that decode are killed. The table compares both halves of one run; it fails if a good client gets an error,
or its p95 grows by more than `--most` times.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np

from benchmarks.service import make_model
from benchmarks.service_soak import serving
from benchmarks.tables import show
from benchmarks.throughput import draw_videos

KILL_SECONDS = 2.0  # between two kills


@dataclass
class Load:
    """What the good clients measured."""

    seconds: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    poisoned: Counter[str] = field(default_factory=Counter)  # statuses of the others
    kills: int = 0

    @property
    def p95(self) -> float:
        """The seconds in which 95 % of the good requests were answered."""
        return float(np.percentile(self.seconds, 95))


def main() -> None:
    """Measure, print, and fail if the good clients suffered."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each half")
    parser.add_argument("--most", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "tmp").mkdir()
        good = [path.read_bytes() for path in draw_videos(folder / "videos", 6, (160, 120), 1.0)]
        with serving(make_model(folder, "flow-hist"), folder / "tmp") as (address, process):
            quiet = measure(address, good, options, poison=0, process=None)
            loaded = measure(address, good, options, poison=options.clients // 3, process=process)
    rows = [(what, len(one.seconds), sum(one.errors.values()), f"{one.p95 / quiet.p95:.2f}", sum(one.poisoned.values()), one.kills)
            for what, one in (("without poison", quiet), ("with poison", loaded))]  # fmt: skip
    columns = ("load", "good requests", "errors", "p95, relative", "poisoned requests", "decoders killed")
    show("good clients", columns, [tuple(map(str, row)) for row in rows])
    print(f"  errors of good clients: {dict(loaded.errors)}; answers to poison: {dict(loaded.poisoned)}")
    if loaded.errors or quiet.errors or loaded.p95 > options.most * quiet.p95:
        sys.exit(1)


def measure(address: str, good: list[bytes], options: argparse.Namespace, *, poison: int, process: int | None) -> Load:
    """Let good clients, and others that send poison, send for some seconds."""
    load, end = Load(), time.monotonic() + options.seconds
    with concurrent.futures.ThreadPoolExecutor(options.clients + 1) as pool:
        jobs = [pool.submit(send_good, address, good, end, load) for _ in range(options.clients - options.clients // 3)]
        jobs += [pool.submit(send_poison, address, good, end, load, random.Random(f"{options.seed} {number}")) for number in range(poison)]
        if process is not None:
            jobs.append(pool.submit(kill_decoders, process, end, load, random.Random(options.seed)))
        for job in jobs:
            job.result()
    return load


_counting = threading.Lock()


def send_good(address: str, good: list[bytes], end: float, load: Load) -> None:
    """Send good videos one after the other; a 503 is repeated after its time and counts as waiting."""
    with httpx.Client(base_url=address, timeout=300, trust_env=False) as client:
        while (began := time.monotonic()) < end:
            while (answer := client.post("/predict", files={"file": ("a.mp4", random.choice(good))})).status_code == 503:
                time.sleep(min(1.0, float(answer.headers.get("retry-after", 1))))
            with _counting:
                load.seconds.append(time.monotonic() - began)
                if answer.status_code != 200:
                    load.errors[f"{answer.status_code} {answer.text[:80]}"] += 1


def send_poison(address: str, good: list[bytes], end: float, load: Load, chosen: random.Random) -> None:
    """Send damaged videos one after the other."""
    with httpx.Client(base_url=address, timeout=300, trust_env=False) as client:
        while time.monotonic() < end:
            route = chosen.choice(("/predict", "/predict", "/timeline"))
            status = str(client.post(route, files={"file": ("a.mp4", poison_of(chosen.choice(good), chosen))}).status_code)
            with _counting:
                load.poisoned[status] += 1


def poison_of(video: bytes, chosen: random.Random) -> bytes:
    """Damage a video: bytes at random, its end, or the duration that its headers claim."""
    blob, how = bytearray(video), chosen.randrange(3)
    if how == 0:
        for _ in range(50):
            blob[chosen.randrange(len(blob))] = chosen.randrange(256)
    elif how == 1:
        del blob[chosen.randrange(200, len(blob)) :]
    else:
        for box, place in ((b"mvhd", 16), (b"tkhd", 20), (b"mdhd", 16)):  # the duration, in a box of version 0
            if (at := blob.find(box)) >= 0:
                blob[at + 4 + place : at + 8 + place] = b"\x7f\xff\xff\xff"
    return bytes(blob)


def kill_decoders(process: int, end: float, load: Load, chosen: random.Random) -> None:
    """Kill one of the processes that the service has started, every few seconds."""
    while time.monotonic() < end:
        time.sleep(KILL_SECONDS)
        listed = [Path(f"/proc/{process}/task/{task.name}/children") for task in Path(f"/proc/{process}/task").iterdir()]
        children = [int(word) for path in listed if path.exists() for word in path.read_text().split()]
        if children:
            os.kill(chosen.choice(children), signal.SIGKILL)
            load.kills += 1


if __name__ == "__main__":
    main()
