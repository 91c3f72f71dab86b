"""Make I3D networks, fill them with weights, and write them. Imports torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from quickstep.backbones.i3d.inception import InceptionI3d
from quickstep.backbones.i3d.inflation import count_classes, inflate, read_flat
from quickstep.backbones.i3d.resnet import Bottleneck, NonLocal, ResnetI3d
from quickstep.backbones.i3d.weight_files import Weights, fill, read_weights, write_folder
from quickstep.backbones.i3d.weights import ARCHITECTURES, StartWeights, config_of
from quickstep.types.errors import WeightsError

Network = InceptionI3d | ResnetI3d


class I3dEncoder(nn.Module):
    """uint8 (B, F, H, W, C) -> float32 (B, T', D)."""

    slope: torch.Tensor
    offset: torch.Tensor

    def __init__(self, network: Network, slope: tuple[float, ...], offset: tuple[float, ...]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("slope", torch.tensor(slope, dtype=torch.float32), persistent=False)
        self.register_buffer("offset", torch.tensor(offset, dtype=torch.float32), persistent=False)

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Normalize the bytes and compute the vectors of each window."""
        x = (windows.float() * self.slope + self.offset).permute(0, 4, 1, 2, 3)  # (B, C, F, H, W), channels last in memory
        return self.network.vectors(self.network(x)).float()


@dataclass(frozen=True)
class LoadedNetwork:
    """A network with its head, where its weights have one."""

    network: Network
    labels: tuple[str, ...] | None
    name: str

    def classify(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, T, H, W) already normalised -> (N, classes)."""
        if _head_of(self.network) is None:
            raise WeightsError(f"these weights of {self.name} have no head, so they cannot classify: train one, or give others")
        return self.network.classify(self.network(x))


def width_of(name: str, multiplier: float) -> int:
    """Return D of a narrowed network."""
    return _make(name, multiplier=multiplier).width


def load_network(name: str, start: StartWeights) -> LoadedNetwork:
    """Load the network in fp32 on the CPU with exactly the weights of its file."""
    kind = ARCHITECTURES[name].flat
    how: dict[str, Any] = {"multiplier": start.width, "ends": start.ends, "momentum": start.momentum}
    labels = start.labels
    if start.flat is not None:
        flat = read_flat(start.flat, kind)
        network = _make(name, classes=count_classes(flat), **how)
        _initialize(network, start.seed)  # non-local blocks have no 2D counterpart: they start by adding nothing
        inflate(network, flat, kind)
    elif start.file is not None:
        weights = read_weights(start.file)
        classes = _count_classes(weights)
        network = _make(name, classes=classes, **how)
        _check_architecture(weights, name)
        fill(network, weights, name)
        labels = _read_labels(weights.notes, classes) if labels is None else labels
        if labels is not None and len(labels) != classes:
            raise WeightsError(f"{start.file} has {classes} classes, and its config names {len(labels)}: they do not belong together")
    else:
        network = _make(name, **how)
        _initialize(network, start.seed)
    return LoadedNetwork(network.to(memory_format=torch.channels_last_3d).eval().requires_grad_(False), labels, name)  # type: ignore[call-overload]


def load_encoder(name: str, start: StartWeights) -> I3dEncoder:
    """Load the network without its head, with normalization before it."""
    network, architecture = load_network(name, start).network, ARCHITECTURES[name]
    if isinstance(network, InceptionI3d):
        network.logits = None
    else:
        network.cls_head = None
    return I3dEncoder(network, architecture.slope, architecture.offset).eval().requires_grad_(False)


def write_network(
    module: nn.Module,
    folder: Path,
    *,
    name: str,
    start: StartWeights,
    view: Mapping[str, Any],
    labels: Callable[[], tuple[str, ...] | None],
) -> None:
    """Write the weights of what `load` gave, or of `network` with its head and the labels of its classes."""
    network = module.network if isinstance(module, I3dEncoder) else module
    assert isinstance(network, (InceptionI3d, ResnetI3d))
    names = labels() if _head_of(network) is not None else None
    write_folder(folder, network.state_dict(), config_of(name, start, view, names))


def _make(name: str, *, classes: int = 0, multiplier: float = 1.0, ends: Any = "zeros", momentum: float | None = None) -> Network:
    """Make the network on the CPU; its kernels are not initialized."""
    architecture = ARCHITECTURES[name]
    network: Network
    with torch.device("meta"):  # initializing weights that are replaced at once takes longer than reading them
        if architecture.flat == "googlenet":
            network = InceptionI3d(architecture.channels, classes=classes, multiplier=multiplier, ends=ends, momentum=momentum or 0.01)
        else:
            network = ResnetI3d(architecture.channels, classes=classes, multiplier=multiplier, ends=ends, non_local=architecture.non_local)
    network.to_empty(device="cpu")
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.reset_parameters()
    return network


def _initialize(network: nn.Module, seed: int) -> None:
    """Draw weights to train from: a layer's output is about as large as its input; non-local blocks start by adding nothing."""
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


def _head_of(network: nn.Module) -> nn.Module | None:
    return network.logits if isinstance(network, InceptionI3d) else network.cls_head  # type: ignore[return-value]


def _count_classes(weights: Weights) -> int:
    """Count the classes of the file's head; 0 where it has none."""
    for name in ("logits.conv3d.weight", "cls_head.fc_cls.weight"):
        if name in weights.tensors:
            return len(weights.tensors[name])
    return 0


def _read_labels(notes: Mapping[str, Any], classes: int) -> tuple[str, ...] | None:
    """Read the class names that MMAction2 writes beside its weights, where it does."""
    about = notes.get("dataset_meta")
    names = about.get("classes") if isinstance(about, Mapping) else notes.get("CLASSES")
    if isinstance(names, (list, tuple)) and len(names) == classes and all(isinstance(name, str) for name in names):
        return tuple(names)
    return None


_SIGNATURES = {  # a weight, and its input channels where they distinguish: the first that fits names the network
    "i3d-rgb": ("Conv3d_1a_7x7.conv3d.weight", 3),
    "i3d-flow": ("Conv3d_1a_7x7.conv3d.weight", 2),
    "i3d-r50-nl": ("backbone.layer2.1.non_local_block.theta.conv.weight", None),
    "i3d-r50": ("backbone.layer1.0.conv1.conv.weight", None),
}


def _check_architecture(weights: Weights, name: str) -> None:
    """Refuse the file of another I3D network, with its name."""
    for other, (key, channels) in _SIGNATURES.items():
        weight = weights.tensors.get(key)
        if weight is not None and weight.ndim == 5 and channels in (None, weight.shape[1]):
            if other != name:
                raise WeightsError(f"{weights.file} is a checkpoint of {other}, not of {name}: open it by that name")
            return
