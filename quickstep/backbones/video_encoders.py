"""VideoTower: pretrained transformers that see a whole window at once (VideoMAE, TimeSformer, ViViT, V-JEPA 2); one vector a window.

Decides which class reads which checkpoint and how many frames it takes. Knows no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import safe_open

from quickstep.backbones.checkpoints.hub_checkpoint import Checkpoint
from quickstep.backbones.interface import Capabilities, ClassifierLayer
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


@dataclass(frozen=True)
class Family:
    """A kind of checkpoint: its classes in transformers, what its config calls frames and size, and which vector stands for a window."""

    bare: str
    classifier: str
    trunk: str  # the attribute of the classifier that is the bare network
    frames: tuple[str, int]  # the field of the config, and what transformers assumes where it is silent
    size: tuple[str, int]
    width: int
    pooled: str  # "mean" of all tokens, or the "first"
    any_length: bool = False  # takes windows of other lengths too
    besides: tuple[str, ...] = ()  # weights of a bare checkpoint that are for other tasks
    unused: tuple[str, ...] = ()  # weights that no vector depends on


FAMILIES = {
    "videomae": Family(
        "VideoMAEModel",
        "VideoMAEForVideoClassification",
        "videomae",
        ("num_frames", 16),
        ("image_size", 224),
        768,
        "mean",
        besides=("decoder.", "encoder_to_decoder.", "mask_token", "position_embeddings"),
    ),
    "timesformer": Family(
        "TimesformerModel", "TimesformerForVideoClassification", "timesformer", ("num_frames", 8), ("image_size", 224), 768, "first"
    ),
    "vivit": Family(
        "VivitModel", "VivitForVideoClassification", "vivit", ("num_frames", 32), ("image_size", 224), 768, "first", besides=("pooler.",)
    ),
    "vjepa2": Family(
        "VJEPA2Model",
        "VJEPA2ForVideoClassification",
        "vjepa2",
        ("frames_per_clip", 64),
        ("crop_size", 256),
        1024,
        "mean",
        any_length=True,
        unused=("predictor.", "vjepa2.predictor."),
    ),
}


class VideoEncoder(Pretrained):
    """A network of video of transformers: `hf-video:NAME_OR_FOLDER`."""

    capabilities = Capabilities(trainable=True, restricts_views=True, settings=SETTINGS)
    exact = True
    embedding = "pooled"
    text_kind = None

    def __init__(self, spec: BackboneSpec, cache: Cache) -> None:
        one_of("embedding", spec.embedding or "pooled", ("pooled",))
        super().__init__(spec, cache)
        self.family = _family(self.checkpoint)
        if self.engine == "openvino" and self.family.trunk == "timesformer":
            raise ConfigError("engine", "OpenVINO does not give TimeSformer's own vectors (they are some per cent off): leave it out")
        self.frames = _number(self.checkpoint, *self.family.frames)
        self.processor = read_processor(self.checkpoint.processor, self.checkpoint.source, frames=self.frames)
        check_size(self.checkpoint, self.processor, _number(self.checkpoint, *self.family.size))
        self.classifies = _classifies(self.checkpoint, self.family)

    @property
    def view(self) -> View:
        """As many frames as the checkpoint was made for, spread over the segment, at its own size."""
        return self.processor.view

    @property
    def width(self) -> int:
        """D: how many numbers a vector has."""
        return _number(self.checkpoint, "hidden_size", self.family.width)

    @property
    def inner_width(self) -> int:
        """How wide the network itself is."""
        return self.width

    @property
    def unit(self) -> tuple[int, int, int, int]:
        """A window."""
        return self.view.frames, self.view.size, self.view.size, 3

    def check_view(self, view: View) -> None:
        """Refuse windows of another number of frames than the network's."""
        self._check_frames(view.frames)

    def load(self) -> torch.nn.Module:
        """uint8 (B, F, H, W, 3) -> float32 (B, D): the network and what pools it, without a classifier, in fp32 on the CPU."""
        from quickstep.backbones.video_network import load_video_network  # imports torch and transformers

        return load_video_network(self)

    def blocks(self, module: torch.nn.Module) -> list[list[str]]:
        """Embeddings, each layer, then what pools them."""
        return blocks_of((name for name, _ in module.named_parameters()), top=("top.",))

    def write(self, module: torch.nn.Module, folder: Path) -> None:
        """The module's weights as a checkpoint folder that opens again with equal output; a classifier in it stays what it was."""
        from quickstep.backbones.video_network import write_video_network  # imports torch and transformers

        write_video_network(self, module, folder)

    def classifier_layer(self) -> ClassifierLayer | None:
        """The layer of a checkpoint that classifies."""
        tensors: dict[str, Any] = {}
        for file in self.checkpoint.weights if self.classifies else ():
            if file.suffix == ".safetensors":
                with safe_open(file, framework="pt") as opened:
                    names = [name for name in opened.keys() if name in ("classifier.weight", "classifier.bias")]  # noqa: SIM118
                    tensors |= {name: opened.get_tensor(name).float().numpy() for name in names}
        if len(tensors) < 2:
            return None
        return ClassifierLayer(tensors["classifier.weight"].T, tensors["classifier.bias"], self.checkpoint.labels)

    def embed(self, batch: Sequence[Frames]) -> list[Features]:
        """One vector a window, at the middle of its time."""
        for frames in batch:
            self._check_frames(len(frames))
        rows: dict[int, np.ndarray[Any, np.dtype[np.float32]]] = {}
        for count in dict.fromkeys(map(len, batch)):
            places = [place for place, frames in enumerate(batch) if len(frames) == count]
            vectors = self.vectors((self.prepared(batch[place]) for place in places), (count, *self.unit[1:]))
            rows |= zip(places, (row[None].copy() for some in vectors for row in some), strict=True)
        return [Features(rows[place], np.array([(each.times[0] + each.times[-1]) / 2])) for place, each in enumerate(batch)]

    def _check_frames(self, count: int) -> None:
        if self.family.any_length:
            pair = _number(self.checkpoint, "tubelet_size", 2)
            if count % pair:
                raise ConfigError("frames", f"{self.name} looks at {pair} frames at a time: a multiple of that a window, not {count}")
        elif count != self.frames:
            raise ConfigError("frames", f"{self.name} looks at windows of exactly {self.frames} frames, not {count}; leave it out")


def _family(checkpoint: Checkpoint) -> Family:
    kind = str(checkpoint.config.get("model_type"))
    if kind not in FAMILIES:
        hint = {"xclip": "; open it as hf-xclip:NAME", "clip": "; open it as hf-image:NAME"}.get(kind, "")
        raise WeightsError(
            f"{checkpoint.source} is a {kind!r} network{hint}; networks of video that can be used: {', '.join(sorted(FAMILIES))}"
        )
    return FAMILIES[kind]


def _number(checkpoint: Checkpoint, field: str, silent: int) -> int:
    """A whole number of the config; of two that are a square's sides, either."""
    said = checkpoint.config.get(field, silent)
    if isinstance(said, (list, tuple)) and len(set(said)) == 1:
        said = said[0]
    if not isinstance(said, int) or isinstance(said, bool) or said < 1:
        raise WeightsError(f"{checkpoint.source}: its config says {field} {said!r}, which is no number that can be used here")
    return said


def _classifies(checkpoint: Checkpoint, family: Family) -> bool:
    """Whether the checkpoint is that of a classifier, whose own pooling is then used."""
    names = checkpoint.tensor_names()  # a file cut short is noticed here
    if names is None:
        return family.classifier in (checkpoint.config.get("architectures") or ())
    return "classifier.weight" in names
