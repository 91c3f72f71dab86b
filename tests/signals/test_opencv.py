"""OpenCV: one package brings it whatever extras are installed, two are reported with the mend, and the running version is recorded."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import cv2
import pytest
from packaging.requirements import Requirement

from quickstep.apps.doctor import examine
from quickstep.signals import opencv
from quickstep.training.provenance import library_versions
from quickstep.types.errors import MissingExtra

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
DIGEST = """
import hashlib, sys
import numpy as np
for module in sys.argv[1:]:
    __import__(module)
from quickstep.datasets.synthetic.scene import Dancer, Scene
from quickstep.signals.flow.methods import one_thread, open_method
from quickstep.signals.flow.config import FlowConfig
scene = Scene.drawn("toprock", Dancer.drawn(0, 0, 64), (1, 2), size=(96, 72), fps=10.0, seconds=0.5, clutter=1.0)
frames = [np.ascontiguousarray(frame) for frame in scene.frames()]
greys = [frame[..., 1].copy() for frame in frames]
with one_thread():
    flow = [open_method(FlowConfig(method)).between(greys[0], greys[1]) for method in ("dis", "tvl1", "farneback")]
print(hashlib.sha256(b"".join(array.tobytes() for array in (*frames, *flow))).hexdigest())
"""


def python(*words: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    folders = [str(path)] if path is not None else []
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([*folders, os.environ.get("PYTHONPATH", "")])}
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, env=env)


def brought_by(requirements: list[str]) -> set[str]:
    """Return the names of everything that the requirements install, as far as it is installed here."""
    names, waiting = set[str](), [(Requirement(text), "") for text in requirements]
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if name == "quickstep":
            waiting += [(Requirement(text), "") for wanted in requirement.extras for text in PROJECT["optional-dependencies"][wanted]]
        elif name not in names:
            names.add(name)
            try:
                needed = metadata.requires(name) or []
            except metadata.PackageNotFoundError:
                continue
            waiting += [(Requirement(text), wanted) for text in needed for wanted in ("", *requirement.extras)]
    return names


@pytest.mark.parametrize("extra", sorted(PROJECT["optional-dependencies"]))
def test_one_package_brings_opencv_with_any_extra(extra: str) -> None:
    names = brought_by([*PROJECT["dependencies"], f"quickstep[{extra}]"])
    assert {name for name in names if "opencv" in name} == {opencv.PACKAGE}
    assert "rtmlib" not in names  # it asks for two builds of OpenCV


@pytest.mark.slow
def test_flow_and_drawing_have_the_same_bits_beside_the_libraries_of_the_extras() -> None:
    libraries = [name for name in ("mediapipe", "streamlit", "lancedb", "rtmlib", "openvino") if _is_installed(name)]
    alone, beside = python("-c", DIGEST), python("-c", DIGEST, *libraries)
    assert alone.returncode == beside.returncode == 0, alone.stderr + beside.stderr
    assert len(alone.stdout.strip()) == 64
    assert alone.stdout == beside.stdout


def _is_installed(name: str) -> bool:
    try:
        return bool(metadata.version(name))
    except metadata.PackageNotFoundError:
        return False


def test_two_packages_are_reported_on_import_and_by_doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "opencv_python-1.2.3.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: opencv-python\nVersion: 1.2.3\n")
    done = python("-c", "import quickstep.signals.opencv", path=tmp_path)
    (line,) = done.stderr.splitlines()
    assert "opencv-python 1.2.3" in line
    assert f"version {cv2.__version__} runs" in line
    (removed,) = re.findall(r"pip uninstall -y ([^,]+), then pip install opencv-contrib-python$", line)
    assert set(removed.split()) >= {"opencv-python", opencv.PACKAGE}
    monkeypatch.syspath_prepend(str(tmp_path))
    (finding,) = [finding for finding in examine() if finding.what == "cv2"]
    assert finding.state == "bad"
    assert "opencv-python" in finding.details
    assert finding.advice in line


def test_one_package_is_not_a_conflict() -> None:
    assert opencv.conflict({}) is None
    for name in opencv.PACKAGES:
        assert opencv.conflict({name: "5.0"}) is None


def test_the_version_that_runs_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "__version__", "98.7")
    assert library_versions()["opencv"] == "98.7"


def test_a_missing_system_library_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "cv2.py").write_text("raise ImportError('libGL.so.1: cannot open shared object file')")
    done = python("-m", "quickstep", "demo", str(tmp_path / "demo"), path=tmp_path)
    assert done.returncode != 0
    (line,) = done.stderr.splitlines()
    assert "libGL.so.1" in line
    assert "apt install libgl1" in line


def test_rtmpose_names_the_command_that_keeps_one_opencv() -> None:
    assert str(MissingExtra("rtmpose", "x")).endswith("pip install 'quickstep[rtmpose]' && pip install --no-deps rtmlib")
