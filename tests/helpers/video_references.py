"""Reference networks, implemented independently of ours as functions of a state dict.

Two are video networks (Inception-v1 I3D, ResNet-50 I3D with non-local blocks), two the image networks that these are inflated from
(GoogLeNet, ResNet-50).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.nn import functional

State = Mapping[str, torch.Tensor]
Shapes = Mapping[str, list[int]]


def filled(shapes: Shapes, seed: int) -> dict[str, torch.Tensor]:
    """Return a random state dict of these shapes, with values so large that a missing layer would be noticed."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
        elif name.endswith("running_var") or (name.endswith("weight") and len(shape) == 1):
            state[name] = torch.rand(shape, generator=generator) + 0.5
        elif len(shape) > 1:
            scale = 0.1 if "non_local" in name else 1.0  # their output grows with the third power of the input
            state[name] = torch.randn(shape, generator=generator) * scale * (2 / math.prod(shape[1:])) ** 0.5
        else:
            state[name] = torch.randn(shape, generator=generator) * 0.2
        if name.endswith("conv3.bn.weight"):
            state[name] *= 0.2  # sixteen residuals add up
    return state


def _normed(state: State, name: str, x: torch.Tensor, eps: float) -> torch.Tensor:
    names = ("running_mean", "running_var", "weight", "bias")
    return functional.batch_norm(x, *(state[f"{name}.{key}"] for key in names), eps=eps)


# -- Inception-v1 I3D ---------------------------------------------------------------------------------------------------------


def _same(x: torch.Tensor, kernel: tuple[int, ...], stride: tuple[int, ...], value: float) -> torch.Tensor:
    """Pad as TensorFlow does: ceil(n / s) outputs, the smaller half of the padding before, the larger after."""
    for axis, (k, s) in enumerate(zip(kernel, stride)):
        n = x.shape[2 + axis]
        missing = max((math.ceil(n / s) - 1) * s + k - n, 0)
        sizes = [list(x.shape), list(x.shape)]
        sizes[0][2 + axis], sizes[1][2 + axis] = missing // 2, missing - missing // 2
        x = torch.cat([torch.full(sizes[0], value), x, torch.full(sizes[1], value)], dim=2 + axis)
    return x


def _unit(state: State, name: str, x: torch.Tensor, stride: int = 1) -> torch.Tensor:
    weight = state[f"{name}.conv3d.weight"]
    x = functional.conv3d(_same(x, weight.shape[2:], (stride,) * 3, 0.0), weight, stride=stride)
    return torch.relu(_normed(state, f"{name}.bn", x, 1e-3))


