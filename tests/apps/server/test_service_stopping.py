"""What hostile or slow requests may cost the others: their time, their places, their threads."""

from __future__ import annotations

import concurrent.futures
import contextlib
import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from served import HEAD, PART, PATIENCE, PausedBackbone, check_error, colour_model, running, wait_until
from toys import Words

from quickstep.apps.server import Limits, ServeConfig
from quickstep.apps.server.error_responses import Problem
from quickstep.apps.server.url_download import Downloader
from quickstep.models.model import Model
from quickstep.signals.video.source import VideoSource
from quickstep.types.signals import Features, Frames


class SlowBackbone(Words):
    """Takes a moment for each window, and counts them."""

    def __init__(self, seconds: float) -> None:
        super().__init__("slow")
        self.seconds, self.windows = seconds, 0

    def embed(self, batch: Sequence[Frames]) -> list[Features]:
        self.windows += len(batch)
        time.sleep(self.seconds * len(batch))
        return super().embed(batch)


@pytest.fixture
def slow_packets(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Make each packet of a video whose name says `.mkv` take a moment, and list when they were read."""
    read: list[float] = []
    next_packet = VideoSource.next_packet

    def slowly(self: VideoSource) -> object:
        if self.path.suffix == ".mkv":
            read.append(time.monotonic())
            time.sleep(0.05)
        return next_packet(self)

    monkeypatch.setattr(VideoSource, "next_packet", slowly)
    return read


# -- time --------------------------------------------------------------------------------------------------------------------


def test_a_request_over_its_time_is_stopped_while_its_video_is_read(
    model: Model, videos: dict[str, Path], slow_packets: list[float]
) -> None:
    with running(model, limits=Limits(timeout=0.5, decoders=1)) as live:
        began = time.monotonic()
        check_error(live.post("/predict", videos["long"], name="poison.mkv"), 503)
        assert time.monotonic() - began < 1.5
        wait_until(lambda: time.monotonic() - slow_packets[-1] > 0.3, 2)  # not a packet more
        assert live.post("/predict", videos["red"]).json()["label"] == "red"  # the only thread is free again
        assert live.uploads == []


def test_a_timeline_over_its_time_is_stopped_between_two_batches(videos: dict[str, Path]) -> None:
    backbone = SlowBackbone(0.05)
    with running(colour_model(backbone), limits=Limits(timeout=0.6)) as live:
        check_error(live.post("/timeline", videos["long"]), 503)
        time.sleep(0.5)  # what was being embedded ends
        after = backbone.windows
        time.sleep(0.5)
        assert backbone.windows == after


def test_the_work_of_a_client_that_left_is_stopped(model: Model, videos: dict[str, Path], slow_packets: list[float]) -> None:
    with running(model, limits=Limits(decoders=1)) as live:
        with pytest.raises(Exception, match="timed out"), live.client() as client, videos["long"].open("rb") as file:
            client.post("/predict", files={"file": ("poison.mkv", file)}, timeout=0.4)
        wait_until(lambda: time.monotonic() - slow_packets[-1] > 0.3, 2)
        wait_until(lambda: not live.service.admission.in_progress)


# -- places ------------------------------------------------------------------------------------------------------------------


def test_a_short_request_waits_for_a_timeline_at_most_one_batch(videos: dict[str, Path]) -> None:
    backbone = SlowBackbone(0.15)
    with running(colour_model(backbone)) as live, concurrent.futures.ThreadPoolExecutor(1) as clients:
        alone = seconds_of(lambda: live.post("/predict", videos["red"]))
        before = backbone.windows
        timeline = clients.submit(live.post, "/timeline", videos["long"])
        wait_until(lambda: backbone.windows > before)
        beside = seconds_of(lambda: live.post("/predict", videos["red"]))
        assert not timeline.done()
        assert beside < alone + 3 * 3 * backbone.seconds, (alone, beside)  # the batch that runs, and one that was before it in the queue
        assert timeline.result(PATIENCE).status_code == 200


def seconds_of(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def test_timelines_fill_a_queue_of_their_own(videos: dict[str, Path]) -> None:
    backbone = PausedBackbone()
    with running(colour_model(backbone), limits=Limits(queue=1, long_queue=2)) as live, concurrent.futures.ThreadPoolExecutor(8) as clients:
        timelines = [clients.submit(live.post, "/timeline", videos["both"]) for _ in range(2)]
        wait_until(lambda: live.service.admission.long.taken == 2)
        for route in ("/timeline", "/poses"):
            check_error(live.post(route, videos["both"]), 503)
        short = clients.submit(live.post, "/predict", videos["red"])
        wait_until(lambda: live.service.admission.short.taken == 1)
        check_error(live.post("/predict", videos["red"]), 503)
        backbone.resume.set()
        assert {future.result(PATIENCE).status_code for future in (*timelines, short)} == {200}


def test_slow_bodies_hold_no_place_in_a_queue(model: Model, videos: dict[str, Path]) -> None:
    with running(model, limits=Limits(queue=2, uploads=12)) as live, contextlib.ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(live.connection()).sendall(HEAD + PART)
        wait_until(lambda: live.service.admission.uploads.taken == 10)
        assert live.post("/predict", videos["red"]).json()["label"] == "red"
        for _ in range(2):
            stack.enter_context(live.connection()).sendall(HEAD + PART)
        wait_until(lambda: live.service.admission.uploads.taken == 12)
        check_error(live.post("/predict", videos["red"]), 503)
    wait_until(lambda: not live.service.admission.uploads.taken)


def test_a_poisoned_video_does_not_delay_the_batch_of_the_others(model: Model, videos: dict[str, Path], slow_packets: list[float]) -> None:
    with running(model) as live, concurrent.futures.ThreadPoolExecutor(8) as clients:
        poison = [clients.submit(live.post, "/predict", videos["long"], "poison.mkv") for _ in range(4)]
        wait_until(lambda: len(slow_packets) > 20)
        assert seconds_of(lambda: live.post("/predict", videos["red"])) < 1.0
        assert not any(future.done() for future in poison)
        live.service.close()
        concurrent.futures.wait(poison)


def test_a_body_of_json_is_told_its_own_limit(model: Model) -> None:
    with running(model, ServeConfig(allow_urls=True)) as live, live.client() as client:
        body = client.post("/predict", content=b'{"url": "' + b"a" * 10_000_000 + b'"}', headers={"Content-Type": "application/json"})
        error = check_error(body, 413)
        assert "65 kB" in error["error"]
        assert "200" not in error["error"] + error["what_to_do"]


# -- downloads ----------------------------------------------------------------------------------------------------------------

DRIBBLES = {
    "head": (b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n"),
    "continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "chunk extensions": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"a=b;"),
    "trailers": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n", b"X-A: b\r\n"),
    "status line": (b"", b"H"),
    "nothing": (b"", b""),
}


@contextlib.contextmanager
def dribbling(kind: str, pause: float) -> Iterator[str]:
    """Run a site that answers with one small piece after the other, without end."""
    first, piece = DRIBBLES[kind]
    listener, ended = socket.create_server(("127.0.0.1", 0)), threading.Event()

    def answer(wire: socket.socket) -> None:
        with wire, contextlib.suppress(OSError):
            wire.recv(4096)
            wire.sendall(first)
            while not ended.wait(pause):
                wire.sendall(piece)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/a.mp4"
    finally:
        ended.set()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()


def is_loopback(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return address.is_loopback


@pytest.mark.parametrize("kind", DRIBBLES)
def test_a_download_has_one_deadline_over_all_of_it(tmp_path: Path, kind: str) -> None:
    with dribbling(kind, 0.02) as url:
        began = time.monotonic()
        with pytest.raises(Problem) as slow:
            Downloader(Limits(upload_seconds=0.6), is_loopback).download(url, tmp_path / "a")
        assert slow.value.status == 408
        assert 0.5 < time.monotonic() - began < 1.5


def test_a_flood_of_continues_is_ended_by_its_size(tmp_path: Path) -> None:
    with dribbling("continue", 0.0) as url, pytest.raises(Problem) as large:
        Downloader(Limits(upload_seconds=20.0, max_mb=0.1), is_loopback).download(url, tmp_path / "a")
    assert large.value.status == 413


def test_dribbling_downloads_do_not_hold_up_a_good_one(model: Model, videos: dict[str, Path]) -> None:
    limits = Limits(upload_seconds=2.0)
    with running(model, ServeConfig(allow_urls=True), limits) as live, concurrent.futures.ThreadPoolExecutor(8) as clients:
        live.service.video_input.downloader = Downloader(limits, is_loopback)
        with dribbling("head", 0.05) as url, live.client() as client:
            slow = [clients.submit(client.post, "/predict", json={"url": url}) for _ in range(6)]
            wait_until(lambda: live.service.admission.uploads.taken == 6)
            assert seconds_of(lambda: live.post("/predict", videos["red"])) < 1.0
            for future in slow:
                check_error(future.result(PATIENCE), 408)
