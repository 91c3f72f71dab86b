"""Estimators: real people are found, in arrays of any layout; one video says nothing about the next; networks give their own answers."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from places import ROOT, SHARED
from pose_checkpoints import save_detector, save_onnx, save_pose

from quickstep.apps.commands.signals import AllPeople, pose_command
from quickstep.signals.poses import ESTIMATORS, EstimatorCapabilities, EstimatorOptions, estimates_depth, open_estimator
from quickstep.signals.poses.config import PoseConfig
from quickstep.signals.poses.extraction import PoseOutput, extract_poses
from quickstep.signals.poses.formats import read_poses
from quickstep.signals.poses.mediapipe_tracking import Region, region_around, tiles, whole_frame, wider_region
from quickstep.signals.video import read_frames, write_video
from quickstep.storage.cache import Cache
from quickstep.types.errors import CacheError, ConfigError, UnknownName, WeightsError
from quickstep.types.registry import trust
from quickstep.types.segment import Segment
from quickstep.types.signals import Frames, Poses
from quickstep.types.skeleton import Skeleton, read_skeleton

COCO = read_skeleton("coco-17")


class Spots:
    """A stand-in: each bright square of the picture is a body whose joints lie around its middle."""

    name = "spots"
    batch = 4
    identity: ClassVar[dict[str, str]] = {"name": "spots"}
    skeleton = COCO
    capabilities = EstimatorCapabilities(model=False)

    def __init__(self, options: EstimatorOptions | None = None) -> None:
        self.people = (options or EstimatorOptions()).people

    def start(self) -> None:
        """Nothing is remembered."""

    def estimate(self, frames: Frames) -> Poses:
        joints = np.zeros((len(frames), self.people, 17, 3), np.float32)
        height, width = frames.pixels.shape[1:3]
        for number, pixels in enumerate(frames.pixels):
            for place, half in enumerate((pixels[:, : width // 2], pixels[:, width // 2 :])):
                rows, columns = np.nonzero(half.max(axis=2) > 150)
                if len(rows) > 20:
                    spread = np.stack([np.linspace(columns.min(), columns.max(), 17), np.linspace(rows.min(), rows.max(), 17)], axis=1)
                    joints[number, place] = np.c_[spread + np.array([place * (width // 2), 0]), np.full(17, 0.9)]
        return Poses(joints, frames.times, COCO, tuple(range(self.people)), (width, height))

    def close(self) -> None:
        """Nothing is held."""


@pytest.fixture(scope="module")
def spots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two squares, one of which walks."""
    pictures = np.zeros((50, 120, 320, 3), np.uint8)
    for number in range(50):
        pictures[number, 40:100, 20 + number : 50 + number] = 200
        pictures[number, 50:90, 250:270] = 200
    file = tmp_path_factory.mktemp("spots") / "spots.mp4"
    write_video(file, iter(pictures), fps=25)
    return file


def picture_frames(pixels: np.ndarray[Any, Any], fps: float = 25) -> Frames:
    return Frames(pixels, np.arange(len(pixels)) / fps)


# -- the table ---------------------------------------------------------------------------------------------------------------


def test_an_unknown_estimator_is_answered_with_the_names() -> None:
    with pytest.raises(UnknownName, match="mediapipe, rtmpose, vitpose"):
        open_estimator("openpose")
    assert set(ESTIMATORS) == {"mediapipe", "vitpose", "rtmpose"}


def test_an_estimator_from_elsewhere_is_opened_by_name_or_passed() -> None:
    estimator = Spots()
    assert open_estimator(estimator) is estimator
    trust("tests.signals.poses.test_estimation")
    assert open_estimator("tests.signals.poses.test_estimation:Spots", people=2).skeleton == COCO
    with pytest.raises(ConfigError, match="no choice of models"):
        open_estimator("tests.signals.poses.test_estimation:Spots", model="x")
    with pytest.raises(ConfigError, match="people"):
        open_estimator("tests.signals.poses.test_estimation:Spots", people=0)
    assert not estimates_depth(estimator)


# -- regions -----------------------------------------------------------------------------------------------------------------


