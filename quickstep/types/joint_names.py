"""Names of the joints of human bodies, the bones between them, and the joints that can replace a missing one."""

from __future__ import annotations

import re
from collections.abc import Sequence

_SIDED = re.compile(r"^(l|r)[_ ]+(?=.)|^(l|r)(?=shoulder|elbow|wrist|hip|knee|ankle|eye|ear|heel|foot|hand|big|small|thumb|collar)")
_SAME = {
    "pelvis": "hips",
    "hip": "hips",
    "mid_hip": "hips",
    "midhip": "hips",
    "hip_center": "hips",
    "root": "hips",
    "spine_base": "hips",
    "belly": "spine",
    "torso": "spine",
    "spine_mid": "spine",
    "thorax": "neck",
    "neck_base": "neck",
    "face": "nose",
    "mouth_left": "left_mouth",
    "mouth_right": "right_mouth",
}


def spelled(name: str) -> str:
    """Return the standard spelling of a joint's name: `LAnkle`, `l_ankle` and `Left Ankle` are all `left_ankle`."""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=^[LR])(?=[A-Z][a-z])", "_", name.strip())
    word = re.sub(r"[\s\-._]+", "_", snake).strip("_").casefold()
    word = _SIDED.sub(lambda match: "left_" if "l" in match[0] else "right_", word)
    if word.endswith(("_left", "_right")):
        stem, _, side = word.rpartition("_")
        word = f"{side}_{stem}"
    return _SAME.get(word, word)


# All bones, from the trunk outwards; a skeleton has those whose two joints it has.
_BONES = """
hips-spine spine-upper_spine upper_spine-chest chest-neck upper_spine-neck spine-neck hips-neck neck-upper_neck upper_neck-head_top
upper_neck-nose neck-head head-nose head-head_top neck-nose nose-head_top left_shoulder-right_shoulder left_hip-right_hip
"""
_LIMBS = """
neck-shoulder chest-collar neck-collar collar-shoulder nose-shoulder shoulder-elbow elbow-wrist wrist-hand hand-hand_tip wrist-thumb
wrist-index wrist-pinky hips-hip spine-hip neck-hip shoulder-hip hip-knee knee-ankle ankle-foot ankle-heel heel-foot_index
ankle-foot_index ankle-big_toe big_toe-small_toe nose-eye nose-eye_inner eye_inner-eye eye-eye_outer eye_outer-ear eye-ear nose-mouth
"""
_TRUNK = frozenset({"hips", "spine", "upper_spine", "chest", "neck", "upper_neck", "nose", "head"})
_FALLBACKS = {  # bones that are used only without these joints between their ends
    "upper_spine-neck": ("chest",),
    "spine-neck": ("upper_spine",),
    "hips-neck": ("spine",),
    "upper_neck-nose": ("head",),
    "neck-head": ("upper_neck",),
    "neck-nose": ("upper_neck", "head"),
    "nose-head_top": ("upper_neck", "head"),
    "left_shoulder-right_shoulder": ("neck",),
    "left_hip-right_hip": ("hips", "spine", "neck"),
    "neck-shoulder": ("left_collar",),
    "neck-collar": ("chest",),
    "nose-shoulder": ("neck",),
    "spine-hip": ("hips",),
    "neck-hip": ("hips", "spine"),
    "shoulder-hip": ("hips", "spine", "neck"),
    "ankle-foot_index": ("left_heel",),
    "nose-eye": ("left_eye_inner",),
    "eye-ear": ("left_eye_outer",),
}


def usual_edges(joints: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Return the bones of a human body between joints of these names; a joint with an unknown name has no bone."""
    number = {spelled(joint): index for index, joint in enumerate(joints)}
    pairs: list[tuple[str, str, str]] = []
    for bone in _BONES.split():
        one, other = bone.split("-")
        pairs.append((bone, one, other))
    for bone in _LIMBS.split():
        inner, outer = bone.split("-")
        pairs += [(bone, inner if inner in _TRUNK else f"{side}_{inner}", f"{side}_{outer}") for side in ("left", "right")]
    edges = [
        (number[one], number[other])
        for bone, one, other in pairs
        if one in number and other in number and not any(between in number for between in _FALLBACKS.get(bone, ()))
    ]
    return tuple(dict.fromkeys(edges))


def usual_mirrored(joints: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Return the pairs of joints whose names differ only in left and right."""
    number = {spelled(joint): index for index, joint in enumerate(joints)}
    sides = [name for name in number if name.startswith("left_")]
    return tuple(
        (number[name], number[f"right_{name.removeprefix('left_')}"]) for name in sides if f"right_{name.removeprefix('left_')}" in number
    )


# What replaces a joint that a skeleton lacks: the centre of other joints; the first choice whose joints all exist.
MIDDLES: dict[str, tuple[tuple[str, ...], ...]] = {
    "hips": (("left_hip", "right_hip"),),
    "neck": (("left_shoulder", "right_shoulder"), ("upper_neck",)),
    "spine": (("hips", "neck"), ("left_shoulder", "right_shoulder", "left_hip", "right_hip"), ("hips", "left_shoulder", "right_shoulder")),
    "upper_spine": (("chest",),),
    "nose": (("head",), ("left_eye", "right_eye"), ("left_ear", "right_ear")),
    "head": (("left_ear", "right_ear"), ("left_eye", "right_eye"), ("nose",), ("upper_neck", "head_top")),
    "upper_neck": (("neck", "nose"),),
} | {
    f"{side}_{joint}": tuple(tuple(f"{side}_{other}" for other in choice) for choice in choices)
    for side in ("left", "right")
    for joint, choices in {
        "foot_index": (("big_toe",), ("foot",)),
        "big_toe": (("foot_index",), ("foot",)),
        "foot": (("foot_index",), ("big_toe",)),
        "hand": (("index", "pinky"),),
        "index": (("hand_tip",),),
        "eye": (("eye_inner", "eye_outer"),),
    }.items()
}
