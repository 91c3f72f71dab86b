"""The predict function: its inputs, its failures, and the same values in every format."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from toys import Colours, draw_colours

from quickstep.datasets.manifest import Manifest
from quickstep.inference.predict import predict, to_json, to_rows
from quickstep.models.model import Model
from quickstep.storage.cache import Cache
from quickstep.training.train import TrainConfig, train
from quickstep.types.errors import ConfigError, ManifestError, MediaError


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("predict")


@pytest.fixture(scope="module")
def cache(place: Path) -> Cache:
    return Cache(place / "store")


@pytest.fixture(scope="module")
def manifest(place: Path) -> Manifest:
    return draw_colours(place / "videos", each=4, labels=("blue", "red"))


@pytest.fixture(scope="module")
def model(manifest: Manifest, cache: Cache) -> Model:
    splits = ["train" if int(s.path.stem) < 3 else "val" for s in manifest.segments]
    return train(manifest.with_splits(splits), TrainConfig(epochs=10), backbone=Colours(), cache=cache).model


def test_unreadable_inputs_are_failures_and_strict_raises(place: Path, model: Model, cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "zero.mp4").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    wrong = [tmp_path / "text.mp4", tmp_path / "zero.mp4", tmp_path / "nowhere.mp4", tmp_path / "empty", str(tmp_path / "*.avi")]
    result = predict(model, [place / "videos" / "red" / "0.mp4", *wrong], cache=cache)
    assert [prediction.label for prediction in result.predictions] == ["red"]
    assert sorted(failure.segment.path.name for failure in result.failures) == ["*.avi", "empty", "nowhere.mp4", "text.mp4", "zero.mp4"]
    for item in wrong:
        with pytest.raises((MediaError, ManifestError)):
            predict(model, [item], cache=cache, strict=True)
    with pytest.raises(ConfigError, match="at least one"):
        predict(model, [], cache=cache)


def test_a_second_run_decodes_no_video(model: Model, place: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    first = predict(model, [place / "videos"], cache=cache)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a video was opened again")

    monkeypatch.setattr("quickstep.models.feature_extraction.read_windows", never)
    second = predict(model, [place / "videos"], cache=cache)
    assert [tuple(prediction.scores) for prediction in first.predictions] == [tuple(prediction.scores) for prediction in second.predictions]


def test_scores_do_not_depend_on_the_other_inputs(model: Model, place: Path, cache: Cache) -> None:
    together = predict(model, [place / "videos"], cache=cache).predictions
    alone = [predict(model, [prediction.segment], cache=cache).predictions[0] for prediction in together]
    assert all(np.array_equal(one.scores, other.scores) for one, other in zip(together, alone, strict=True))


def test_json_and_csv_have_the_same_values_as_python(model: Model, place: Path, cache: Cache, tmp_path: Path) -> None:
    result = predict(model, [place / "videos", tmp_path / "nowhere.mp4"], cache=cache)
    plain = json.loads(json.dumps(to_json(result), allow_nan=False))
    rows = to_rows(result)
    for prediction, record, row in zip(result.predictions, plain["predictions"], rows, strict=False):
        assert (record["path"], record["label"], record["score"]) == (str(prediction.segment.path), prediction.label, prediction.score)
        assert (
            [record["scores"][label] for label in prediction.labels]
            == [float(row[f"score:{label}"]) for label in prediction.labels]
            == list(prediction.scores)
        )
        assert (row["label"], float(row["score"])) == (prediction.label, prediction.score)
    assert plain["failures"][0]["path"] == rows[-1]["path"] == str(tmp_path / "nowhere.mp4")
    assert rows[-1]["error"] == plain["failures"][0]["error"]
    assert len({tuple(row) for row in rows}) == 1


def test_top_has_at_most_all_labels(model: Model, place: Path, cache: Cache) -> None:
    result = predict(model, [place / "videos" / "red" / "0.mp4"], cache=cache)
    assert list(to_json(result, top=1)["predictions"][0]["scores"]) == ["red"]
    assert list(to_json(result, top=9)["predictions"][0]["scores"]) == ["red", "blue"]
    row = to_rows(result, top=9)[0]
    assert (row["label_1"], row["label_2"]) == ("red", "blue")
