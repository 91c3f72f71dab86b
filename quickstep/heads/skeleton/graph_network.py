"""The network of ST-GCN++: joints mixed along a graph that is learnt, moments by six branches of different reach; several streams at once.

The block is the published one (https://arxiv.org/abs/2205.09443): joints are mixed by three matrices that start as the body's
neighbours (as near to its middle, nearer, farther) and are free to become anything, with a residual around them; then four dilated
convolutions over time, a maximum and a plain one side by side; and a residual around it all. Narrower and shallower here, and several
moments enter as one, because most sets are small and are fitted on a processor.

Every tensor is (S, C, B, T, K): streams, channels, segments, moments, joints. Streams share nothing; they stand side by side because
one large product of matrices is quicker than several small ones. Knows neither labels nor files.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from quickstep.heads.training_loop import Dropout
from quickstep.types.skeleton import Skeleton

REACH = (1, 2, 3, 4)  # moments between the three that a convolution over time looks at
BRANCHES = len(REACH) + 2  # a maximum over three moments, and no look around at all
MOMENTUM = 0.1
SMALL = 0.01  # the spread of the last layer's weights to begin with


class Normal(nn.Module):
    """Brings every channel of every stream to mean 0 and spread 1: of the batch while fitting, remembered ones ever after."""

    def __init__(self, streams: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(streams * channels))
        self.bias = nn.Parameter(torch.zeros(streams * channels))
        self.mean: Tensor
        self.variance: Tensor
        self.register_buffer("mean", torch.zeros(streams * channels))
        self.register_buffer("variance", torch.ones(streams * channels))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(1, x.shape[0] * x.shape[1], -1)
        made = functional.batch_norm(flat, self.mean, self.variance, self.weight, self.bias, training=self.training, momentum=MOMENTUM)
        return made.view(x.shape)


class Mix(nn.Module):
    """Each new channel is a weighted sum of the old ones: a convolution of size 1."""

    def __init__(self, streams: int, channels: int, wanted: int, generator: torch.Generator) -> None:
        super().__init__()
        spread = math.sqrt(2 / channels)
        self.weight = nn.Parameter(torch.randn(streams, wanted, channels, generator=generator) * spread)

    def forward(self, x: Tensor) -> Tensor:
        return (self.weight @ x.flatten(2)).view(x.shape[0], -1, *x.shape[2:])


class Joints(nn.Module):
    """Mixes joints along the graph, then channels."""

    def __init__(self, streams: int, channels: int, wanted: int, graph: Tensor, generator: torch.Generator) -> None:
        super().__init__()
        self.graph = nn.Parameter(graph.repeat(streams, 1, 1, 1))  # (S, 3, K, K)
        self.mix = Mix(streams, len(graph) * channels, wanted, generator)
        self.normal = Normal(streams, wanted)
        self.beside = _resized(streams, channels, wanted, 1, generator)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1, 3)  # (S, C * B * T, K)
        mixed = torch.cat([(flat @ self.graph[:, part]).view(x.shape) for part in range(self.graph.shape[1])], dim=1)  # (S, 3C, B, T, K)
        return functional.relu(self.normal(self.mix(mixed)) + self.beside(x))


class Moments(nn.Module):
    """Mixes moments: six branches of different reach side by side."""

    def __init__(self, streams: int, channels: int, stride: int, generator: torch.Generator) -> None:
        super().__init__()
        narrow = channels // BRANCHES
        self.widths = [channels - narrow * (BRANCHES - 1), *[narrow] * (len(REACH) - 1)]
        self.stride = stride
        self.enter = Mix(streams, channels, channels, generator)  # the first layer of all branches in one
        self.plain = narrow  # the channels of the branch that does not look around: the last ones
        self.normal = Normal(streams, channels - narrow)
        self.looks = nn.ModuleList(Mix(streams, 3 * width, width, generator) for width in self.widths)
        self.between = Normal(streams, channels)
        self.leave = Mix(streams, channels, channels, generator)
        self.last = Normal(streams, channels)

    def forward(self, x: Tensor) -> Tensor:
        *parts, plain = torch.split(self.enter(x), [*self.widths, self.plain, self.plain], dim=1)
        looking = functional.relu(self.normal(torch.cat(parts, dim=1)))
        *parts, last = torch.split(looking, [*self.widths, self.plain], dim=1)
        branches = [look(self._three(part, reach)) for part, reach, look in zip(parts, REACH, self.looks, strict=True)]
        branches += [self._highest(last), plain[:, :, :, :: self.stride]]
        together = functional.relu(self.between(torch.cat(branches, dim=1)))
        made: Tensor = self.last(self.leave(together))
        return made

    def _three(self, x: Tensor, reach: int) -> Tensor:
        """The moment itself and those before and after it, side by side as channels."""
        padded = functional.pad(x, (0, 0, reach, reach))
        return torch.cat([padded[:, :, :, start : start + x.shape[3] : self.stride] for start in (0, reach, 2 * reach)], dim=1)

    def _highest(self, x: Tensor) -> Tensor:
        highest = functional.max_pool2d(x.flatten(0, 2)[:, None], (3, 1), (self.stride, 1), (1, 0))  # (S * C * B, 1, T', K)
        return highest.view(*x.shape[:3], -1, x.shape[4])


class Block(nn.Module):
    """Joints, then moments, and a way around both; the first block has none."""

    def __init__(
        self, streams: int, channels: tuple[int, int], graph: Tensor, generator: torch.Generator, *, stride: int, first: bool
    ) -> None:
        super().__init__()
        self.joints = Joints(streams, *channels, graph, generator)
        self.moments = Moments(streams, channels[1], stride, generator)
        self.beside = None if first else _resized(streams, *channels, stride, generator)

    def forward(self, x: Tensor) -> Tensor:
        made = self.moments(self.joints(x))
        return functional.relu(made if self.beside is None else made + self.beside(x))


class _Resized(nn.Module):
    """What goes around a unit, brought to its width and pace."""

    def __init__(self, streams: int, channels: int, wanted: int, stride: int, generator: torch.Generator) -> None:
        super().__init__()
        self.stride = stride
        self.mix = Mix(streams, channels, wanted, generator)
        self.normal = Normal(streams, wanted)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.normal(self.mix(x[:, :, :, :: self.stride]))
        return made


def _resized(streams: int, channels: int, wanted: int, stride: int, generator: torch.Generator) -> nn.Module:
    return nn.Identity() if channels == wanted and stride == 1 else _Resized(streams, channels, wanted, stride, generator)


class GraphNetwork(nn.Module):
    """What each stream makes of joints: (S, B, T, K, C) and where they are seen (B, T, K) -> logits (S, B, classes)."""

    def __init__(
        self,
        sizes: tuple[int, int, int],  # streams, channels, classes
        widths: Sequence[int],
        graph: Tensor,
        generator: torch.Generator,
        *,
        at_once: int,
    ) -> None:
        super().__init__()
        streams, channels, classes = sizes
        self.at_once = at_once
        self.normal = Normal(streams, channels * graph.shape[1])
        steps = pairwise((channels * at_once, *widths))
        self.blocks = nn.ModuleList(
            Block(streams, step, graph, generator, stride=2 if number and step[1] > step[0] else 1, first=number == 0)
            for number, step in enumerate(steps)
        )
        self.weight = nn.Parameter(torch.randn(streams, widths[-1], classes, generator=generator) * SMALL)
        self.bias = nn.Parameter(torch.zeros(streams, 1, classes))

    def forward(self, values: Tensor, seen: Tensor, dropout: Dropout | None = None) -> Tensor:
        self.train(dropout is not None)
        streams, count, moments, joints, channels = values.shape
        x = self.normal(values.permute(0, 3, 4, 1, 2).reshape(streams, joints * channels, count, moments))  # each joint by itself
        x = x.view(streams, joints, channels, count, moments).permute(0, 2, 3, 4, 1) * seen
        x = x.view(streams, channels, count, -1, self.at_once, joints).permute(0, 1, 4, 2, 3, 5).flatten(1, 2)  # (S, C * P, B, T / P, K)
        for block in self.blocks:
            x = block(x)
        weight = functional.adaptive_avg_pool2d(seen, (x.shape[3], joints))  # (B, T', K)
        weight = weight / weight.sum(dim=(1, 2), keepdim=True).clamp(min=1e-6)
        pooled = (x * weight).sum(dim=(3, 4)).transpose(1, 2)  # (S, B, C)
        return (dropout(pooled) if dropout else pooled) @ self.weight + self.bias


def graph_of(skeleton: Skeleton) -> Tensor:
    """How the body's joints are joined, (3, K, K): neighbours as far from its middle, nearer and farther, the columns adding up to 1."""
    count = len(skeleton)
    away = np.where(np.eye(count, dtype=bool), 0.0, np.inf)
    for one, other in skeleton.edges:
        away[one, other] = away[other, one] = 1.0
    for joint in range(count):  # the shortest ways, by whatever joint they lead
        away = np.minimum(away, away[:, [joint]] + away[[joint]])
    middle = away[:, list(skeleton.root)].min(axis=1)  # (K,)
    joined = away <= 1
    share = joined / joined.sum(axis=0, keepdims=True)
    parts = [middle[:, None] == middle, middle[:, None] < middle, middle[:, None] > middle]
    return torch.from_numpy(np.stack([np.where(part, share, 0.0) for part in parts]).astype(np.float32))