def _pool(x: torch.Tensor, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> torch.Tensor:
    return functional.max_pool3d(_same(x, kernel, stride, 0.0), kernel, stride)


def inception_map(state: State, x: torch.Tensor) -> torch.Tensor:
    """Compute (N, C, T, H, W) -> Mixed_5c."""
    x = _pool(_unit(state, "Conv3d_1a_7x7", x, 2), (1, 3, 3), (1, 2, 2))
    x = _pool(_unit(state, "Conv3d_2c_3x3", _unit(state, "Conv3d_2b_1x1", x)), (1, 3, 3), (1, 2, 2))
    for stage, letters in ((3, "bc"), (4, "bcdef"), (5, "bc")):
        if stage > 3:
            size = 3 if stage == 4 else 2
            x = _pool(x, (size,) * 3, (2, 2, 2))
        for letter in letters:
            m = f"Mixed_{stage}{letter}"
            parts = [
                _unit(state, f"{m}.b0", x),
                _unit(state, f"{m}.b1b", _unit(state, f"{m}.b1a", x)),
                _unit(state, f"{m}.b2b", _unit(state, f"{m}.b2a", x)),
                _unit(state, f"{m}.b3b", _pool(x, (3, 3, 3), (1, 1, 1))),
            ]
            x = torch.cat(parts, dim=1)
    return x


def inception_scores(state: State, features: torch.Tensor) -> torch.Tensor:
    """Apply the published head: pool 2 x 7 x 7 with stride 1, compute one logit a class and step, average over time."""
    over = tuple(min(*pair) for pair in zip((2, 7, 7), features.shape[2:]))
    steps = functional.conv3d(functional.avg_pool3d(features, over, 1), state["logits.conv3d.weight"], state["logits.conv3d.bias"])
    return steps.squeeze(4).squeeze(3).mean(dim=2)


# -- ResNet-50 I3D ------------------------------------------------------------------------------------------------------------


def _convolution(state: State, name: str, x: torch.Tensor, stride: Any = 1) -> torch.Tensor:
    weight = state[f"{name}.conv.weight"]
    x = functional.conv3d(x, weight, state.get(f"{name}.conv.bias"), stride, tuple(k // 2 for k in weight.shape[2:]))
    return _normed(state, f"{name}.bn", x, 1e-5) if f"{name}.bn.weight" in state else x


def _non_local(state: State, name: str, x: torch.Tensor) -> torch.Tensor:
    """Weigh the pooled points by their dot products with every point, divided by their number."""
    n, _, t, h, w = x.shape
    theta = _convolution(state, f"{name}.theta", x)
    phi, g = (functional.max_pool3d(_convolution(state, f"{name}.{part}.0", x), (1, 2, 2)) for part in ("phi", "g"))
    pairs = torch.einsum("ncx,ncy->nxy", theta.flatten(2), phi.flatten(2)) / phi.flatten(2).shape[2]
    y = torch.einsum("nxy,ncy->ncx", pairs, g.flatten(2)).reshape(n, -1, t, h, w)
    return x + _convolution(state, f"{name}.conv_out", y)


def resnet_map(state: State, x: torch.Tensor) -> torch.Tensor:
    """Compute (N, 3, T, H, W) -> the map of layer 4."""
    x = functional.max_pool3d(torch.relu(_convolution(state, "backbone.conv1", x, 2)), (1, 3, 3), 2, (0, 1, 1))
    for layer, count in enumerate((3, 4, 6, 3), 1):
        for block in range(count):
            name = f"backbone.layer{layer}.{block}"
            step = (1, 2, 2) if layer > 1 and block == 0 else 1
            y = torch.relu(_convolution(state, f"{name}.conv1", x))
            y = _convolution(state, f"{name}.conv3", torch.relu(_convolution(state, f"{name}.conv2", y, step)))
            shortcut = _convolution(state, f"{name}.downsample", x, step) if f"{name}.downsample.conv.weight" in state else x
            x = torch.relu(y + shortcut)
            if f"{name}.non_local_block.theta.conv.weight" in state:
                x = _non_local(state, f"{name}.non_local_block", x)
        if layer == 1:
            x = functional.max_pool3d(x, (2, 1, 1))
    return x


def resnet_scores(state: State, features: torch.Tensor) -> torch.Tensor:
    return functional.linear(features.flatten(2).mean(dim=2), state["cls_head.fc_cls.weight"], state["cls_head.fc_cls.bias"])


# -- GoogLeNet, under torchvision's names -------------------------------------------------------------------------------------

GOOGLENET = {  # input, 1x1, 1x1 -> 3x3, 1x1 -> 3x3, pool -> 1x1
    "3a": (192, 64, 96, 128, 16, 32, 32),
    "3b": (256, 128, 128, 192, 32, 96, 64),
    "4a": (480, 192, 96, 208, 16, 48, 64),
    "4b": (512, 160, 112, 224, 24, 64, 64),
    "4c": (512, 128, 128, 256, 24, 64, 64),
    "4d": (512, 112, 144, 288, 32, 64, 64),
    "4e": (528, 256, 160, 320, 32, 128, 128),
    "5a": (832, 256, 160, 320, 32, 128, 128),
    "5b": (832, 384, 192, 384, 48, 128, 128),
}


def googlenet_shapes(classes: int) -> dict[str, list[int]]:
    shapes: dict[str, list[int]] = {}

    def add(name: str, out: int, into: int, kernel: int) -> None:
        shapes[f"{name}.conv.weight"] = [out, into, kernel, kernel]
        shapes.update({f"{name}.bn.{key}": [out] for key in ("weight", "bias", "running_mean", "running_var")})
        shapes[f"{name}.bn.num_batches_tracked"] = []

    add("conv1", 64, 3, 7)
    add("conv2", 64, 64, 1)
    add("conv3", 192, 64, 3)
    for name, (into, one, two, three, four, five, six) in GOOGLENET.items():
        m = f"inception{name}"
        add(f"{m}.branch1", one, into, 1)
        add(f"{m}.branch2.0", two, into, 1)
        add(f"{m}.branch2.1", three, two, 3)
        add(f"{m}.branch3.0", four, into, 1)
        add(f"{m}.branch3.1", five, four, 3)
        add(f"{m}.branch4.1", six, into, 1)
    return {**shapes, "fc.weight": [classes, 1024], "fc.bias": [classes]}


def googlenet_scores(state: State, x: torch.Tensor) -> torch.Tensor:
    """Compute (N, 3, H, W) in [-1, 1] -> logits."""

    def unit(name: str, x: torch.Tensor, **how: int) -> torch.Tensor:
        return torch.relu(_normed(state, f"{name}.bn", functional.conv2d(x, state[f"{name}.conv.weight"], **how), 1e-3))

    def halved(x: torch.Tensor, size: int = 3) -> torch.Tensor:
        return functional.max_pool2d(x, size, 2, ceil_mode=True)

    x = halved(unit("conv1", x, stride=2, padding=3))
    x = halved(unit("conv3", unit("conv2", x), padding=1))
    for name in GOOGLENET:
        x = halved(x, 3 if name == "4a" else 2) if name in ("4a", "5a") else x
        m = f"inception{name}"
        branches = [
            unit(f"{m}.branch1", x),
            unit(f"{m}.branch2.1", unit(f"{m}.branch2.0", x), padding=1),
            unit(f"{m}.branch3.1", unit(f"{m}.branch3.0", x), padding=1),
            unit(f"{m}.branch4.1", functional.max_pool2d(x, 3, 1, 1)),
        ]
        x = torch.cat(branches, dim=1)
    return functional.linear(x.mean(dim=(2, 3)), state["fc.weight"], state["fc.bias"])


def still(picture: torch.Tensor, moments: int) -> torch.Tensor:
    """Repeat one frame: (N, C, H, W) -> (N, C, T, H, W)."""
    return picture[:, :, None].expand(-1, -1, moments, -1, -1).contiguous()


def torchvision_names(state: State) -> dict[str, torch.Tensor]:
    """Rename the tensors of a ResNet of transformers to torchvision's names, by a table of pairs written out."""
    pairs: list[tuple[str, str]] = [("resnet.embedder.embedder.", ""), ("classifier.1.", "fc.")]
    renamed: dict[str, torch.Tensor] = {}
    kinds: dict[str, Callable[[int], str]] = {"convolution": lambda n: f"conv{n}", "normalization": lambda n: f"bn{n}"}
    for name, value in state.items():
        parts = name.split(".")
        if name.startswith(pairs[0][0]):
            renamed[f"{kinds[parts[3]](1)}.{parts[4]}"] = value
        elif name.startswith(pairs[1][0]):
            renamed[f"fc.{parts[2]}"] = value
        elif "shortcut" in parts:
            renamed[f"layer{int(parts[3]) + 1}.{parts[5]}.downsample.{0 if parts[7] == 'convolution' else 1}.{parts[8]}"] = value
        else:
            renamed[f"layer{int(parts[3]) + 1}.{parts[5]}.{kinds[parts[8]](int(parts[7]) + 1)}.{parts[9]}"] = value
    return renamed
