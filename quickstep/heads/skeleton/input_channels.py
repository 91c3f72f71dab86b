"""What is derived from joints: equally many moments, bones and their directions, how fast all moves; in body lengths and seconds.

Knows neither labels nor networks.
"""

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
from quickstep.types.skeleton import Skeleton, nameless

STREAMS = ("joint", "bone", "joint-motion", "bone-motion")
ALONE = 0.04  # seconds: how long a single moment is taken to last
SHORT = 1e-3  # body lengths: a bone shorter than this has no direction
LOOKED_AT = 200  # segments by which the bones of an unknown body are found


@dataclass(frozen=True, eq=False)
class Moves:
    """Segments at equally many moments each, equally far apart."""

    joints: Tensor  # (N, T, K, C): coordinates in body lengths, and the score
    pace: Tensor  # (N,) seconds from one moment to the next

    def __len__(self) -> int:
        return len(self.pace)

    def take(self, chosen: Tensor) -> Moves:
        """Only those of these numbers."""
        return Moves(self.joints[chosen], self.pace[chosen])

    def double(self) -> Moves:
        """The same in double precision."""
        return Moves(self.joints.double(), self.pace.double())


@dataclass(frozen=True)
class Body:
    """How the joints hang together: for each the one it hangs on (itself for those that hang on none), and the middle of the body."""

    parents: tuple[int, ...]
    root: tuple[int, ...]

    @classmethod
    def of(cls, skeleton: Skeleton) -> Body:
        return cls(skeleton.parents, skeleton.root)

    @classmethod
    def from_arrays(cls, parents: NDArray[np.int32], root: NDArray[np.int32]) -> Body:
        """The reverse of `arrays`; ValueError when these are no bodies."""
        body = cls(tuple(parents.tolist()), tuple(root.tolist()))
        if not body.root or not all(0 <= joint < len(body.parents) for joint in (*body.parents, *body.root)):
            raise ValueError(f"joints that hang on {body.parents} around {body.root} are no body")
        return body

    @property
    def arrays(self) -> dict[str, NDArray[np.int32]]:
        """The same as plain arrays."""
        return {"parents": np.array(self.parents, dtype=np.int32), "root": np.array(self.root, dtype=np.int32)}

    @property
    def bones(self) -> list[int]:
        """The joints that hang on another."""
        return [joint for joint, parent in enumerate(self.parents) if parent != joint]


def evenly(features: Sequence[Features], steps: int) -> Moves:
    """All at `steps` moments, from each one's first to its last, on the straight lines between those that are known."""
    joints, pace = [], []
    for each in features:
        _ = flat(each)  # refuses numbers that are none
        length = float(each.times[-1] - each.times[0])
        moments = each.times[0] + length * np.arange(steps) / max(1, steps - 1)
        after = np.clip(np.searchsorted(each.times, moments, side="right"), 1, max(1, len(each) - 1))
        before, after = after - 1, np.minimum(after, len(each) - 1)
        gap = each.times[after] - each.times[before]
        share = np.clip((moments - each.times[before]) / np.where(gap > 0, gap, 1.0), 0.0, 1.0)[:, None, None]
        joints.append(each.values[before] * (1 - share) + each.values[after] * share)
        pace.append(length / (steps - 1) if length > 0 and steps > 1 else ALONE)
    shape = (0, steps, 1, 1) if not joints else (len(joints), *joints[0].shape)
    values = np.stack(joints).astype(np.float32) if joints else np.zeros(shape, dtype=np.float32)
    return Moves(torch.from_numpy(values), torch.tensor(pace, dtype=torch.float32))


def of_joints(features: Sequence[Features]) -> tuple[int, int]:
    """K and C of features (T, K, C); refuses others."""
    shapes = {each.values.shape[1:] for each in features}
    if len(shapes) != 1 or len(shape := next(iter(shapes))) != 2 or shape[1] < 3:
        told = ", ".join(sorted(str(("T", *shape)) for shape in shapes)) or "nothing"
        raise ConfigError("backbone", f"gives {told}, and this head reads the joints of one body (T, K, C); take --backbone joints")
    return int(shape[0]), int(shape[1])


