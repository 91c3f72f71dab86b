"""`quickstep serve` in its own process, stopped by real signals."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import checkpoints
import httpx
import pytest
from places import HELPERS
from served import check_error, colour_model, wait_until
from toys import Words

from quickstep.apps.server import Limits, ServeConfig, Served
from quickstep.apps.server.service import Service
from quickstep.apps.server.uvicorn_server import address_of, listen, warm_up
from quickstep.signals.poses.config import PoseConfig
from quickstep.types.errors import ConfigError, QuickstepError

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "NO_PROXY": "*"}
QUICKSTEP = [sys.executable, "-m", "quickstep"]

# A service whose network waits until a file exists, so that a request is in progress when the signal comes.
SLOW = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from toys import Words
from quickstep.apps.server import Served, Limits, ServeConfig, serve
from quickstep.training.zero_shot import ZeroShotConfig, zero_shot

class Waiting(Words):
    def embed(self, batch):
        while not Path("go").exists() and Path("warm").exists():
            time.sleep(0.02)
        return super().embed(batch)

model = zero_shot(ZeroShotConfig(labels="red,green,blue"), backbone=Waiting())
def ready(address):
    Path("warm").touch()
    print(address, flush=True)
serve(Served({{"slow": model}}), ServeConfig(port=0), Limits(grace={grace}), ready=ready)
"""


@contextlib.contextmanager
def started(command: list[str], folder: Path, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start a process that prints its address; end it afterwards if it is still running."""
    (folder / "tmp").mkdir(exist_ok=True)
    environ = {**ENVIRONMENT, "TMPDIR": str(folder / "tmp"), **environment}
    process = subprocess.Popen(command, cwd=folder, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    try:
        address = process.stdout.readline().strip()
        assert address.startswith("http://"), process.communicate(timeout=20)
        yield process, address
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=20)


def send(address: str, video: Path, **options: object) -> httpx.Response:
    with video.open("rb") as file:
        return httpx.post(f"{address}/predict", files={"file": file}, timeout=30, trust_env=False, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a zero-shot model with a tiny CLIP."""
    folder = tmp_path_factory.mktemp("words")
    checkpoints.save("clip", folder / "clip")
    command = [*QUICKSTEP, "zero-shot", "--labels", "windmill,halo,toprock", "--weights", str(folder / "clip"), "-o", str(folder / "moves")]
    subprocess.run(command, check=True, capture_output=True, env=ENVIRONMENT)
    return folder / "moves"


def test_the_command_answers_like_predict_and_stops_on_a_signal(words: Path, videos: dict[str, Path], tmp_path: Path) -> None:
    paths = [str(videos[colour]) for colour in ("red", "blue", "both")]
    printed = subprocess.run([*QUICKSTEP, "predict", str(words), *paths, "--json"], check=True, capture_output=True, env=ENVIRONMENT)
    truth = json.loads(printed.stdout)["predictions"]
    command = [*QUICKSTEP, "serve", str(words), "--port", "0"]
    with started(command, tmp_path, QUICKSTEP_TOKEN="word") as (process, address):
        check_error(send(address, videos["red"]), 401)
        with concurrent.futures.ThreadPoolExecutor(6) as clients:
            token = {"Authorization": "Bearer word"}
            answers = list(clients.map(lambda path: send(address, Path(path), headers=token).json(), paths * 3))
        for answer, line in zip(answers, truth * 3, strict=True):
            line.pop("path", None)
            assert {name: answer[name] for name in line} == line
            assert list(answer["scores"]) == list(line["scores"])
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert process.stderr is not None
        stderr = process.stderr.read()
    assert "Traceback" not in stderr
    assert stderr.splitlines()[-1].startswith("stopped")
    assert list((tmp_path / "tmp").glob("quickstep-serve-*")) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_requests_in_progress_are_finished_and_new_ones_refused(videos: dict[str, Path], tmp_path: Path, number: signal.Signals) -> None:
    script = SLOW.format(tests=str(HELPERS), grace=30)
    with started([sys.executable, "-c", script], tmp_path) as (process, address), concurrent.futures.ThreadPoolExecutor(2) as clients:
        running = clients.submit(send, address, videos["red"])
        wait_until(lambda: "quickstep_requests_taken_in" in httpx.get(f"{address}/metrics", trust_env=False).text)
        wait_until(lambda: any(path.suffix == ".mp4" for path in (tmp_path / "tmp").rglob("quickstep-serve-*/*")))
        process.send_signal(number)
        wait_until(lambda: httpx.get(f"{address}/healthz", trust_env=False).status_code == 503)
        check_error(send(address, videos["blue"]), 503)
        (tmp_path / "go").touch()
        assert running.result(20).json()["label"] == "red"
        assert process.wait(20) == 0
    assert list((tmp_path / "tmp").glob("quickstep-serve-*")) == []


@pytest.mark.slow
@pytest.mark.parametrize("signals", [1, 2])
def test_the_service_ends_after_the_grace_period_or_at_a_second_signal(videos: dict[str, Path], tmp_path: Path, signals: int) -> None:
    script = SLOW.format(tests=str(HELPERS), grace=0.5 if signals == 1 else 300)
    with started([sys.executable, "-c", script], tmp_path) as (process, address), concurrent.futures.ThreadPoolExecutor(1) as clients:
        running = clients.submit(send, address, videos["red"])
        wait_until(lambda: any(path.suffix == ".mp4" for path in (tmp_path / "tmp").rglob("quickstep-serve-*/*")))
        process.send_signal(signal.SIGTERM)
        if signals == 2:
            wait_until(lambda: httpx.get(f"{address}/healthz", trust_env=False).status_code == 503)
            process.send_signal(signal.SIGTERM)
        process.wait(20)
        with pytest.raises(httpx.HTTPError):
            running.result(20).raise_for_status()
    assert list((tmp_path / "tmp").glob("quickstep-serve-*")) == []


def error_line_of(words: Path, *options: str, code: str | None = None) -> str:
    """Return the one line that a failed start prints."""
    command = [*QUICKSTEP, "serve", str(words), *options] if code is None else [sys.executable, "-c", code, "serve", str(words), *options]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=60)
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.strip().splitlines()
    return line


