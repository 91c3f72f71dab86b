"""VideoEncoder: pretrained transformers for windows of frames (VideoMAE, TimeSformer, ViViT, V-JEPA 2); one vector a window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import safe_open

from quickstep.backbones.checkpoints.checkpoint import Checkpoint
from quickstep.backbones.interface import Capabilities, ClassifierLayer
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


@dataclass(frozen=True)
class Family:
    """A kind of checkpoint: its classes in transformers, the names of its config's fields, and how its tokens become one vector."""

    bare: str
    classifier: str
    trunk: str  # the attribute of the classifier that is the bare network
    frames: tuple[str, int]  # the field of the config, and the default of transformers where the config leaves it out
    size: tuple[str, int]
    width: int
    pooling: str  # "mean" of all tokens, or the "first"
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
    """A video network of transformers: `hf-video:NAME_OR_FOLDER`."""

    capabilities = Capabilities(trainable=True, restricts_views=True, settings=SETTINGS)
    exact = True
    embedding = "pooled"
    text_class = None

    def __init__(self, spec: BackboneSpec, cache: Cache) -> None:
        one_of("embedding", spec.embedding or "pooled", ("pooled",))
        super().__init__(spec, cache)
        self.family = _family_of(self.checkpoint)
        if self.engine == "openvino" and self.family.trunk == "timesformer":
            raise ConfigError("engine", "OpenVINO computes other vectors than TimeSformer's own (some per cent off): leave it out")
        self.frames = _positive_number(self.checkpoint, *self.family.frames)
        self.processor = read_processor(self.checkpoint.processor, self.checkpoint.source, frames=self.frames)
        check_size(self.checkpoint, self.processor, _positive_number(self.checkpoint, *self.family.size))
        self.classifies = _is_classifier(self.checkpoint, self.family)

    @property
    def width(self) -> int:
        """D, the length of a vector."""
        return _positive_number(self.checkpoint, "hidden_size", self.family.width)

    @property
    def inner_width(self) -> int:
        """The length of the vectors inside the network."""
        return self.width

    @property
    def unit(self) -> tuple[int, int, int, int]:
        """The shape of a window."""
        return self.view.frames, self.view.size, self.view.size, 3

    def check_view(self, view: View) -> None:
        """Refuse windows of another number of frames than the network's."""
        self._check_frames(view.frames)

    def load(self) -> torch.nn.Module:
        """Load the network with its pooling, without the classifier's layer, in fp32 on the CPU: (B, F, H, W, 3) -> (B, D)."""
        return self._pooled(self._load_network()).eval().requires_grad_(False)  # type: ignore[no-any-return]

    def blocks(self, module: torch.nn.Module) -> list[list[str]]:
        """Group the parameters: embeddings, each layer, then the pooling."""
        return group_parameters((name for name, _ in module.named_parameters()), top=("top.",))

    def write(self, module: torch.nn.Module, folder: Path, *, view: View | None = None) -> None:  # noqa: ARG002
        """Write the module's weights as a checkpoint folder; the layer of a classifier stays what it was."""
        from quickstep.backbones.checkpoints.transformers_loading import write_network  # imports torch and transformers

        network = self._load_network()
        self._pooled(network).load_state_dict(module.state_dict())  # fills the tensors of `network` itself
        write_network(network, folder, self.checkpoint, license=self.license)

    def classifier_layer(self) -> ClassifierLayer | None:
        """Return the layer of a checkpoint that classifies."""
        tensors: dict[str, Any] = {}
        for file in self.checkpoint.weights if self.classifies else ():
            if file.suffix == ".safetensors":
                with safe_open(file, framework="pt") as opened:
                    names = {"classifier.weight", "classifier.bias"} & set(opened.keys())
                    tensors |= {name: opened.get_tensor(name).float().numpy() for name in names}
        if len(tensors) < 2:
            return None
        return ClassifierLayer(tensors["classifier.weight"].T, tensors["classifier.bias"], self.checkpoint.labels)

    def embed(self, batch: Sequence[Frames]) -> list[Features]:
        """Compute one vector a window, at the middle of its time."""
        for frames in batch:
            self._check_frames(len(frames))
        rows: dict[int, np.ndarray[Any, np.dtype[np.float32]]] = {}
        for count in dict.fromkeys(map(len, batch)):
            places = [place for place, frames in enumerate(batch) if len(frames) == count]
            vectors = self.vectors((self.prepared(batch[place]) for place in places), (count, *self.unit[1:]))
            rows |= zip(places, (row[None].copy() for block in vectors for row in block), strict=True)
        return [Features(rows[place], np.array([(frames.times[0] + frames.times[-1]) / 2])) for place, frames in enumerate(batch)]

    def _check_frames(self, count: int) -> None:
        if self.family.any_length:
            pair = _positive_number(self.checkpoint, "tubelet_size", 2)
            if count % pair:
                raise ConfigError("frames", f"{self.name} reads {pair} frames at a time: a multiple of that a window, not {count}")
        elif count != self.frames:
            raise ConfigError("frames", f"{self.name} reads windows of exactly {self.frames} frames, not {count}; leave it out")

    def _load_network(self) -> Any:
        """Load the network of transformers, with the classifier where the checkpoint has one."""
        from quickstep.backbones.checkpoints.transformers_loading import load_network  # imports torch and transformers

        family = self.family
        if self.classifies:
            return load_network(self.checkpoint, family.classifier, unused=family.unused)
        more = {"add_pooling_layer": False} if family.bare == "VivitModel" else {}
        return load_network(self.checkpoint, family.bare, besides=family.besides, unused=family.unused, more=more)

    def _pooled(self, network: Any) -> Any:
        """Put normalization before a network of transformers and its own classifier's pooling behind it."""
        from quickstep.backbones.pixel_encoder import PixelEncoder  # imports torch

        family = self.family
        trunk = getattr(network, family.trunk) if self.classifies else network
        pooling, top = family.pooling, None
        if self.classifies and family.trunk == "videomae":
            top = network.fc_norm
            pooling = "mean" if top is not None else "first"
        if family.trunk == "vjepa2":
            trunk = trunk.encoder  # without the predictor of hidden parts
            if self.classifies:
                pooling, top = "attention", network.pooler
        return PixelEncoder(self.processor, partial(_encode, pooling=pooling), trunk=trunk, top=top)


