"""ImageEncoder: pretrained networks for single frames (CLIP, SigLIP, DINO); one vector a frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from quickstep.backbones.checkpoints.checkpoint import Checkpoint
from quickstep.backbones.interface import Capabilities
from quickstep.backbones.preprocessing import read_processor
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
    """The classes of transformers for a kind of checkpoint: its image encoder, and the network with its text encoder."""

    pooled: str
    projected: str | None = None  # where images and texts share a space
    with_text: str | None = None
    nested: bool = False  # the config of the image encoder is a part of the config
    fixed_size: bool = False  # takes images of one size only


FAMILIES = {
    "clip": Family("CLIPVisionModel", "CLIPVisionModelWithProjection", "CLIPModel", nested=True, fixed_size=True),
    "clip_vision_model": Family("CLIPVisionModel", "CLIPVisionModelWithProjection", fixed_size=True),
    # SigLIP's pooled vector is the one that it shares with texts
    "siglip": Family("SiglipVisionModel", "SiglipVisionModel", "SiglipModel", nested=True, fixed_size=True),
    "siglip_vision_model": Family("SiglipVisionModel", "SiglipVisionModel", fixed_size=True),
    "dinov2": Family("Dinov2Model"),
    "dinov2_with_registers": Family("Dinov2WithRegistersModel"),
    "dinov3_vit": Family("DINOv3ViTModel"),
    "dinov3_convnext": Family("DINOv3ConvNextModel"),
}

# The defaults of transformers for values that a config leaves out.
_DEFAULTS = {"hidden_size": 768, "projection_dim": 512, "image_size": 224}
_DINOV3_WIDTH = 384
# What a checkpoint may hold besides its image encoder: the text encoder, and the heads of other tasks.
_OTHER_PARTS = ("text_model.", "text_projection.", "logit_scale", "logit_bias", "classifier.")


class ImageEncoder(Pretrained):
    """The image encoder of a published checkpoint (`clip-vit-b32`, `hf-image:NAME_OR_FOLDER`), with its text encoder where it has one."""

    capabilities = Capabilities(embeds_text=True, trainable=True, frame_by_frame=True, settings=SETTINGS)

    def __init__(self, spec: BackboneSpec, cache: Cache) -> None:
        super().__init__(spec, cache)
        self.family = _family_of(self.checkpoint)
        self.embedding = _embedding(self.checkpoint, self.family, spec.embedding)
        self.capabilities = replace(self.capabilities, embeds_text=self.text_class is not None)
        self.processor = read_processor(self.checkpoint.processor, self.checkpoint.source)
        if self.family.fixed_size:
            check_size(self.checkpoint, self.processor, _encoder_config(self.checkpoint, self.family)["image_size"])

    @property
    def width(self) -> int:
        """D, the length of a vector."""
        return _width(self.checkpoint, self.family, self.embedding)

    @property
    def inner_width(self) -> int:
        """The length of the vectors inside the network."""
        return _width(self.checkpoint, self.family, "pooled")

    @property
    def unit(self) -> tuple[int, int, int]:
        """The shape of a frame."""
        return self.view.size, self.view.size, 3

    @cached_property
    def text_class(self) -> str | None:
        """The class with the text encoder; None for DINO, for an image encoder alone, and for CLIP's pooled vector."""
        return _text_class(self.checkpoint, self.family, self.embedding)

    def load(self) -> torch.nn.Module:
        """Load the image encoder in fp32 on the CPU; weights that are missing, left over or of another shape are refused."""
        from quickstep.backbones.checkpoints.transformers_loading import load_network  # imports torch and transformers
        from quickstep.backbones.pixel_encoder import PixelEncoder

        projected = self.embedding == "projected" and self.family.projected is not None
        name = str(self.family.projected if projected else self.family.pooled)
        besides = _OTHER_PARTS if projected else (*_OTHER_PARTS, "visual_projection.")
        network = load_network(self.checkpoint, name, config=_transformers_config(self.checkpoint, self.family), besides=besides)
        encode = partial(encode_images, field="image_embeds" if name.endswith("WithProjection") else "pooler_output")
        return PixelEncoder(self.processor, encode, network=network).eval().requires_grad_(False)

    def ready(self) -> torch.nn.Module:
        """Load it for an engine, with everything computed that is the same for all frames."""
        from quickstep.backbones.pixel_encoder import fix_position_tables  # imports torch

        return fix_position_tables(self.load(), self.view.size)

    def write(self, module: Any, folder: Path, *, view: View | None = None) -> None:  # noqa: ARG002
        """Write an image encoder's weights as a checkpoint folder, without the text encoder, whose vectors do not fit any more."""
        from quickstep.backbones.checkpoints.transformers_loading import write_network  # imports torch and transformers

        write_network(module.network, folder, self.checkpoint, license=self.license)

    def embed(self, batch: Sequence[Frames]) -> list[Features]:
        """Compute one vector a frame."""
        if not all(len(frames) for frames in batch):
            raise ValueError("a window without frames has no features")
        vectors = self.vectors(frame for frames in batch for frame in self.prepared(frames))
        values = np.concatenate(list(vectors)) if batch else np.empty((0, self.width), np.float32)
        features, start = [], 0
        for frames in batch:
            features.append(Features(values[start : start + len(frames)].copy(), frames.times))
            start += len(frames)
        return features


