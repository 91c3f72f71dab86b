"""InceptionI3d: Inception-v1 inflated to three dimensions, with the names of the PyTorch weights in public use.

Its input is (N, C, T, H, W), normalized.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from quickstep.backbones.i3d.temporal_layers import Ends, channels_last, convolve_frames, max_pool, narrow, repeat_ends

# Of each block of branches: 1x1 · 1x1 then 3x3 · 1x1 then 3x3 · pooled then 1x1.
MIXED: dict[str, tuple[int, int, int, int, int, int]] = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}
# Max pooling before a block: kernel and stride over (T, H, W).
_POOLED = {
    "Conv3d_2b_1x1": ((1, 3, 3), (1, 2, 2)),
    "Mixed_3b": ((1, 3, 3), (1, 2, 2)),
    "Mixed_4b": ((3, 3, 3), (2, 2, 2)),
    "Mixed_5b": ((2, 2, 2), (2, 2, 2)),
}
POOL = (2, 7, 7)  # of the head, one step at a time


class Unit3D(nn.Module):
    """Convolution, normalization and ReLU with TensorFlow's "same" padding, which depends on the size and may be uneven."""

    def __init__(self, channels: int, out: int, kernel: int, *, stride: int = 1, momentum: float, ends: Ends) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(channels, out, kernel, stride=stride, bias=False)
        self.bn = nn.BatchNorm3d(out, eps=1e-3, momentum=momentum)
        self.ends = ends

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve, normalize, and apply ReLU."""
        return functional.relu(self.bn(self._convolve(x)), inplace=True)

    def _convolve(self, x: torch.Tensor) -> torch.Tensor:
        kernel, stride, weight = self.conv3d.kernel_size, self.conv3d.stride, self.conv3d.weight
        if kernel[0] == 1:
            return convolve_frames(self.conv3d, x)
        pads = [_same(size, k, s) for size, k, s in zip(x.shape[2:], kernel, stride, strict=True)]
        if self.ends == "repeated":  # as the 2D network pads its frames
            x = repeat_ends(x, *pads[0])
            pads = [(0, 0), *[((k - 1) // 2, (k - 1) // 2) for k in kernel[1:]]]
        if all(before == after for before, after in pads):
            return functional.conv3d(x, weight, stride=stride, padding=tuple(before for before, _ in pads))
        return functional.conv3d(functional.pad(x, _flat(pads)), weight, stride=stride)


class Mixed(nn.Module):
    """Four parallel branches."""

    def __init__(self, channels: int, outs: tuple[int, ...], *, momentum: float, ends: Ends) -> None:
        super().__init__()

        def unit(channels: int, out: int, kernel: int) -> Unit3D:
            return Unit3D(channels, out, kernel, momentum=momentum, ends=ends)

        self.b0 = unit(channels, outs[0], 1)
        self.b1a = unit(channels, outs[1], 1)
        self.b1b = unit(outs[1], outs[2], 3)
        self.b2a = unit(channels, outs[3], 1)
        self.b2b = unit(outs[3], outs[4], 3)
        self.b3b = unit(channels, outs[5], 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the four branches and join their channels."""
        pooled = max_pool(x, (3, 3, 3), (1, 1, 1), ((1, 1), (1, 1), (1, 1)))
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(pooled)], dim=1)


class Logits(nn.Module):
    """The published head: a 1x1x1 convolution with a bias."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(channels, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the logits of every point."""
        return self.conv3d(x)  # type: ignore[no-any-return]


class InceptionI3d(nn.Module):
    """(N, C, T, H, W) -> the feature map before pooling, (N, 1024, T/8, H/32, W/32).

    `multiplier` narrows every layer. `classes` is the head's, 0 for none. With `ends="repeated"` its padding is that of the 2D network it
    was inflated from, and the first and last frames are repeated instead of padded with zeros: a still video gives what its frame gives.
    """

    pooled = POOL[0]  # steps of the feature map in one vector

    def __init__(
        self, channels: int = 3, *, classes: int = 0, multiplier: float = 1.0, ends: Ends = "zeros", momentum: float = 0.01
    ) -> None:
        super().__init__()
        self.ends = ends
        wide = {name: tuple(narrow(count, multiplier) for count in counts) for name, counts in MIXED.items()}
        stem, third = narrow(64, multiplier), narrow(192, multiplier)
        self.Conv3d_1a_7x7 = Unit3D(channels, stem, 7, stride=2, momentum=momentum, ends=ends)
        self.Conv3d_2b_1x1 = Unit3D(stem, stem, 1, momentum=momentum, ends=ends)
        self.Conv3d_2c_3x3 = Unit3D(stem, third, 3, momentum=momentum, ends=ends)
        width = third
        for name, counts in wide.items():
            self.add_module(name, Mixed(width, counts, momentum=momentum, ends=ends))
            width = counts[0] + counts[2] + counts[4] + counts[5]
        self.width = width
        self.logits = Logits(width, classes) if classes else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the feature map."""
        x = channels_last(x)
        for name in ("Conv3d_1a_7x7", "Conv3d_2b_1x1", "Conv3d_2c_3x3", *MIXED):
            if name in _POOLED:
                x = self._pooled(x, *_POOLED[name])
            x = getattr(self, name)(x)
        return x

    def vectors(self, features: torch.Tensor) -> torch.Tensor:
        """Pool the feature map (N, D, T, H, W) to vectors in time (N, T - 1, D), each of two steps, as the published head does."""
        return self._head_pooled(features).mean(dim=(3, 4)).transpose(1, 2)

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        """Compute the head's logits from the feature map, averaged over time, (N, classes)."""
        assert self.logits is not None
        logits: torch.Tensor = self.logits(self._head_pooled(features)).mean(dim=(2, 3, 4))
        return logits

    def blocks(self) -> list[list[str]]:
        """Group the names of the parameters from the input to the output: each convolution of the stem, each block of branches."""
        names = [name for name, _ in self.named_parameters()]
        groups = ("Conv3d_1a_7x7", "Conv3d_2b_1x1", "Conv3d_2c_3x3", *MIXED, "logits")
        blocks = [[name for name in names if name.startswith(f"{group}.")] for group in groups]
        return [block for block in blocks if block]

    def _pooled(self, x: torch.Tensor, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> torch.Tensor:
        pads = [_same(size, k, s) for size, k, s in zip(x.shape[2:], kernel, stride, strict=True)]
        if self.ends == "repeated":  # the 2D network begins at the first point and lets the last window reach over the edge
            pads[1:] = [(0, _over(size, k, s)) for size, k, s in zip(x.shape[3:], kernel[1:], stride[1:], strict=True)]
        return max_pool(x, kernel, stride, tuple(pads))

    def _head_pooled(self, features: torch.Tensor) -> torch.Tensor:
        steps, height, width = features.shape[2:]
        over = (height, width) if self.ends == "repeated" else (min(POOL[1], height), min(POOL[2], width))
        return functional.avg_pool3d(features, (min(POOL[0], steps), *over), stride=1)


def _same(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return the padding before and after for ceil(size / stride) outputs; the odd one is after."""
    missing = max(0, (-(-size // stride) - 1) * stride + kernel - size)
    return missing // 2, missing - missing // 2


def _over(size: int, kernel: int, stride: int) -> int:
    """Return how far the last window reaches over the edge if the first begins at the other edge."""
    return max(0, kernel - size, -((kernel - size) // stride) * stride + kernel - size)


def _flat(pads: list[tuple[int, int]]) -> list[int]:
    """Return the padding in the order of torch: the last dimension first."""
    return [number for pair in reversed(pads) for number in pair]
