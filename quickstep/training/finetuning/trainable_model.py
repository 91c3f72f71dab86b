"""Tuning: the network and the layer behind it as one module; which of its blocks learn, and how fast each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from quickstep.training.finetuning.config import FinetuneConfig

if TYPE_CHECKING:
    from quickstep.backbones import TrainableBackbone

Layer = Mapping[str, NDArray[Any]]  # weight (D, C) and bias (C,)

_NORMS = (nn.modules.batchnorm._BatchNorm,)
_SMALL = 0.01  # the spread of a new layer's weights: its first answers are all but even


class Tuning(nn.Module):
    """uint8 windows (B, F, H, W, 3 or 2) -> logits (B, C), the mean over what the network says of each part of a window."""

    def __init__(self, network: nn.Module, layer: nn.Linear, *, pictures: bool, dropout: float) -> None:
        super().__init__()
        self.network = network
        self.layer = layer
        self.pictures = pictures  # it sees one picture at a time
        self.dropout = nn.Dropout(dropout)

    def forward(self, windows: Tensor) -> Tensor:
        shown = windows.flatten(0, 1) if self.pictures else windows
        vectors = self.network(shown)  # (B * F, D), (B, D) or (B, T', D)
        vectors = vectors.reshape(len(windows), -1, vectors.shape[-1]).mean(dim=1)
        logits: Tensor = self.layer(self.dropout(vectors))
        return logits

    def learn(self) -> Tuning:
        """Ready to learn: what is closed stays as it is, the running means of its batch norms among it."""
        self.train()
        for module in self.network.modules():
            if isinstance(module, _NORMS) and not any(weight.requires_grad for weight in module.parameters()):
                module.eval()
        return self

    @property
    def moving(self) -> dict[str, Tensor]:
        """Everything that training changes: weights that are open, and the running means of batch norms."""
        found = {name: weight for name, weight in self.named_parameters() if weight.requires_grad}
        norms = {f"{name}." for name, module in self.named_modules() if isinstance(module, _NORMS)}
        return found | {name: value for name, value in self.named_buffers() if any(name.startswith(norm) for norm in norms)}

    def take(self, moved: Mapping[str, Tensor]) -> None:
        """Puts what was changed in its place again."""
        with torch.no_grad():
            for name, value in self.moving.items():
                value.copy_(moved[name])

    def head(self) -> dict[str, NDArray[Any]]:
        """The layer as the head `window-average` keeps it."""
        weight, bias = (value.detach().cpu().float().numpy() for value in (self.layer.weight, self.layer.bias))
        return {"weight": np.ascontiguousarray(weight.T), "bias": bias.copy()}


@dataclass(frozen=True)
class Group:
    """Weights that learn at one rate."""

    names: tuple[str, ...]
    rate: float
    decay: float


def build(backbone: TrainableBackbone, config: FinetuneConfig, *, classes: int, width: int, layer: Layer | None) -> Tuning:
    """The network with its layer, the blocks that learn open, everything else closed."""
    network = backbone.load()
    made = nn.Linear(width, classes)
    with torch.no_grad():
        if layer is None:
            generator = torch.Generator().manual_seed(config.seed)
            made.weight.copy_(_SMALL * torch.randn(made.weight.shape, generator=generator))
            made.bias.zero_()
        else:
            made.weight.copy_(torch.from_numpy(np.ascontiguousarray(layer["weight"].T)))
            made.bias.copy_(torch.from_numpy(np.array(layer["bias"])))
    tuning = Tuning(network, made, pictures=len(backbone.unit) == 3, dropout=config.dropout)
    blocks = backbone.blocks(network)
    opened = config.open_blocks(len(blocks), pictures=tuning.pictures)
    learning = {name for block in blocks[len(blocks) - opened :] for name in block}
    for name, weight in network.named_parameters():
        weight.requires_grad_(name in learning)
    return tuning


def groups_of(tuning: Tuning, backbone: TrainableBackbone, config: FinetuneConfig) -> list[Group]:
    """The weights that learn: the head's, then block by block from the top, each slower than the one above; norms and biases undecayed."""
    weights = {name: weight for name, weight in tuning.named_parameters() if weight.requires_grad}
    groups = [([name for name in weights if name.startswith("layer.")], config.rate_of_head)]
    blocks = backbone.blocks(tuning.network)
    for depth, block in enumerate(reversed(blocks)):
        groups.append(([f"network.{name}" for name in block if f"network.{name}" in weights], config.rate * config.layer_decay**depth))
    found = []
    for names, rate in groups:
        for decayed in (True, False):
            some = tuple(name for name in names if (weights[name].ndim > 1) == decayed)
            if some:
                found.append(Group(some, rate, config.weight_decay if decayed else 0.0))
    return found


def optimizer_of(tuning: Tuning, groups: list[Group], config: FinetuneConfig) -> torch.optim.Optimizer:
    """The optimizer over these groups; each remembers its first rate as `first`."""
    weights = dict(tuning.named_parameters())
    listed = [{"params": [weights[name] for name in g.names], "lr": g.rate, "first": g.rate, "weight_decay": g.decay} for g in groups]
    if config.optimizer == "sgd":
        return torch.optim.SGD(listed, lr=config.rate, momentum=config.momentum)
    kind = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
    return kind(listed, lr=config.rate)
