"""The network and the linear layer behind it as one module: which blocks are trained, and at which learning rates."""

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
_SMALL = 0.01  # standard deviation of a new layer's weights: its first probabilities are almost equal


class TrainableModel(nn.Module):
    """uint8 windows (B, F, H, W, 3 or 2) -> logits (B, C), from the mean of the network's vectors of a window."""

    def __init__(self, network: nn.Module, layer: nn.Linear, *, single_frames: bool, dropout: float) -> None:
        super().__init__()
        self.network = network
        self.layer = layer
        self.single_frames = single_frames  # the network takes one frame at a time
        self.dropout = nn.Dropout(dropout)

    def forward(self, windows: Tensor) -> Tensor:
        """Return the logits of uint8 windows."""
        inputs = windows.flatten(0, 1) if self.single_frames else windows
        vectors = self.network(inputs)  # (B * F, D), (B, D) or (B, T', D)
        vectors = vectors.reshape(len(windows), -1, vectors.shape[-1]).mean(dim=1)
        logits: Tensor = self.layer(self.dropout(vectors))
        return logits

    def start_training(self) -> TrainableModel:
        """Switch to training mode; the running means of frozen batch norms stay as they are."""
        self.train()
        for module in self.network.modules():
            if isinstance(module, _NORMS) and not any(weight.requires_grad for weight in module.parameters()):
                module.eval()
        return self

    @property
    def trained_tensors(self) -> dict[str, Tensor]:
        """Everything that training changes: unfrozen weights, and the running means of batch norms."""
        weights = {name: weight for name, weight in self.named_parameters() if weight.requires_grad}
        norms = {f"{name}." for name, module in self.named_modules() if isinstance(module, _NORMS)}
        return weights | {name: value for name, value in self.named_buffers() if any(name.startswith(norm) for norm in norms)}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Set the trained tensors."""
        with torch.no_grad():
            for name, value in self.trained_tensors.items():
                value.copy_(tensors[name])

    def head(self) -> dict[str, NDArray[Any]]:
        """Return the last layer as weights of the head `window-average`."""
        weight, bias = (value.detach().cpu().float().numpy() for value in (self.layer.weight, self.layer.bias))
        return {"weight": np.ascontiguousarray(weight.T), "bias": bias.copy()}


@dataclass(frozen=True)
class Group:
    """Weights with one learning rate."""

    names: tuple[str, ...]
    rate: float
    decay: float


def build_model(backbone: TrainableBackbone, config: FinetuneConfig, *, classes: int, width: int, layer: Layer | None) -> TrainableModel:
    """Load the network and put the layer behind it; unfreeze the blocks that are trained."""
    network = backbone.load()
    linear = nn.Linear(width, classes)
    with torch.no_grad():
        if layer is None:
            generator = torch.Generator().manual_seed(config.seed)
            linear.weight.copy_(_SMALL * torch.randn(linear.weight.shape, generator=generator))
            linear.bias.zero_()
        else:
            linear.weight.copy_(torch.from_numpy(np.ascontiguousarray(layer["weight"].T)))
            linear.bias.copy_(torch.from_numpy(np.array(layer["bias"])))
    model = TrainableModel(network, linear, single_frames=len(backbone.unit) == 3, dropout=config.dropout)
    blocks = backbone.blocks(network)
    unfrozen = config.unfrozen_blocks(len(blocks), single_frames=model.single_frames)
    trained = {name for block in blocks[len(blocks) - unfrozen :] for name in block}
    for name, weight in network.named_parameters():
        weight.requires_grad_(name in trained)
    return model


def parameter_groups(model: TrainableModel, backbone: TrainableBackbone, config: FinetuneConfig) -> list[Group]:
    """Group the trained weights: the head, then block by block from the output, with falling rates; norms and biases without decay."""
    weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    groups = [([name for name in weights if name.startswith("layer.")], config.head_learning_rate)]
    blocks = backbone.blocks(model.network)
    for depth, block in enumerate(reversed(blocks)):
        groups.append(([f"network.{name}" for name in block if f"network.{name}" in weights], config.rate * config.layer_decay**depth))
    result = []
    for names, rate in groups:
        for decayed in (True, False):
            some = tuple(name for name in names if (weights[name].ndim > 1) == decayed)
            if some:
                result.append(Group(some, rate, config.weight_decay if decayed else 0.0))
    return result


def make_optimizer(model: TrainableModel, groups: list[Group], config: FinetuneConfig) -> torch.optim.Optimizer:
    """Make the optimizer; each group keeps its initial learning rate as `first`."""
    weights = dict(model.named_parameters())
    listed = [{"params": [weights[name] for name in g.names], "lr": g.rate, "first": g.rate, "weight_decay": g.decay} for g in groups]
    if config.optimizer == "sgd":
        return torch.optim.SGD(listed, lr=config.rate, momentum=config.momentum)
    kind = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
    return kind(listed, lr=config.rate)
