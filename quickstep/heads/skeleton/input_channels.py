"""What networks and trees read of joints: evenly spaced timestamps, bones, directions and speeds, in body lengths and seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quickstep.heads import Examples
from quickstep.heads.feature_arrays import flat
from quickstep.types.errors import ConfigError
from quickstep.types.signals import Features
from quickstep.types.skeleton import Skeleton, unnamed_skeleton

STREAMS = ("joint", "bone", "joint-motion", "bone-motion")
SINGLE = 0.04  # seconds that a single timestamp is taken to last
SHORT = 1e-3  # body lengths: a shorter bone has no direction
SAMPLED = 200  # segments by which the bones of an unknown skeleton are estimated


@dataclass(frozen=True, eq=False)
class JointSequences:
    """Segments with the same number of timestamps, evenly spaced."""

    joints: Tensor  # (N, T, K, C): coordinates in body lengths, and the score
    pace: Tensor  # (N,) seconds from one timestamp to the next

    def __len__(self) -> int:
        return len(self.pace)

    def take(self, chosen: Tensor) -> JointSequences:
        """Return the segments with these indices."""
        return JointSequences(self.joints[chosen], self.pace[chosen])

    def double(self) -> JointSequences:
        """Return the sequences in double precision."""
        return JointSequences(self.joints.double(), self.pace.double())


@dataclass(frozen=True)
class Body:
    """The tree of joints: each joint's parent (itself for a root), and the joints whose mean is the middle of the body."""

    parents: tuple[int, ...]
    root: tuple[int, ...]

    @classmethod
    def of(cls, skeleton: Skeleton) -> Body:
        """Return the tree of a skeleton."""
        return cls(skeleton.parents, skeleton.root)

    @classmethod
    def from_arrays(cls, parents: NDArray[np.int32], root: NDArray[np.int32]) -> Body:
        """Return the tree of such arrays; ValueError when they are not a tree of joints."""
        body = cls(tuple(parents.tolist()), tuple(root.tolist()))
        if not body.root or not all(0 <= joint < len(body.parents) for joint in (*body.parents, *body.root)):
            raise ValueError(f"parents {body.parents} and root {body.root} are not a tree of joints")
        return body

    @property
    def arrays(self) -> dict[str, NDArray[np.int32]]:
        """Parents and root as arrays."""
        return {"parents": np.array(self.parents, dtype=np.int32), "root": np.array(self.root, dtype=np.int32)}

    @property
    def bones(self) -> list[int]:
        """The joints that have a parent."""
        return [joint for joint, parent in enumerate(self.parents) if parent != joint]


def resample(features: Sequence[Features], steps: int) -> JointSequences:
    """Return all segments at `steps` timestamps, from each one's first to its last, by linear interpolation."""
    joints, pace = [], []
    for segment in features:
        _ = flat(segment)  # raises where values are not finite
        length = float(segment.times[-1] - segment.times[0])
        times = segment.times[0] + length * np.arange(steps) / max(1, steps - 1)
        after = np.clip(np.searchsorted(segment.times, times, side="right"), 1, max(1, len(segment) - 1))
        before, after = after - 1, np.minimum(after, len(segment) - 1)
        gap = segment.times[after] - segment.times[before]
        share = np.clip((times - segment.times[before]) / np.where(gap > 0, gap, 1.0), 0.0, 1.0)[:, None, None]
        joints.append(segment.values[before] * (1 - share) + segment.values[after] * share)
        pace.append(length / (steps - 1) if length > 0 and steps > 1 else SINGLE)
    shape = (0, steps, 1, 1) if not joints else (len(joints), *joints[0].shape)
    values = np.stack(joints).astype(np.float32) if joints else np.zeros(shape, dtype=np.float32)
    return JointSequences(torch.from_numpy(values), torch.tensor(pace, dtype=torch.float32))


def check_joints(features: Sequence[Features], joints: int, channels: int) -> Sequence[Features]:
    """Return the features, if they have the joints that the head was fitted on."""
    for segment in features:
        if segment.values.shape[1:] != (joints, channels):
            shape = " x ".join(map(str, segment.values.shape[1:]))
            raise ConfigError("backbone", f"gives {shape} numbers a timestamp where this head was fitted on {joints} joints x {channels}")
    return features


