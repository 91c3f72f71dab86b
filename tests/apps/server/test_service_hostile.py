"""Malicious uploads: each gets a 4xx, no file is left or escapes, and the next client is served as before."""

from __future__ import annotations

import concurrent.futures
import json
import os
from pathlib import Path

import hostile
import httpx
import pytest
from library_sets import draw
from served import HEAD, PART, RunningService, check_error, running, wait_until

from quickstep.apps.server import Limits
from quickstep.models.model import Model

# These may be decodable, because their bytes were changed at random.
MAYBE_DECODABLE = {"scrambled", "hollow", "endless"}  # what an endless one has besides its claim is a short video


def open_files_of(process: int) -> set[str]:
    """Return the open files of a process."""
    open_files = set()
    for link in Path(f"/proc/{process}/fd").iterdir():
        try:
            open_files.add(str(link.readlink()))
        except FileNotFoundError:
            continue
    return open_files


def attack(live: RunningService, upload: hostile.Upload) -> httpx.Response:
    route = "/timeline" if len(upload.content) % 5 == 0 else "/predict"
    with live.client() as client:
        return client.post(route, files={"file": (upload.name, upload.content, "video/mp4")})


def check_all(model: Model, videos: dict[str, Path], folder: Path, count: int) -> None:
    whole = draw(folder / "whole.mp4", ("red", 3)).read_bytes()
    with running(model, limits=Limits(max_seconds=3600.0)) as live, concurrent.futures.ThreadPoolExecutor(4) as clients:
        truth = live.post("/predict", videos["blue"]).json()
        attacks = list(hostile.uploads(folder, whole, count))
        answers = list(clients.map(lambda upload: attack(live, upload), attacks))
        for upload, answer in zip(attacks, answers, strict=True):
            if upload.kind in MAYBE_DECODABLE and answer.status_code == 200:
                continue
            check_error(answer, 400, 413, 415, 422)
        assert sum(answer.status_code == 200 for answer in answers) <= sum(upload.kind in MAYBE_DECODABLE for upload in attacks)
        assert live.post("/predict", videos["blue"]).json() == truth
        wait_until(lambda: not live.uploads)
        assert not [name for name in open_files_of(os.getpid()) if str(live.service.uploads.path) in name and not name.endswith(".lock")]
    assert list(Path.cwd().iterdir()) == []
    assert list(Path("/tmp").glob("owned*")) == []


@pytest.fixture(autouse=True)
def empty_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in an empty folder, so that an escaped file is noticed."""
    monkeypatch.chdir(tmp_path_factory.mktemp("nowhere"))


def test_two_malicious_uploads_of_each_kind(model: Model, videos: dict[str, Path], tmp_path: Path) -> None:
    check_all(model, videos, tmp_path, 2 * len(hostile.KINDS))


@pytest.mark.slow
def test_two_hundred_malicious_uploads(model: Model, videos: dict[str, Path], tmp_path: Path) -> None:
    check_all(model, videos, tmp_path, 200)


@pytest.mark.slow
def test_slow_uploads_do_not_delay_a_fast_one(model: Model, videos: dict[str, Path]) -> None:
    with running(model, limits=Limits(upload_seconds=20.0, queue=64)) as live:
        slow = [live.connection() for _ in range(40)]
        for wire in slow:
            wire.sendall(HEAD + PART)
        wait_until(lambda: live.service.admission.in_progress == 40)
        assert live.post("/predict", videos["red"]).json()["label"] == "red"
        wait_until(lambda: live.service.admission.in_progress == 0)
        for wire in slow:
            assert b" 408 " in wire.recv(4096)
            wire.close()
        assert live.uploads == []


FORM = {"Content-Type": "multipart/form-data; boundary=x"}
BODIES = {
    "no boundary": ({"Content-Type": "multipart/form-data"}, b"--x--"),
    "an endless boundary": ({"Content-Type": "multipart/form-data; boundary=" + "x" * 5000}, b"--x--"),
    "nothing": (FORM, b""),
    "no part": (FORM, b"--x--\r\n"),
    "no form": (FORM, b"hello"),
    "cut off": (FORM, PART + b"abc"),
    "another field": (FORM, PART.replace(b'"file"', b'"video"') + b"abc\r\n--x--\r\n"),
    "no name": (FORM, b"--x\r\n\r\nabc\r\n--x--\r\n"),
    "two files": (FORM, PART + b"abc\r\n" + PART + b"abc\r\n--x--\r\n"),
    "an empty file": (FORM, PART + b"\r\n--x--\r\n"),
    "long headers": (FORM, b"--x\r\nX: " + b"a" * 100_000 + b"\r\n\r\nabc\r\n--x--\r\n"),
    "many headers": (FORM, b"--x\r\n" + b"X: a\r\n" * 5000 + b"\r\nabc\r\n--x--\r\n"),
    "text": ({"Content-Type": "text/plain"}, b"abc"),
    "a form of fields": ({"Content-Type": "application/x-www-form-urlencoded"}, b"file=abc"),
    "no type": ({}, b"abc"),
    "a bare video": ({"Content-Type": "video/mp4"}, b"abc"),
    "an odd type": ({"Content-Type": "\x80;;;="}, b"abc"),
    "compressed": ({**FORM, "Content-Encoding": "gzip"}, b"\x1f\x8b\x08"),
}


@pytest.mark.parametrize("kind", sorted(BODIES))
def test_malformed_bodies_are_refused(live: RunningService, kind: str) -> None:
    headers, body = BODIES[kind]
    with live.client() as client:
        encoded = {name: value.encode("latin-1") for name, value in headers.items()}
        for route in ("/predict", "/timeline", "/poses"):
            check_error(client.post(route, content=body, headers=encoded), 400, 415, 422)
    assert live.uploads == []


def test_a_form_with_two_good_videos_is_refused(live: RunningService, videos: dict[str, Path]) -> None:
    video = videos["red"].read_bytes()
    with live.client() as client:
        files = [("file", ("one.mp4", video, "video/mp4")), ("file", ("two.mp4", video, "video/mp4"))]
        check_error(client.post("/predict", files=files), 422)
        assert client.post("/predict", files=files[:1]).status_code == 200
    assert live.uploads == []


@pytest.mark.parametrize("name", [name for name in hostile.NAMES if name])
def test_a_good_video_with_a_malicious_name_is_answered(live: RunningService, videos: dict[str, Path], name: str) -> None:
    answer = live.post("/predict", videos["green"], name=name)
    assert answer.status_code == 200, answer.text
    body = json.loads(answer.content)
    assert body["label"] == "green"
    assert len(body["video"]) <= 255
    assert body["video"].isprintable()