def _encode(encoder: Any, pixels: torch.Tensor, *, pooling: str) -> torch.Tensor:
    """uint8 (B, F, H, W, 3) -> (B, D)."""
    images = encoder.prepared(pixels.flatten(0, 1))
    tokens = encoder.trunk(images.view(*pixels.shape[:2], *images.shape[1:])).last_hidden_state  # (B, N, D)
    if pooling != "attention":
        tokens = tokens.mean(dim=1) if pooling == "mean" else tokens[:, 0]
    return encoder.top(tokens) if encoder.top is not None else tokens  # type: ignore[no-any-return]


def _family_of(checkpoint: Checkpoint) -> Family:
    kind = str(checkpoint.config.get("model_type"))
    if kind not in FAMILIES:
        hint = {"xclip": "; open it as hf-xclip:NAME", "clip": "; open it as hf-image:NAME"}.get(kind, "")
        raise WeightsError(
            f"{checkpoint.source} is a {kind!r} network{hint}; video networks that can be used: {', '.join(sorted(FAMILIES))}"
        )
    return FAMILIES[kind]


def _positive_number(checkpoint: Checkpoint, field: str, default: int) -> int:
    """Read a whole number of the config; of the two sides of a square, one."""
    value = checkpoint.config.get(field, default)
    if isinstance(value, (list, tuple)) and len(set(value)) == 1:
        value = value[0]
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise WeightsError(f"{checkpoint.source}: the {field} in its config is {value!r}, and not a whole number from 1 on")
    return value


def _is_classifier(checkpoint: Checkpoint, family: Family) -> bool:
    """Whether the checkpoint has a classifier, whose pooling is then used."""
    names = checkpoint.tensor_names()  # refuses a file that is cut short
    if names is None:
        return family.classifier in (checkpoint.config.get("architectures") or ())
    return "classifier.weight" in names
