"""WindowTower: the half of an X-CLIP network that sees, with our preparation of pictures in front. Bytes go in, vectors come out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from quickstep.backbones.checkpoints.strict_loading import copy_tokenizer, load_network, write_network
from quickstep.backbones.image_network import Prepared
from quickstep.backbones.interface import PROMPTED

if TYPE_CHECKING:
    from quickstep.backbones.xclip import XClip


class WindowTower(torch.nn.Module):
    """uint8 (B, F, H, W, 3) -> float32 (B, 1 + P, D): the video's vector, then the parts of the picture that words are rewritten by.

    Without the parts, (B, 1, D).
    """

    def __init__(self, prepared: Prepared, network: Any, *, parts: bool) -> None:
        super().__init__()
        self.prepared = prepared
        self.vision = network.vision_model
        self.projection = network.visual_projection
        self.integration = network.mit
        self.parts = parts
        if parts:
            self.norm = network.prompts_visual_layernorm
            self.into_words = network.prompts_visual_projection

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        windows, frames = pixels.shape[:2]
        seen = self.vision(pixel_values=self.prepared(pixels.flatten(0, 1)))
        each = self.projection(seen.pooler_output)  # (B * F, D)
        video: torch.Tensor = self.integration(each.view(windows, frames, -1)).pooler_output[:, None].float()  # (B, 1, D)
        if not self.parts:
            return video
        patches = self.norm(seen.last_hidden_state[:, 1:]) @ self.into_words  # (B * F, P, D)
        return torch.cat([video, patches.view(windows, frames, *patches.shape[1:]).mean(dim=1).float()], dim=1)


def load_window_tower(backbone: XClip) -> WindowTower:
    """The backbone's network in fp32 on the CPU; weights that are missing, left over or of another shape are refused."""
    network = load_network(backbone.checkpoint, backbone.text_kind)
    prepared = Prepared(backbone.processor.slope, backbone.processor.offset)
    return WindowTower(prepared, network, parts=backbone.embedding == PROMPTED).eval().requires_grad_(False)


def write_window_tower(backbone: XClip, tower: Any, folder: Path) -> None:
    """The whole checkpoint, its words too, with the tower's weights in the half that sees."""
    network: Any = load_network(backbone.checkpoint, backbone.text_kind)
    kept = WindowTower(tower.prepared, network, parts=tower.parts)
    kept.load_state_dict(tower.state_dict())  # fills the very tensors of `network`
    write_network(network, folder, backbone.checkpoint, license=backbone.license)
    copy_tokenizer(backbone.checkpoint, folder)
