"""Tower: an image tower of transformers with our preparation of pictures in front. Bytes go in, one vector a picture comes out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from quickstep.backbones.checkpoints.strict_loading import load_config, load_network, write_network

if TYPE_CHECKING:
    from quickstep.backbones.image_encoders import ImageEncoder

# What a checkpoint may hold besides its image tower: the other half, and the heads of other tasks.
_OTHER_PARTS = ("text_model.", "text_projection.", "logit_scale", "logit_bias", "classifier.")


class Prepared(torch.nn.Module):
    """Bytes with the colours last -> what a network is used to see: value * slope + offset, the colours before height and width."""

    slope: torch.Tensor
    offset: torch.Tensor

    def __init__(self, slope: tuple[float, ...], offset: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("slope", torch.tensor(slope, dtype=torch.float32).view(1, 3, 1, 1))
        self.register_buffer("offset", torch.tensor(offset, dtype=torch.float32).view(1, 3, 1, 1))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.permute(0, 3, 1, 2).float() * self.slope + self.offset  # (B, 3, H, W)


class Tower(torch.nn.Module):
    """uint8 (B, H, W, 3) -> float32 (B, D)"""

    def __init__(self, prepared: Prepared, network: torch.nn.Module, field: str) -> None:
        super().__init__()
        self.prepared = prepared
        self.network = network
        self.field = field

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        vectors: torch.Tensor = getattr(self.network(pixel_values=self.prepared(pixels)), self.field)
        return vectors.float()


def load_tower(backbone: ImageEncoder) -> Tower:
    """The backbone's network in fp32 on the CPU; weights that are missing, left over or of another shape are refused."""
    projected = backbone.embedding == "projected" and backbone.family.projected is not None
    name = str(backbone.family.projected if projected else backbone.family.pooled)
    besides = _OTHER_PARTS if projected else (*_OTHER_PARTS, "visual_projection.")
    network = load_network(backbone.checkpoint, name, config=_config(backbone), besides=besides)
    field = "image_embeds" if name.endswith("WithProjection") else "pooler_output"
    return Tower(Prepared(backbone.processor.slope, backbone.processor.offset), network, field).eval().requires_grad_(False)


def write_tower(backbone: ImageEncoder, tower: Any, folder: Path) -> None:
    """The tower's weights as a checkpoint folder of an image tower."""
    write_network(tower.network, folder, backbone.checkpoint, license=backbone.license)


def settle_positions(tower: torch.nn.Module, size: int) -> torch.nn.Module:
    """DINOv2 stretches its position table to each picture's size: once is enough, and translators cannot do it exactly.

    For a network that learns nothing more.
    """
    module: Any
    for module in tower.modules():
        if type(module).__name__.startswith("Dinov2") and hasattr(module, "interpolate_pos_encoding"):
            with torch.inference_mode(False), torch.no_grad():
                embedded = module.patch_embeddings(torch.zeros(1, 3, size, size))
                tokens = torch.cat((embedded[:, :1], embedded), dim=1)  # the class token stands first
                module.interpolate_pos_encoding = _Settled(module.interpolate_pos_encoding(tokens, size, size))
    return tower


class _Settled(torch.nn.Module):
    """The same table for every picture."""

    table: torch.Tensor

    def __init__(self, table: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("table", table)

    def forward(self, *_: object) -> torch.Tensor:
        return self.table


def _config(backbone: ImageEncoder) -> Any:
    """The image tower's own config; the width of a projection stands beside it in the config of both towers."""
    config = load_config(backbone.checkpoint)
    if not backbone.family.nested:
        return config
    tower = config.vision_config
    if hasattr(tower, "projection_dim"):
        tower.projection_dim = config.projection_dim
    return tower
