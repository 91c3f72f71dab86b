"""Send thousands of mixed requests to one service, and measure whether it grows: memory, threads, open files, temporary files.

    python -m benchmarks.service_soak [--requests 5000] [--clients 4] [--most-mb 1.0]

Good and broken videos of a second, timelines, parts, JSON, unknown routes, wrong hosts, and clients that leave in the middle. The first
1,000 requests fill caches and pools; after them, memory may grow by `--most-mb` for each 1,000 requests, and the rest by nothing.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np

from benchmarks.service import make_model
from benchmarks.tables import show
from benchmarks.throughput import draw_videos

WARM_UP = 1000
STEP = 500
SETTLE = 3.0  # seconds in which clients that left are noticed, and the service returns freed memory


@dataclass(frozen=True)
class Usage:
    """What a process uses."""

    megabytes: float
    threads: int
    open_files: int
    temporary: int

    @property
    def row(self) -> tuple[str, ...]:
        """The usage as a row of the table."""
        return f"{self.megabytes:.1f}", str(self.threads), str(self.open_files), str(self.temporary)

    @classmethod
    def of(cls, process: int, folder: Path) -> Usage:
        """Measure a process."""
        home = Path(f"/proc/{process}")
        rollup = dict(line.split(":", 1) for line in (home / "smaps_rollup").read_text().splitlines()[1:])
        kilobytes = int(rollup["Rss"].split()[0])
        threads = len(list((home / "task").iterdir()))
        return cls(kilobytes / 1000, threads, len(list((home / "fd").iterdir())), sum(1 for path in folder.rglob("*") if path.is_file()))


def main() -> None:
    """Measure, print, and fail if the service grew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--most-mb", type=float, default=1.0, help="for each 1,000 requests after the first 1,000")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "tmp").mkdir()
        with serving(make_model(folder, "flow-hist"), folder / "tmp") as (address, process):
            usages, statuses = send_all(address, process, folder, options)
    columns = ("requests", "MB", "threads", "open files", "temporary files")
    show("after so many requests", columns, [(str(count), *usage.row) for count, usage in usages])
    print(" ", ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items())))
    growth = slope(usages)
    print(f"  memory grew by {growth:.2f} MB for each 1,000 requests after the first {WARM_UP}")
    if growth > options.most_mb or statuses["500"] or statuses["wrong"]:
        sys.exit(1)


def slope(usages: list[tuple[int, Usage]]) -> float:
    """Return the growth of memory in MB for each 1,000 requests after the warm-up, by a line through all measurements."""
    late = [(count, usage.megabytes) for count, usage in usages if count >= WARM_UP]
    return float(np.polyfit(*np.array(late).T, 1)[0] * 1000) if len(late) > 1 else 0.0


@contextlib.contextmanager
def serving(model: Path, temporary: Path, *options: str):  # type: ignore[no-untyped-def]  # a pair of an address and a process id
    """Run the service; give its address and its process."""
    environment = {**os.environ, "TMPDIR": str(temporary)}
    command = [sys.executable, "-m", "quickstep", "serve", str(model), "--port", "0", *options]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert server.stdout is not None
        yield server.stdout.readline().strip(), server.pid
    finally:
        server.terminate()
        server.wait(60)


def send_all(address: str, process: int, folder: Path, options: argparse.Namespace) -> tuple[list[tuple[int, Usage]], Counter[str]]:
    """Send the requests; measure after each STEP of them."""
    kinds = requests_of(address, folder)
    usages: list[tuple[int, Usage]] = []
    statuses: Counter[str] = Counter()
    chosen = random.Random(options.seed)
    with concurrent.futures.ThreadPoolExecutor(options.clients) as pool:
        for done in range(0, options.requests, STEP):
            statuses.update(pool.map(lambda kind: kind(), chosen.choices(kinds, k=STEP)))
            time.sleep(SETTLE)
            usages.append((done + STEP, Usage.of(process, folder / "tmp")))
            print(f"  {done + STEP}: {usages[-1][1]}", file=sys.stderr, flush=True)
    return usages, statuses


def requests_of(address: str, folder: Path) -> list[Callable[[], str]]:
    """Return functions that send one request each and return its status; the frequent ones several times."""
    blobs = [path.read_bytes() for path in draw_videos(folder / "videos", 6, (160, 120), 1.0)]
    client = httpx.Client(base_url=address, timeout=60, trust_env=False)
    labels: dict[int, str] = {}

    def predict(route: str = "/predict", **query: object) -> str:
        number = random.randrange(len(blobs))
        answer = client.post(route, files={"file": ("a.mp4", blobs[number])}, params=query)  # type: ignore[arg-type]
        if route == "/predict" and not query and answer.status_code == 200 and labels.setdefault(number, answer.text) != answer.text:
            return "wrong"
        return str(answer.status_code)

    def broken() -> str:
        blob = bytearray(random.choice(blobs))
        for _ in range(20):
            blob[random.randrange(len(blob))] = random.randrange(256)
        return str(client.post("/predict", files={"file": (f"{random.random()}.mp4", bytes(blob))}).status_code)

    def nothing() -> str:
        return str(client.request(random.choice(("GET", "PUT", "BREW")), f"/{random.random()}").status_code)

    def leave() -> str:
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as wire:
            head = f"POST /predict HTTP/1.1\r\nHost: {host}\r\nContent-Length: 99999\r\nContent-Type: multipart/form-data; boundary=x"
            wire.sendall(head.encode() + b'\r\n\r\n--x\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\nabc')
            time.sleep(0.01)
        return "left"

    def other_host() -> str:
        return str(client.get("/model", headers={"Host": f"{random.random()}.example"}).status_code)

    def json_body() -> str:
        return str(client.post("/predict", json={"path": str(random.random())}).status_code)

    return [
        *[predict] * 12,
        *[lambda: predict("/timeline")] * 3,
        *[lambda: predict(start=0.2, end=0.8)] * 2,
        *[broken] * 4,
        *[nothing, leave, other_host, json_body],
        *[lambda route=route: str(client.get(route).status_code) for route in ("/metrics", "/model")],  # type: ignore[misc]
    ]


if __name__ == "__main__":
    main()
