"""Skeletons: invalid ones, bones that follow from names, and conversion of joints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quickstep.types.errors import ConfigError, UnknownName
from quickstep.types.joint_names import spelled
from quickstep.types.skeleton import SKELETONS, Skeleton, convert, from_json, read_skeleton, shares, unnamed_skeleton


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("LAnkle", "left_ankle"),
        ("l_ankle", "left_ankle"),
        ("Left Ankle", "left_ankle"),
        ("RBigToe", "right_big_toe"),
        ("MidHip", "hips"),
        ("mouth_left", "left_mouth"),
        ("rwrist", "right_wrist"),
        ("rank", "rank"),
    ],
)
def test_a_joint_is_found_in_any_spelling(name: str, meant: str) -> None:
    assert spelled(name) == meant


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=str)
def test_every_known_skeleton_is_connected(skeleton: Skeleton) -> None:
    assert sum(parent == joint for joint, parent in enumerate(skeleton.parents)) == 1, "one root that all bones lead to"
    assert sorted(skeleton.flipped) == list(range(len(skeleton)))
    sided = [joint for joint in skeleton.joints if joint.startswith(("left_", "right_"))]
    assert len(sided) == 2 * len(skeleton.mirrored)
    for left, right in skeleton.mirrored:
        assert skeleton.joints[left].removeprefix("left_") == skeleton.joints[right].removeprefix("right_")
    assert from_json(skeleton.to_json()) == skeleton
    assert skeleton.torso is not None


def test_a_skeleton_is_read_from_json(tmp_path: Path) -> None:
    file = tmp_path / "legs.json"
    file.write_text(json.dumps({"joints": ["left_hip", "right_hip", "left_knee"], "edges": [[0, 1], ["left_hip", "left_knee"]], "fps": 30}))
    legs = read_skeleton(file)
    assert (legs.name, legs.edges, legs.mirrored, legs.dimensions, legs.fps) == ("legs", ((0, 1), (0, 2)), ((0, 1),), 2, 30.0)
    assert legs.torso is None
    assert legs.root == (0, 1)
    assert read_skeleton(json.dumps(legs.to_json())) == legs


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"edges": [[0, 3]]}, r"edge .*from 0 to 2"),
        ({"edges": [[0, -1]]}, "from 0 to 2"),
        ({"edges": [[1, 1]]}, "from 'b' to itself"),
        ({"edges": [["a", "z"]]}, "'z'"),
        ({"edges": [[0, 1, 2]]}, "two joints"),
        ({"edges": 3}, "list of pairs"),
        ({"joints": ["a", "a", "c"]}, "'a'"),
        ({"joints": []}, "from 1 to 1000 joints"),
        ({"joints": "abc"}, "joints"),
        ({"mirrored": [[0, 1], [1, 2]]}, "two mirrored pairs"),
        ({"dimensions": 4}, "dimensions is 2 or 3, not 4"),
        ({"dimensions": "two"}, "dimensions is 2 or 3"),
        ({"missing": "none"}, "missing is 'zero' or 'nan'"),
        ({"edges": [], "fps": "fast"}, "fps is a number"),
        ({"fps": -1}, "fps is above 0"),
    ],
)
def test_an_invalid_skeleton_is_refused_and_the_part_named(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    file = tmp_path / "body.json"
    file.write_text(json.dumps({"joints": ["a", "b", "c"], **change}))
    with pytest.raises(ConfigError, match=named) as caught:
        read_skeleton(file)
    assert "body" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_name_is_answered_with_a_similar_one(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="coco-17"):
        read_skeleton("coco-16")
    with pytest.raises(ConfigError, match="nowhere"):
        read_skeleton("nowhere.json")
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    with pytest.raises(ConfigError, match="JSON"):
        read_skeleton(broken)
    assert read_skeleton("COCO-18").joints == SKELETONS["openpose-18"].joints
    assert read_skeleton("coco-17-3d").dimensions == 3
    assert read_skeleton("points-7") == unnamed_skeleton(7, 2)


def test_conversion_copies_joints_and_computes_centres() -> None:
    coco, openpose = SKELETONS["coco-17"], SKELETONS["openpose-25"]
    joints = np.random.default_rng(0).normal(size=(4, len(coco), 3)).astype(np.float32)
    joints[..., 2] = np.linspace(0.2, 0.9, len(coco))
    converted = convert(joints, coco, openpose)
    left, right = (coco.joints.index(f"{side}_shoulder") for side in ("left", "right"))
    neck = openpose.joints.index("neck")
    np.testing.assert_allclose(converted[:, neck, :2], joints[:, [left, right], :2].mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(converted[:, neck, 2], joints[:, [left, right], 2].min(axis=1))
    toe = openpose.joints.index("left_big_toe")
    assert np.isnan(converted[:, toe, :2]).all()
    assert not converted[:, toe, 2].any()
    back = convert(converted, openpose, coco)
    np.testing.assert_array_equal(back, joints)


def test_shares_are_the_part_of_a_skeleton_that_another_provides() -> None:
    assert shares(SKELETONS["blazepose-33"], SKELETONS["coco-17"]) == 1.0
    assert shares(SKELETONS["h36m-17"], SKELETONS["coco-17"]) < 1.0
    assert shares(unnamed_skeleton(17, 2), SKELETONS["coco-17"]) == 0.0
