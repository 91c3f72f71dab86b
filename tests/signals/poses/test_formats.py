"""Files of poses that others wrote: each form gives the joints it holds, whatever it is called; what is broken is one line."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from quickstep.datasets.manifest import read_manifest, write_manifest
from quickstep.signals.poses.formats import is_pose_file, read_file, read_poses, write_poses
from quickstep.signals.poses.formats.raw_poses import frame_numbers
from quickstep.types.errors import ManifestError, MediaError, QuickstepError
from quickstep.types.signals import Poses
from quickstep.types.skeleton import SKELETONS

Floats = NDArray[np.float32]


def moving(frames: int = 6, joints: int = 17, *, seed: int = 0) -> Floats:
    """(T, K, 3): x, y in pixels and a score."""
    rng = np.random.default_rng(seed)
    places = rng.uniform(50, 400, (1, joints, 2)) + np.arange(frames)[:, None, None] * 3
    return np.concatenate([places, rng.uniform(0.3, 1, (frames, joints, 1))], axis=2).astype(np.float32)


def same_joints(poses: Poses, joints: Floats, person: int = 0) -> None:
    np.testing.assert_allclose(poses.joints[:, person], joints, rtol=1e-5)


# -- AlphaPose, OpenPose, COCO, MMPose -----------------------------------------------------------------------------------------


def alphapose(joints: Floats, *, name: str = "{}.jpg", idx: int | None = None) -> list[dict[str, Any]]:
    entries = []
    for number, body in enumerate(joints):
        entry: dict[str, Any] = {"image_id": name.format(number), "category_id": 1, "keypoints": body.ravel().tolist(), "score": 2.5}
        entries.append(entry if idx is None else entry | {"idx": idx, "box": [0, 0, 1, 1]})
    return entries


def test_alphapose_results_keep_identities_and_empty_frames(tmp_path: Path) -> None:
    one, other = moving(6, seed=1), moving(6, seed=2)
    entries = alphapose(one, idx=4) + [entry for entry in alphapose(other, idx=9) if entry["image_id"] not in ("2.jpg", "3.jpg")]
    file = tmp_path / "alphapose-results.json"
    file.write_text(json.dumps(entries))
    poses = read_poses(file, fps=30)
    assert poses.people == (4, 9)
    assert poses.skeleton.name == "coco-17"
    np.testing.assert_allclose(poses.times, np.arange(6) / 30)
    same_joints(poses, one, 0)
    assert poses.seen[:, 1].all(axis=1).tolist() == [True, True, False, False, True, True]
    assert np.isnan(poses.joints[2, 1, :, :2]).all()


@pytest.mark.parametrize(("form", "key", "inner"), [("cmu", "bodies", "joints"), ("open", "people", "pose_keypoints_2d")])
def test_alphapose_in_its_other_forms_has_18_joints(tmp_path: Path, form: str, key: str, inner: str) -> None:
    joints = moving(5, 18)
    pictures = {f"{n}.jpg": {"version": "AlphaPose v0.3", key: [{inner: body.ravel().tolist()}]} for n, body in enumerate(joints)}
    file = tmp_path / f"alphapose-results-for-{form}.json"
    file.write_text(json.dumps(pictures))
    poses = read_poses(file)
    assert poses.skeleton.joints == SKELETONS["openpose-18"].joints
    same_joints(poses, joints)


def test_people_without_numbers_are_tracked(tmp_path: Path) -> None:
    one, other = moving(12, seed=1), moving(12, seed=2)
    other[..., 0] += 1500
    entries = [entry for pair in zip(alphapose(one), alphapose(other), strict=True) for entry in pair]
    for place in range(0, len(entries), 4):
        entries[place], entries[place + 1] = entries[place + 1], entries[place]
    file = tmp_path / "results.json"
    file.write_text(json.dumps(entries))
    poses = read_poses(file)
    assert len(poses.people) == 2
    middles = np.nanmean(poses.joints[..., 0], axis=2)  # (T, P)
    assert (np.abs(np.diff(middles, axis=0)) < 50).all(), "nobody jumps to the other's place"


def test_openpose_folders_may_have_empty_frames(tmp_path: Path) -> None:
    joints = moving(5, 25)
    folder = tmp_path / "take-7"
    folder.mkdir()
    for number, body in enumerate(joints):
        people = [] if number == 3 else [{"person_id": [-1], "pose_keypoints_2d": body.ravel().tolist(), "face_keypoints_2d": []}]
        (folder / f"take-7_{number:012d}_keypoints.json").write_text(json.dumps({"version": 1.3, "people": people}))
    assert is_pose_file(folder)
    poses = read_poses(folder)
    assert poses.skeleton.joints == SKELETONS["openpose-25"].joints
    assert poses.seen.all(axis=(1, 2)).tolist() == [True, True, True, False, True]
    as_asked = read_poses(folder, skeleton="coco-17")
    assert as_asked.skeleton.name == "coco-17"
    (folder / "take-7_000000000002_keypoints.json").write_text("{")
    with pytest.raises(MediaError, match=r"take-7_000000000002_keypoints\.json is not JSON"):
        read_poses(folder)


def test_a_joint_with_score_0_or_at_the_origin_is_invisible(tmp_path: Path) -> None:
    joints = moving(4)
    joints[1, 5] = 0
    joints[2, 6, 2] = 0
    file = tmp_path / "a.json"
    file.write_text(json.dumps(alphapose(joints)))
    poses = read_poses(file)
    assert sorted(map(tuple, np.argwhere(~poses.seen[:, 0]).tolist())) == [(1, 5), (2, 6)]
    assert np.isnan(poses.joints[1, 0, 5, :2]).all()


def test_coco_annotations_name_their_joints_and_order_their_images(tmp_path: Path) -> None:
    joints = moving(3, 4)
    joints[..., 2] = [[2, 2, 1, 2], [2, 0, 2, 2], [2, 2, 2, 2]]
    data = {
        "images": [{"id": 10 + n, "file_name": f"{2 - n:04d}.jpg", "width": 640, "height": 480} for n in range(3)],
        "annotations": [{"image_id": 10 + n, "keypoints": body.ravel().tolist(), "track_id": 3} for n, body in enumerate(joints)],
        "categories": [{"name": "rider", "keypoints": ["nose", "tail", "left_hoof", "right_hoof"], "skeleton": [[1, 2], [2, 3], [2, 4]]}],
    }
    file = tmp_path / "person_keypoints.json"
    file.write_text(json.dumps(data))
    poses = read_poses(file)
    assert poses.skeleton.name == "rider"
    assert poses.skeleton.edges == ((0, 1), (1, 2), (1, 3))
    assert poses.size == (640, 480)
    np.testing.assert_allclose(poses.joints[2, 0, :, :2], joints[0, :, :2])
    assert poses.joints[2, 0, :, 2].tolist() == [1.0, 1.0, 0.5, 1.0]
    assert not poses.seen[1, 0, 1]


def test_coco_results_have_numbers_for_images(tmp_path: Path) -> None:
    joints = moving(4)
    entries = [entry | {"image_id": 100_000 + place * 5_000_000} for place, entry in enumerate(alphapose(joints))]
    file = tmp_path / "results.json"
    file.write_text(json.dumps(entries))
    same_joints(read_poses(file), joints)


def test_mmpose_instances(tmp_path: Path) -> None:
    joints = moving(4)
    frames = [
        {
            "frame_id": n + 1,
            "instances": [{"keypoints": body[:, :2].tolist(), "keypoint_scores": body[:, 2].tolist(), "bbox": [[0, 0, 1, 1]]}],
        }
        for n, body in enumerate(joints)
    ]
    file = tmp_path / "video.json"
    file.write_text(json.dumps({"meta_info": {}, "instance_info": frames}))
    same_joints(read_poses(file), joints)


@pytest.mark.parametrize(
    ("names", "frames"),
    [
        (["0.jpg", "1.jpg", "5.jpg"], [0, 1, 5]),
        (["0001.png", "0002.png"], [0, 1]),
        (["v2_000010_keypoints.json", "v2_000012_keypoints.json"], [10, 12]),
        (["a.jpg", "b.jpg"], [0, 1]),
        (["000000581929.jpg", "000000000139.jpg"], [0, 1]),
    ],
)
def test_the_frame_number_comes_from_the_image_name(names: list[str], frames: list[int]) -> None:
    assert list(frame_numbers(names).values()) == frames


# -- arrays ------------------------------------------------------------------------------------------------------------------


def saved(tmp_path: Path, array: Any, name: str = "a.npy") -> Path:
    np.save(tmp_path / name, array)
    return tmp_path / name


@pytest.mark.parametrize(
    ("shape_of", "skeleton"),
    [
        (lambda joints: joints, "coco-17"),
        (lambda joints: joints[..., :2], "coco-17"),
        (lambda joints: joints[:, None], "coco-17"),
        (lambda joints: joints.reshape(len(joints), -1), "coco-17"),
        (lambda joints: joints[:, None].transpose(3, 0, 2, 1), "coco-17"),
        (lambda joints: joints.astype(np.float64), "coco-17"),
    ],
    ids=["T,K,3", "T,K,2", "T,1,K,3", "T,51", "C,T,K,M", "double"],
)
def test_plain_arrays_of_the_usual_shapes(tmp_path: Path, shape_of: Callable[[Floats], Any], skeleton: str) -> None:
    joints = moving(9)
    poses = read_poses(saved(tmp_path, shape_of(joints)), skeleton=skeleton)
    np.testing.assert_allclose(poses.joints[:, 0, :, :2], joints[..., :2])
    assert poses.skeleton.dimensions == 2
    if shape_of(joints).shape[-1] == 2:
        assert (poses.joints[..., 2] == 1).all(), "without scores what is there was seen"


def test_a_third_number_is_depth_where_it_cannot_be_a_score(tmp_path: Path) -> None:
    joints = moving(5)
    joints[..., 2] -= 0.8
    read_back = read_file(saved(tmp_path, joints))
    assert read_back.poses.skeleton.dimensions == 3
    assert any("depth" in note for note in read_back.notes)
    shallow = moving(5)  # depth that looks like scores: the skeleton decides
    assert read_poses(saved(tmp_path, shallow), skeleton="coco-17-3d").joints.shape[-1] == 4
    assert read_poses(saved(tmp_path, shallow), skeleton="coco-17").joints.shape[-1] == 3


def test_depth_and_score_together(tmp_path: Path) -> None:
    joints = np.random.default_rng(0).normal(size=(5, 33, 4)).astype(np.float32)
    joints[..., 3] = 0.9
    poses = read_poses(saved(tmp_path, joints))
    assert (poses.skeleton.name, poses.skeleton.dimensions) == ("blazepose-33", 3)
    np.testing.assert_array_equal(poses.joints[:, 0], joints)


def test_nan_and_the_frame_corner_are_invisible_but_a_centred_root_is_not(tmp_path: Path) -> None:
    joints = moving(6)[..., :2]
    joints[2, 3] = np.nan
    joints[3, 4] = 0
    read_back = read_file(saved(tmp_path, joints), skeleton="coco-17")
    assert np.argwhere(~read_back.poses.seen[:, 0]).tolist() == [[2, 3], [3, 4]]
    assert any("0, 0" in note for note in read_back.notes)
    centred = joints - 225.0
    centred[3, 4] = 0
    assert np.argwhere(~read_poses(saved(tmp_path, centred), skeleton="coco-17").seen[:, 0]).tolist() == [[2, 3]]
    zero = json.dumps(SKELETONS["coco-17"].to_json() | {"missing": "zero"})
    assert len(np.argwhere(~read_poses(saved(tmp_path, centred), skeleton=zero).seen[:, 0])) == 2


def test_the_frame_rate_is_that_of_the_file_the_caller_or_the_skeleton(tmp_path: Path) -> None:
    joints = moving(5)
    plain = saved(tmp_path, joints)
    assert read_poses(plain).times[1] == pytest.approx(1 / 25)
    assert any("25 frames a second" in note for note in read_file(plain).notes)
    assert read_poses(plain, fps=50).times[1] == pytest.approx(1 / 50)
    skeleton = json.dumps(SKELETONS["coco-17"].to_json() | {"fps": 10})
    assert read_poses(plain, skeleton=skeleton).times[1] == pytest.approx(1 / 10)
    np.savez(tmp_path / "b.npz", keypoints=joints, fps=60.0)
    assert read_poses(tmp_path / "b.npz", fps=50).times[1] == pytest.approx(1 / 60)


def test_written_poses_are_read_back_unchanged(tmp_path: Path) -> None:
    joints = np.stack([moving(7, seed=1), moving(7, seed=2)], axis=1)
    joints[3, 1] = np.nan
    poses = Poses(joints, np.array([0, 0.1, 0.2, 0.35, 0.4, 0.5, 0.6]), SKELETONS["coco-17"], (2, 5), (640, 360))
    write_poses(poses, tmp_path / "deep" / "p.npz")
    back = read_poses(tmp_path / "deep" / "p.npz")
    np.testing.assert_array_equal(back.joints, poses.joints)
    np.testing.assert_array_equal(back.times, poses.times)
    assert (back.people, back.size, back.skeleton) == (poses.people, poses.size, poses.skeleton)


def test_the_format_does_not_depend_on_the_file_name(tmp_path: Path) -> None:
    joints = moving(5)
    saved(tmp_path, joints).rename(tmp_path / "poses.dat")
    assert is_pose_file(tmp_path / "poses.dat")
    same_joints(read_poses(tmp_path / "poses.dat"), joints)
    (tmp_path / "b.npy").write_text(json.dumps(alphapose(joints)))
    same_joints(read_poses(tmp_path / "b.npy"), joints)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((5, 17, 7)), r"array \(5, 17, 7\)"),
        (np.zeros((5, 512)), "512 numbers a frame"),
        (np.array(["a", "b"]), "poses are numbers"),
        (np.zeros((0, 17, 3)), "is empty"),
        (np.zeros((5, 17, 3)), "no visible person in its 5 frames"),
        (np.full((5, 17, 2), np.nan), "no visible person in its 5 frames"),
        (np.zeros(17), r"array \(17,\)"),
    ],
)
def test_arrays_that_are_not_poses_are_refused_in_one_line(tmp_path: Path, array: Any, reason: str) -> None:
    with pytest.raises(MediaError, match=reason) as caught:
        read_poses(saved(tmp_path, array))
    assert "\n" not in str(caught.value)


def test_a_wrong_number_of_joints_is_reported_with_both_counts(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="has 15 joints and the skeleton 'coco-17' has 17"):
        read_poses(saved(tmp_path, moving(5, 15)), skeleton="coco-17")
    with pytest.raises(MediaError, match="h36m-17' has 3 dimensions"):
        read_poses(saved(tmp_path, moving(5)[..., :2]), skeleton="h36m-17")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.json", b"{", "is not JSON"),
        ("a.json", b'{"a": 1}', "JSON, but not of poses"),
        ("a.json", b'[{"image_id": "0.jpg", "keypoints": [1, 2]}]', "are not x, y and score"),
        ("a.json", b'[{"image_id": "0.jpg", "keypoints": ["x", "y", "z"]}]', "are not numbers"),
        ("a.json", b"[]", "no visible person"),
        ("a.json", b"[" * 100_000, "is not JSON"),
        ("a.json", b"", "is empty"),
        ("a.npy", b"\x93NUMPY\x01\x00v\x00", "cannot be read"),
        ("a.npz", b"PK\x03\x04 no zip", "cannot be read"),
        ("a.pkl", b"\x80\x04\x95", "is a pickle that cannot be read"),
        ("a.npy", b"\x00\x01\x02\xff" * 20, "not a pose file"),
    ],
)
def test_broken_files_are_refused_in_one_line(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(MediaError, match=reason) as caught:
        read_poses(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_arrays_of_objects_are_refused(tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    np.save(tmp_path / "a.npy", np.array([Touch(touched)], dtype=object), allow_pickle=True)
    with pytest.raises(MediaError, match="objects, not numbers"):
        read_poses(tmp_path / "a.npy")
    assert not touched.exists()


# -- pickles -----------------------------------------------------------------------------------------------------------------


class Touch:
    """What a hostile pickle does: it runs something while it is read."""

    def __init__(self, file: Path, how: Callable[..., Any] = os.system) -> None:
        self.file, self.how = file, how

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (self.how, (f"touch {self.file}",)) if self.how is os.system else (self.how, (str(self.file), "w"))


def annotation(name: str, label: int, *, people: int = 1, frames: int = 6) -> dict[str, Any]:
    joints = np.stack([moving(frames, seed=label + person) for person in range(people)])  # (M, T, V, 3)
    return {
        "frame_dir": name,
        "label": label,
        "img_shape": (360, 640),
        "total_frames": frames,
        "keypoint": joints[..., :2].astype(np.float16).astype(np.float32),
        "keypoint_score": joints[..., 2],
    }


def pyskl(split: dict[str, list[str]] | None = None) -> dict[str, Any]:
    names = [f"jump_{n}" for n in range(3)] + [f"spin/{n}" for n in range(3)]
    whole = {"split": split if split is not None else {"train": names[::2], "val": names[1::2]}}
    return {**whole, "annotations": [annotation(name, int(name.startswith("spin"))) for name in names]}


@pytest.mark.parametrize("protocol", range(2, 6))
def test_pickles_are_read_in_every_protocol_without_running_them(tmp_path: Path, protocol: int) -> None:
    file = tmp_path / "set.pkl"
    data = pyskl()
    file.write_bytes(pickle.dumps(data, protocol=protocol))
    poses = read_poses(f"{file}#spin/1", fps=30)
    entry = data["annotations"][4]
    np.testing.assert_array_equal(poses.joints[:, 0, :, :2], entry["keypoint"][0])
    np.testing.assert_array_equal(poses.joints[:, 0, :, 2], entry["keypoint_score"][0])
    assert poses.size == (640, 360)


def test_pickles_of_older_and_newer_numpy_are_read(tmp_path: Path) -> None:
    file = tmp_path / "set.pkl"
    for old, new in ((b"numpy._core.multiarray", b"numpy.core.multiarray"), (b"numpy.core.multiarray", b"numpy._core.multiarray")):
        blob = pickle.dumps(pyskl(), protocol=2).replace(old, new)
        file.write_bytes(blob)
        os.utime(file, ns=(0, len(blob) + len(new)))
        assert read_poses(f"{file}#jump_0").joints.shape == (6, 1, 17, 3)


@pytest.mark.parametrize("how", [os.system, open, eval, exec, getattr])
def test_a_hostile_pickle_is_refused_without_running_it(tmp_path: Path, how: Callable[..., Any]) -> None:
    touched = tmp_path / "touched"
    for payload in (Touch(touched, how), {"annotations": [annotation("a", 0) | {"extra": Touch(touched, how)}]}):
        file = tmp_path / f"{len(list(tmp_path.iterdir()))}.pkl"
        file.write_bytes(pickle.dumps(payload))
        with pytest.raises(MediaError, match=r"asks for .*refused") as caught:
            read_poses(file)
        assert "\n" not in str(caught.value)
        with pytest.raises(ManifestError, match="refused"):
            read_manifest(file)
    assert not touched.exists()


def test_crafted_pickles_cannot_contain_arrays_of_objects(tmp_path: Path) -> None:
    blob = pickle.dumps({"keypoint": np.zeros((1, 4, 17, 2), dtype=np.float64), "frame_dir": "a"}, protocol=2)
    file = tmp_path / "a.pkl"
    file.write_bytes(blob.replace(b"f8", b"O8"))
    with pytest.raises(MediaError, match="pickle"):
        read_poses(file)


def test_a_pickle_is_a_dataset_with_official_splits(tmp_path: Path) -> None:
    file = tmp_path / "set.pkl"
    file.write_bytes(pickle.dumps(pyskl()))
    manifest = read_manifest(file)
    assert manifest.counts == {"0": 3, "1": 3}
    assert manifest.splits == ("train", "test"), "what such sets call val is what they are measured on"
    (tmp_path / "names.txt").write_text("jump\nspin\n")
    assert read_manifest(file, classes=tmp_path / "names.txt").labels == ("jump", "spin")
    write_manifest(manifest, tmp_path / "list.csv")
    assert read_manifest(tmp_path / "list.csv").segments == manifest.segments


def test_one_of_several_official_splits_must_be_chosen(tmp_path: Path) -> None:
    file = tmp_path / "set.pkl"
    names = [f"jump_{n}" for n in range(3)] + [f"spin/{n}" for n in range(3)]
    file.write_bytes(pickle.dumps(pyskl({"xsub_train": names[:4], "xsub_val": names[4:], "xset_train": names[2:], "xset_val": names[:2]})))
    with pytest.raises(ManifestError, match=r"several official splits \(xsub, xset\): choose one with `official_split`"):
        read_manifest(file)
    chosen = {segment.path.as_posix().split("#")[1]: segment.split for segment in read_manifest(file, official_split="xset").segments}
    assert [name for name, part in chosen.items() if part == "test"] == names[:2]
    with pytest.raises(ManifestError, match="has no split 'xview'"):
        read_manifest(file, official_split="xview")


def test_one_of_several_sequences_must_be_named(tmp_path: Path) -> None:
    file = tmp_path / "set.pkl"
    file.write_bytes(pickle.dumps(pyskl()))
    with pytest.raises(MediaError, match=r"holds 6 sequences .* FILE#NAME"):
        read_poses(file)
    with pytest.raises(MediaError, match=r"no sequence .*'hop'"):
        read_poses(f"{file}#hop")
    file.write_bytes(pickle.dumps({"anything": 1}))
    with pytest.raises(MediaError, match="a pickle without poses"):
        read_poses(file)


# -- lines of numbers, lists and folders -------------------------------------------------------------------------------------


def write_lines(folder: Path, part: str, labels: list[str], steps: int = 100) -> Floats:
    joints = np.concatenate([moving(steps, seed=number) for number in range(len(labels))])
    np.savetxt(folder / f"X_{part}.txt", joints.reshape(len(joints), -1), delimiter=",", fmt="%.5f")
    (folder / f"Y_{part}.txt").write_text("\n".join(labels) + "\n")
    return joints


def test_a_text_file_of_51_numbers_a_line_is_a_dataset(tmp_path: Path) -> None:
    joints = write_lines(tmp_path, "train", ["0", "1.0", "2"])
    write_lines(tmp_path, "test", ["1", "2"], steps=100)
    for source in (tmp_path, tmp_path / "X_train.txt"):
        manifest = read_manifest(source)
        assert [(segment.label, segment.split) for segment in manifest.segments] == [
            ("0", "train"),
            ("1", "train"),
            ("2", "train"),
            ("1", "test"),
            ("2", "test"),
        ]
    poses = read_poses(manifest.segments[1].path)
    assert poses.skeleton.name == "coco-17"
    np.testing.assert_allclose(poses.joints[:, 0], joints[100:200], atol=1e-4)


def test_wrong_text_files_are_refused_with_the_reason(tmp_path: Path) -> None:
    write_lines(tmp_path, "train", ["0", "1", "2"])
    text = (tmp_path / "X_train.txt").read_text().splitlines()
    (tmp_path / "X_train.txt").write_text("\n".join(text[:-1]))
    with pytest.raises(MediaError, match=r"299 lines .* 3 labels"):
        read_poses(f"{tmp_path / 'X_train.txt'}#0")
    (tmp_path / "X_train.txt").write_text("\n".join([*text[:-1], text[-1] + ",1"]))
    with pytest.raises(MediaError, match="51 numbers in its first line and 52 in line 300"):
        read_poses(f"{tmp_path / 'X_train.txt'}#0")


def test_a_csv_may_name_splits_people_and_sequences(tmp_path: Path) -> None:
    saved(tmp_path, moving(5), "a.npy")
    saved(tmp_path, moving(5), "b.npy")
    (tmp_path / "index.csv").write_text("path,label,split,pose_person\na.npy,hop,1:train|2:test,\nb.npy,turn,1:test|2:train,0\n")
    with pytest.raises(ManifestError, match=r"line 2: the row lists several official splits \(1, 2\): choose one"):
        read_manifest(tmp_path / "index.csv")
    manifest = read_manifest(tmp_path / "index.csv", official_split="2")
    assert [segment.split for segment in manifest.segments] == ["test", "train"]
    assert [segment.person for segment in manifest.segments] == [None, 0]
    write_manifest(manifest, tmp_path / "again.csv")
    assert read_manifest(tmp_path / "again.csv").segments == manifest.segments
    with pytest.raises(ManifestError, match="no row belongs to the official split '3'"):
        read_manifest(tmp_path / "index.csv", official_split="3")


def test_pose_files_in_a_folder_are_read_if_it_has_no_video(tmp_path: Path) -> None:
    for label in ("hop", "turn"):
        (tmp_path / label).mkdir()
        saved(tmp_path / label, moving(5), "a.npy")
        (tmp_path / label / "b.json").write_text(json.dumps(alphapose(moving(5))))
        inner = tmp_path / label / "take"
        inner.mkdir()
        (inner / "take_000000000000_keypoints.json").write_text('{"people": []}')
    (tmp_path / "meta.json").write_text("{}")
    manifest = read_manifest(tmp_path)
    assert manifest.counts == {"hop": 3, "turn": 3}
    assert not manifest.skipped.loose
    (tmp_path / "hop" / "a.mp4").write_bytes(b"")
    (tmp_path / "turn" / "a.mp4").write_bytes(b"")
    assert {path.suffix for path in read_manifest(tmp_path).paths} == {".mp4"}, "where there are videos they are meant"


def test_every_error_is_a_quickstep_error(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    whole = io.BytesIO()
    np.savez(whole, joints=moving(5), times=np.arange(5.0))
    sources = [whole.getvalue(), pickle.dumps(pyskl()), json.dumps(alphapose(moving(3))).encode()]
    for number in range(150):
        blob = bytearray(sources[number % 3])
        for place in rng.integers(0, len(blob), 4):
            blob[place] = rng.integers(0, 256)
        file = tmp_path / f"{number}.pkl"
        file.write_bytes(blob[: rng.integers(1, len(blob))] if number % 2 else blob)
        with contextlib.suppress(QuickstepError):
            read_poses(file)
