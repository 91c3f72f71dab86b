"""The network of ST-GCN++: graph convolutions over joints and six temporal branches; several streams are computed at once.

The block is the published one (https://arxiv.org/abs/2205.09443). Joints are mixed by three learned matrices, which start as the body's
neighbours (as near to its middle, nearer, farther), with a residual connection. Then come four dilated temporal convolutions, a max
pooling and a pointwise branch in parallel, and a residual connection around the whole block. The network is narrower and shallower than
the published one, and several timestamps enter as one, because most sets are small and are fitted on a CPU.

Every tensor is (S, C, B, T, K): streams, channels, segments, timestamps, joints. Streams share no weights; they are computed together
because one large matrix product is faster than several small ones.
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

DILATIONS = (1, 2, 3, 4)  # of the temporal convolutions, whose kernels have three taps
BRANCHES = len(DILATIONS) + 2  # with a max pooling over three timestamps and a pointwise branch
MOMENTUM = 0.1
INITIAL_DEVIATION = 0.01  # of the last layer's weights


class Normalization(nn.Module):
    """Batch normalization of every channel of every stream."""

    def __init__(self, streams: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(streams * channels))
        self.bias = nn.Parameter(torch.zeros(streams * channels))
        self.mean: Tensor
        self.variance: Tensor
        self.register_buffer("mean", torch.zeros(streams * channels))
        self.register_buffer("variance", torch.ones(streams * channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalize (S, C, B, T, K)."""
        flat = x.reshape(1, x.shape[0] * x.shape[1], -1)
        result = functional.batch_norm(flat, self.mean, self.variance, self.weight, self.bias, training=self.training, momentum=MOMENTUM)
        return result.view(x.shape)


class Pointwise(nn.Module):
    """A convolution of size 1: each output channel is a weighted sum of the input channels."""

    def __init__(self, streams: int, channels: int, outputs: int, generator: torch.Generator) -> None:
        super().__init__()
        spread = math.sqrt(2 / channels)
        self.weight = nn.Parameter(torch.randn(streams, outputs, channels, generator=generator) * spread)

    def forward(self, x: Tensor) -> Tensor:
        """Mix the channels of (S, C, B, T, K)."""
        return (self.weight @ x.flatten(2)).view(x.shape[0], -1, *x.shape[2:])


class GraphConvolution(nn.Module):
    """Mixes joints along the graph, then channels, with a residual connection."""

    def __init__(self, streams: int, channels: int, outputs: int, graph: Tensor, generator: torch.Generator) -> None:
        super().__init__()
        self.graph = nn.Parameter(graph.repeat(streams, 1, 1, 1))  # (S, 3, K, K)
        self.mix = Pointwise(streams, len(graph) * channels, outputs, generator)
        self.normal = Normalization(streams, outputs)
        self.beside = _residual(streams, channels, outputs, 1, generator)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (S, C, B, T, K) over the graph."""
        flat = x.flatten(1, 3)  # (S, C * B * T, K)
        mixed = torch.cat([(flat @ self.graph[:, part]).view(x.shape) for part in range(self.graph.shape[1])], dim=1)  # (S, 3C, B, T, K)
        return functional.relu(self.normal(self.mix(mixed)) + self.beside(x))


class TemporalConvolution(nn.Module):
    """Mixes timestamps in six parallel branches of different dilation."""

    def __init__(self, streams: int, channels: int, stride: int, generator: torch.Generator) -> None:
        super().__init__()
        narrow = channels // BRANCHES
        self.widths = [channels - narrow * (BRANCHES - 1), *[narrow] * (len(DILATIONS) - 1)]
        self.stride = stride
        self.enter = Pointwise(streams, channels, channels, generator)  # the first layer of all branches in one
        self.plain = narrow  # channels of the pointwise branch, the last ones
        self.normal = Normalization(streams, channels - narrow)
        self.looks = nn.ModuleList(Pointwise(streams, 3 * width, width, generator) for width in self.widths)
        self.between = Normalization(streams, channels)
        self.leave = Pointwise(streams, channels, channels, generator)
        self.last = Normalization(streams, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (S, C, B, T, K) over time."""
        *parts, plain = torch.split(self.enter(x), [*self.widths, self.plain, self.plain], dim=1)
        activated = functional.relu(self.normal(torch.cat(parts, dim=1)))
        *parts, last = torch.split(activated, [*self.widths, self.plain], dim=1)
        branches = [mix(self._three_taps(part, dilation)) for part, dilation, mix in zip(parts, DILATIONS, self.looks, strict=True)]
        branches += [self._max_pool(last), plain[:, :, :, :: self.stride]]
        concatenated = functional.relu(self.between(torch.cat(branches, dim=1)))
        result: Tensor = self.last(self.leave(concatenated))
        return result

    def _three_taps(self, x: Tensor, dilation: int) -> Tensor:
        """Return each timestamp with the ones before and after it, concatenated as channels."""
        padded = functional.pad(x, (0, 0, dilation, dilation))
        return torch.cat([padded[:, :, :, start : start + x.shape[3] : self.stride] for start in (0, dilation, 2 * dilation)], dim=1)

    def _max_pool(self, x: Tensor) -> Tensor:
        highest = functional.max_pool2d(x.flatten(0, 2)[:, None], (3, 1), (self.stride, 1), (1, 0))  # (S * C * B, 1, T', K)
        return highest.view(*x.shape[:3], -1, x.shape[4])


