"""TorchEngine: runs an image tower with torch, on the GPU where there is one, in fp32 or with products in bf16.

Knows no checkpoint's layout.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from quickstep.backbones.precision import device_for
from quickstep.backbones.towers import Tower, load_tower

if TYPE_CHECKING:
    from quickstep.backbones.images import ImageTower


class TorchEngine:
    """One tower, ready to run on batches of one shape."""

    def __init__(self, backbone: ImageTower, precision: str) -> None:
        self.device = device_for("torch")
        self.lower = precision == "bf16"
        self.tower = load_tower(backbone).to(self.device)
        if self.lower:
            _products_in_bf16(self.tower)

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(B, H, W, 3) -> (B, D)"""
        with torch.inference_mode(), torch.autocast(self.device, torch.bfloat16, enabled=self.lower):
            vectors: NDArray[np.float32] = self.tower(torch.from_numpy(pixels).to(self.device)).cpu().numpy()
        return vectors


def _products_in_bf16(tower: Tower) -> None:
    """Keep the weights of the large products in bf16, everything that sums up (residuals, norms) in fp32.

    As fast as all in bf16, and about five times nearer to fp32: the sums run through every layer, and rounding them adds up.
    """
    for module in tower.modules():
        if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)):
            module.to(torch.bfloat16)
