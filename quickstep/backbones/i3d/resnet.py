"""ResnetI3d: ResNet-50 inflated to three dimensions, with or without non-local blocks, with the names of MMAction2's checkpoints.

Its input is (N, C, T, H, W), normalized.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from quickstep.backbones.i3d.temporal_layers import Ends, Triple, channels_last, convolve_frames, narrow, repeat_ends

# The blocks of each layer whose kernels extend over time, and those followed by a non-local block.
INFLATED = ((1, 1, 1), (1, 0, 1, 0), (1, 0, 1, 0, 1, 0), (0, 1, 0))
NON_LOCAL = ((0, 0, 0), (0, 1, 0, 1), (0, 1, 0, 1, 0, 1), (0, 0, 0))
_EXPANSION = 4


class Convolution(nn.Module):
    """A convolution, its normalization, and ReLU unless a shortcut is added first; time is padded as the network needs."""

    def __init__(
        self, channels: int, out: int, kernel: Triple = (1, 1, 1), *, stride: int = 1, ends: Ends = "zeros", relu: bool = True
    ) -> None:
        super().__init__()
        self.ends, self.relu = ends, relu
        steps = (stride if kernel[0] > 3 else 1, stride, stride)  # only the first convolution has a stride in time
        self.conv = nn.Conv3d(channels, out, kernel, stride=steps, padding=tuple(k // 2 for k in kernel), bias=False)  # type: ignore[arg-type]
        self.bn = nn.BatchNorm3d(out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve and normalize, then apply ReLU if there is one."""
        reach, *around = map(int, self.conv.padding)
        if reach and self.ends == "repeated":
            x = functional.conv3d(repeat_ends(x, reach, reach), self.conv.weight, None, self.conv.stride, (0, *around))
        else:
            x = convolve_frames(self.conv, x) if self.conv.kernel_size == (1, 1, 1) else self.conv(x)
        x = self.bn(x)
        return functional.relu(x, inplace=True) if self.relu else x


class Point(nn.Module):
    """A 1x1x1 convolution with a bias."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(channels, out, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve."""
        return convolve_frames(self.conv, x)


class NonLocal(nn.Module):
    """A non-local block: attention by dot product of every point to all others (pooled 2 x 2), added to x."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 2
        pool = nn.MaxPool3d((1, 2, 2))
        self.g = nn.Sequential(Point(channels, inner), pool)
        self.conv_out = Convolution(inner, channels, relu=False)
        self.theta = Point(channels, inner)
        self.phi = nn.Sequential(Point(channels, inner), pool)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add the attention of every point to x."""
        queries = self.theta(x).flatten(2).transpose(1, 2)  # (N, T H W, C')
        keys, values = self.phi(x).flatten(2), self.g(x).flatten(2).transpose(1, 2)  # (N, C', P), (N, P, C')
        output = queries @ (keys @ values / keys.shape[2])  # (queries @ keys) @ values, in an order with far smaller matrices
        output = output.transpose(1, 2).reshape(x.shape[0], -1, *x.shape[2:])
        added: torch.Tensor = x + self.conv_out(output)
        return added


class Bottleneck(nn.Module):
    """1x1 (or 3x1x1), 1x3x3, 1x1x1 around a shortcut."""

    def __init__(self, channels: int, planes: int, *, stride: int, inflated: bool, ends: Ends, non_local: bool) -> None:
        super().__init__()
        out = planes * _EXPANSION
        self.conv1 = Convolution(channels, planes, (3 if inflated else 1, 1, 1), ends=ends)
        self.conv2 = Convolution(planes, planes, (1, 3, 3), stride=stride)
        self.conv3 = Convolution(planes, out, relu=False)
        self.downsample = Convolution(channels, out, stride=stride, relu=False) if stride != 1 or channels != out else None
        self.non_local_block = NonLocal(out) if non_local else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the block around its shortcut."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = functional.relu(self.conv3(self.conv2(self.conv1(x))) + shortcut, inplace=True)
        return x if self.non_local_block is None else self.non_local_block(x)


class Trunk(nn.Module):
    """The network up to its feature map."""

    def __init__(self, channels: int, *, multiplier: float, ends: Ends, non_local: bool) -> None:
        super().__init__()
        width = narrow(64, multiplier)
        self.conv1 = Convolution(channels, width, (5, 7, 7), stride=2, ends=ends)
        for number, inflated in enumerate(INFLATED):
            planes = narrow(64, multiplier) * 2**number
            blocks = []
            for place, in_time in enumerate(inflated):
                stride = 2 if number and not place else 1
                attends = bool(non_local and NON_LOCAL[number][place])
                blocks.append(Bottleneck(width, planes, stride=stride, inflated=bool(in_time), ends=ends, non_local=attends))
                width = planes * _EXPANSION
            self.add_module(f"layer{number + 1}", nn.Sequential(*blocks))
        self.width = width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the feature map."""
        x = functional.max_pool3d(self.conv1(channels_last(x)), (1, 3, 3), (2, 2, 2), (0, 1, 1))
        x = self.get_submodule("layer1")(x)
        x = functional.max_pool3d(x, (2, 1, 1), (2, 1, 1))
        for number in (2, 3, 4):
            x = self.get_submodule(f"layer{number}")(x)
        return x


class Head(nn.Module):
    """The published head: the mean of all points, then a linear layer."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.fc_cls = nn.Linear(channels, classes)


class ResnetI3d(nn.Module):
    """(N, C, T, H, W) -> the feature map before pooling, (N, 2048, T/8, H/32, W/32).

    `multiplier` narrows every layer. `classes` is the head's, 0 for none. With `ends="repeated"` the first and last frames are repeated
    instead of padded with zeros, so that a still video gives what its frame gives.
    """

    pooled = 1  # steps of the feature map in one vector

    def __init__(
        self, channels: int = 3, *, classes: int = 0, multiplier: float = 1.0, ends: Ends = "zeros", non_local: bool = False
    ) -> None:
        super().__init__()
        self.ends = ends
        self.backbone = Trunk(channels, multiplier=multiplier, ends=ends, non_local=non_local)
        self.width = self.backbone.width
        self.cls_head = Head(self.width, classes) if classes else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the feature map."""
        return self.backbone(x)  # type: ignore[no-any-return]

    def vectors(self, features: torch.Tensor) -> torch.Tensor:
        """Pool the feature map (N, D, T, H, W) to vectors in time (N, T, D)."""
        return features.mean(dim=(3, 4)).transpose(1, 2)

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        """Compute the head's logits from the feature map, averaged over time, (N, classes)."""
        assert self.cls_head is not None
        logits: torch.Tensor = self.cls_head.fc_cls(features.mean(dim=(2, 3, 4)))
        return logits

    def blocks(self) -> list[list[str]]:
        """Group the names of the parameters from the input to the output: the stem, each bottleneck (with its non-local block)."""
        groups: dict[str, list[str]] = {}
        for name, _ in self.named_parameters():
            parts = name.split(".")
            groups.setdefault(".".join(parts[:3] if parts[1].startswith("layer") else parts[:2]), []).append(name)
        return list(groups.values())
