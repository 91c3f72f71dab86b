"""VideoNetwork: a transformer that sees windows, our preparation of pictures in front, its own pooling behind. Bytes in, vectors out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from quickstep.backbones.checkpoints.strict_loading import load_network, write_network
from quickstep.backbones.image_network import Prepared

if TYPE_CHECKING:
    from quickstep.backbones.video_encoders import VideoEncoder


class VideoNetwork(torch.nn.Module):
    """uint8 (B, F, H, W, 3) -> float32 (B, D)"""

    def __init__(self, prepared: Prepared, trunk: torch.nn.Module, top: torch.nn.Module | None, pooled: str) -> None:
        super().__init__()
        self.prepared = prepared
        self.trunk = trunk
        self.top = top
        self.pooled = pooled

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        pictures = self.prepared(pixels.flatten(0, 1))
        tokens = self.trunk(pictures.view(*pixels.shape[:2], *pictures.shape[1:])).last_hidden_state  # (B, N, D)
        if self.pooled != "attention":
            tokens = tokens.mean(dim=1) if self.pooled == "mean" else tokens[:, 0]
        vectors: torch.Tensor = (self.top(tokens) if self.top is not None else tokens).float()
        return vectors


def load_video_network(backbone: VideoEncoder) -> VideoNetwork:
    """The backbone's network in fp32 on the CPU; weights that are missing, left over or of another shape are refused."""
    return _pooled(backbone, _loaded(backbone)).eval().requires_grad_(False)


def write_video_network(backbone: VideoEncoder, module: Any, folder: Path) -> None:
    """The whole checkpoint, with the module's weights where it sees."""
    network = _loaded(backbone)
    _pooled(backbone, network).load_state_dict(module.state_dict())  # fills the very tensors of `network`
    write_network(network, folder, backbone.checkpoint, license=backbone.license)


def _loaded(backbone: VideoEncoder) -> Any:
    family = backbone.family
    if backbone.classifies:
        return load_network(backbone.checkpoint, family.classifier, unused=family.unused)
    more = {"add_pooling_layer": False} if family.bare == "VivitModel" else {}
    return load_network(backbone.checkpoint, family.bare, besides=family.besides, unused=family.unused, more=more)


def _pooled(backbone: VideoEncoder, network: Any) -> VideoNetwork:
    """What sees of a network of transformers, pooled as its own classifier pools."""
    family = backbone.family
    trunk = getattr(network, family.trunk) if backbone.classifies else network
    pooled, top = family.pooled, None
    if backbone.classifies and family.trunk == "videomae":
        top = network.fc_norm
        pooled = "mean" if top is not None else "first"
    if family.trunk == "vjepa2":
        trunk = trunk.encoder  # without what predicts hidden parts
        if backbone.classifies:
            pooled, top = "attention", network.pooler
    return VideoNetwork(Prepared(backbone.processor.slope, backbone.processor.offset), trunk, top, pooled)
