"""XClip: pretrained networks for windows of frames and texts; one vector a window.

X-CLIP lets the video rewrite the vectors of texts before it compares them. With the embedding "prompted" its features carry what that
needs: the vector of the video, then those of the image patches, (1 + P, D) a window; `matching.prompting` holds the weights. With the
embedding "projected" vectors and texts are compared as they are, which is faster and less accurate.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from quickstep.backbones.checkpoints.checkpoint import Checkpoint
from quickstep.backbones.interface import PROMPTED, Capabilities
from quickstep.backbones.preprocessing import read_processor
from quickstep.backbones.pretrained_network import SETTINGS, Pretrained, check_size, group_parameters
from quickstep.backbones.spec import BackboneSpec
from quickstep.storage.cache import Cache
from quickstep.types.config_fields import one_of
from quickstep.types.errors import ConfigError, WeightsError
from quickstep.types.signals import Features, Frames
from quickstep.types.view import View

if TYPE_CHECKING:
    import torch

# The defaults of transformers for values that a config leaves out.
_VISION = {"hidden_size": 768, "image_size": 224, "patch_size": 32, "num_frames": 8}
_PROJECTION = 512


class XClip(Pretrained):
    """An X-CLIP checkpoint: `xclip-b32`, or `hf-xclip:NAME_OR_FOLDER`."""

    capabilities = Capabilities(embeds_text=True, trainable=True, prompts_by_video=True, restricts_views=True, settings=SETTINGS)
    exact = True
    templates = ("{}",)  # it was trained with bare labels
    text_class = "XCLIPModel"

    def __init__(self, spec: BackboneSpec, cache: Cache) -> None:
        self.embedding = spec.embedding or "projected"
        one_of("embedding", self.embedding, ("projected", PROMPTED))
        super().__init__(spec, cache)
        self._vision = _vision_config(self.checkpoint)
        self.processor = read_processor(self.checkpoint.processor, self.checkpoint.source, frames=self._vision["num_frames"])
        check_size(self.checkpoint, self.processor, self._vision["image_size"])
        self.checkpoint.tensor_names()  # refuses a file that is cut short

    @property
    def width(self) -> int:
        """D, the length of a vector."""
        return int(self.checkpoint.config.get("projection_dim") or _PROJECTION)

    @property
    def inner_width(self) -> int:
        """The length of the vectors inside the network."""
        return int(self._vision["hidden_size"])

    @property
    def unit(self) -> tuple[int, int, int, int]:
        """The shape of a window."""
        return self.view.frames, self.view.size, self.view.size, 3

    def check_view(self, view: View) -> None:
        """Refuse windows of another number of frames than the network's."""
        self._check_frames(view.frames)

    def load(self) -> torch.nn.Module:
        """Load the video encoder in fp32 on the CPU: (B, F, H, W, 3) -> (B, 1, D), or (B, 1 + P, D) with the patches."""
        from quickstep.backbones.checkpoints.transformers_loading import load_network  # imports torch and transformers

        return self._video_encoder(load_network(self.checkpoint, self.text_class)).eval().requires_grad_(False)  # type: ignore[no-any-return]

    def blocks(self, module: torch.nn.Module) -> list[list[str]]:
        """Group the parameters: embeddings, each layer of the frame encoder, then what joins the frames, and the projection."""
        return group_parameters((name for name, _ in module.named_parameters()), top=("projection.", "integration.", "norm.", "into_words"))

    def write(self, module: torch.nn.Module, folder: Path, *, view: View | None = None) -> None:  # noqa: ARG002
        """Write a video encoder's weights as a whole checkpoint folder, text encoder included."""
        from quickstep.backbones.checkpoints.transformers_loading import copy_tokenizer, load_network, write_network

        network = load_network(self.checkpoint, self.text_class)
        self._video_encoder(network).load_state_dict(module.state_dict())  # fills the tensors of `network` itself
        write_network(network, folder, self.checkpoint, license=self.license)
        copy_tokenizer(self.checkpoint, folder)

    def embed(self, batch: Sequence[Frames]) -> list[Features]:
        """Compute one vector a window (and those of the image patches, if "prompted"), at the middle of its time."""
        for frames in batch:
            self._check_frames(len(frames))
        vectors = self.vectors(self.prepared(frames) for frames in batch)
        values = [row[None].copy() for block in vectors for row in (block if self.embedding == PROMPTED else block[:, 0])]
        return [Features(value, np.array([(frames.times[0] + frames.times[-1]) / 2])) for value, frames in zip(values, batch, strict=True)]

    def _check_frames(self, count: int) -> None:
        if count != self.view.frames:
            raise ConfigError("frames", f"{self.name} reads windows of exactly {self.view.frames} frames, not {count}; leave it out")

    def _video_encoder(self, network: Any) -> Any:
        from quickstep.backbones.pixel_encoder import PixelEncoder  # imports torch

        parts = {"vision": network.vision_model, "projection": network.visual_projection, "integration": network.mit}
        if self.embedding == PROMPTED:
            parts |= {"norm": network.prompts_visual_layernorm, "into_words": network.prompts_visual_projection}
            return PixelEncoder(self.processor, _encode_with_patches, **parts)
        return PixelEncoder(self.processor, _encode_video, **parts)


def _encode(encoder: Any, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """uint8 (B, F, H, W, 3) -> the vector of the video (B, 1, D), and the tokens of each frame (B * F, 1 + P, D')."""
    frames = encoder.vision(pixel_values=encoder.prepared(pixels.flatten(0, 1)))
    vectors = encoder.projection(frames.pooler_output)  # (B * F, D)
    video = encoder.integration(vectors.view(*pixels.shape[:2], -1)).pooler_output[:, None].float()
    return video, frames.last_hidden_state


def _encode_video(encoder: Any, pixels: torch.Tensor) -> torch.Tensor:
    """uint8 (B, F, H, W, 3) -> the vector of the video (B, 1, D)."""
    return _encode(encoder, pixels)[0]


def _encode_with_patches(encoder: Any, pixels: torch.Tensor) -> torch.Tensor:
    """uint8 (B, F, H, W, 3) -> the vectors of the video and of the image patches, (B, 1 + P, D)."""
    import torch

    video, tokens = _encode(encoder, pixels)
    patches = encoder.norm(tokens[:, 1:]) @ encoder.into_words  # (B * F, P, D)
    return torch.cat([video, patches.view(*pixels.shape[:2], *patches.shape[1:]).mean(dim=1).float()], dim=1)


def _vision_config(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the config of the video encoder."""
    kind = str(checkpoint.config.get("model_type"))
    if kind != "xclip":
        hint = "; open it as hf-image:NAME" if kind in {"clip", "siglip"} else ""
        raise WeightsError(f"{checkpoint.source} is a {kind!r} network, and hf-xclip needs an 'xclip' network{hint}")
    vision = {**_VISION, **checkpoint.half("vision_config")}
    wrong = [name for name in _VISION if not isinstance(vision[name], int) or vision[name] < 1]
    if wrong:
        raise WeightsError(f"{checkpoint.source}: the {wrong[0]} in its config is {vision[wrong[0]]!r}, and not a whole number from 1 on")
    return vision