@given(st.integers(16, 4000), st.integers(16, 4000))
@settings(max_examples=60)
def test_tiles_cover_the_frame_and_are_few(width: int, height: int) -> None:
    estimated = tiles((width, height))
    longer, shorter = max(width, height), min(width, height)
    assert len(estimated) <= 8 + 8 * longer / shorter
    for side in {tile.side for tile in estimated}:
        points = np.random.default_rng(0).uniform((0, 0), (width, height), (50, 2))
        for x, y in points:
            assert any(t.left <= x <= t.left + side and t.top <= y <= t.top + side for t in estimated if t.side == side)


@given(st.integers(-50, 150), st.integers(-50, 150), st.integers(1, 120))
@settings(max_examples=60)
def test_a_region_is_black_outside_the_frame(left: int, top: int, side: int) -> None:
    pixels = np.random.default_rng(0).integers(1, 255, (80, 100, 3)).astype(np.uint8)
    square = Region(left, top, side).cut(pixels)
    assert square.shape == (side, side, 3)
    assert square.flags.c_contiguous
    padded = np.zeros((480, 500, 3), np.uint8)
    padded[200:280, 200:300] = pixels
    np.testing.assert_array_equal(square, padded[200 + top : 200 + top + side, 200 + left : 200 + left + side])


def test_a_region_leaves_room_around_the_person() -> None:
    box = np.array([300, 200, 360, 320], np.float32)
    region = region_around(box, (1280, 720))
    assert region.holds(box, (1280, 720))
    assert not region.holds(box + np.float32([100, 0, 100, 0]), (1280, 720))
    assert wider_region(region, (1280, 720)).side > region.side
    assert region_around(np.array([100, 0, 700, 720], np.float32), (1280, 720)) == whole_frame((1280, 720))


# -- mediapipe ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model() -> Path:
    pytest.importorskip("mediapipe", reason="pip install 'quickstep[pose]'")
    file = SHARED / "models" / "pose_landmarker_full.task"
    if not file.is_file():
        pytest.skip("the pose model of ../shared/data/models is not here")
    return file


@pytest.fixture(scope="module")
def mediapipe(model: Path) -> Iterator[Any]:
    estimator = open_estimator("mediapipe", model=model, people=2)
    yield estimator
    estimator.close()


@pytest.fixture(scope="module")
def kinetics() -> Path:
    folder = SHARED / "kinetics_smoke"
    if not folder.is_dir():
        pytest.skip("the real videos of ../shared/data/kinetics_smoke are not here")
    return folder


def real(folder: Path, name: str, seconds: float = 1.0, start: float = 0.0) -> Frames:
    times = start + np.arange(round(25 * seconds)) / 25
    return Frames(read_frames(folder / name, times).pixels, times - start)


@pytest.mark.parametrize("name", ["ta_chi.mp4", "clean_and_jerk.mp4", "v_CricketShot_g04_c01_rgb.gif", "skateboarding.mp4"])
def test_real_people_are_found(mediapipe: Any, kinetics: Path, name: str) -> None:
    frames = real(kinetics, name, start=2.0)
    mediapipe.start()
    poses = mediapipe.estimate(frames)
    visible = poses.seen.any(axis=(1, 2))
    assert visible.mean() >= 0.95
    assert poses.skeleton.name == "blazepose-33"
    assert poses.size == (frames.pixels.shape[2], frames.pixels.shape[1])
    surest = poses.joints[visible][np.arange(visible.sum()), poses.joints[visible][..., 2].mean(axis=2).argmax(axis=1)]
    head, hips, ankles = surest[:, 0, 1], surest[:, [23, 24], 1].mean(axis=1), surest[:, [27, 28], 1].mean(axis=1)
    upright = (head < hips) & (hips < ankles)
    assert upright.mean() > 0.9
    inside = (surest[:, :, 0] > -50) & (surest[:, :, 0] < poses.size[0] + 50)
    assert inside.mean() > 0.95


def test_padded_rows_give_the_same_joints(mediapipe: Any, kinetics: Path) -> None:
    frames = real(kinetics, "ta_chi.mp4", 0.4)
    count, height, width, _ = frames.pixels.shape
    padding = np.full((count, height, width + 37, 3), 128, np.uint8)
    padding[:, :, :width] = frames.pixels
    padded = Frames(padding[:, :, :width], frames.times)
    assert not padded.pixels[0].flags.c_contiguous
    estimated = []
    for copied in (frames, padded, Frames(np.asfortranarray(frames.pixels), frames.times)):
        mediapipe.start()
        estimated.append(mediapipe.estimate(copied).joints)
    assert (estimated[0][..., 2] > 0).any()
    np.testing.assert_array_equal(estimated[0], estimated[1])
    np.testing.assert_array_equal(estimated[0], estimated[2])


