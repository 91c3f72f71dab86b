"""ImageTower: pretrained networks that see one picture at a time (CLIP, SigLIP, DINO), one vector a frame.

Decides which checkpoint's which output it is, and whether words stand beside it. Knows no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from quickstep.backbones.checkpoints.hub_checkpoint import Checkpoint
from quickstep.backbones.interface import Capabilities
from quickstep.backbones.preprocessing import Processor, read_processor
from quickstep.backbones.pretrained_network import SETTINGS, Pretrained, check_size
from quickstep.backbones.spec import BackboneSpec
from quickstep.storage.cache import Cache
from quickstep.types.config_fields import one_of
from quickstep.types.errors import WeightsError
from quickstep.types.signals import Features, Frames
from quickstep.types.view import View

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Family:
    """A kind of checkpoint: the classes of transformers that read its image tower, and the one that reads sentences too."""

    pooled: str
    projected: str | None = None  # where there is a vector shared with text
    reader: str | None = None
    nested: bool = False  # the image tower is one half of the config
    fixed_size: bool = False  # takes pictures of one size only


FAMILIES = {
    "clip": Family("CLIPVisionModel", "CLIPVisionModelWithProjection", "CLIPModel", nested=True, fixed_size=True),
    "clip_vision_model": Family("CLIPVisionModel", "CLIPVisionModelWithProjection", fixed_size=True),
    # SigLIP's pooled vector is the shared one
    "siglip": Family("SiglipVisionModel", "SiglipVisionModel", "SiglipModel", nested=True, fixed_size=True),
    "siglip_vision_model": Family("SiglipVisionModel", "SiglipVisionModel", fixed_size=True),
    "dinov2": Family("Dinov2Model"),
    "dinov2_with_registers": Family("Dinov2WithRegistersModel"),
    "dinov3_vit": Family("DINOv3ViTModel"),
    "dinov3_convnext": Family("DINOv3ConvNextModel"),
}

# What transformers assumes where a tower's config is silent.
_DEFAULTS = {"hidden_size": 768, "projection_dim": 512, "image_size": 224}
_DINOV3_WIDTH = 384


class ImageEncoder(Pretrained):
    """The image tower of a published checkpoint: `clip-vit-b32`, or `hf-image:NAME_OR_FOLDER`; with its text encoder, where it has one."""

    capabilities = Capabilities(embeds_text=True, trainable=True, frame_by_frame=True, settings=SETTINGS)

    def __init__(self, spec: BackboneSpec, cache: Cache) -> None:
        super().__init__(spec, cache)
        self.family = _family(self.checkpoint)
        self.embedding = _embedding(self.checkpoint, self.family, spec.embedding)
        self.capabilities = replace(self.capabilities, embeds_text=self.text_kind is not None)
        self.processor = read_processor(self.checkpoint.processor, self.checkpoint.source)
        _check_size(self.checkpoint, self.family, self.processor)

    @property
    def view(self) -> View:
        """The checkpoint's own picture size, with eight moments."""
        return self.processor.view

    @property
    def width(self) -> int:
        """D: how many numbers a vector has."""
        return _width(self.checkpoint, self.family, self.embedding)

    @property
    def inner_width(self) -> int:
        """How wide the network itself is."""
        return _width(self.checkpoint, self.family, "pooled")

    @property
    def unit(self) -> tuple[int, int, int]:
        """A picture."""
        return self.view.size, self.view.size, 3

    @cached_property
    def text_kind(self) -> str | None:
        """The class of transformers that reads sentences; None for DINO, for half a checkpoint, and for CLIP's vector before projection."""
        return _reader(self.checkpoint, self.family, self.embedding)

    def load(self) -> torch.nn.Module:
        """The image tower, in fp32 on the CPU."""
        from quickstep.backbones.image_network import load_tower  # imports torch and transformers

        return load_tower(self)

    def ready(self) -> torch.nn.Module:
        """The same for engines: what does not change from picture to picture is computed once."""
        from quickstep.backbones.image_network import settle_positions  # imports torch and transformers

        return settle_positions(self.load(), self.view.size)

    def write(self, module: torch.nn.Module, folder: Path) -> None:
        """A tower's weights as a checkpoint folder that opens again with equal output; without the text encoder, which they left behind."""
        from quickstep.backbones.image_network import write_tower  # imports torch and transformers

        write_tower(self, module, folder)

    def embed(self, batch: Sequence[Frames]) -> list[Features]:
        """One vector a frame. Frames of the view's size are taken as ready; others are prepared as the checkpoint's processor would."""
        if not all(len(frames) for frames in batch):
            raise ValueError("a window without frames has no features")
        vectors = self.vectors(picture for frames in batch for picture in self.prepared(frames))
        features, start = [], 0
        values = np.concatenate(list(vectors)) if batch else np.empty((0, self.width), np.float32)
        for frames in batch:
            features.append(Features(values[start : start + len(frames)].copy(), frames.times))
            start += len(frames)
        return features


def _family(checkpoint: Checkpoint) -> Family:
    kind = str(checkpoint.config.get("model_type"))
    if kind not in FAMILIES:
        hint = "; open it as hf-xclip:NAME" if kind == "xclip" else ""
        raise WeightsError(f"{checkpoint.source} is a {kind!r} network{hint}; image towers that can be used: {', '.join(sorted(FAMILIES))}")
    return FAMILIES[kind]


def _tower_config(checkpoint: Checkpoint, family: Family) -> dict[str, Any]:
    return {**_DEFAULTS, **(checkpoint.half("vision_config") if family.nested else checkpoint.config)}


def _embedding(checkpoint: Checkpoint, family: Family, asked: str | None) -> str:
    """What was asked for, or the projected vector where the checkpoint has one."""
    if asked is not None:
        one_of("embedding", asked, ("projected", "pooled"))
    has = family.projected is not None
    if family.projected == "CLIPVisionModelWithProjection":
        names = checkpoint.tensor_names()
        has = (
            "visual_projection.weight" in names
            if names is not None
            else "CLIPVisionModel" not in checkpoint.config.get("architectures", ())
        )
    if asked == "projected" and not has:
        raise WeightsError(f"{checkpoint.source} has no projection: the only embedding is pooled")
    return "pooled" if asked == "pooled" or not has else "projected"


def _reader(checkpoint: Checkpoint, family: Family, output: str) -> str | None:
    """The class that reads, where the checkpoint holds a text encoder whose vectors stand beside those of this output."""
    reader = family.reader
    if reader is None or (reader == "CLIPModel" and output == "pooled"):
        return None
    names = checkpoint.tensor_names()
    if names is None:  # an older file, which tells only when it is loaded
        made_by = checkpoint.config.get("architectures") or [reader]
        return reader if reader in made_by else None
    return reader if any(name.startswith("text_model.") for name in names) else None


def _width(checkpoint: Checkpoint, family: Family, output: str) -> int:
    tower = _tower_config(checkpoint, family)
    if output == "projected" and family.projected == "CLIPVisionModelWithProjection":
        top = checkpoint.config.get("projection_dim") if family.nested else None
        return int(top or tower["projection_dim"])
    if "hidden_sizes" in tower:
        return int(tower["hidden_sizes"][-1])
    if family.pooled == "DINOv3ViTModel" and "hidden_size" not in checkpoint.config:
        return _DINOV3_WIDTH
    return int(tower["hidden_size"])


def _check_size(checkpoint: Checkpoint, family: Family, processor: Processor) -> None:
    if family.fixed_size:
        check_size(checkpoint, processor, _tower_config(checkpoint, family)["image_size"])
