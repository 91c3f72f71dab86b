"""What a container runs, as far as it can be run without one: the Cog runner, and files that name only what is there."""

from __future__ import annotations

import re
import runpy
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import call
from places import ROOT
from toys import draw_colours

from quickstep.models.model import Model
from quickstep.training.train import TrainConfig, train

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def model_and_video(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Make a model's folder and a video."""
    folder = tmp_path_factory.mktemp("cog")
    manifest = draw_colours(folder / "videos")
    train(manifest, TrainConfig(backbone="toys:Colours", epochs=15)).model.save(folder / "model")
    return folder / "model", manifest.part("test").segments[0].path


def runner(model: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Set up the predictor that cog.yaml names."""
    pytest.importorskip("cog", reason="pip install cog")
    file, _, name = yaml.safe_load((ROOT / "cog.yaml").read_text())["run"].partition(":")
    monkeypatch.setenv("QUICKSTEP_MODEL", str(model))
    predictor = runpy.run_path(str(ROOT / file))[name]()
    predictor.setup()
    return predictor


def test_the_cog_runner_says_what_predict_says(model_and_video: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    model, video = model_and_video
    answer = runner(model, monkeypatch).run(video=video, start=0.0, end=0.0, top=2)
    own = Model.load(model).predict([video]).predictions[0]
    assert (answer.label, answer.score, answer.confidence) == (own.label, own.score, own.confidence)
    assert list(zip(answer.labels, answer.scores, strict=True)) == own.top(2)
    part = runner(model, monkeypatch).run(video=video, start=0.2, end=0.6, top=0)
    assert len(part.labels) == 3


def test_the_cog_runner_answers_a_bad_video_with_a_sentence(
    model_and_video: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = tmp_path / "secret-name.mp4"
    bad.write_text("no video")
    with pytest.raises(ValueError, match=r"^the video: not a video") as error:
        runner(model_and_video[0], monkeypatch).run(video=bad, start=0.0, end=0.0, top=1)
    assert "secret-name" not in str(error.value)


def test_cog_installs_what_the_project_asks_for() -> None:
    listed = {line for line in (ROOT / "containers/requirements.txt").read_text().splitlines() if not line.startswith("#")}
    declared = {*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["pose"]}
    pinned = re.search(r"^torch==.*$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned
    assert listed == {pinned[0] if re.match(r"torch\b", one) else one for one in declared}
    build = yaml.safe_load((ROOT / "cog.yaml").read_text())["build"]
    assert (ROOT / build["python_requirements"]).is_file()
    assert PROJECT["requires-python"].removeprefix(">=") <= build["python_version"]


def test_the_dockerfile_copies_what_is_there_and_installs_extras_that_exist() -> None:
    text = (ROOT / "Dockerfile").read_text()
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for line in re.findall(r"^COPY (.+)$", text, re.MULTILINE):
        for name in line.split()[:-1]:
            assert (ROOT / name.removeprefix("./")).exists(), name
            assert f"!{name.removeprefix('./')}" in ignored, f"{name} does not get into the build"
    extras = re.search(r"^ARG EXTRAS=(.+)$", text, re.MULTILINE)
    assert extras
    assert set(extras[1].split(",")) <= set(PROJECT["optional-dependencies"])
    assert re.search(r"^USER (?!root)", text, re.MULTILINE), "it does not run as root"
    assert re.search(r"^ARG TORCH=cpu$", text, re.MULTILINE)


def test_the_systemd_unit_gives_options_that_exist(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    unit = (ROOT / "containers/quickstep.service").read_text().replace("\\\n", " ")
    program, verb, *words = next(line for line in unit.splitlines() if line.startswith("ExecStart=")).split()
    assert program.endswith("/quickstep")
    known = set(re.findall(r"--[a-z-]+", call(capsys, verb, "--help")[1]))
    named = {word for word in words if word.startswith("--")}
    assert {"--tokens", "--tls-cert", "--allowed-hosts"} <= named <= known
