"""I3D networks ready to be shown windows: made, filled with what they come from, and written. The torch side of `i3d.py`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from quickstep.backbones.checkpoints.weight_files import Weights, fill, read_weights, write_folder
from quickstep.backbones.i3d.inception import InceptionI3d
from quickstep.backbones.i3d.inflation import classes_of, inflate, read_flat
from quickstep.backbones.i3d.resnet import Bottleneck, NonLocal, ResnetI3d
from quickstep.backbones.i3d.weights import KINDS, config_of
from quickstep.types.errors import WeightsError

if TYPE_CHECKING:
    from quickstep.backbones.i3d.backbone import I3d

Network = InceptionI3d | ResnetI3d


class Watching(nn.Module):
    """uint8 (B, F, H, W, C) -> float32 (B, T', D)"""

    slope: torch.Tensor
    offset: torch.Tensor

    def __init__(self, network: Network, slope: tuple[float, ...], offset: tuple[float, ...]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("slope", torch.tensor(slope, dtype=torch.float32), persistent=False)
        self.register_buffer("offset", torch.tensor(offset, dtype=torch.float32), persistent=False)

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        x = (windows.float() * self.slope + self.offset).permute(0, 4, 1, 2, 3)  # (B, C, F, H, W), channels last in memory
        return self.network.vectors(self.network(x)).float()


@dataclass(frozen=True)
class Watched:
    """A network with its head, where its weights have one."""

    network: Network
    labels: tuple[str, ...] | None
    name: str

    def classify(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, T, H, W) already normalised -> (N, classes)."""
        if _head(self.network) is None:
            raise WeightsError(f"these weights of {self.name} have no head, so that they classify nothing: train one, or give others")
        return self.network.classified(self.network(x))


def width_of(name: str, multiplier: float) -> int:
    """D of a narrowed network."""
    return _made(name, multiplier=multiplier).width


def open_network(backbone: I3d) -> Watched:
    """The network in fp32 on the CPU with weights that are all there and no other."""
    origin, name = backbone.origin, backbone.name
    how: dict[str, Any] = {"multiplier": origin.width, "ends": origin.ends, "momentum": origin.momentum}
    labels = origin.labels
    if origin.flat is not None:
        flat = read_flat(origin.flat, backbone.kind.flat)
        network = _made(name, classes=classes_of(flat), **how)
        _begin(network, origin.seed)  # what has no counterpart: non-local blocks, which begin by adding nothing
        inflate(network, flat, backbone.kind.flat)
    elif origin.file is not None:
        weights = read_weights(origin.file)
        classes = _classes(weights)
        network = _made(name, classes=classes, **how)
        _recognise(weights, name)
        fill(network, weights, name)
        labels = _labels(weights.notes, classes) if labels is None else labels
        if labels is not None and len(labels) != classes:
            raise WeightsError(
                f"{origin.file} tells {classes} classes apart, and its config names {len(labels)}: they do not belong together"
            )
    else:
        network = _made(name, **how)
        _begin(network, origin.seed)
    return Watched(network.to(memory_format=torch.channels_last_3d).eval().requires_grad_(False), labels, name)  # type: ignore[call-overload]


def watching(backbone: I3d) -> Watching:
    """The network without its head, bytes going in."""
    network = open_network(backbone).network
    if isinstance(network, InceptionI3d):
        network.logits = None
    else:
        network.cls_head = None
    return Watching(network, backbone.kind.slope, backbone.kind.offset).eval().requires_grad_(False)


def write_network(backbone: I3d, module: nn.Module, folder: Path, view: Mapping[str, Any]) -> None:
    """The weights of what `load` gave, or of `network` with its head."""
    network = module.network if isinstance(module, Watching) else module
    assert isinstance(network, (InceptionI3d, ResnetI3d))
    labels = backbone.labels if _head(network) is not None else None
    write_folder(folder, network.state_dict(), config_of(backbone.name, backbone.origin, view, labels))


def _made(name: str, *, classes: int = 0, multiplier: float = 1.0, ends: Any = "zeros", momentum: float | None = None) -> Network:
    """The network on the CPU, its kernels not yet anything."""
    kind = KINDS[name]
    network: Network
    with torch.device("meta"):  # drawing weights that are replaced at once takes longer than reading them
        if kind.flat == "googlenet":
            network = InceptionI3d(kind.channels, classes=classes, multiplier=multiplier, ends=ends, momentum=momentum or 0.01)
        else:
            network = ResnetI3d(kind.channels, classes=classes, multiplier=multiplier, ends=ends, non_local=kind.non_local)
    network.to_empty(device="cpu")
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.reset_parameters()
    return network


def _begin(network: nn.Module, seed: int) -> None:
    """Weights to train from: what comes out is about as large as what goes in; non-local blocks begin by adding nothing."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv3d):
                module.weight.normal_(0, math.sqrt(2 / module.weight[0].numel()), generator=generator)
                if module.bias is not None:
                    module.bias.zero_()
        for module in network.modules():
            if isinstance(module, Bottleneck):
                module.conv3.bn.weight.fill_(0.2)  # sixteen residuals add up
            if isinstance(module, NonLocal):
                for point in (module.theta, module.phi[0], module.g[0]):
                    point.conv.weight.normal_(0, 0.01, generator=generator)  # type: ignore[union-attr,operator]
                module.conv_out.bn.weight.zero_()


def _head(network: nn.Module) -> nn.Module | None:
    return network.logits if isinstance(network, InceptionI3d) else network.cls_head  # type: ignore[return-value]


def _classes(weights: Weights) -> int:
    """How many classes the file's head tells apart; 0 where it has none."""
    for name in ("logits.conv3d.weight", "cls_head.fc_cls.weight"):
        if name in weights.tensors:
            return len(weights.tensors[name])
    return 0


def _labels(notes: Mapping[str, Any], classes: int) -> tuple[str, ...] | None:
    """The names that MMAction2 notes beside its weights, where it does."""
    about = notes.get("dataset_meta")
    names = about.get("classes") if isinstance(about, Mapping) else notes.get("CLASSES")
    if isinstance(names, (list, tuple)) and len(names) == classes and all(isinstance(name, str) for name in names):
        return tuple(names)
    return None


_SIGNS = {  # a weight, and how many channels it sees where that tells: the first that fits names the network
    "i3d-rgb": ("Conv3d_1a_7x7.conv3d.weight", 3),
    "i3d-flow": ("Conv3d_1a_7x7.conv3d.weight", 2),
    "i3d-r50-nl": ("backbone.layer2.1.non_local_block.theta.conv.weight", None),
    "i3d-r50": ("backbone.layer1.0.conv1.conv.weight", None),
}


def _recognise(weights: Weights, name: str) -> None:
    """Say it where a file is that of another of our networks."""
    for other, (key, channels) in _SIGNS.items():
        found = weights.tensors.get(key)
        if found is not None and found.ndim == 5 and channels in (None, found.shape[1]):
            if other != name:
                raise WeightsError(f"{weights.file} is a checkpoint of {other}, not of {name}: open it by that name")
            return
