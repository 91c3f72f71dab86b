"""`score` on arrays against `predict` on files, and what `predict` and `load_model` accept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from places import FIXTURES
from pose_double import Corner
from toys import Colours, Drift, Words, draw_colours

from quickstep.datasets.manifest import Manifest
from quickstep.models.ensemble import Ensemble, load_model
from quickstep.models.model import Model
from quickstep.signals.flow.reader import read_flow
from quickstep.signals.poses.formats import read_poses
from quickstep.signals.video import VideoReader, read_windows
from quickstep.storage.cache import Cache
from quickstep.training.train import TrainConfig, train
from quickstep.types.segment import Segment
from quickstep.types.signals import Flow, Frames


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return draw_colours(tmp_path_factory.mktemp("score") / "videos")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def model(manifest: Manifest, cache: Cache) -> Model:
    return train(manifest, TrainConfig(epochs=40), backbone=Colours(), cache=cache).model


@pytest.fixture(scope="module")
def ensemble(manifest: Manifest, model: Model, cache: Cache) -> Ensemble:
    other = train(manifest, TrainConfig(epochs=40), backbone=Words(), cache=cache).model
    return Ensemble((model, other), (0.25, 0.75), ("one", "two"))


def frames_of(path: Path) -> Frames:
    """All pictures of a video, as a camera or a notebook has them."""
    with VideoReader(path) as video:
        times = np.arange(video.info.frames or 0) / (video.info.fps or 1)
        return video.frames(times)


@pytest.mark.parametrize("which", ["model", "ensemble"])
def test_windows_give_the_scores_of_their_file_to_the_bit(which: str, manifest: Manifest, request: pytest.FixtureRequest) -> None:
    classifier: Model | Ensemble = request.getfixturevalue(which)
    segments = manifest.segments[:6]
    windows = [list(read_windows(segment, classifier.lead.view)) for segment in segments]
    scored, predicted = classifier.score(windows), classifier.predict(segments)
    assert len(scored.predictions) == 6
    for ours, theirs in zip(scored.predictions, predicted.predictions, strict=True):
        np.testing.assert_array_equal(ours.scores, theirs.scores)
        assert (ours.labels, ours.threshold) == (theirs.labels, theirs.threshold)


def test_pictures_of_any_size_and_rate_are_brought_to_the_view_of_the_model(manifest: Manifest, model: Model) -> None:
    for segment in manifest.segments[::5]:
        scored = model.score(frames_of(segment.path)).predictions[0]
        predicted = model.predict(segment.path).predictions[0]
        np.testing.assert_allclose(scored.scores, predicted.scores, atol=0.02)  # colours are rounded twice, as RGB and when scaled
        assert scored.label == predicted.label


def test_flow_is_scored_and_computed_from_frames_where_a_model_reads_flow(manifest: Manifest, cache: Cache) -> None:
    model = train(manifest, TrainConfig(epochs=2), backbone=Drift(), cache=cache).model
    segment = manifest.segments[0]
    predicted = model.predict(segment, cache=cache).predictions[0]
    windows = list(read_flow(segment, model.view, model.backbone.flow_config))  # type: ignore[attr-defined]
    np.testing.assert_array_equal(model.score([windows]).predictions[0].scores, predicted.scores)
    assert model.score(frames_of(segment.path)).predictions[0].scores.shape == predicted.scores.shape


def test_poses_have_the_scores_of_their_file_to_the_bit() -> None:
    model = load_model(FIXTURES / "v0.1" / "models" / "joints-linear")
    path = min((FIXTURES / "v0.1" / "poses").glob("*.npz"))
    scored = model.score(read_poses(path))
    np.testing.assert_array_equal(scored.predictions[0].scores, model.predict(path).predictions[0].scores)
    poses = read_poses(path)
    nobody = replace(poses, joints=np.full_like(poses.joints, np.nan))
    both = model.score([nobody, poses])
    assert [failure.segment.path.name for failure in both.failures] == ["signal 1"]
    assert [prediction.segment.path.name for prediction in both.predictions] == ["signal 2"]


def test_poses_are_estimated_in_frames_by_one_estimator(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Corner] = []

    def open_corner(*_: object, **__: object) -> Corner:
        opened.append(Corner())
        return opened[-1]

    monkeypatch.setattr("quickstep.signals.poses.estimation.open_estimator", open_corner)
    model = load_model(FIXTURES / "v0.1" / "models" / "joints-linear")
    frames = Frames(np.zeros((20, 48, 64, 3), np.uint8), np.arange(20) / 10)
    for _ in range(2):
        (prediction,) = model.score(frames).predictions
        assert set(prediction.labels) == set(model.labels)
    assert len(opened) == 1


def test_a_signal_of_another_kind_is_refused_with_what_the_backbone_reads(model: Model) -> None:
    flow = Flow(np.full((3, 8, 8, 2), 128, np.uint8), np.arange(3.0))
    with pytest.raises(ValueError, match="Frames, not Flow"):
        model.score(flow)


@pytest.mark.parametrize("wrong", ["video.mp4", 3, None, [np.zeros((3, 8, 8, 3), np.uint8)], [[]]])
def test_what_is_no_signal_is_one_clear_error(model: Model, wrong: object) -> None:
    with pytest.raises(TypeError, match="expected Frames, Flow, Poses"):
        model.score(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("which", ["model", "ensemble"])
def test_one_path_several_paths_a_folder_and_segments_are_all_classified(
    which: str, manifest: Manifest, request: pytest.FixtureRequest
) -> None:
    classifier: Model | Ensemble = request.getfixturevalue(which)
    path = manifest.segments[0].path
    assert [one.segment.path for one in classifier.predict(path).predictions] == [path]
    assert [one.segment.path for one in classifier.predict(str(path)).predictions] == [path]
    assert len(classifier.predict([str(path), manifest.segments[1]]).predictions) == 2
    assert len(classifier.predict(path.parent).predictions) == 8
    assert len(classifier.predict([Segment(path), Segment(path)]).predictions) == 2
    assert classifier.predict([]).predictions == ()
    with pytest.raises(TypeError, match="a path, a Segment"):
        classifier.predict(3)  # type: ignore[arg-type]


def test_load_model_returns_an_open_model_unchanged_and_names_a_wrong_type(model: Model, ensemble: Ensemble, tmp_path: Path) -> None:
    assert load_model(model) is model
    assert load_model(ensemble) is ensemble
    with pytest.raises(TypeError, match="expected a model, its folder"):
        load_model(3)  # type: ignore[arg-type]


def test_the_digest_tells_models_apart_that_score_differently(manifest: Manifest, model: Model, ensemble: Ensemble) -> None:
    again = train(manifest, TrainConfig(epochs=40), backbone=Colours(), cache=Cache()).model
    assert again.digest == model.digest
    others = [
        model.with_view(windows=2),
        train(manifest, TrainConfig(epochs=40), backbone=Colours("b")).model,
        train(manifest, TrainConfig(epochs=2), backbone=Colours()).model,
        ensemble,
        Ensemble(ensemble.members, (0.75, 0.25), ensemble.names),
    ]
    assert len({model.digest, *(other.digest for other in others)}) == 6
