"""Skeleton: the joints of a body and the bones between them, as data; read one, and convert joints from one to another."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quickstep.types.errors import ConfigError, UnknownName
from quickstep.types.joint_names import MIDDLES, spelled, usual_edges, usual_mirrored


@dataclass(frozen=True)
class Skeleton:
    """Names of the joints in the order of a file's columns, the bones between them, and the pairs of left and right joints.

    `missing="zero"` means that a joint at the origin is invisible, "nan" that only NaN means invisible, "guess" lets the reader decide.
    `fps` is the frame rate of files that do not state one.
    """

    name: str
    joints: tuple[str, ...]
    edges: tuple[tuple[int, int], ...] = ()
    mirrored: tuple[tuple[int, int], ...] = ()
    dimensions: int = 2
    missing: str = "guess"
    fps: float | None = None

    def __post_init__(self) -> None:
        for name in ("joints", "edges", "mirrored"):
            value = getattr(self, name)
            object.__setattr__(self, name, tuple(tuple(pair) if name != "joints" else pair for pair in value))
        _check(self)

    def __len__(self) -> int:
        return len(self.joints)

    def __repr__(self) -> str:
        return f"Skeleton({self.name!r}, {len(self.joints)} joints, {self.dimensions}D)"

    def to_json(self) -> dict[str, Any]:
        """Return all fields as plain JSON values."""
        return json.loads(json.dumps(asdict(self)))  # type: ignore[no-any-return]

    def find(self, name: str) -> int | None:
        """Return the number of the joint of this name, in any spelling, or None."""
        return self._numbers.get(spelled(name))

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {spelled(joint): number for number, joint in reversed(list(enumerate(self.joints)))}

    @cached_property
    def root(self) -> tuple[int, ...]:
        """Return the joints whose centre is the centre of the body: the hips, else other joints of the trunk, else all."""
        for names in (("hips",), ("left_hip", "right_hip"), ("spine",), ("neck",), ("left_shoulder", "right_shoulder")):
            numbers = [number for name in names if (number := self.find(name)) is not None]
            if len(numbers) == len(names):
                return tuple(numbers)
        return tuple(range(len(self)))

    @cached_property
    def torso(self) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
        """Return the joints of the upper and of the lower end of the trunk; None for a skeleton without a trunk."""
        ends = []
        for choices in ((("left_shoulder", "right_shoulder"), ("neck",)), (("left_hip", "right_hip"), ("hips",))):
            whole = [names for names in choices if all(self.find(name) is not None for name in names)]
            if not whole:
                return None
            ends.append(tuple(self._numbers[spelled(name)] for name in whole[0]))
        return ends[0], ends[1]

    @cached_property
    def flipped(self) -> tuple[int, ...]:
        """Return for each joint the one on the other side of the body, or itself."""
        other = list(range(len(self)))
        for left, right in self.mirrored:
            other[left], other[right] = right, left
        return tuple(other)

    @cached_property
    def parents(self) -> tuple[int, ...]:
        """Return for each joint its parent: the next joint towards the root; itself for the root and for a joint without bones."""
        near: dict[int, list[int]] = {number: [] for number in range(len(self))}
        for one, other in self.edges:
            near[one].append(other)
            near[other].append(one)
        parents = list(range(len(self)))
        reached = set()
        starts = [*(self.root if len(self.root) < len(self) else ()), *range(len(self))]
        for start in starts:
            if start in reached:
                continue
            reached.add(start)
            waiting = [start]
            while waiting:
                current = waiting.pop(0)
                for following in near[current]:
                    if following not in reached:
                        reached.add(following)
                        parents[following] = current
                        waiting.append(following)
        return tuple(parents)


def _check(skeleton: Skeleton) -> None:
    def wrong(why: str) -> ConfigError:
        return ConfigError("skeleton", f"{skeleton.name}: {why}")

    count = len(skeleton.joints)
    if not 1 <= count <= 1000 or not all(isinstance(joint, str) and joint.strip() for joint in skeleton.joints):
        raise wrong(f"a skeleton has from 1 to 1000 joints, each with a name, not {count}")
    twice = sorted({joint for joint in skeleton.joints if skeleton.joints.count(joint) > 1})
    if twice:
        raise wrong(f"two joints have the name {twice[0]!r}")
    if skeleton.dimensions not in (2, 3):
        raise wrong(f"dimensions is 2 or 3, not {skeleton.dimensions}")
    if skeleton.missing not in ("guess", "nan", "zero"):
        raise wrong(f"missing is 'zero' or 'nan', not {skeleton.missing!r}")
    if skeleton.fps is not None and not 0 < skeleton.fps <= 1000:
        raise wrong(f"fps is above 0 and at most 1000, not {skeleton.fps}")
    for what, pairs in (("edge", skeleton.edges), ("mirrored pair", skeleton.mirrored)):
        for pair in pairs:
            if len(pair) != 2 or not all(isinstance(end, int) and 0 <= end < count for end in pair):
                raise wrong(f"the {what} {list(pair)} is not two joints from 0 to {count - 1}")
            if pair[0] == pair[1]:
                raise wrong(f"the {what} {list(pair)} leads from {skeleton.joints[pair[0]]!r} to itself")
    sides = [end for pair in skeleton.mirrored for end in pair]
    if len(sides) != len(set(sides)):
        raise wrong("a joint is in two mirrored pairs")


# -- known skeletons -----------------------------------------------------------------------------------------------------------


def _body(name: str, joints: str, dimensions: int = 2) -> Skeleton:
    names = tuple(_in_full(joint) for joint in joints.split())
    return Skeleton(name, names, usual_edges(names), usual_mirrored(names), dimensions)


def _in_full(joint: str) -> str:
    side = {"l.": "left_", "r.": "right_"}.get(joint[:2])
    return f"{side}{joint[2:]}" if side else joint


_COCO = "nose l.eye r.eye l.ear r.ear l.shoulder r.shoulder l.elbow r.elbow l.wrist r.wrist l.hip r.hip l.knee r.knee l.ankle r.ankle"
_FEET = "l.big_toe r.big_toe l.small_toe r.small_toe l.heel r.heel"
_ARMS = "nose neck r.shoulder r.elbow r.wrist l.shoulder l.elbow l.wrist"

SKELETONS: dict[str, Skeleton] = {
    body.name: body
    for body in (
        _body("coco-17", _COCO),
        _body("coco-23", f"{_COCO} l.big_toe l.small_toe l.heel r.big_toe r.small_toe r.heel"),
        _body("halpe-26", f"{_COCO} head_top neck hips {_FEET}"),
        _body("openpose-18", f"{_ARMS} r.hip r.knee r.ankle l.hip l.knee l.ankle r.eye l.eye r.ear l.ear"),
        _body(
            "openpose-25",
            f"{_ARMS} hips r.hip r.knee r.ankle l.hip l.knee l.ankle r.eye l.eye r.ear l.ear "
            "l.big_toe l.small_toe l.heel r.big_toe r.small_toe r.heel",
        ),
        _body(
            "blazepose-33",
            "nose l.eye_inner l.eye l.eye_outer r.eye_inner r.eye r.eye_outer l.ear r.ear l.mouth r.mouth l.shoulder r.shoulder "
            "l.elbow r.elbow l.wrist r.wrist l.pinky r.pinky l.index r.index l.thumb r.thumb l.hip r.hip l.knee r.knee "
            "l.ankle r.ankle l.heel r.heel l.foot_index r.foot_index",
        ),
        _body(
            "mpii-16",
            "r.ankle r.knee r.hip l.hip l.knee l.ankle hips neck upper_neck head_top r.wrist r.elbow r.shoulder l.shoulder l.elbow l.wrist",
        ),
        _body(
            "jhmdb-15",
            "neck belly face r.shoulder l.shoulder r.hip l.hip r.elbow l.elbow r.knee l.knee r.wrist l.wrist r.ankle l.ankle",
        ),
        _body(
            "h36m-17",
            "hips r.hip r.knee r.ankle l.hip l.knee l.ankle spine neck nose head_top l.shoulder l.elbow l.wrist r.shoulder r.elbow r.wrist",
            3,
        ),
        _body(
            "ntu-25",
            "hips spine neck head l.shoulder l.elbow l.wrist l.hand r.shoulder r.elbow r.wrist r.hand l.hip l.knee l.ankle l.foot "
            "r.hip r.knee r.ankle r.foot upper_spine l.hand_tip l.thumb r.hand_tip r.thumb",
            3,
        ),
        _body(
            "smpl-24",
            "hips l.hip r.hip spine l.knee r.knee upper_spine l.ankle r.ankle chest l.foot r.foot neck l.collar r.collar head "
            "l.shoulder r.shoulder l.elbow r.elbow l.wrist r.wrist l.hand r.hand",
            3,
        ),
    )
}
ALSO_CALLED = {
    "coco": "coco-17",
    "coco-18": "openpose-18",
    "body-25": "openpose-25",
    "mediapipe": "blazepose-33",
    "mediapipe-33": "blazepose-33",
    "nturgbd": "ntu-25",
    "h36m": "h36m-17",
    "halpe": "halpe-26",
}


def unnamed_skeleton(count: int, dimensions: int) -> Skeleton:
    """Return a skeleton with a number of joints, without names, bones and sides."""
    return Skeleton(f"points-{count}", tuple(f"point_{number}" for number in range(count)), dimensions=dimensions)


# -- reading -----------------------------------------------------------------------------------------------------------------


def read_skeleton(source: str | Path | Skeleton) -> Skeleton:
    """Read a skeleton by its name (`coco-17`; `coco-17-3d` with depth), from a JSON file, or from JSON text."""
    if isinstance(source, Skeleton):
        return source
    text = str(source).strip()
    if text.startswith("{"):
        return _parse(text, "the skeleton")
    plain = text.casefold().removesuffix("-3d").removesuffix("-2d")
    name = ALSO_CALLED.get(plain, plain)
    if name in SKELETONS:
        dimensions = {"-3d": 3, "-2d": 2}.get(text.casefold()[-3:], SKELETONS[name].dimensions)
        return replace(SKELETONS[name], dimensions=dimensions)
    if re.fullmatch(r"points-\d{1,3}", plain) and int(plain[7:]):
        return unnamed_skeleton(int(plain[7:]), 3 if text.endswith("-3d") else 2)
    file = Path(text).expanduser()
    if not file.is_file():
        if file.suffix or "/" in text:
            raise ConfigError("skeleton", f"{text}: there is no such file")
        raise UnknownName("skeleton", text, SKELETONS)
    try:
        return _parse(file.read_text(encoding="utf-8-sig"), text)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("skeleton", f"{text}: cannot be read: {error}") from error


def from_json(data: Any, *, where: str = "the skeleton") -> Skeleton:
    """Read a skeleton from plain JSON values; bones and sides that are not given follow from the names of the joints.

    Edges and pairs are numbers or names of joints. `dims` and `bones` are accepted for `dimensions` and `edges`.
    """

    def wrong(why: str) -> ConfigError:
        return ConfigError("skeleton", f"{where}: {why}")

    if not isinstance(data, Mapping) or not isinstance(data.get("joints"), list):
        raise wrong('a skeleton is an object such as {"joints": ["hip", "knee"], "edges": [[0, 1]], "mirrored": [], "dimensions": 2}')
    joints = tuple(str(joint) for joint in data["joints"])
    edges, mirrored = data.get("edges", data.get("bones")), data.get("mirrored", data.get("pairs"))
    dimensions, fps = data.get("dimensions", 2), data.get("fps")
    if fps is not None and (isinstance(fps, bool) or not isinstance(fps, (int, float))):
        fps = None if "edges" not in data else _raise(wrong(f"fps is a number, not {fps!r}"))
    if not isinstance(dimensions, int) or isinstance(dimensions, bool):
        raise wrong(f"dimensions is 2 or 3, not {dimensions!r}")
    try:
        return Skeleton(
            str(data.get("name") or Path(where).stem),
            joints,
            usual_edges(joints) if edges is None else _pairs(edges, joints, "edge", wrong),
            usual_mirrored(joints) if mirrored is None else _pairs(mirrored, joints, "mirrored pair", wrong),
            dimensions,
            str(data.get("missing") or "guess"),
            None if fps is None else float(fps),
        )
    except ConfigError as error:
        raise error if str(error).startswith(f"skeleton: {where}") else wrong(error.why) from error


def _raise(error: Exception) -> Any:
    raise error


def _pairs(pairs: Any, joints: tuple[str, ...], what: str, wrong: Any) -> tuple[tuple[int, int], ...]:
    if not isinstance(pairs, list):
        raise wrong(f"its {what}s are a list of pairs, not {str(pairs)[:40]!r}")
    numbers = []
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2:
            raise wrong(f"the {what} {str(pair)[:40]} is not two joints")
        ends = [joints.index(end) if isinstance(end, str) and end in joints else end for end in pair]
        strange = [end for end in ends if isinstance(end, bool) or not isinstance(end, int)]
        if strange:
            raise wrong(f"the {what} {pair} names {str(strange[0])!r}, which is not a joint")
        numbers.append((ends[0], ends[1]))
    return tuple(numbers)


def _parse(text: str, where: str) -> Skeleton:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError("skeleton", f"{where}: is not JSON: {error}") from error
    return from_json(data, where=where)


# -- conversion -------------------------------------------------------------------------------------------------------------


def sources(source: Skeleton, target: Skeleton) -> tuple[tuple[int, ...], ...]:
    """Return for each joint of the target the joints of the source whose centre it is; () without any."""
    return tuple(_sources_of(spelled(joint), source) for joint in target.joints)


def _sources_of(joint: str, source: Skeleton) -> tuple[int, ...]:
    for choice in ((joint,), *MIDDLES.get(joint, ())):
        numbers = [number for name in choice if (number := source.find(name)) is not None]
        if len(numbers) == len(choice):
            return tuple(numbers)
    return ()


def convert(joints: NDArray[np.float32], source: Skeleton, target: Skeleton) -> NDArray[np.float32]:
    """Convert joints (..., K, C), with their score in the last channel, to the target's (..., K', C).

    A joint at the centre of others has the lowest of their scores; a joint without a source is NaN with score 0.
    """
    if source.joints == target.joints:
        return joints
    if joints.shape[-2] != len(source):
        raise ValueError(f"joints {joints.shape} are not of {source}")
    converted = np.full((*joints.shape[:-2], len(target), joints.shape[-1]), np.nan, dtype=np.float32)
    converted[..., -1] = 0.0
    for number, numbers in enumerate(sources(source, target)):
        if numbers:
            parts = joints[..., list(numbers), :]
            converted[..., number, :-1] = parts[..., :-1].mean(axis=-2)
            converted[..., number, -1] = parts[..., -1].min(axis=-1)
    return converted


def shares(source: Skeleton, target: Skeleton) -> float:
    """Return the share of the target's joints that the source can provide."""
    return sum(1 for numbers in sources(source, target) if numbers) / len(target)