def test_videos_do_not_influence_each_other(model: Path, mediapipe: Any, kinetics: Path) -> None:
    one, other = real(kinetics, "clean_and_jerk.mp4", 0.4), real(kinetics, "ta_chi.mp4", 0.6)
    fresh = open_estimator("mediapipe", model=model, people=2)
    fresh.start()
    expected = fresh.estimate(other)
    fresh.close()
    mediapipe.start()
    mediapipe.estimate(one)
    mediapipe.start()
    np.testing.assert_array_equal(mediapipe.estimate(other).joints, expected.joints)


def test_batches_do_not_change_the_joints(mediapipe: Any, kinetics: Path) -> None:
    frames = real(kinetics, "skateboarding.mp4", 0.8, start=3.0)
    mediapipe.start()
    expected = mediapipe.estimate(frames).joints
    mediapipe.start()
    parts = [mediapipe.estimate(Frames(frames.pixels[at : at + 7], frames.times[at : at + 7])).joints for at in range(0, 20, 7)]
    np.testing.assert_array_equal(np.concatenate(parts), expected)


def test_several_people_are_found_up_to_the_limit(model: Path, kinetics: Path) -> None:
    frames = real(kinetics, "exercise.avi", 0.8, start=8.0)
    for people in (1, 3):
        estimator = open_estimator("mediapipe", model=model, people=people)
        estimator.start()
        poses = estimator.estimate(frames)
        estimator.close()
        assert poses.joints.shape[1] == people
        assert (poses.seen.any(axis=2).sum(axis=1) >= people - (people > 1)).all()
    places = np.sort(poses.joints[-1, :, [11, 12], 0].mean(axis=0))
    assert (np.diff(places[np.isfinite(places)]) > 20).all()


def test_joints_in_3d_belong_to_the_same_bodies(model: Path, kinetics: Path) -> None:
    frames = real(kinetics, "clean_and_jerk.mp4", 0.4)
    estimator = open_estimator("mediapipe", model=model, people=1)
    assert estimates_depth(estimator)
    estimator.start()
    flat, world = estimator.estimate_both(frames)
    estimator.close()
    assert world.joints.shape == (10, 1, 33, 4)
    assert world.skeleton.dimensions == 3
    np.testing.assert_array_equal(world.seen, flat.seen)
    hips = world.joints[:, 0, [23, 24], :3].mean(axis=1)
    assert np.abs(hips).max() < 0.05
    reach = np.ptp(world.joints[:, 0, :, :3], axis=1).max(axis=1)
    assert ((reach > 0.6) & (reach < 2.6)).all()
    from quickstep.signals.poses.mediapipe import MediaPipe

    deep = MediaPipe(EstimatorOptions(model=model, people=1), space="world")
    deep.start()
    np.testing.assert_array_equal(deep.estimate(frames).joints, world.joints)
    assert deep.skeleton.dimensions == 3
    deep.close()


def test_empty_and_odd_frames_have_no_people(mediapipe: Any) -> None:
    for shape in ((3, 240, 320, 3), (2, 8, 8, 3), (1, 1, 1, 3), (2, 40, 2000, 3), (0, 64, 64, 3)):
        mediapipe.start()
        poses = mediapipe.estimate(picture_frames(np.full(shape, 90, np.uint8)))
        assert len(poses) == shape[0]
        assert not poses.seen.any()


def test_a_closed_estimator_opens_again(model: Path, kinetics: Path) -> None:
    frames = real(kinetics, "ta_chi.mp4", 0.12)
    estimator = open_estimator("mediapipe", model=model, people=1)
    first = estimator.estimate(frames).joints
    estimator.close()
    estimator.close()
    np.testing.assert_array_equal(estimator.estimate(frames).joints, first)
    estimator.close()