class Block(nn.Module):
    """A graph convolution, then a temporal one, with a residual connection around both; the first block has none."""

    def __init__(
        self, streams: int, channels: tuple[int, int], graph: Tensor, generator: torch.Generator, *, stride: int, first: bool
    ) -> None:
        super().__init__()
        self.joints = GraphConvolution(streams, *channels, graph, generator)
        self.moments = TemporalConvolution(streams, channels[1], stride, generator)
        self.beside = None if first else _residual(streams, *channels, stride, generator)

    def forward(self, x: Tensor) -> Tensor:
        """Return (S, C', B, T', K)."""
        result = self.moments(self.joints(x))
        return functional.relu(result if self.beside is None else result + self.beside(x))


class _Projection(nn.Module):
    """A residual connection to another width or stride."""

    def __init__(self, streams: int, channels: int, outputs: int, stride: int, generator: torch.Generator) -> None:
        super().__init__()
        self.stride = stride
        self.mix = Pointwise(streams, channels, outputs, generator)
        self.normal = Normalization(streams, outputs)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.normal(self.mix(x[:, :, :, :: self.stride]))
        return result


def _residual(streams: int, channels: int, outputs: int, stride: int, generator: torch.Generator) -> nn.Module:
    return nn.Identity() if channels == outputs and stride == 1 else _Projection(streams, channels, outputs, stride, generator)


class GraphNetwork(nn.Module):
    """The logits of each stream: (S, B, T, K, C) and which joints are visible (B, T, K) -> (S, B, classes)."""

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
        self.normal = Normalization(streams, channels * graph.shape[1])
        steps = pairwise((channels * at_once, *widths))
        self.blocks = nn.ModuleList(
            Block(streams, step, graph, generator, stride=2 if number and step[1] > step[0] else 1, first=number == 0)
            for number, step in enumerate(steps)
        )
        self.weight = nn.Parameter(torch.randn(streams, widths[-1], classes, generator=generator) * INITIAL_DEVIATION)
        self.bias = nn.Parameter(torch.zeros(streams, 1, classes))

    def forward(self, values: Tensor, visible: Tensor, dropout: Dropout | None = None) -> Tensor:
        """Return the logits (S, B, classes)."""
        self.train(dropout is not None)
        streams, count, timestamps, joints, channels = values.shape
        x = self.normal(values.permute(0, 3, 4, 1, 2).reshape(streams, joints * channels, count, timestamps))
        x = x.view(streams, joints, channels, count, timestamps).permute(0, 2, 3, 4, 1) * visible
        x = x.view(streams, channels, count, -1, self.at_once, joints).permute(0, 1, 4, 2, 3, 5).flatten(1, 2)  # (S, C * P, B, T / P, K)
        for block in self.blocks:
            x = block(x)
        weight = functional.adaptive_avg_pool2d(visible, (x.shape[3], joints))  # (B, T', K)
        weight = weight / weight.sum(dim=(1, 2), keepdim=True).clamp(min=1e-6)
        pooled = (x * weight).sum(dim=(3, 4)).transpose(1, 2)  # (S, B, C)
        return (dropout(pooled) if dropout else pooled) @ self.weight + self.bias


def graph_of(skeleton: Skeleton) -> Tensor:
    """Return the adjacency (3, K, K): neighbours as far from the middle, nearer and farther; all columns sum to 1."""
    count = len(skeleton)
    distance = np.where(np.eye(count, dtype=bool), 0.0, np.inf)
    for one, other in skeleton.edges:
        distance[one, other] = distance[other, one] = 1.0
    for joint in range(count):  # Floyd-Warshall: the shortest paths
        distance = np.minimum(distance, distance[:, [joint]] + distance[[joint]])
    middle = distance[:, list(skeleton.root)].min(axis=1)  # (K,)
    adjacent = distance <= 1
    share = adjacent / adjacent.sum(axis=0, keepdims=True)
    parts = [middle[:, None] == middle, middle[:, None] < middle, middle[:, None] > middle]
    return torch.from_numpy(np.stack([np.where(part, share, 0.0) for part in parts]).astype(np.float32))
