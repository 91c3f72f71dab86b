"""A whole app on drawn dancers, in a process of its own, and a real browser that opens it; without Chromium these tests are skipped."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from library_sets import draw
from places import HELPERS, SHARED

from quickstep.datasets.manifest import read_manifest, write_manifest
from quickstep.datasets.splits import SplitConfig, split
from quickstep.datasets.synthetic import DemoConfig, draw_dancers
from quickstep.evaluation import evaluate
from quickstep.evaluation.rendering import write_report
from quickstep.library import index
from quickstep.signals.video import VideoReader, write_video
from quickstep.storage.cache import Cache
from quickstep.training.train import TrainConfig, train

FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--no-first-run")
MOVES = ("moonwalk", "toprock", "windmill")
PATIENCE = 1000 * int(os.environ.get("QUICKSTEP_PATIENCE", "60"))  # milliseconds to wait for an element; on a busy machine set more seconds


@dataclass(frozen=True)
class Stage:
    """The files that the app is started on."""

    folder: Path
    model: Path
    listed: Path  # the csv that the model was trained on
    long: Path  # moonwalk, then windmill
    library: Path


@dataclass(frozen=True)
class Running:
    """A running app."""

    url: str
    process: subprocess.Popen[bytes]
    temporary: Path  # the folder for uploads
    log: Path


def concatenate(out: Path, videos: list[Path]) -> Path:
    """Write several videos one after the other into one."""
    pictures: list[Any] = []
    for video in videos:
        with VideoReader(video) as reader:
            times = np.arange(round(reader.info.duration * 15)) / 15
            pictures += list(reader.frames(times).pixels)
    write_video(out, pictures, fps=15)
    return out


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """Draw dancers; train and evaluate a model on them; make a long video, and a library of colours that reads text."""
    folder = tmp_path_factory.mktemp("stage")
    cache = Cache(folder / "cache")
    drawn = draw_dancers(folder / "dancers", DemoConfig(moves=MOVES, videos=6, dancers=6, seconds=1.6, width=160, height=120, clutter=0))
    divided = split(read_manifest(drawn), SplitConfig(val=0.2, test=0.34), cache=cache).manifest
    write_manifest(divided, folder / "list.csv")
    model = train(read_manifest(folder / "list.csv"), TrainConfig(backbone="flow-hist"), cache=cache).model
    model.save(folder / "dancers-model")
    write_report(evaluate(model, cache=cache, baselines=False), folder / "dancers-model")
    videos = {move: sorted((folder / "dancers" / move).glob("*.mp4")) for move in MOVES}
    long = concatenate(folder / "long.mp4", [*videos["moonwalk"][:4], *videos["windmill"][:4]])
    for colour in ("red", "green", "blue"):
        for number in range(3):
            draw(folder / "colours" / f"{colour}{number}.mp4", (colour, 3 + number), seed=number)
    shutil.copy(folder / "colours" / "red0.mp4", folder / "colours" / "copy.mp4")
    from library_sets import Words

    index(folder / "library", [folder / "colours"], backbone=Words(), cache=cache)
    return Stage(folder, folder / "dancers-model", folder / "list.csv", long, folder / "library")


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("localhost", 0))
        port: int = server.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def app(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Start the app by its command."""
    temporary, port = tmp_path_factory.mktemp("temporary"), free_port()
    shutil.copytree(stage.model, stage.folder / "models" / "second-model")
    command = [sys.executable, "-m", "quickstep", "app", stage.model, "--library", stage.library, "--out", stage.folder / "models"]
    command += ["--trust", "toys", "--data-folder", stage.folder, "--port", str(port), "--cache", stage.folder / "cache"]
    paths = os.pathsep.join([str(HELPERS), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"}
    pose_model = SHARED / "models" / "pose_landmarker_full.task"
    if pose_model.is_file():
        environment["QUICKSTEP_POSE_MODEL"] = str(pose_model)
    log = stage.folder / "app.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(word) for word in command], stdout=output, stderr=subprocess.STDOUT, env=environment, cwd=stage.folder
        )
        running = Running(f"http://localhost:{port}", process, temporary, log)
        _wait(running)
        yield running
        process.terminate()
        process.wait(30)
    assert not list(temporary.glob("quickstep-app-*")), "a stopped app leaves no uploads"


def _wait(running: Running) -> None:
    until = time.monotonic() + 2 * PATIENCE / 1000
    while time.monotonic() < until:
        assert running.process.poll() is None, running.log.read_text()
        try:
            with urllib.request.urlopen(f"{running.url}/_stcore/health", timeout=2) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.3)
    raise AssertionError(running.log.read_text())


@pytest.fixture(scope="session")
def chromium() -> str:
    """Return the path of Chromium; skip the test without it."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("Chromium is not installed (apt-get install chromium)")
    return program


@pytest.fixture(scope="session")
def playwright() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as opened:
        yield opened


@pytest.fixture(scope="session")
def browser(playwright: Any, chromium: str) -> Iterator[Any]:
    opened = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
    yield opened
    opened.close()


Visit = Callable[..., Any]


@pytest.fixture
def visit(browser: Any, app: Running) -> Iterator[Visit]:
    """Open a page in a session of its own; fail if the page sends a request to another server or the browser reports an error."""
    contexts, elsewhere, errors = [], [], []

    def opened(page: str = "", *, width: int = 1280, dark: bool = False) -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": 900 if width > 500 else 844},
            color_scheme="dark" if dark else "light",
            accept_downloads=True,
        )
        contexts.append(context)
        context.set_default_timeout(PATIENCE)
        tab = context.new_page()
        tab.on(
            "console",
            lambda message: (
                errors.append(f"{message.text} {message.location.get('url', '')}")
                if message.type == "error" and not _is_probe(message)
                else None
            ),
        )
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.on("request", lambda request: None if request.url.startswith((app.url, "data:", "blob:")) else elsewhere.append(request.url))
        tab.goto(f"{app.url}/{page}")
        tab.wait_for_selector("h1")
        return tab

    yield opened
    for context in contexts:
        context.close()
    assert elsewhere == []
    assert errors == []


def _is_probe(message: Any) -> bool:
    """Whether Streamlit asked for its own address under the address of a page, where it never is."""
    return bool(re.search(r"/[a-z]+/_stcore/(health|host-config)$", message.location.get("url", "")))


@pytest.fixture
def screenshot(tmp_path: Path) -> Callable[[Any, str], None]:
    """Save a screenshot of a page, where the environment asks for it (QUICKSTEP_SHOTS=FOLDER)."""
    folder = os.environ.get("QUICKSTEP_SHOTS")

    def keep(tab: Any, name: str) -> None:
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            tab.screenshot(path=str(Path(folder) / f"{name}.png"))

    return keep
