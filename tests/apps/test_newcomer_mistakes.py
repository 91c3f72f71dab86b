"""Mistakes that newcomers make, on the command line and in Python: each is answered in one line that says what, where and what to do."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import call

import quickstep
from quickstep.datasets.synthetic import DemoConfig, draw_dancers

MODEL = Path(__file__).parents[1] / "fixtures/v0.1/models/motion-linear"
FAST = ("-o", "new", "--backbone", "flow-hist")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mistakes")
    draw_dancers(folder / "D", DemoConfig(moves=("halo", "drop"), videos=3, dancers=3, seconds=0.5, width=64, height=64))
    return folder


@pytest.fixture
def place(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Go to a folder with a dataset, lists of it with mistakes, a model, and files that are something else."""
    shutil.copytree(drawn / "D", tmp_path / "D")
    shutil.copytree(MODEL, tmp_path / "M")
    listed = (tmp_path / "D" / "dancers.csv").read_text()
    for name, old, new in (
        ("class", ",label", ",class"),
        ("typo", ",label", ",lable"),
        ("french", ",label", ",catégorie"),
        ("gone", ".mp4", ".mov"),
        ("nohead", "path,label,group,stage,joints\n", ""),
    ):
        (tmp_path / "D" / f"{name}.csv").write_text(listed.replace(old, new))
    (tmp_path / "D" / "empty.csv").write_text("")
    (tmp_path / "D" / "header.csv").write_text(listed.splitlines()[0] + "\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "notes.json").write_text("{}")
    (tmp_path / "broken.mp4").write_bytes((tmp_path / "D/halo/dancer-01-01.mp4").read_bytes()[:600])
    shutil.copytree(tmp_path / "D" / "halo", tmp_path / "one" / "halo")
    shutil.copytree(tmp_path / "D" / "halo", tmp_path / "Tänze für uns" / "Öffentlich")
    monkeypatch.chdir(tmp_path)
    return tmp_path


VIDEO = "D/halo/dancer-01-01.mp4"
COMMANDS: list[tuple[tuple[str, ...], tuple[str, ...]]] = [
    # a dance teacher
    (("train", "DANCES", *FAST), ("DANCES", "does not exist", "check the path")),
    (("train", "D/halo", *FAST), ("D/halo", "class folders", "put each video into a folder")),
    (("train", "one", *FAST), ("one", "only one class", "add videos")),
    (("train", "Tänze für uns", *FAST), ("Tänze für uns", "only one class ('Öffentlich')")),
    (("train", "empty", *FAST), ("empty", "contains no videos", "put each video into a folder")),
    (("train", "M", *FAST), ("M", "is a model folder", "name a folder of labelled videos")),
    (("train", VIDEO, *FAST), (VIDEO, "is a single video", "expected a folder")),
    (("train", "notes.txt", *FAST), ("notes.txt",)),
    (("train", "D", "--backbone", "flow-hist"), ("--out", "is missing", "--help")),
    (("train", "D", "-o"), ("-o", "has no value", "--help")),
    (("train",), ("DATA is missing", "quickstep train --help")),
    (("trian", "D", *FAST), ("unknown command", 'Did you mean "train"')),
    (("Predict", "M", VIDEO), ("unknown command", 'Did you mean "predict"')),
    (("train", "D", *FAST, "--epoch", "3"), ("--epoch", "Did you mean --epochs?")),
    (("train", "D", "-o", "new", "--backbone", "flowhist"), ("flowhist", "did you mean 'flow-hist'")),
    (("train", "D", *FAST, "--head", "liner"), ("liner", "did you mean 'linear'")),
    (("train", "D", "-o", "notes.txt", "--backbone", "flow-hist"), ("notes.txt", "name a new folder")),
    (("train", "D", "-o", "M", "--backbone", "flow-hist"), ("M", "already holds a model", "--overwrite")),
    (("predict", "M"), ("name at least one video",)),
    (("predict", VIDEO), (VIDEO, "is a file, not a model folder, which comes first", "quickstep train VIDEOS -o FOLDER")),
    (("predict", VIDEO, "M"), (VIDEO, "is a file, not a model folder, which comes first")),
    (("predict", "D", VIDEO), ("D", "not a complete model", "quickstep train VIDEOS -o FOLDER")),
    (("predict", "nothing", VIDEO), ("nothing", "no such folder", "quickstep train VIDEOS -o FOLDER")),
    (("predict", "M", "M"), ("M", "is a model folder, not a folder of videos")),
    (("predict", "M", "missing.mp4"), ("missing.mp4", "no such file")),
    (("predict", "M", "broken.mp4"), ("broken.mp4",)),
    (("predict", "M", "empty"), ("empty", "contains no videos")),
    (("predict", "M", "*.mov"), ("*.mov", "no file matches")),
    (("predict", "M", "notes.json"), ("notes.json", "has the name of a file of poses")),
    # a researcher of behaviour
    (("train", "D/class.csv", *FAST), ("class.csv, line 1", "'label' is missing", "rename 'class' to 'label'")),
    (("train", "D/typo.csv", *FAST), ("typo.csv, line 1", "'label' is missing", "rename 'lable' to 'label'")),
    (("train", "D/french.csv", *FAST), ("french.csv, line 1", "'label' is missing", "name the column of the classes 'label'")),
    (("train", "D/nohead.csv", *FAST), ("nohead.csv, line 1", "must name the columns", "path,label")),
    (("train", "D/empty.csv", *FAST), ("empty.csv", "is empty", "write the header")),
    (("train", "D/header.csv", *FAST), ("header.csv", "no rows", "add one row")),
    (("train", "D/gone.csv", *FAST), ("gone.csv", "none of its 6 videos exist", ".mov")),
    (("train", "D", *FAST, "--epochs", "ten"), ("--epochs", '"ten"')),
    (("train", "D", *FAST, "--epochs", "-3"), ("--epochs", "must be from 1", "-3")),
    (("train", "D", *FAST, "--lr", "0"), ("--lr", "Did you mean --learning-rate?")),
    (("train", "D", *FAST, "--learning-rate", "0"), ("--learning-rate", "must be above 0")),
    (("train", "D", *FAST, "--folds", "1"), ("--folds", "must be")),
    (("split", "D", "-o", "s.txt"), ("--out", "s.txt", ".csv")),
    (("split", "D", "-o", "s.csv", "--val", "20"), ("--val", "must be from 0", "20")),
    (("split", "D", "-o", "s.csv", "--val", "0.9", "--test", "0.9"), ("--test", "at most")),
    (("split", "D", "-o", "D/dancers.csv"), ("dancers.csv exists", "--overwrite")),
    (("check", "missing"), ("missing", "does not exist", "check the path")),
    (("check", VIDEO), (VIDEO, "is a single video")),
    (("evaluate", "D"), ("D", "not a complete model", "quickstep train VIDEOS -o FOLDER")),
    (("evaluate", "M", "--split", "tset"), ("tset", 'Did you mean "test"')),
    (("timeline", "M"), ("INPUTS is missing", "quickstep timeline --help")),
    (("timeline", "M", VIDEO, "-o", "t.doc"), ("--out", "t.doc", ".csv")),
    (("timeline", "M", VIDEO, "--stride", "0"), ("--stride", "must be")),
    (("demo", "d", "--width", "0"), ("--width", "must be from 64", "not 0")),
    (("demo", "d", "--moves", "waltz"), ("no move 'waltz'", "there are: ")),
    # a builder of apps
    (("predict", "M", VIDEO, "-o", "out.xlsx"), ("--out", "out.xlsx", ".csv or .jsonl")),
    (("predict", "M", VIDEO, "--top", "0"), ("--top", "must be at least 1", "not 0")),
    (("predict", "M", VIDEO, "--jsn"), ("--jsn", "Did you mean --json?")),
    (("serve",), ("MODELS is missing", "quickstep serve --help")),
    (("serve", "D"), ("D", "not a complete model", "quickstep train VIDEOS -o FOLDER")),
    (("serve", "M", "--port", "80x"), ("--port", '"80x"')),
    (("app", "D"), ("D", "not a complete model", "quickstep train VIDEOS -o FOLDER")),
    (("app", "--port", "99999999"), ("--port", "must be from 1 to 65535")),
    (("search", "lib", "spin"), ("lib", "does not exist", "quickstep index LIBRARY VIDEOS")),
    (("index", "lib"), ("name at least one video",)),
    (("doctor", "x"), ("unexpected argument", "'x'")),
]


@pytest.mark.parametrize(("typed", "said"), COMMANDS, ids=[" ".join(typed) for typed, _ in COMMANDS])
def test_a_mistake_in_a_command(place: Path, capsys: pytest.CaptureFixture[str], typed: tuple[str, ...], said: tuple[str, ...]) -> None:
    status, _, err = call(capsys, *typed)
    lines = [line for line in err.splitlines() if line.strip() and not line.startswith(("note: ", "reading: ", "features: "))]
    assert status == 1
    assert len(lines) == 1, err
    assert all(part in lines[0] for part in said), lines[0]


def test_a_word_that_is_like_no_option_is_answered_without_a_guess(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for typed in ("--colour", "--xyz"):
        status, _, err = call(capsys, "train", "D", *FAST, typed)
        assert status == 1
        assert typed in err
        assert "Did you mean" not in err


PYTHON: list[tuple[Callable[[], Any], tuple[str, ...]]] = [
    (lambda: quickstep.train(3), ("3",)),  # type: ignore[arg-type]
    (lambda: quickstep.train("D", backbone="flow-hist"), ("backbone", "TrainConfig(backbone='flow-hist')")),  # type: ignore[arg-type]
    (lambda: quickstep.TrainConfig(epochs="ten"), ("epochs", "must be a number", "'ten'")),  # type: ignore[arg-type]
    (lambda: quickstep.TrainConfig(epochs=0), ("epochs", "must be from 1")),
    (lambda: quickstep.evaluate("D"), ("D", "not a complete model", "quickstep train VIDEOS -o FOLDER")),
    (lambda: quickstep.predict("M", []), ("name at least one video",)),
    (lambda: quickstep.predict("M", 5), ("5",)),  # type: ignore[arg-type]
    (lambda: quickstep.check("missing"), ("missing", "does not exist")),
    (lambda: quickstep.View(frames=0), ("frames", "must be from 1", "not 0")),
]


@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_a_mistake_in_python(place: Path, number: int) -> None:
    act, said = PYTHON[number]
    with pytest.raises((quickstep.QuickstepError, TypeError)) as caught:
        act()
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    assert all(part in text for part in said), text
