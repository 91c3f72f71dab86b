"""XClip: pretrained networks that see a whole window of frames at once and hold it against words; one vector a window. Knows no torch.

X-CLIP lets the video rewrite the words before they are held against it. With `embedding="prompted"` its features carry what does the
rewriting: the video's vector, then the parts of the picture, (1 + P, D) a window; `matching.prompting` carries how. Otherwise vectors and
words are held against each other as they are, which is quicker and less than the network can do.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from quickstep.backbones.checkpoints.hub_checkpoint import Checkpoint
from quickstep.backbones.interface import PROMPTED, Capabilities
from quickstep.backbones.parameter_groups import blocks_of
from quickstep.backbones.preprocessing import read_processor
from quickstep.backbones.pretrained_network import SETTINGS, Pretrained, check_size
from quickstep.backbones.spec import BackboneSpec
from quickstep.storage.cache import Cache
from quickstep.types.config_fields import one_of
from quickstep.types.errors import ConfigError, WeightsError
from quickstep.types.signals import Features, Frames
from quickstep.types.view import View

if TYPE_CHECKING:
    import torch

# What transformers assumes where a config is silent.
_VISION = {"hidden_size": 768, "image_size": 224, "patch_size": 32, "num_frames": 8}
_PROJECTION = 512


class XClip(Pretrained):
    """An X-CLIP checkpoint: `xclip-b32`, or `hf-xclip:NAME_OR_FOLDER`."""

    capabilities = Capabilities(embeds_text=True, trainable=True, prompts_by_video=True, restricts_views=True, settings=SETTINGS)
    exact = True
    templates = ("{}",)  # it was trained with bare labels

    def __init__(self, spec: BackboneSpec, cache: Cache) -> None:
        self.embedding = spec.embedding or "projected"
        one_of("embedding", self.embedding, ("projected", PROMPTED))
        super().__init__(spec, cache)
        self._vision = _vision(self.checkpoint)
        self.processor = read_processor(self.checkpoint.processor, self.checkpoint.source, frames=self._vision["num_frames"])
        check_size(self.checkpoint, self.processor, self._vision["image_size"])
        self.checkpoint.tensor_names()  # a file cut short is noticed here

    @property
    def view(self) -> View:
        """As many frames as the checkpoint was made for, spread over the segment, at its own size."""
        return self.processor.view

    @property
    def width(self) -> int:
        """D: how many numbers a vector has."""
        return int(self.checkpoint.config.get("projection_dim") or _PROJECTION)

    @property
    def inner_width(self) -> int:
        """How wide the network itself is."""
        return int(self._vision["hidden_size"])

    @property
    def unit(self) -> tuple[int, int, int, int]:
        """A window."""
        return self.view.frames, self.view.size, self.view.size, 3

    @property
    def text_kind(self) -> str:
        """The class of transformers that reads sentences: an X-CLIP always does."""
        return "XCLIPModel"

    def check_view(self, view: View) -> None:
        """Refuse windows of any other number of frames than the network's."""
        self._check_frames(view.frames)

    def load(self) -> torch.nn.Module:
        """The half that sees, in fp32 on the CPU."""
        from quickstep.backbones.xclip_network import load_window_tower  # imports torch and transformers

        return load_window_tower(self)

    def blocks(self, module: torch.nn.Module) -> list[list[str]]:
        """Embeddings, each layer of the frames' network, then all that stands above: what joins the frames, and the projection."""
        return blocks_of((name for name, _ in module.named_parameters()), top=("projection.", "integration.", "norm.", "into_words"))

    def write(self, module: torch.nn.Module, folder: Path) -> None:
        """A tower's weights as a whole checkpoint folder, words included, that opens again with equal output."""
        from quickstep.backbones.xclip_network import write_window_tower  # imports torch and transformers

        write_window_tower(self, module, folder)

    def embed(self, batch: Sequence[Frames]) -> list[Features]:
        """One vector a window (and the picture's parts, where they are asked for), at the middle of its time."""
        for frames in batch:
            self._check_frames(len(frames))
        vectors = self.vectors(self.prepared(frames) for frames in batch)
        values = [row[None].copy() for some in vectors for row in (some if self.embedding == PROMPTED else some[:, 0])]
        return [Features(value, np.array([(frames.times[0] + frames.times[-1]) / 2])) for value, frames in zip(values, batch, strict=True)]

    def _check_frames(self, count: int) -> None:
        if count != self.view.frames:
            raise ConfigError("frames", f"{self.name} looks at windows of exactly {self.view.frames} frames, not {count}; leave it out")


def _vision(checkpoint: Checkpoint) -> dict[str, Any]:
    """What the config says of the half that sees."""
    kind = str(checkpoint.config.get("model_type"))
    if kind != "xclip":
        hint = "; open it as hf-image:NAME" if kind in {"clip", "siglip"} else ""
        raise WeightsError(f"{checkpoint.source} is a {kind!r} network, and X-CLIP is wanted here ('xclip'){hint}")
    vision = {**_VISION, **checkpoint.half("vision_config")}
    wrong = [name for name in _VISION if not isinstance(vision[name], int) or vision[name] < 1]
    if wrong:
        raise WeightsError(
            f"{checkpoint.source}: its config says {wrong[0]} {vision[wrong[0]]!r}, which is no number that can be used here"
        )
    return vision
