"""Joints: the same dance is the same numbers wherever the camera stood; whole sets of poses through every verb."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from quickstep.backbones import open_backbone
from quickstep.backbones.joints import Joints
from quickstep.datasets.audit import check
from quickstep.datasets.manifest import Manifest, read_manifest
from quickstep.evaluation import evaluate
from quickstep.inference.predict import predict
from quickstep.models.feature_extraction import extract
from quickstep.models.model import Model
from quickstep.models.pose_input import select_people
from quickstep.signals.poses.config import PoseConfig
from quickstep.signals.poses.formats import write_poses
from quickstep.signals.poses.resampling import FILLED, body_length, resample_poses
from quickstep.storage.cache import Cache
from quickstep.training.train import TrainConfig, train
from quickstep.types.errors import ConfigError, ManifestError, MediaError
from quickstep.types.segment import Segment
from quickstep.types.signals import Features, Poses
from quickstep.types.skeleton import SKELETONS, Skeleton, unnamed_skeleton

COCO = SKELETONS["coco-17"]
# a person of 180 units, feet at the bottom
_HEAD = [[0, -80], [-4, -84], [4, -84], [-8, -80], [8, -80]]
_ARMS = [[-20, -55], [20, -55], [-26, -25], [26, -25], [-28, 5], [28, 5]]
_LEGS = [[-12, 0], [12, 0], [-13, 45], [13, 45], [-14, 90], [14, 90]]
STANDING_POSE = np.array(_HEAD + _ARMS + _LEGS, dtype=np.float64)


def dancing(times: NDArray[np.float64], *, kind: int = 0, rng: np.random.Generator | None = None) -> NDArray[np.float32]:
    """(T, K, 3): waving (0) or stepping (1), the same curve at whatever moments."""
    joints = np.repeat(STANDING_POSE[None], len(times), axis=0)
    beat = np.sin(2 * np.pi * 0.8 * times)
    for number in (7, 9) if kind == 0 else (13, 15):
        joints[:, number, 1] -= (40 if kind == 0 else 25) * (1 + beat)
        joints[:, number, 0] -= 15 * np.cos(2 * np.pi * 0.8 * times)
    joints[..., 0] += 20 * np.sin(times)[:, None]
    if rng is not None:
        joints += rng.normal(0, 1.0, joints.shape)
    return np.concatenate([joints, np.full((*joints.shape[:2], 1), 0.9)], axis=2).astype(np.float32)


def poses_of(joints: NDArray[np.float32], *, fps: float = 25.0, skeleton: Skeleton = COCO) -> Poses:
    return Poses(joints[:, None], np.arange(len(joints)) / fps, skeleton, (0,), (640, 480))


def joints(**poses: object) -> Joints:
    backbone = open_backbone("joints", poses=poses)
    assert isinstance(backbone, Joints)
    return backbone


def seen_by(poses: Poses, *, end: float = 4.0, backbone: Joints | None = None, start: float = 0.0) -> Features:
    backbone = backbone or joints(skeleton="coco-17")
    return backbone.embed([resample_poses(poses, backbone.view.timestamps(start, end).reshape(-1))])[0]


WAVING = dancing(np.arange(100) / 25)


def test_joints_are_in_body_lengths_around_the_body() -> None:
    features = seen_by(poses_of(WAVING))
    assert features.values.shape == (64, 17, 3)
    places = features.values[..., :2]
    np.testing.assert_allclose(np.median(places[:, 11:13].mean(axis=1), axis=0), 0, atol=1e-5)
    assert 0.8 < np.ptp(places[:, :, 1], axis=1).mean() < 1.2, "somebody who stands is about one body length long"
    assert features.times[0] == pytest.approx(4 / 128)
    np.testing.assert_allclose(features.values[..., 2], 0.9, rtol=1e-6)


@settings(max_examples=25, deadline=None)
@given(x=st.floats(-2000, 2000), y=st.floats(-2000, 2000), scale=st.floats(0.05, 20))
def test_neither_place_nor_picture_size_matter(x: float, y: float, scale: float) -> None:
    moved = WAVING.copy()
    moved[..., :2] = moved[..., :2] * scale + (x, y)
    np.testing.assert_allclose(seen_by(poses_of(moved)).values, seen_by(poses_of(WAVING)).values, atol=2e-3)


@settings(max_examples=15, deadline=None)
@given(fps=st.sampled_from([20.0, 24.0, 25.0, 29.97, 50.0, 60.0, 120.0]), kind=st.sampled_from([0, 1]))
def test_the_frame_rate_does_not_matter(fps: float, kind: int) -> None:
    count = round(4 * fps)
    values = seen_by(poses_of(dancing(np.arange(count) / fps, kind=kind), fps=fps)).values
    usual = seen_by(poses_of(dancing(np.arange(240) / 60, kind=kind), fps=60)).values
    assert np.abs(values - usual)[:-1].max() < 0.01


def test_a_mirrored_dance_is_another_one() -> None:
    mirrored = WAVING[:, list(COCO.flipped)].copy()
    mirrored[..., 0] *= -1
    assert np.abs(seen_by(poses_of(mirrored)).values - seen_by(poses_of(WAVING)).values).max() > 0.1


def test_travel_and_jumps_stay() -> None:
    jumping = WAVING.copy()
    jumping[40:50, :, 1] -= 60
    heights = seen_by(poses_of(jumping)).values[:, 11, 1]
    assert heights.min() == pytest.approx(-60 / 183.3, abs=0.03)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 10_000), share=st.floats(0.0, 0.4))
def test_missing_joints_are_filled_in_near_where_they_were(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    holes = WAVING.copy()
    holes[rng.random(holes.shape[:2]) < share] = np.nan
    filled, whole = seen_by(poses_of(holes)).values, seen_by(poses_of(WAVING)).values
    assert np.isfinite(filled).all()
    assert np.linalg.norm(filled[..., :2] - whole[..., :2], axis=-1).mean() < 0.05
    assert filled[..., 2].max() <= 0.9 + 1e-6


def test_what_is_filled_in_has_half_the_score_and_travels_with_the_body() -> None:
    travelling = WAVING.copy()
    travelling[..., 0] += np.linspace(0, 900, 100)[:, None]
    holes = travelling.copy()
    holes[50:, 15] = np.nan
    filled, whole = seen_by(poses_of(holes)).values, seen_by(poses_of(travelling)).values
    np.testing.assert_allclose(filled[-1, 15, :2], whole[-1, 15, :2], atol=0.05)
    np.testing.assert_allclose(filled[40:, 15, 2], 0.9 * FILLED, rtol=1e-5)
    np.testing.assert_allclose(filled[:30, 15, 2], 0.9, rtol=1e-5)


def test_a_joint_that_is_never_seen_lies_beside_its_neighbour_with_score_0() -> None:
    half = WAVING.copy()
    half[:, 11:] = np.nan  # neither hips nor legs
    values = seen_by(poses_of(half)).values
    assert np.isfinite(values).all()
    assert not values[:, 11:, 2].any()
    shoulders = values[:, 5:7, :2]
    np.testing.assert_allclose(values[:, 11, :2], shoulders[:, 0], atol=1e-6)
    np.testing.assert_allclose(values[:, 15, :2], shoulders[:, 0], atol=1e-6)


def test_a_body_without_a_trunk_or_names_has_a_length_too() -> None:
    legs = unnamed_skeleton(6, 2)
    poses = poses_of(WAVING[:, 11:], skeleton=legs)
    assert body_length(poses) == pytest.approx(np.hypot(90 + 0, 28), rel=0.1)
    values = seen_by(poses, backbone=joints(skeleton=json.dumps(legs.to_json()))).values
    assert values.shape == (64, 6, 3)
    assert 0.8 < np.ptp(values[:, :, 1], axis=1).mean() < 1.2


def test_three_frames_and_one_are_enough_to_look_at() -> None:
    for count in (1, 3):
        values = seen_by(poses_of(WAVING[:count]), end=count / 25).values
        assert values.shape == (64, 17, 3)
        assert np.isfinite(values).all()


def test_another_skeleton_is_brought_to_the_asked_one() -> None:
    poses = poses_of(WAVING)
    values = seen_by(poses, backbone=joints(skeleton="openpose-18")).values
    assert values.shape == (64, 18, 3)
    np.testing.assert_allclose(values[:, 1, :2], seen_by(poses).values[:, 5:7, :2].mean(axis=1), atol=1e-6)
    with pytest.raises(ConfigError, match="skeleton: is not known yet"):
        _ = joints().skeleton
    with pytest.raises(ConfigError, match=r"estimator: .*backbones that read poses"):
        open_backbone("flow-hist", poses={"estimator": "vitpose"})


# -- segments, people, sets --------------------------------------------------------------------------------------------------


def backbone() -> Joints:
    return joints(skeleton="coco-17")


def test_a_span_is_what_a_cut_file_would_be(tmp_path: Path) -> None:
    write_poses(poses_of(WAVING), tmp_path / "whole.npz")
    write_poses(poses_of(WAVING[25:75]), tmp_path / "cut.npz")
    span, cut = Segment(tmp_path / "whole.npz", start=1.0, end=3.0), Segment(tmp_path / "cut.npz")
    features = extract([span, cut], backbone()).features  # type: ignore[arg-type]
    np.testing.assert_allclose(features[span].values, features[cut].values, atol=1e-5)
    np.testing.assert_allclose(features[span].times, features[cut].times + 1.0)
    late = Segment(tmp_path / "cut.npz", start=9.0)
    (failure,) = extract([late], backbone()).failures  # type: ignore[arg-type]
    assert "starts at 9 s, but the poses end at 2.000 s" in str(failure)


def two_people(tmp_path: Path) -> Path:
    waving, steps = WAVING, dancing(np.arange(100) / 25, kind=1)
    steps[..., 0] += 300
    poses = Poses(np.stack([waving, steps], axis=1), np.arange(100) / 25, COCO, (1, 2), (640, 480))
    write_poses(poses, tmp_path / "two.npz")
    return tmp_path / "two.npz"


def test_each_person_is_a_segment_of_his_own(tmp_path: Path) -> None:
    path = two_people(tmp_path)
    cache = Cache(tmp_path / "store")
    segments, failures = select_people([Segment(path)], backbone(), "all", cache=cache)  # type: ignore[arg-type]
    assert [segment.person for segment in segments] == [1, 2]
    assert not failures
    features = extract(segments, backbone(), cache=cache).features  # type: ignore[arg-type]
    waving = seen_by(poses_of(WAVING)).values
    np.testing.assert_allclose(features[segments[0]].values, waving, atol=1e-5)
    assert np.abs(features[segments[1]].values - waving).max() > 0.1
    (failure,) = extract([Segment(path, person=7)], backbone(), cache=cache).failures  # type: ignore[arg-type]
    assert "has no person 7; its people are: 1, 2" in str(failure)
    assert extract(segments, backbone(), cache=cache).computed == 0  # type: ignore[arg-type]


def test_nobody_and_hardly_anybody_are_failures_and_the_others_go_on(tmp_path: Path) -> None:
    write_poses(poses_of(WAVING), tmp_path / "good.npz")
    gone = WAVING.copy()
    gone[30:] = np.nan
    write_poses(poses_of(gone), tmp_path / "gone.npz")
    few = np.full_like(WAVING, np.nan)
    few[:, :2] = WAVING[:, :2]
    write_poses(poses_of(few), tmp_path / "few.npz")
    np.save(tmp_path / "nobody.npy", np.zeros((10, 17, 3)))
    np.save(tmp_path / "spot.npy", np.full((10, 17, 2), 7.0))
    (tmp_path / "broken.json").write_text("{")
    names = ("good.npz", "gone.npz", "few.npz", "nobody.npy", "spot.npy", "broken.json", "absent.npy")
    extraction = extract([Segment(tmp_path / name) for name in names], backbone())  # type: ignore[arg-type]
    assert [segment.path.name for segment in extraction.features] == ["good.npz"]
    messages = {failure.segment.path.name: str(failure) for failure in extraction.failures}
    assert "visible at only" in messages["gone.npz"]
    assert "fewer than three joints" in messages["few.npz"]
    assert "no visible person in its 10 frames" in messages["nobody.npy"]
    assert "all joints of the person are at one point" in messages["spot.npy"]
    assert "is not JSON" in messages["broken.json"]
    assert "no such file" in messages["absent.npy"]


def test_half_gone_is_damaged_not_lost(tmp_path: Path) -> None:
    gone = WAVING.copy()
    gone[60:] = np.nan
    write_poses(poses_of(gone), tmp_path / "gone.npz")
    extraction = extract([Segment(tmp_path / "gone.npz")], backbone())  # type: ignore[arg-type]
    assert next(iter(extraction.damaged.values())) == pytest.approx(0.4, abs=0.02)


def test_what_decides_the_joints_decides_the_cache(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", WAVING)
    cache, segment = Cache(tmp_path / "store"), Segment(tmp_path / "a.npy")
    for options in ({"skeleton": "coco-17"}, {"skeleton": "coco-17", "pose_fps": 50.0}, {"skeleton": "points-17"}):
        assert extract([segment], joints(**options), cache=cache).computed == 1  # type: ignore[arg-type]
        assert extract([segment], joints(**options), cache=cache).computed == 0  # type: ignore[arg-type]
    np.save(tmp_path / "a.npy", WAVING[::-1])
    assert extract([segment], joints(skeleton="coco-17"), cache=cache).computed == 1  # type: ignore[arg-type]


def test_pictures_and_poses_are_not_mixed_up(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", WAVING)
    (failure,) = extract([Segment(tmp_path / "a.npy")], open_backbone("flow-hist")).failures
    assert "joints reads poses" in str(failure)
    with pytest.raises(ConfigError, match="person: the backbone 'flow-hist'"):
        select_people([Segment(tmp_path / "a.npy")], open_backbone("flow-hist"), "all", cache=Cache(tmp_path / "store"))


def small_set(folder: Path, *, each: int = 14) -> Path:
    """Waving and stepping, in pixels, at different places, sizes and frame rates, with some joints missing."""
    rng = np.random.default_rng(0)
    for kind, label in enumerate(("step", "wave")):
        (folder / label).mkdir(parents=True)
        for number in range(each):
            times = np.arange(60 + 5 * number) / 25 + rng.uniform(0, 5)
            joints = dancing(times, kind=1 - kind, rng=rng)
            joints[..., :2] = joints[..., :2] * rng.uniform(0.5, 3) + rng.uniform(300, 900, 2)
            joints[rng.random(joints.shape[:2]) < 0.05] = np.nan
            np.save(folder / label / f"{number}.npy", joints[..., : 2 + number % 2])
    return folder


@pytest.mark.slow
def test_a_folder_of_arrays_goes_through_every_verb(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "store")
    manifest = read_manifest(small_set(tmp_path / "set"))
    audit = check(manifest, cache=cache)
    assert not [finding for finding in audit.findings if finding.severity == "error"]
    assert audit.of("guessed")
    trained = train(manifest, TrainConfig(head="attention"), poses=PoseConfig(skeleton="coco-17"), cache=cache)
    assert trained.model.backbone.name == "joints"
    assert any("25 frames a second" in warning for warning in trained.warnings)
    trained.model.save(tmp_path / "model")
    model = Model.load(tmp_path / "model", cache=cache)
    assert model.spec.poses == {"skeleton": "coco-17"}
    report = evaluate(model, cache=cache)
    assert report.figures.accuracy.value == 1.0
    assert {baseline.name for baseline in report.baselines} == {"pose", "metadata", "majority"}
    assert not [baseline.problem for baseline in report.baselines if baseline.problem]
    assert not any("frame" in verdict.text and "single frame" in verdict.text for verdict in report.verdicts)
    result = predict(model, [tmp_path / "set" / "wave" / "1.npy"], cache=cache)
    assert result.predictions[0].label == "wave"
    result = predict(model, [two_people(tmp_path)], cache=cache, person="all")
    assert [(prediction.segment.person, prediction.label) for prediction in result.predictions] == [(1, "wave"), (2, "step")]


def test_a_model_keeps_the_skeleton_whole(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "store")
    manifest = read_manifest(small_set(tmp_path / "set", each=6))
    body = tmp_path / "body.json"
    body.write_text(json.dumps({"joints": [f"marker {number}" for number in range(17)], "edges": [[0, 1]]}))
    model = train(manifest, poses=PoseConfig(skeleton=str(body)), cache=cache).model
    model.save(tmp_path / "model")
    body.unlink()
    again = Model.load(tmp_path / "model", cache=cache)
    segment = Segment(tmp_path / "set" / "wave" / "1.npy")
    np.testing.assert_array_equal(
        again.predict([segment], cache=cache).predictions[0].scores, model.predict([segment], cache=cache).predictions[0].scores
    )
    (failure,) = again.predict([Segment(_saved(tmp_path, WAVING[:, :12]))], cache=cache).failures
    assert "has 12 joints and the skeleton 'body' has 17" in str(failure)


def _saved(tmp_path: Path, joints: NDArray[np.float32]) -> Path:
    np.save(tmp_path / "other.npy", joints)
    return tmp_path / "other.npy"


def test_sets_of_several_skeletons_are_brought_to_one(tmp_path: Path) -> None:
    cache, segments = Cache(tmp_path / "store"), []
    rng = np.random.default_rng(0)
    for number in range(12):
        poses = poses_of(dancing(np.arange(60) / 25 + number, kind=number % 2, rng=rng))
        if number % 3 == 0:
            wide = SKELETONS["coco-23"]
            more = np.concatenate([poses.joints, poses.joints[:, :, -6:]], axis=2)
            poses = Poses(more, poses.times, wide, (0,))
        write_poses(poses, tmp_path / f"{number}.npz")
        segments.append(Segment(tmp_path / f"{number}.npz", ("wave", "step")[number % 2]))
    trained = train(Manifest(tuple(segments)), cache=cache)
    assert trained.model.spec.poses == {"skeleton": "coco-17"}
    assert any("converted to coco-17" in warning for warning in trained.warnings)
    assert not trained.failures


def test_copies_of_one_sequence_are_kept_together_and_named(tmp_path: Path) -> None:
    folder = small_set(tmp_path / "set", each=6)
    joints = np.load(folder / "wave" / "1.npy")
    np.save(folder / "wave" / "copy.npy", joints)
    moved = joints.copy()
    moved[..., :2] = moved[..., :2] * 2.5 + 40
    np.save(folder / "step" / "scaled.npy", moved)
    np.save(folder / "wave" / "zero.npy", np.zeros((20, 17, 3)))
    np.save(folder / "wave" / "still.npy", np.repeat(WAVING[:1], 30, axis=0))
    audit = check(read_manifest(folder), cache=Cache(tmp_path / "store"))
    assert {segment.path.name for segment in audit.of("duplicate")[0].segments} == {"1.npy", "copy.npy"}
    assert "scaled.npy" in {segment.path.name for finding in audit.of("near-duplicate") for segment in finding.segments}
    assert [finding for finding in audit.of("unreadable") if "no visible person" in finding.sentence]
    assert "still.npy" in audit.of("no-motion")[0].sentence


def test_somebody_who_is_there_for_a_while_is_judged_over_that_while(tmp_path: Path) -> None:
    steps = dancing(np.arange(100) / 25, kind=1)
    steps[..., 0] += 300
    steps[:70] = np.nan
    poses = Poses(np.stack([WAVING, steps], axis=1), np.arange(100) / 25, COCO, (1, 2))
    write_poses(poses, tmp_path / "two.npz")
    cache = Cache(tmp_path / "store")
    segments, _ = select_people([Segment(tmp_path / "two.npz")], backbone(), "all", cache=cache)  # type: ignore[arg-type]
    assert [(segment.person, segment.start, segment.end) for segment in segments] == [(1, 0.0, None), (2, 2.8, pytest.approx(4.0))]
    assert not extract(segments, backbone(), cache=cache).failures  # type: ignore[arg-type]


def test_one_person_a_segment_is_learnt_from(tmp_path: Path) -> None:
    manifest = read_manifest(small_set(tmp_path / "set", each=4))
    with pytest.raises(ConfigError, match="person: a model is trained on one person a segment"):
        train(manifest, poses=PoseConfig(person="all"))
    with pytest.raises(ConfigError, match="person: auto, all, or the number"):
        PoseConfig(person="left")
    with pytest.raises(ConfigError, match="backbones that read poses"):
        train(manifest, TrainConfig(backbone="flow-hist"), poses=PoseConfig(person="1"))


def test_three_dimensions_are_kept(tmp_path: Path) -> None:
    deep = np.concatenate([WAVING[..., :2], 0.3 * WAVING[..., :1], WAVING[..., 2:]], axis=2)
    solid = replace(COCO, dimensions=3)
    features = seen_by(Poses(deep[:, None], np.arange(100) / 25, solid, (0,)), backbone=joints(skeleton="coco-17-3d"))
    assert features.values.shape == (64, 17, 4)
    write_poses(poses_of(WAVING), tmp_path / "flat.npz")
    (failure,) = extract([Segment(tmp_path / "flat.npz")], joints(skeleton="coco-17-3d")).failures  # type: ignore[arg-type]
    assert isinstance(failure.error, MediaError)
    assert "its poses have 2 dimensions, and the skeleton 'coco-17' has 3" in str(failure)


def test_a_file_of_one_sequence_is_no_set(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", WAVING)
    with pytest.raises(ManifestError, match="single pose sequence"):
        read_manifest(tmp_path / "a.npy")
