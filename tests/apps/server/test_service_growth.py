"""A service uses no more files, threads and disk after many requests; `benchmarks/service_soak.py` measures memory."""

from __future__ import annotations

import socket
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from served import HEAD, PART, RunningService, running, wait_until

from quickstep.models.model import Model

WARM_UP, MORE = 2, 4


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def send_mixed(live: RunningService, videos: dict[str, Path], broken: Path, count: int) -> None:
    """Send good and broken videos, timelines, unknown routes, wrong hosts, and leave in the middle."""
    host, port = live.address.removeprefix("http://").split(":")
    for number in range(count):
        assert live.post("/predict", videos["red"]).status_code == 200
        assert live.post("/predict", broken).status_code == 422
        assert live.post("/timeline", videos["both"]).status_code == 200
        assert live.get(f"/nothing/{number}").status_code == 404
        assert live.get("/model", headers={"Host": f"{number}.example"}).status_code == 421
        with socket.create_connection((host, int(port))) as wire:
            wire.sendall(HEAD + PART)


@pytest.mark.skipif(sys.platform != "linux", reason="counts files in /proc")
def test_files_threads_and_uploads_do_not_grow(
    model: Model, videos: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(videos["red"].read_bytes()[:200])
    uploads = tmp_path / "tmp"
    uploads.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(uploads))
    with running(model) as live:
        send_mixed(live, videos, broken, WARM_UP)
        files, threads = open_files(), threading.active_count()
        send_mixed(live, videos, broken, MORE)
        wait_until(lambda: open_files() <= files + 1)  # connections that were left close after a moment
        assert threading.active_count() <= threads + 2  # a pool of the event loop may grow by idle threads, up to its bound
        wait_until(lambda: {path.name for path in uploads.rglob("*") if path.is_file()} <= {".lock"})