def fitting_body(features: Sequence[Features], joints: int, channels: int) -> Sequence[Features]:
    """The features, if each moment has the joints that the head was fitted on."""
    for each in features:
        if each.values.shape[1:] != (joints, channels):
            here = " x ".join(map(str, each.values.shape[1:]))
            raise ConfigError("backbone", f"gives {here} numbers a moment where this head was fitted on {joints} joints x {channels}")
    return features


def body_of(examples: Examples) -> Skeleton:
    """The skeleton of the examples; where nothing is known of its bones, those that the joints themselves suggest."""
    count, channels = of_joints(examples.features)
    skeleton = examples.skeleton or nameless(count, min(3, channels - 1))
    if len(skeleton) != count:
        raise ConfigError("skeleton", f"{skeleton.name!r} has {len(skeleton)} joints, and the features have {count}")
    return skeleton if skeleton.edges or count < 2 else replace(skeleton, edges=likely_bones(examples.features))


def likely_bones(features: Sequence[Features]) -> tuple[tuple[int, int], ...]:
    """The tree over joints that are near each other and always equally far apart, as the two ends of a bone are."""
    from scipy.sparse.csgraph import minimum_spanning_tree  # slow to import, and only fitting needs it

    some = [features[place] for place in np.unique(np.linspace(0, len(features) - 1, LOOKED_AT).astype(int))]
    places = np.concatenate([flat(each).reshape(each.values.shape)[..., :-1] for each in some])  # (M, K, D)
    places = places[np.unique(np.linspace(0, len(places) - 1, 20 * LOOKED_AT).astype(int))]
    count = places.shape[1]
    cost = np.zeros((count, count))
    for joint in range(count):
        away = np.linalg.norm(places - places[:, [joint]], axis=2)  # (M, K)
        cost[joint] = away.mean(axis=0) + 3 * away.std(axis=0) + 1e-9  # an edge of no cost is none
    tree = minimum_spanning_tree(np.triu(cost, 1)).tocoo()
    return tuple(sorted((int(one), int(other)) for one, other in zip(tree.row, tree.col, strict=True)))


def streams(moves: Moves, body: Body, names: Sequence[str]) -> Tensor:
    """What each stream sees, (S, B, T, K, 2D + 1), the score last.

    `joint`: where a joint is, and where from the middle of the body. `bone`: from the joint it hangs on, and in which direction.
    The `motion` of each: how fast these change.
    """
    seen = {"joint": _joint, "bone": _bone}
    values = []
    for name in names:
        kind, _, motion = name.partition("-")
        value = seen[kind](moves.joints[..., :-1], body)  # (B, T, K, 2D)
        values.append(torch.cat([gently(speeds(value, moves.pace)) if motion else value, moves.joints[..., -1:]], dim=-1))
    return torch.stack(values)


def from_middle(places: Tensor, body: Body) -> Tensor:
    """Where joints (B, T, K, D) are, seen from the middle of the body."""
    return places - places[:, :, list(body.root)].mean(dim=2, keepdim=True)


def bones(places: Tensor, body: Body) -> Tensor:
    """From the joint that each hangs on to the joint itself, (B, T, K, D)."""
    return places - places[:, :, list(body.parents)]


def directions(vectors: Tensor) -> Tensor:
    """Vectors of length 1, whose numbers are the cosines of their angles; shorter where there is hardly one."""
    made: Tensor = vectors / torch.linalg.vector_norm(vectors, dim=-1, keepdim=True).clamp(min=SHORT)
    return made


def speeds(values: Tensor, pace: Tensor) -> Tensor:
    """How much values (B, T, ...) change in a second, (B, T, ...); the last is that before it."""
    if values.shape[1] < 2:
        return torch.zeros_like(values)
    change = values.diff(dim=1) / pace.view(-1, *[1] * (values.dim() - 1))
    return torch.cat([change, change[:, -1:]], dim=1)


def gently(values: Tensor) -> Tensor:
    """The same where small; where large, growing like a logarithm: one wild sighting should not outweigh a whole segment."""
    return torch.asinh(values)


def _joint(places: Tensor, body: Body) -> Tensor:
    return torch.cat([places, from_middle(places, body)], dim=-1)


def _bone(places: Tensor, body: Body) -> Tensor:
    vectors = bones(places, body)
    return torch.cat([vectors, directions(vectors)], dim=-1)