def skeleton_of(examples: Examples) -> Skeleton:
    """Return the skeleton of the examples; where its bones are unknown, those that the joints themselves suggest."""
    count, channels = _joints_and_channels(examples.features)
    skeleton = examples.skeleton or unnamed_skeleton(count, min(3, channels - 1))
    if len(skeleton) != count:
        raise ConfigError("skeleton", f"{skeleton.name!r} has {len(skeleton)} joints, and the features have {count}")
    return skeleton if skeleton.edges or count < 2 else replace(skeleton, edges=likely_bones(examples.features))


def _joints_and_channels(features: Sequence[Features]) -> tuple[int, int]:
    """Return K and C of features (T, K, C); raise ConfigError for others."""
    shapes = {segment.values.shape[1:] for segment in features}
    if len(shapes) != 1 or len(shape := next(iter(shapes))) != 2 or shape[1] < 3:
        given_shapes = ", ".join(sorted(str(("T", *shape)) for shape in shapes)) or "nothing"
        raise ConfigError(
            "backbone", f"gives {given_shapes}, and this head reads the joints of one body (T, K, C); choose the backbone joints"
        )
    return int(shape[0]), int(shape[1])


def likely_bones(features: Sequence[Features]) -> tuple[tuple[int, int], ...]:
    """Return the spanning tree over joints that are close and keep their distance, as the two ends of a bone do."""
    from scipy.sparse.csgraph import minimum_spanning_tree

    sampled = [features[index] for index in np.unique(np.linspace(0, len(features) - 1, SAMPLED).astype(int))]
    positions = np.concatenate([flat(segment).reshape(segment.values.shape)[..., :-1] for segment in sampled])  # (M, K, D)
    positions = positions[np.unique(np.linspace(0, len(positions) - 1, 20 * SAMPLED).astype(int))]
    count = positions.shape[1]
    cost = np.zeros((count, count))
    for joint in range(count):
        distance = np.linalg.norm(positions - positions[:, [joint]], axis=2)  # (M, K)
        cost[joint] = distance.mean(axis=0) + 3 * distance.std(axis=0) + 1e-9  # an edge of cost 0 would count as missing
    tree = minimum_spanning_tree(np.triu(cost, 1)).tocoo()
    return tuple(sorted((int(one), int(other)) for one, other in zip(tree.row, tree.col, strict=True)))


def stream_inputs(sequences: JointSequences, body: Body, names: Sequence[str]) -> Tensor:
    """Return the input of each stream, (S, B, T, K, 2D + 1), the score last.

    `joint`: the joint's position, and its position relative to the middle of the body. `bone`: the vector from the parent joint, and its
    direction. `joint-motion` and `bone-motion`: how fast these change.
    """
    channels = {"joint": _joint_channels, "bone": _bone_channels}
    values = []
    for name in names:
        kind, _, motion = name.partition("-")
        value = channels[kind](sequences.joints[..., :-1], body)  # (B, T, K, 2D)
        # asinh grows like a logarithm, so that one wild detection does not outweigh a whole segment
        value = torch.asinh(speeds(value, sequences.pace)) if motion else value
        values.append(torch.cat([value, sequences.joints[..., -1:]], dim=-1))
    return torch.stack(values)


def from_middle(positions: Tensor, body: Body) -> Tensor:
    """Return positions (B, T, K, D) relative to the middle of the body."""
    return positions - positions[:, :, list(body.root)].mean(dim=2, keepdim=True)


def bones(positions: Tensor, body: Body) -> Tensor:
    """Return the vectors from each joint's parent to the joint, (B, T, K, D)."""
    return positions - positions[:, :, list(body.parents)]


def unit_vectors(vectors: Tensor) -> Tensor:
    """Return vectors of length 1; those that are almost 0 stay short."""
    units: Tensor = vectors / torch.linalg.vector_norm(vectors, dim=-1, keepdim=True).clamp(min=SHORT)
    return units


def speeds(values: Tensor, pace: Tensor) -> Tensor:
    """Return the change of values (B, T, ...) a second, (B, T, ...); the last timestamp repeats the one before it."""
    if values.shape[1] < 2:
        return torch.zeros_like(values)
    change = values.diff(dim=1) / pace.view(-1, *[1] * (values.dim() - 1))
    return torch.cat([change, change[:, -1:]], dim=1)


def _joint_channels(positions: Tensor, body: Body) -> Tensor:
    return torch.cat([positions, from_middle(positions, body)], dim=-1)


def _bone_channels(positions: Tensor, body: Body) -> Tensor:
    vectors = bones(positions, body)
    return torch.cat([vectors, unit_vectors(vectors)], dim=-1)
