"""Files of predictions: they grow, resume, and notice another model or a changed video."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from toys import Colours, draw_colours

from quickstep.datasets.manifest import Manifest
from quickstep.inference.predict import predict, to_rows
from quickstep.inference.prediction_files import predict_as_text, predict_batches, write_predictions
from quickstep.inference.prediction_files.formats import upgraded
from quickstep.models.model import Model
from quickstep.signals.video import write_video
from quickstep.storage.cache import Cache
from quickstep.training.train import TrainConfig, train
from quickstep.types.errors import ConfigError, MediaError


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("predictions")


@pytest.fixture(scope="module")
def cache(place: Path) -> Cache:
    return Cache(place / "cache")


@pytest.fixture(scope="module")
def manifest(place: Path) -> Manifest:
    return draw_colours(place / "videos", each=4, labels=("blue", "red"))


def fitted(manifest: Manifest, cache: Cache, epochs: int) -> Model:
    splits = ["train" if int(s.path.stem) < 3 else "val" for s in manifest.segments]
    return train(manifest.with_splits(splits), TrainConfig(epochs=epochs), backbone=Colours(), cache=cache).model


@pytest.fixture(scope="module")
def model(manifest: Manifest, cache: Cache) -> Model:
    return fitted(manifest, cache, 10)


@pytest.fixture(autouse=True)
def batches_of_three(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quickstep.inference.prediction_files.writer.BATCH", 3)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


class Recorded(Model):
    """A model that records the paths that it classifies."""

    def predict(self, segments, **options):  # type: ignore[no-untyped-def]
        listed = list(segments)
        CLASSIFIED.extend(segment.path for segment in listed)
        return super().predict(listed, **options)


CLASSIFIED: list[Path] = []


def recorded(model: Model) -> Model:
    CLASSIFIED.clear()
    return Recorded(**{name: getattr(model, name) for name in model.__dataclass_fields__})


def test_batches_give_the_same_predictions_to_the_bit(model: Model, place: Path, cache: Cache, tmp_path: Path) -> None:
    inputs = [place / "videos", tmp_path / "nowhere.mp4"]
    whole = predict(model, inputs, cache=cache)
    parts = list(predict_batches(model, inputs, cache=cache))
    assert len(parts) == 3
    several = [prediction for part in parts for prediction in part.predictions]
    assert [one.segment for one in several] == [one.segment for one in whole.predictions]
    assert all(np.array_equal(a.scores, b.scores) for a, b in zip(several, whole.predictions, strict=True))
    assert [str(f) for part in parts for f in part.failures] == [str(f) for f in whole.failures]


def test_progress_counts_all_segments(model: Model, place: Path, cache: Cache) -> None:
    reports: list[tuple[str, int, int]] = []
    list(predict_batches(model, [place / "videos"], cache=cache, progress=lambda *report: reports.append(report)))
    done = [done for stage, done, total in reports if stage == "features"]
    assert done == sorted(done)
    assert {total for _, _, total in reports} == {8}
    assert done.count(8) == 1


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_file_is_resumed(model: Model, place: Path, cache: Cache, tmp_path: Path, suffix: str) -> None:
    out, whole = tmp_path / f"out{suffix}", tmp_path / f"whole{suffix}"
    first = write_predictions(model, [place / "videos"], whole, cache=cache)
    assert (first.predicted, first.kept, first.failures) == (8, 0, ())
    text = whole.read_text()
    lines = text.splitlines(keepends=True)
    out.write_text("".join(lines[:4]) + lines[4][:-9])  # as a process that is killed in the middle of a line leaves it
    complete = 3 if suffix == ".csv" else 4
    again = write_predictions(recorded(model), [place / "videos"], out, cache=cache)
    assert (again.predicted, again.kept) == (8 - complete, complete)
    assert len(CLASSIFIED) == 8 - complete
    assert out.read_text() == text
    CLASSIFIED.clear()
    third = write_predictions(recorded(model), [place / "videos"], out, cache=cache)
    assert (third.predicted, third.kept, third.replaced, CLASSIFIED) == (0, 8, 0, [])
    assert out.read_text() == text


@pytest.mark.parametrize(
    ("sure", "confidence"),
    [("yes", "sure"), ("no", "not sure"), ("", "uncalibrated"), (True, "sure"), (False, "not sure"), (None, "uncalibrated")],
)
def test_sure_of_version_0_1_becomes_confidence(sure: object, confidence: str) -> None:
    assert list(upgraded({"path": "a", "sure": sure, "score": "1"}).items()) == [("path", "a"), ("confidence", confidence), ("score", "1")]
    assert upgraded({"path": "a", "sure": "", "error": "unreadable"})["confidence"] == ""
    assert upgraded({"path": "a", "confidence": "sure"}) == {"path": "a", "confidence": "sure"}


def test_a_file_has_the_predictions_of_the_python_function(model: Model, place: Path, cache: Cache, tmp_path: Path) -> None:
    write_predictions(model, [place / "videos"], tmp_path / "out.csv", cache=cache)
    expected = to_rows(predict(model, [place / "videos"], cache=cache))
    written = rows(tmp_path / "out.csv")
    assert [{name: row[name] for name in expected[0]} for row in written] == expected
    write_predictions(model, [place / "videos"], tmp_path / "top.jsonl", top=1, cache=cache)
    first = json.loads((tmp_path / "top.jsonl").read_text().splitlines()[0])
    assert list(first["scores"]) == [first["label"]]


def test_another_model_is_noticed(model: Model, manifest: Manifest, place: Path, cache: Cache, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    write_predictions(model, [place / "videos"], out, cache=cache)
    other = fitted(manifest, cache, 3)
    done = write_predictions(other, [place / "videos"], out, cache=cache)
    assert (done.predicted, done.kept, done.replaced) == (8, 0, 8)
    assert [float(row["score"]) for row in rows(out)] == [one.score for one in predict(other, [place / "videos"], cache=cache).predictions]


def test_a_changed_video_is_noticed_and_others_stay(model: Model, place: Path, cache: Cache, tmp_path: Path) -> None:
    folder = tmp_path / "v"
    shutil.copytree(place / "videos", folder)
    out = tmp_path / "out.csv"
    write_predictions(model, [folder / "red"], out, cache=cache)
    write_predictions(model, [folder / "blue"], out, cache=cache)
    assert len(rows(out)) == 8
    write_video(folder / "red" / "1.mp4", [np.full((24, 32, 3), (40, 40, 180), np.uint8)] * 6, fps=6)
    done = write_predictions(recorded(model), [folder / "red"], out, cache=cache)
    assert (done.predicted, done.kept, done.replaced) == (1, 3, 1)
    assert [folder / "red" / "1.mp4"] == CLASSIFIED
    labels = {row["path"]: row["label"] for row in rows(out)}
    assert len(labels) == len(rows(out)) == 8
    assert labels[str(folder / "red" / "1.mp4")] == "blue"


def test_failures_are_rows_and_computed_again(model: Model, place: Path, cache: Cache, tmp_path: Path) -> None:
    late = tmp_path / 'late, 💃 "x".mp4'
    out = tmp_path / "out.csv"
    first = write_predictions(model, [late, place / "videos" / "red" / "0.mp4"], out, cache=cache)
    assert (first.predicted, len(first.failures)) == (1, 1)
    assert [bool(row["error"]) for row in rows(out)] == [False, True]
    shutil.copy(place / "videos" / "blue" / "0.mp4", late)
    second = write_predictions(model, [late, place / "videos" / "red" / "0.mp4"], out, cache=cache)
    assert (second.predicted, second.kept, second.replaced, second.failures) == (1, 1, 1, ())
    assert {row["path"]: row["label"] for row in rows(out)}[str(late)] == "blue"
    with pytest.raises(MediaError):
        write_predictions(model, [tmp_path / "nowhere.mp4"], out, cache=cache, strict=True)


def test_a_file_with_other_content_is_left_alone(model: Model, place: Path, cache: Cache, tmp_path: Path) -> None:
    for name, text in {"mine.csv": "path,label\na.mp4,red\n", "mine.jsonl": '{"a": 1}\n', "text.jsonl": "hello\n"}.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(ConfigError, match="left alone"):
            write_predictions(model, [place / "videos"], tmp_path / name, cache=cache)
        assert (tmp_path / name).read_text() == text
    with pytest.raises(ConfigError, match=r"\.csv or \.jsonl"):
        write_predictions(model, [place / "videos"], tmp_path / "out.xlsx", cache=cache)


def test_other_columns_replace_the_rows(model: Model, place: Path, cache: Cache, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    write_predictions(model, [place / "videos"], out, cache=cache)
    done = write_predictions(model, [place / "videos"], out, top=1, cache=cache)
    assert (done.predicted, done.replaced) == (8, 8)
    assert "label_1" in rows(out)[0]
    assert "score:red" not in rows(out)[0]


def test_lines_come_batch_by_batch(model: Model, place: Path, cache: Cache) -> None:
    lines = predict_as_text(model, [place / "videos"], ".csv", cache=cache)
    assert next(lines)[0] == "path,start,end,label,score,confidence,error,score:blue,score:red\n"
    assert next(lines)[0].count("\n") == 3
    lines_of_json = "".join(text for text, _ in predict_as_text(model, [place / "videos"], ".jsonl", cache=cache))
    assert [json.loads(line)["label"] for line in lines_of_json.splitlines()] == ["blue"] * 4 + ["red"] * 4


@pytest.mark.slow
def test_a_killed_run_over_two_thousand_videos_is_resumed(tmp_path: Path) -> None:
    """The first run is a process that is killed: what it wrote stays, and the second run does the rest."""
    from quickstep.datasets.synthetic import DemoConfig, draw_dancers

    listed = draw_dancers(
        tmp_path / "set", DemoConfig(moves=("windmill", "toprock"), videos=7, dancers=7, seconds=0.6, width=96, height=72)
    )
    quickstep = [sys.executable, "-m", "quickstep"]
    subprocess.run([*quickstep, "train", listed, "-o", tmp_path / "m", "--backbone", "flow-hist", "--epochs", "5"], check=True)
    many = tmp_path / "many"
    many.mkdir()
    rng = np.random.default_rng(0)
    for number in range(2000):
        write_video(many / f"{number:04d}.mp4", list(rng.integers(0, 255, (2, 64, 64, 3), np.uint8)), fps=5)
    out = tmp_path / "out.csv"
    command = [*quickstep, "predict", tmp_path / "m", many, "-o", out]
    running = subprocess.Popen(command)
    while not (out.exists() and out.read_text().count("\n") > 300):
        assert running.poll() is None
        time.sleep(0.1)
    running.kill()
    running.wait()
    written = out.read_text().count("\n") - 1
    assert 300 <= written < 2000
    done = subprocess.run([*command, "--json"], check=True, capture_output=True, text=True)
    counts = json.loads(done.stdout)
    assert written - 1 <= counts["kept"] <= written
    assert counts["named"] + counts["kept"] == 2000
    assert len({row["path"] for row in rows(out)}) == len(rows(out)) == 2000
