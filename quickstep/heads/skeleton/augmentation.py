"""Changes that leave a move what it is: turned, scaled, shaken, faster or slower, joints hidden, and (where that is so) mirrored.

All at once for a batch, by the generator that is passed in; for training alone. Knows no network.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from quickstep.heads.skeleton.input_channels import Moves
from quickstep.types.config_fields import between
from quickstep.types.skeleton import Skeleton

MOST_WARP = 0.9  # of that at which time would stand still


@dataclass(frozen=True)
class Changes:
    """How large the changes are: the spread of each, where it is not said otherwise."""

    turn: float = 0.1  # radians: in the picture, or of a 3D body around the vertical
    scale: float = 0.1  # the logarithm of a size, of each axis and of all
    jitter: float = 0.006  # body lengths: each joint for itself, the same over time, as between two bodies or two estimators
    shift: float = 0.03  # body lengths: all joints
    cut: float = 0.3  # the largest share of the time that is left out, at the beginning and the end together
    warp: float = 0.15  # how much faster or slower, at most, in the middle of the time than at its ends
    pace: float = 0.1  # the logarithm of a speed
    hidden: float = 0.05  # the share of joints that is hidden, in every other segment

    def times(self, strength: float) -> Changes:
        """Smaller or larger ones; of strength 0 there are none."""
        between("augment", strength, 0, 3)
        return Changes(**{each.name: min(0.9, getattr(self, each.name) * strength) for each in fields(self)})


def changed(moves: Moves, changes: Changes, *, steps: int, mirror: Skeleton | None, generator: torch.Generator) -> Moves:
    """Every segment changed in its own way, at `steps` moments; with `mirror`, every other one as in a mirror."""

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=moves.joints.dtype)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=moves.joints.dtype)

    count, _, joints, channels = moves.joints.shape
    flip, angle = uniform(count) < 0.5, normal(count) * changes.turn
    size = (normal(count, 1, 1, channels - 1) + normal(count, 1, 1, 1)) * changes.scale
    moved = normal(count, 1, joints, channels - 1) * changes.jitter + normal(count, 1, 1, channels - 1) * changes.shift
    kept, start, warp = 1 - changes.cut * uniform(count), uniform(count), changes.warp * (2 * uniform(count) - 1)
    pace = moves.pace * torch.exp(normal(count) * changes.pace)
    hidden = (uniform(count, 1, joints) < changes.hidden) & (uniform(count, 1, 1) < 0.5)  # (B, 1, K)

    values = moves.joints
    if mirror is not None and mirror.mirrored:
        values = torch.where(flip[:, None, None, None], mirrored(moves, mirror).joints, values)
    places = turned(values[..., :-1], angle) * size.exp() + moved
    values = torch.cat([places, values[..., -1:].masked_fill(hidden[..., None], 0.0)], dim=-1)
    return _at(Moves(values, pace), (1 - kept) * start, kept, warp, steps)


def mirrored(moves: Moves, skeleton: Skeleton) -> Moves:
    """The same as seen in a mirror: left joints become right ones."""
    joints = moves.joints[:, :, list(skeleton.flipped)].clone()
    joints[..., 0].neg_()
    return Moves(joints, moves.pace)


def turned(places: Tensor, angle: Tensor) -> Tensor:
    """Places (B, T, K, D) turned by (B,) radians: 2D in the picture, 3D around the vertical, which is y in poses."""
    one, other = (0, 1) if places.shape[-1] == 2 else (0, 2)
    cosine, sine = angle.cos()[:, None, None], angle.sin()[:, None, None]
    axes = list(places.unbind(dim=-1))
    axes[one], axes[other] = cosine * axes[one] - sine * axes[other], sine * axes[one] + cosine * axes[other]
    return torch.stack(axes, dim=-1)


def _at(moves: Moves, start: Tensor, kept: Tensor, warp: Tensor, steps: int) -> Moves:
    """The share `kept` of the time from `start` on, at `steps` moments, its middle faster or slower than its ends."""
    known = moves.joints.shape[1]
    even = torch.linspace(0, 1, steps, dtype=moves.joints.dtype)[None]
    # The slope of this is 1 - cos: it goes through 0 and 1 at the ends and never turns back while the warp is below 1.
    bent = even - MOST_WARP * warp[:, None] * torch.sin(2 * math.pi * even) / (2 * math.pi)
    place = ((start[:, None] + kept[:, None] * bent) * (known - 1)).clamp(0, known - 1)  # (B, steps)
    before = place.floor().long().clamp(max=max(0, known - 2))
    share = (place - before)[..., None, None]
    index = before[..., None, None].expand(-1, -1, *moves.joints.shape[2:])
    values = moves.joints.gather(1, index) * (1 - share) + moves.joints.gather(1, (index + 1).clamp(max=known - 1)) * share
    return Moves(values, moves.pace * kept * (known - 1) / max(1, steps - 1))