def test_an_address_that_cannot_be_used_is_a_config_error() -> None:
    with contextlib.closing(listen("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert address_of(taken) == f"http://127.0.0.1:{port}"
        with pytest.raises(ConfigError, match=f"port.*{port}"):
            listen("127.0.0.1", port)
    for host in ("no.such.host.invalid", "203.0.113.7"):
        with pytest.raises(ConfigError, match="host"):
            listen(host, 0)


@pytest.mark.slow
def test_a_failed_start_prints_one_line(words: Path, tmp_path: Path) -> None:
    with contextlib.closing(listen("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"--port: {port}" in error_line_of(words, "--port", port)
    assert "--allow-paths" in error_line_of(words, "--allow-paths", str(tmp_path / "nowhere"))
    assert "nowhere" in error_line_of(words, "--port", "0", "--library", str(tmp_path / "nowhere"))
    without = "import sys; sys.modules['fastapi'] = None; from quickstep.apps.cli import main; main()"
    assert "pip install 'quickstep[serve]'" in error_line_of(words, "--port", "0", code=without)


def test_a_missing_estimator_fails_at_the_start(tmp_path: Path) -> None:
    poses = PoseConfig(pose_model=str(tmp_path / "nowhere.task"), person="all")
    service = Service(Served({"words": colour_model(Words())}, poses=poses), ServeConfig(), Limits())
    with contextlib.closing(service), pytest.raises(QuickstepError, match="nowhere"):
        warm_up(service)
    with pytest.raises(ConfigError, match="at least one model"):
        Service(Served({}), ServeConfig(), Limits())