def encode_images(encoder: Any, pixels: torch.Tensor, *, field: str) -> torch.Tensor:
    """Encode with a PixelEncoder: uint8 (B, H, W, 3) -> (B, D); `field` is the output of the network that holds the vectors."""
    output = encoder.network(pixel_values=encoder.prepared(pixels))
    return output[field]  # type: ignore[no-any-return]


def _family_of(checkpoint: Checkpoint) -> Family:
    kind = str(checkpoint.config.get("model_type"))
    if kind not in FAMILIES:
        hint = "; open it as hf-xclip:NAME" if kind == "xclip" else ""
        raise WeightsError(f"{checkpoint.source} is a {kind!r} network{hint}; image encoders for hf-image: {', '.join(sorted(FAMILIES))}")
    return FAMILIES[kind]


def _encoder_config(checkpoint: Checkpoint, family: Family) -> dict[str, Any]:
    return {**_DEFAULTS, **(checkpoint.half("vision_config") if family.nested else checkpoint.config)}


def _transformers_config(checkpoint: Checkpoint, family: Family) -> Any:
    """Return the image encoder's config as transformers has it; the width of a projection is written beside it."""
    from quickstep.backbones.checkpoints.transformers_loading import load_config

    config = load_config(checkpoint)
    if not family.nested:
        return config
    encoder = config.vision_config
    if hasattr(encoder, "projection_dim"):
        encoder.projection_dim = config.projection_dim
    return encoder


def _embedding(checkpoint: Checkpoint, family: Family, setting: str | None) -> str:
    """Return the embedding that was set, or "projected" where the checkpoint has a projection."""
    if setting is not None:
        one_of("embedding", setting, ("projected", "pooled"))
    has = family.projected is not None
    if family.projected == "CLIPVisionModelWithProjection":
        names = checkpoint.tensor_names()
        has = (
            "visual_projection.weight" in names
            if names is not None
            else "CLIPVisionModel" not in checkpoint.config.get("architectures", ())
        )
    if setting == "projected" and not has:
        raise WeightsError(f"{checkpoint.source} has no projection: the only embedding is pooled")
    return "pooled" if setting == "pooled" or not has else "projected"


def _text_class(checkpoint: Checkpoint, family: Family, embedding: str) -> str | None:
    """Return the class with the text encoder, where the checkpoint has one in the same space as this embedding."""
    text_class = family.with_text
    if text_class is None or (text_class == "CLIPModel" and embedding == "pooled"):
        return None
    names = checkpoint.tensor_names()
    if names is None:  # an older file format, which lists its tensors only when it is loaded
        architectures = checkpoint.config.get("architectures") or [text_class]
        return text_class if text_class in architectures else None
    return text_class if any(name.startswith("text_model.") for name in names) else None


def _width(checkpoint: Checkpoint, family: Family, embedding: str) -> int:
    config = _encoder_config(checkpoint, family)
    if embedding == "projected" and family.projected == "CLIPVisionModelWithProjection":
        top = checkpoint.config.get("projection_dim") if family.nested else None
        return int(top or config["projection_dim"])
    if "hidden_sizes" in config:
        return int(config["hidden_sizes"][-1])
    if family.pooled == "DINOv3ViTModel" and "hidden_size" not in checkpoint.config:
        return _DINOV3_WIDTH
    return int(config["hidden_size"])
