"""PixelEncoder: the torch module of every network from transformers: uint8 pixels in, float32 vectors out.

Imports torch; the encoders load it when a network is loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from quickstep.backbones.preprocessing import Processor


class Normalize(torch.nn.Module):
    """uint8 pixels (B, H, W, 3) -> value * slope + offset, channels first (B, 3, H, W)."""

    slope: torch.Tensor
    offset: torch.Tensor

    def __init__(self, slope: tuple[float, ...], offset: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("slope", torch.tensor(slope, dtype=torch.float32).view(1, 3, 1, 1))
        self.register_buffer("offset", torch.tensor(offset, dtype=torch.float32).view(1, 3, 1, 1))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Normalize pixels."""
        return pixels.permute(0, 3, 1, 2).float() * self.slope + self.offset


class PixelEncoder(torch.nn.Module):
    """Normalization, the parts of a network by name, and the function that computes vectors with them.

    The function gets the module and the pixels: `encoder.prepared` normalizes, and each part is an attribute.
    """

    def __init__(self, processor: Processor, encode: Callable[[Any, torch.Tensor], torch.Tensor], **parts: Any) -> None:
        super().__init__()
        self.prepared = Normalize(processor.slope, processor.offset)
        for name, part in parts.items():
            setattr(self, name, part)
        self._encode = encode

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Encode pixels."""
        return self._encode(self, pixels).float()


def fix_position_tables(encoder: torch.nn.Module, size: int) -> torch.nn.Module:
    """Interpolate DINOv2's table of positions once, for frames of this size; for a network that is not trained any more.

    DINOv2 interpolates it for every frame, which OpenVINO cannot translate exactly.
    """
    module: Any
    for module in encoder.modules():
        if type(module).__name__.startswith("Dinov2") and hasattr(module, "interpolate_pos_encoding"):
            with torch.inference_mode(False), torch.no_grad():
                patches = module.patch_embeddings(torch.zeros(1, 3, size, size))
                tokens = torch.cat((patches[:, :1], patches), dim=1)  # the class token is the first
                module.interpolate_pos_encoding = _FixedTable(module.interpolate_pos_encoding(tokens, size, size))
    return encoder


class _FixedTable(torch.nn.Module):
    """Gives the same table for every frame."""

    table: torch.Tensor

    def __init__(self, table: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("table", table)

    def forward(self, *_: object) -> torch.Tensor:
        """Return the table."""
        return self.table