def test_mediapipe_writes_nothing_to_stderr_and_exits_cleanly(model: Path, kinetics: Path) -> None:
    code = (
        "import sys, numpy as np; from quickstep.signals.video import read_frames; from quickstep.signals.poses import open_estimator\n"
        "from quickstep.types.signals import Frames; t = np.arange(8) / 25\n"
        f"f = Frames(read_frames({str(kinetics / 'ta_chi.mp4')!r}, t).pixels, t)\n"
        f"e = open_estimator('mediapipe', model={str(model)!r}); print(e.estimate(f).seen.any()); print('said', file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "True\n"
    assert done.stderr == "said\n"


def test_files_that_are_not_a_model_are_refused(model: Path, tmp_path: Path) -> None:
    def refused(file: Path | str) -> str:
        with pytest.raises((WeightsError, ConfigError)) as caught:
            open_estimator("mediapipe", model=file).estimate(picture_frames(np.zeros((1, 64, 64, 3), np.uint8)))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    words = tmp_path / "words.task"
    words.write_text("not a model")
    assert "not a model" in refused(words)
    whole = model.read_bytes()
    (tmp_path / "cut.task").write_bytes(whole[: len(whole) // 2])
    assert "cut short" in refused(tmp_path / "cut.task")
    (tmp_path / "turned.task").write_bytes(whole[:4_000_000] + bytes(50) + whole[4_000_050:])
    assert "damaged" in refused(tmp_path / "turned.task")
    with zipfile.ZipFile(tmp_path / "other.task", "w") as other:
        other.writestr("face_detector.tflite", "x")
    assert "something else" in refused(tmp_path / "other.task")
    with zipfile.ZipFile(tmp_path / "hollow.task", "w") as hollow:
        hollow.writestr("pose_detector.tflite", "x" * 100)
        hollow.writestr("pose_landmarks_detector.tflite", "x" * 100)
    assert "cannot be loaded" in refused(tmp_path / "hollow.task")
    assert "does not exist" in refused(tmp_path / "none.task")
    assert "is a folder" in refused(tmp_path)


def test_the_environment_may_name_the_model_and_people_are_limited(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUICKSTEP_POSE_MODEL", str(model))
    caught = open_estimator("mediapipe").identity
    assert caught["model"] == hashlib.sha256(model.read_bytes()).hexdigest()
    assert json.loads(json.dumps(caught)) == caught
    with pytest.raises(ConfigError, match="vitpose and rtmpose"):
        open_estimator("mediapipe", people=9)


# -- downloads ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "model.task").write_bytes(b"the model")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    handler = functools.partial(Quiet, directory=tmp_path / "served")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_address[1]}"
        served.shutdown()


def test_a_model_is_downloaded_once_and_its_sha256_checked(server: str, tmp_path: Path) -> None:
    download_model = pytest.importorskip("quickstep.signals.poses.mediapipe_landmarker").download_model
    cache, sha256 = Cache(tmp_path / "cache"), hashlib.sha256(b"the model").hexdigest()
    download = functools.partial(download_model, f"{server}/model.task", sha256=sha256, cache=cache)
    file = download()
    assert file.read_bytes() == b"the model"
    (tmp_path / "served" / "model.task").unlink()
    assert download() == file
    file.write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="cannot be reached"):
        download()
    (tmp_path / "served" / "model.task").write_bytes(b"another")
    with pytest.raises(WeightsError, match="sha256"):
        download()
    (tmp_path / "served" / "model.task").write_bytes(b"the model")
    assert download().read_bytes() == b"the model", "a damaged file is downloaded again"
    assert list(file.parent.iterdir()) == [file]


def test_without_a_network_one_line_names_the_alternative(tmp_path: Path) -> None:
    download_model = pytest.importorskip("quickstep.signals.poses.mediapipe_landmarker").download_model
    with pytest.raises(WeightsError, match="QUICKSTEP_POSE_MODEL") as caught:
        download_model("http://127.0.0.1:9/model.task", sha256="0" * 64, cache=Cache(tmp_path / "cache"))
    assert "\n" not in str(caught.value)
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match="cannot be written"):
        download_model("http://127.0.0.1:9/model.task", sha256="0" * 64, cache=Cache(tmp_path / "file"))


# -- vitpose -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_detector(tmp_path_factory.mktemp("detector"))


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    return {experts: save_pose(tmp_path_factory.mktemp("pose"), experts=experts) for experts in (1, 6)}


NOISE = np.random.default_rng(0).integers(0, 255, (5, 90, 120, 3)).astype(np.uint8)


@pytest.mark.parametrize("experts", [1, 6])
def test_vitpose_equals_a_pipeline_of_transformers(detector: Path, checkpoints: dict[int, Path], experts: int) -> None:
    people = 5
    estimated = open_estimator("vitpose", model=f"{detector},{checkpoints[experts]}", people=people, device="cpu").estimate(
        picture_frames(NOISE)
    )
    looks = transformers.RTDetrImageProcessorPil.from_pretrained(detector)
    finds = transformers.RTDetrForObjectDetection.from_pretrained(detector)
    crops = transformers.VitPoseImageProcessorPil.from_pretrained(checkpoints[experts])
    joints = transformers.VitPoseForPoseEstimation.from_pretrained(checkpoints[experts])
    assert estimated.joints.shape == (5, people, 17, 3)
    for number, picture in enumerate(NOISE):
        with torch.no_grad():
            caught = finds(**looks(images=picture, return_tensors="pt"))
            one = looks.post_process_object_detection(caught, target_sizes=[(90, 120)], threshold=0.3)[0]
            boxes = one["boxes"][one["labels"] == 0][:people].numpy()
            boxes[:, 2:] -= boxes[:, :2]
            prepared = crops(picture, boxes=[boxes], return_tensors="pt")
            experts_asked = {"dataset_index": torch.zeros(len(boxes), dtype=torch.long)} if experts > 1 else {}
            answer = crops.post_process_pose_estimation(joints(**prepared, **experts_asked), boxes=[boxes])[0]
        assert len(answer) == people
        for place, person in enumerate(answer):
            visible = person["scores"].numpy() > 0
            assert visible.mean() > 0.5
            np.testing.assert_array_equal(estimated.seen[number, place], visible)
            np.testing.assert_allclose(estimated.joints[number, place, visible, :2], person["keypoints"].numpy()[visible], atol=0.02)
            np.testing.assert_allclose(
                estimated.joints[number, place, visible, 2], person["scores"].numpy()[visible].clip(max=1), atol=1e-4
            )


def test_vitpose_does_not_depend_on_the_batch(detector: Path, checkpoints: dict[int, Path]) -> None:
    estimator = open_estimator("vitpose", model=f"{detector},{checkpoints[1]}", people=3, device="cpu")
    together = estimator.estimate(picture_frames(NOISE)).joints
    alone = np.concatenate([estimator.estimate(picture_frames(NOISE[number : number + 1])).joints for number in range(5)])
    np.testing.assert_allclose(together, alone, atol=1e-3)
    estimator.close()
    np.testing.assert_allclose(estimator.estimate(picture_frames(NOISE[:1])).joints, alone[:1], atol=1e-3)


def test_vitpose_may_find_nobody(tmp_path: Path, checkpoints: dict[int, Path]) -> None:
    blind = save_detector(tmp_path / "blind", sure=-9.0)
    poses = open_estimator("vitpose", model=f"{blind},{checkpoints[1]}").estimate(picture_frames(NOISE))
    assert not poses.seen.any()


def test_the_identity_of_vitpose_depends_on_the_weights(detector: Path, checkpoints: dict[int, Path]) -> None:
    one, other = (open_estimator("vitpose", model=f"{detector},{checkpoints[k]}").identity for k in (1, 6))
    assert one["pose"] != other["pose"]
    assert one["detector"] == other["detector"]
    assert json.loads(json.dumps(one)) == one


def test_a_checkpoint_with_other_joints_has_its_own_skeleton(tmp_path: Path, detector: Path) -> None:
    estimator = open_estimator("vitpose", model=f"{detector},{save_pose(tmp_path / 'more', joints=21)}")
    assert len(estimator.skeleton) == 21
    assert isinstance(estimator.skeleton, Skeleton)
    assert estimator.estimate(picture_frames(NOISE[:1])).joints.shape[2] == 21


def test_vitpose_without_a_model_needs_the_hub(monkeypatch: pytest.MonkeyPatch, spots: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for model in (None, "somebody/pose"):
        with pytest.raises(WeightsError, match=r"not on this machine.*DETECTOR,POSE"):
            extract_poses([Segment(spots)], PoseConfig(estimator="vitpose", pose_model=model))


def test_checkpoints_that_do_not_fit_are_refused_in_one_line(tmp_path: Path, detector: Path, checkpoints: dict[int, Path]) -> None:
    def refused(model: str) -> str:
        with pytest.raises((WeightsError, ConfigError)) as caught:
            open_estimator("vitpose", model=model).estimate(picture_frames(NOISE[:1]))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    pose = checkpoints[1]
    assert "does not exist" in refused(f"{detector},{tmp_path}/none/at/all")
    assert "no config.json" in refused(f"{tmp_path},{pose}")
    assert "not of ViTPose" in refused(f"{detector},{detector}")
    assert "not a person detector" in refused(f"{pose},{pose}")
    assert "DETECTOR,POSE" in refused("a,b,c")
    assert "DETECTOR,POSE" in refused(",")
    strangers = save_detector(tmp_path / "cars", people=("car", "bus", "cat"))
    assert "not a person detector" in refused(f"{strangers},{pose}")
    cut = save_pose(tmp_path / "cut")
    file = cut / "model.safetensors"
    file.write_bytes(file.read_bytes()[:2000])
    assert "cut" in refused(f"{detector},{cut}")
    from safetensors.torch import load_file, save_file

    for change, what in ((lambda w: w.pop("head.conv.weight"), "lacks"), (lambda w: w.update(extra=torch.zeros(1)), "besides")):
        torn = save_pose(tmp_path / what)
        weights = load_file(torn / "model.safetensors")
        change(weights)
        save_file(weights, torn / "model.safetensors", {"format": "pt"})
        assert what in refused(f"{detector},{torn}")


def test_a_name_on_an_unreachable_hub_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, detector: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match="not on this machine") as caught:
        _ = open_estimator("vitpose", model=f"{detector},nobody/nothing-{tmp_path.name}").identity
    assert "DETECTOR,POSE" in str(caught.value)


# -- rtmpose -----------------------------------------------------------------------------------------------------------------


def test_rtmpose_maps_joints_to_the_frame(tmp_path: Path) -> None:
    pytest.importorskip("rtmlib", reason="pip install 'quickstep[rtmpose]'")
    pytest.importorskip("onnx", reason="needed to write the small networks of this test")
    detector, pose = save_onnx(tmp_path)
    estimator = open_estimator("rtmpose", model=f"{detector},{pose}")
    assert estimator.skeleton.name == "coco-17"
    poses = estimator.estimate(picture_frames(np.zeros((2, 128, 128, 3), np.uint8)))
    assert poses.seen.any(axis=2).sum(axis=1).tolist() == [2, 2]
    # A box of 50 x 90 is widened by a quarter and to the shape 48 x 64; its joints lie on a diagonal.
    height = 90 * 1.25
    width = height * 48 / 64
    shares = np.stack([(10 + 4 * np.arange(17)) / 96, (20 + 5 * np.arange(17)) / 128], axis=1)
    expected = np.array([35, 55]) + (shares - 0.5) * [width, height]
    np.testing.assert_allclose(poses.joints[0, 0, :, :2], expected, atol=0.01)
    np.testing.assert_allclose(poses.joints[0, 0, :, 2], 0.8, atol=0.06)
    for wrong in (f"{pose},{detector}", f"{detector},{detector}", f"{detector},{__file__}", f"{detector},none.onnx", "none"):
        with pytest.raises((WeightsError, ConfigError)):
            open_estimator("rtmpose", model=wrong).estimate(picture_frames(np.zeros((1, 128, 128, 3), np.uint8)))


# -- the command -------------------------------------------------------------------------------------------------------------

SPOTS = PoseConfig(estimator="tests.signals.poses.test_estimation:Spots", person="all")


def test_extract_poses_writes_draws_and_summarizes(spots: Path, tmp_path: Path) -> None:
    where = PoseOutput(tmp_path / "poses.npz", tmp_path / "drawn.mp4")
    extracted, failures = extract_poses([Segment(spots)], SPOTS, where)
    assert not failures
    assert (extracted[0].moments, len(extracted[0].people), extracted[0].seen) == (50, 2, 1.0)
    poses = read_poses(tmp_path / "poses.npz")
    assert poses.joints.shape == (50, 2, 17, 3)
    assert poses.people == (1, 2)
    walks = np.diff(poses.joints[:, 0, :, 0].mean(axis=1))
    np.testing.assert_allclose(walks.mean(), 1.0, atol=0.1)  # the dancer is the one who moves
    assert (tmp_path / "drawn.mp4").is_file()


def test_extract_poses_reads_pose_files(spots: Path, tmp_path: Path) -> None:
    extract_poses([Segment(spots)], SPOTS, PoseOutput(tmp_path / "poses.npz"))
    segment = Segment(tmp_path / "poses.npz")
    extracted, _ = extract_poses(
        [segment], PoseConfig(person="1"), PoseOutput(tmp_path / "one.npz", tmp_path / "stick.mp4", stick_figures=True)
    )
    assert [person.number for person in extracted[0].people] == [1]
    assert read_poses(tmp_path / "one.npz").people == (1,)


def test_several_videos_have_a_file_each_and_failures_are_listed(spots: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_text("no video")
    empty = tmp_path / "empty" / "spots.mp4"
    empty.parent.mkdir()
    write_video(empty, iter(np.zeros((10, 64, 64, 3), np.uint8)), fps=25)
    extracted, failures = extract_poses(
        [Segment(spots), Segment(tmp_path / "broken.mp4"), Segment(empty)], SPOTS, PoseOutput(tmp_path / "out")
    )
    assert [len(poses.people) for poses in extracted] == [2, 0]
    assert "nobody" in str(extracted[1])
    assert [failure.segment.path.name for failure in failures] == ["broken.mp4"]
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["spots.npz"]
    with pytest.raises(ConfigError, match="name a folder"):
        extract_poses([Segment(spots), Segment(empty)], SPOTS, PoseOutput(tmp_path / "one.npz"))
    assert extract_poses([], SPOTS, PoseOutput(tmp_path / "one.npz")) == (
        [],
        [],
    )  # all that was named could not be read: that is told, not this


def test_invalid_extractions_are_refused(spots: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no depth"):
        extract_poses([Segment(spots)], SPOTS, world=True)
    with pytest.raises(ConfigError, match="draw"):
        extract_poses([Segment(spots)], SPOTS, PoseOutput(stick_figures=True))
    _, failures = extract_poses([Segment(spots)], PoseConfig(estimator=SPOTS.estimator, person="7"))
    assert "its people are: 1, 2" in str(failures[0])


def test_the_command_prints_a_table_or_json(spots: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from quickstep.apps.commands.options import Run

    bodies = AllPeople(estimator=SPOTS.estimator)
    assert pose_command((str(spots),), out=tmp_path / "p.npz", people=bodies) == 0
    captured = capsys.readouterr()
    assert "100%" in captured.out
    assert "2 people" in captured.err
    assert pose_command((str(spots),), people=bodies, run=Run(json=True)) == 0
    caught = json.loads(capsys.readouterr().out)
    assert [person["number"] for person in caught[0]["people"]] == [1, 2]
    nobody = tmp_path / "nobody.mp4"
    write_video(nobody, iter(np.zeros((10, 64, 64, 3), np.uint8)), fps=25)
    assert pose_command((str(nobody),), out=tmp_path / "n.npz", people=bodies) == 1
    assert "nobody" in capsys.readouterr().err
    assert not (tmp_path / "n.npz").exists()


def test_joints_in_metres_are_written_with_world(model: Path, kinetics: Path, tmp_path: Path) -> None:
    video = tmp_path / "lift.mp4"
    write_video(video, iter(real(kinetics, "clean_and_jerk.mp4", 0.6).pixels[:, :, :454]), fps=25)
    config = PoseConfig(pose_model=str(model), person="all")
    extracted, _ = extract_poses([Segment(video)], config, PoseOutput(tmp_path / "w.npz", tmp_path / "d.mp4"), world=True)
    assert extracted[0].seen == 1.0
    poses = read_poses(tmp_path / "w.npz")
    assert poses.skeleton.dimensions == 3
    assert poses.joints.shape[2:] == (33, 4)
