"""Uploads that were made to do harm: each a clear 4xx, nothing left, nothing escaped, and the next client served as if nothing had been."""

from __future__ import annotations

import concurrent.futures
import json
import os
from pathlib import Path

import hostile
import httpx
import pytest
from library_sets import draw
from served import HEAD, PART, Live, check_problem, running, until

from quickstep.apps.server import Limits
from quickstep.models.model import Model

# What may be whole enough to be answered: bytes were changed at random, and decoders are good at guessing.
PERHAPS = {"scrambled", "hollow"}


def files_of(process: int) -> set[str]:
    """What a process holds open."""
    held = set()
    for link in Path(f"/proc/{process}/fd").iterdir():
        try:
            held.add(str(link.readlink()))
        except FileNotFoundError:
            continue
    return held


def attack(live: Live, upload: hostile.Hostile) -> httpx.Response:
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
            if upload.kind in PERHAPS and answer.status_code == 200:
                continue
            check_problem(answer, 400, 413, 415, 422)
        assert sum(answer.status_code == 200 for answer in answers) <= sum(upload.kind in PERHAPS for upload in attacks)
        assert live.post("/predict", videos["blue"]).json() == truth
        until(lambda: not live.on_the_desk)
        assert not [name for name in files_of(os.getpid()) if str(live.service.desk.folder) in name and not name.endswith(".lock")]
    assert list(Path.cwd().iterdir()) == []
    assert list(Path("/tmp").glob("owned*")) == []


@pytest.fixture(autouse=True)
def nowhere(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service works in an empty folder, so that whatever escapes into it is seen."""
    monkeypatch.chdir(tmp_path_factory.mktemp("nowhere"))


def test_some_of_each_kind(model: Model, videos: dict[str, Path], tmp_path: Path) -> None:
    check_all(model, videos, tmp_path, 2 * len(hostile.KINDS))


@pytest.mark.slow
def test_two_hundred_of_them(model: Model, videos: dict[str, Path], tmp_path: Path) -> None:
    check_all(model, videos, tmp_path, 200)


@pytest.mark.slow
def test_many_slow_ones_do_not_keep_a_quick_one_waiting(model: Model, videos: dict[str, Path]) -> None:
    with running(model, limits=Limits(upload_seconds=20.0, queue=64)) as live:
        slow = [live.connection() for _ in range(40)]
        for wire in slow:
            wire.sendall(HEAD + PART)
        until(lambda: live.service.gate.taken_in == 40)
        assert live.post("/predict", videos["red"]).json()["label"] == "red"
        until(lambda: live.service.gate.taken_in == 0)
        for wire in slow:
            assert b" 408 " in wire.recv(4096)
            wire.close()
        assert live.on_the_desk == []


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
def test_bodies_that_are_none(live: Live, kind: str) -> None:
    headers, body = BODIES[kind]
    with live.client() as client:
        encoded = {name: value.encode("latin-1") for name, value in headers.items()}
        for route in ("/predict", "/timeline", "/poses"):
            check_problem(client.post(route, content=body, headers=encoded), 400, 415, 422)
    assert live.on_the_desk == []


@pytest.mark.parametrize("name", [name for name in hostile.NAMES if name])
def test_a_good_video_under_a_bad_name_is_answered(live: Live, videos: dict[str, Path], name: str) -> None:
    answer = live.post("/predict", videos["green"], name=name)
    assert answer.status_code == 200, answer.text
    said = json.loads(answer.content)
    assert said["label"] == "green"
    assert len(said["video"]) <= 255
    assert said["video"].isprintable()
