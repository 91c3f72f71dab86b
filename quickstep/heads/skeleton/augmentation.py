"""Augmentation of joint sequences: rotation, scale, jitter, shift, cropping and warping in time, speed, hidden joints, mirroring.

A whole batch is augmented at once, with the generator that is passed in; only training uses it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from quickstep.heads.skeleton.input_channels import JointSequences
from quickstep.types.config_fields import between
from quickstep.types.skeleton import Skeleton

MOST_WARP = 0.9  # of the warp with which time would stop


@dataclass(frozen=True)
class Changes:
    """How large the changes are: standard deviations, where not stated otherwise."""

    turn: float = 0.1  # radians: in the image plane, or of a 3D body around the vertical
    scale: float = 0.1  # the logarithm of the size, for each axis and for all together
    jitter: float = 0.006  # body lengths: each joint by itself, constant over time, as between two bodies or two estimators
    shift: float = 0.03  # body lengths: all joints together
    cut: float = 0.3  # the largest share of the time that is cut off, at the start and the end together
    warp: float = 0.15  # how much faster or slower, at most, the middle of the time is than its ends
    pace: float = 0.1  # the logarithm of the speed
    hidden: float = 0.05  # the share of joints that is hidden, in every other segment

    def times(self, strength: float) -> Changes:
        """Return smaller or larger changes; with strength 0 there are none."""
        between("augment", strength, 0, 3)
        return Changes(**{field.name: min(0.9, getattr(self, field.name) * strength) for field in fields(self)})


def augment(
    sequences: JointSequences, changes: Changes, *, steps: int, mirror: Skeleton | None, generator: torch.Generator
) -> JointSequences:
    """Change every segment in its own way and return it at `steps` timestamps; with `mirror`, every other segment is mirrored."""

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=sequences.joints.dtype)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=sequences.joints.dtype)

    count, _, joints, channels = sequences.joints.shape
    flip, angle = uniform(count) < 0.5, normal(count) * changes.turn
    size = (normal(count, 1, 1, channels - 1) + normal(count, 1, 1, 1)) * changes.scale
    moved = normal(count, 1, joints, channels - 1) * changes.jitter + normal(count, 1, 1, channels - 1) * changes.shift
    share, start, warp = 1 - changes.cut * uniform(count), uniform(count), changes.warp * (2 * uniform(count) - 1)
    pace = sequences.pace * torch.exp(normal(count) * changes.pace)
    hidden = (uniform(count, 1, joints) < changes.hidden) & (uniform(count, 1, 1) < 0.5)  # (B, 1, K)

    values = sequences.joints
    if mirror is not None and mirror.mirrored:
        values = torch.where(flip[:, None, None, None], mirrored(sequences, mirror).joints, values)
    positions = rotated(values[..., :-1], angle) * size.exp() + moved
    values = torch.cat([positions, values[..., -1:].masked_fill(hidden[..., None], 0.0)], dim=-1)
    return _resample_in_time(JointSequences(values, pace), (1 - share) * start, share, warp, steps)


def mirrored(sequences: JointSequences, skeleton: Skeleton) -> JointSequences:
    """Return mirrored copies: left joints become right ones."""
    joints = sequences.joints[:, :, list(skeleton.flipped)].clone()
    joints[..., 0].neg_()
    return JointSequences(joints, sequences.pace)


def rotated(positions: Tensor, angle: Tensor) -> Tensor:
    """Rotate positions (B, T, K, D) by (B,) radians: 2D in the image plane, 3D around the vertical, which is y."""
    one, other = (0, 1) if positions.shape[-1] == 2 else (0, 2)
    cosine, sine = angle.cos()[:, None, None], angle.sin()[:, None, None]
    axes = list(positions.unbind(dim=-1))
    axes[one], axes[other] = cosine * axes[one] - sine * axes[other], sine * axes[one] + cosine * axes[other]
    return torch.stack(axes, dim=-1)


def _resample_in_time(sequences: JointSequences, start: Tensor, span: Tensor, warp: Tensor, steps: int) -> JointSequences:
    """Return the share `kept` of the time from `start` on, at `steps` timestamps, with its middle faster or slower than its ends."""
    frames = sequences.joints.shape[1]
    even = torch.linspace(0, 1, steps, dtype=sequences.joints.dtype)[None]
    # The slope of this is 1 - cos: it passes through 0 and 1 at the ends and never reverses while the warp is below 1.
    warped = even - MOST_WARP * warp[:, None] * torch.sin(2 * math.pi * even) / (2 * math.pi)
    place = ((start[:, None] + span[:, None] * warped) * (frames - 1)).clamp(0, frames - 1)  # (B, steps)
    before = place.floor().long().clamp(max=max(0, frames - 2))
    share = (place - before)[..., None, None]
    index = before[..., None, None].expand(-1, -1, *sequences.joints.shape[2:])
    after = sequences.joints.gather(1, (index + 1).clamp(max=frames - 1))
    values = sequences.joints.gather(1, index) * (1 - share) + after * share
    return JointSequences(values, sequences.pace * span * (frames - 1) / max(1, steps - 1))
