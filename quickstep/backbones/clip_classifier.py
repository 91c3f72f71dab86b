"""ClipClassifier: the image encoder of a published CLIP classifier, a folder of `weights.ckpt` and `config.json`; pooled embedding.

The folder's config says how frames are prepared and what the classes are called; the shape of the encoder comes from the CLIP checkpoint
that it names.
"""

from __future__ import annotations

import json
import pickle
import threading
import warnings
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers

from quickstep.backbones.base_network import Network
from quickstep.backbones.checkpoints.checkpoint import Checkpoint
from quickstep.backbones.checkpoints.transformers_loading import quiet
from quickstep.backbones.image_encoders import FAMILIES, ImageEncoder, encode_images
from quickstep.backbones.interface import ClassifierLayer
from quickstep.backbones.preprocessing import read_processor
from quickstep.backbones.spec import BackboneSpec
from quickstep.storage import hub
from quickstep.storage.cache import Cache
from quickstep.storage.files import check_regular
from quickstep.types.errors import ConfigError, WeightsError

if TYPE_CHECKING:
    import torch

ENCODER, LAYER = "clip_model.vision_model.", "visual_projection."
# The parts of CLIP that such a classifier holds and does not use.
_UNUSED = ("clip_model.text_model.", "clip_model.text_projection.", "clip_model.visual_projection.", "clip_model.logit_scale")
_COUNTERS = ("position_ids",)  # that older versions saved

State = dict[str, torch.Tensor]


def read_state(file: Path) -> State:
    """Read the tensors of the file; besides CLIP's unused parts it may only hold an image encoder and a layer."""
    try:
        content = _load(file)
    except pickle.UnpicklingError as error:
        raise WeightsError(f"{file} holds more than weights, and code in it is not run: ask its makers for a plain state dict") from error
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{file} cannot be read as weights, it may be broken: download or copy it again") from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise WeightsError(f"{file} is not a state dict (names and tensors)")
    state = {str(name).removeprefix("module."): value for name, value in content.items()}
    _check_names(state, file)
    return state


def _load(file: Path) -> Any:
    check_regular(file)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about other forms of pickles, which fail or are read afterwards
        try:
            return torch.load(file, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError:  # the older form cannot be mapped
            return torch.load(file, map_location="cpu", weights_only=True)


def _check_names(state: State, file: Path) -> None:
    left_over = sorted(name for name in state if not name.startswith((ENCODER, LAYER, *_UNUSED)))
    missing = [name for name in (f"{LAYER}weight", f"{LAYER}bias", f"{ENCODER}embeddings.patch_embedding.weight") if name not in state]
    if missing:
        raise WeightsError(f"{file} is not a CLIP classifier: it lacks {', '.join(missing)}")
    more = [name for name in state if name.startswith(LAYER) and name not in (f"{LAYER}weight", f"{LAYER}bias")]
    if left_over or more:
        raise WeightsError(f"{file} has besides a CLIP classifier: {', '.join((left_over + more)[:3])}")


def shapes_of(state: State) -> dict[str, int]:
    """Read the encoder's sizes from the shapes of its weights, as CLIP's config names them, without the number of attention heads."""
    try:
        width, _, patch, _ = state[f"{ENCODER}embeddings.patch_embedding.weight"].shape
        positions = len(state[f"{ENCODER}embeddings.position_embedding.weight"])
        inner = len(state[f"{ENCODER}encoder.layers.0.mlp.fc1.weight"])
    except (KeyError, ValueError) as error:
        raise WeightsError(f"its image encoder is not one of CLIP ({error})") from error
    start = f"{ENCODER}encoder.layers."
    layers = {name.removeprefix(start).split(".")[0] for name in state if name.startswith(start)}
    side = round((positions - 1) ** 0.5)
    return {
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": len(layers),
        "patch_size": patch,
        "image_size": side * patch,
    }


def load_encoder(state: State, config: Mapping[str, Any], file: Path) -> torch.nn.Module:
    """Make the image encoder with its weights, in fp32."""
    with quiet():
        network: Any = transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**dict(config)))
    expected = network.state_dict()
    inside = next(iter(expected)).startswith("vision_model.")  # as older versions call it
    tensors = {
        name.removeprefix("clip_model." if inside else ENCODER): value.to(torch.float32)
        for name, value in state.items()
        if name.startswith(ENCODER) and not name.endswith(_COUNTERS)
    }
    for names, what in (
        (sorted(name for name in expected if name not in tensors and not name.endswith(_COUNTERS)), "lacks"),
        (sorted(name for name in tensors if name not in expected), "has besides what its config describes:"),
        (sorted(name for name in tensors if name in expected and tensors[name].shape != expected[name].shape), "has of another shape"),
    ):
        if names:
            raise WeightsError(f"{file} {what} {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}")
    network.load_state_dict(tensors, strict=False)  # its names were checked above; only counters may be left
    return network.eval().requires_grad_(False)  # type: ignore[no-any-return]


def layer_of(state: State) -> tuple[Any, Any]:
    """Return the weight (D, C) and bias (C,) of the last layer."""
    weight, bias = (state[f"{LAYER}{name}"].to(torch.float32).numpy() for name in ("weight", "bias"))
    if weight.ndim != 2 or bias.shape != weight.shape[:1]:
        raise WeightsError(f"its last layer has a weight of shape {weight.shape} and a bias of shape {bias.shape}")
    return weight.T.copy(), bias.copy()


WEIGHTS, CONFIG = "weights.ckpt", "config.json"
_FRAMES = 10  # a window, where the config has no number
_BASES = ("clip_model", "base_model", "pretrained_model_name", "model_name")  # under which a config names its CLIP
_LABELS = ("class_labels", "labels", "classes", "class_names", "label_map")

# CLIP's own image encoders: width, inner width, layers, heads, patch size, image size.
_PUBLISHED = {
    "clip-vit-base-patch32": (768, 3072, 12, 12, 32, 224),
    "clip-vit-base-patch16": (768, 3072, 12, 12, 16, 224),
    "clip-vit-large-patch14": (1024, 4096, 24, 16, 14, 224),
    "clip-vit-large-patch14-336": (1024, 4096, 24, 16, 14, 336),
}
_FIELDS = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "patch_size", "image_size")


class ClipClassifier(ImageEncoder):
    """The image encoder of such a folder (`clip-classifier:FOLDER`).

    `weights` is a folder of CLIP, where the config names none that is here. A folder that `write` made, a plain checkpoint, opens too.
    """

    def __init__(self, spec: BackboneSpec, cache: Cache) -> None:
        spec = replace(spec, precision=spec.precision or "fp32")
        named = Path(spec.name.partition(":")[2]).expanduser()
        weights = Path(spec.weights).expanduser() if spec.weights is not None else None
        self.encoder_only = weights is not None and _is_encoder(weights)
        if self.encoder_only:
            super().__init__(replace(spec, embedding="pooled"), cache)
            return
        if spec.embedding not in (None, "pooled"):
            raise ConfigError("embedding", f"a CLIP classifier has the pooled embedding, not {spec.embedding!r}")
        Network.__init__(self, spec, cache)
        self._text_lock = threading.Lock()
        self.capabilities = replace(self.capabilities, embeds_text=False)
        self.folder = weights if weights is not None and is_classifier(weights) else named
        self._clip_folder = weights if weights is not None and weights != self.folder else None
        self.config = _read_config(self.folder)
        self.family, self.embedding = FAMILIES["clip_vision_model"], "pooled"
        self.checkpoint = self._as_checkpoint()
        self.license = self.checkpoint.license
        frames = _whole_number(self.config, "max_frames", _FRAMES)
        self.processor = read_processor(self.checkpoint.processor, str(self.folder), frames=frames)

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the layer; () where the config has none."""
        return next((names for key in (*_LABELS, "id2label", "label2id") if (names := _class_names(self.config.get(key)))), ())

    def classifier_layer(self) -> ClassifierLayer | None:
        """Return the linear layer of the folder, over the mean of the vectors; None where only the encoder is left."""
        from quickstep.backbones.clip_classifier import layer_of  # imports torch

        return None if self.encoder_only else ClassifierLayer(*layer_of(self._state), self.labels or None)

    @cached_property
    def _state(self) -> dict[str, Any]:
        from quickstep.backbones.clip_classifier import read_state  # imports torch

        return read_state(self.folder / WEIGHTS)

    def load(self) -> torch.nn.Module:
        """Load the image encoder, in fp32 on the CPU."""
        if self.encoder_only:
            return super().load()
        from quickstep.backbones.clip_classifier import load_encoder  # imports torch and transformers
        from quickstep.backbones.pixel_encoder import PixelEncoder

        network = load_encoder(self._state, self._encoder, self.folder / WEIGHTS)
        return PixelEncoder(self.processor, partial(encode_images, field="pooler_output"), network=network).eval().requires_grad_(False)

    @cached_property
    def _encoder(self) -> dict[str, Any]:
        """The config of the image encoder: from the folder, from the CLIP that it names, or of a published CLIP with these shapes."""
        from quickstep.backbones.clip_classifier import shapes_of  # imports torch

        shapes = shapes_of(self._state)
        config = self._encoder_config(shapes)
        different = [key for key, value in shapes.items() if config.get(key, value) != value]
        if different:
            both = ", ".join(f"{key} {shapes[key]} and not {config[key]}" for key in different)
            raise WeightsError(f"{self.folder / WEIGHTS} was not made of the CLIP that its {CONFIG} names: it has {both}")
        return {**config, **shapes}

    def _encoder_config(self, shapes: Mapping[str, int]) -> dict[str, Any]:
        for inside in (self.config.get("vision_config"), *(self.config.get(key) for key in _BASES)):
            if isinstance(inside, dict):
                return _vision_config(inside)
        named = next((str(self.config[key]) for key in _BASES if isinstance(self.config.get(key), str)), "")
        folders = (self._clip_folder, Path(named), self.folder / named, self.folder.parent / named)
        folder = next((folder for folder in folders if _is_clip(folder)), None)
        if folder is not None:
            return _vision_config(_read_config(folder))
        if isinstance(heads := self.config.get("num_attention_heads"), int):
            return {"num_attention_heads": heads}
        values = tuple(shapes.get(key, -1) for key in _FIELDS)
        for name, published in _PUBLISHED.items():
            if all(have in (-1, want) for have, want in zip(values, published, strict=True)) and named.rpartition("/")[2] in ("", name):
                return dict(zip(_FIELDS, published, strict=True))
        if "/" in named and named.rpartition("/")[2] not in _PUBLISHED:
            return _vision_config(_download_config(named))
        raise WeightsError(
            f"{self.folder / WEIGHTS} does not have the size of {named or 'a published CLIP'}, so its number of attention heads is "
            f"unknown: give the folder of its CLIP as weights, or put its vision_config into {CONFIG}"
        )

    def _as_checkpoint(self) -> Checkpoint:
        return Checkpoint(
            folder=self.folder,
            source=str(self.folder),
            revision=None,
            weights=(self.folder / WEIGHTS,),
            config={"model_type": "clip_vision_model", **self._encoder},
            processor=self._processor_config(),
            license=str(self.config.get("license", "unknown")),
        )

    def _processor_config(self) -> dict[str, Any]:
        """Prepare frames as such classifiers do: the whole frame as a square, by their own statistics; otherwise as CLIP itself does."""
        side = self._encoder["image_size"]
        size = _whole_number(self.config, "image_size", side)
        if size != side:
            raise WeightsError(f"{self.folder} contradicts itself: frames are prepared at {size} pixels, and its network takes {side}")
        square = {"height": size, "width": size}
        clip = {"image_processor_type": "CLIPImageProcessor", "crop_size": square}
        if "normalization_mean" not in self.config and "image_size" not in self.config:
            return {**clip, "size": {"shortest_edge": size}}
        statistics = {"image_mean": self.config.get("normalization_mean"), "image_std": self.config.get("normalization_std")}
        return {**clip, **statistics, "size": square, "do_center_crop": False, "resample": 2}


def is_classifier(folder: Path) -> bool:
    """Whether a folder is such a classifier, by its files."""
    return (folder / WEIGHTS).is_file() and (folder / CONFIG).is_file() and not (folder / "model.json").exists()


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise WeightsError(f"{folder / CONFIG} cannot be read ({why}): download or copy it again") from error
    if not isinstance(config, dict):
        raise WeightsError(f"{folder / CONFIG} is not the config of a classifier: download or copy it again")
    return config


def _class_names(value: Any) -> tuple[str, ...]:
    """Read class names in order, from a list, from number -> name, or from name -> number."""
    if isinstance(value, list):
        return tuple(value) if all(isinstance(name, str) for name in value) else ()
    if not isinstance(value, dict):
        return ()
    by_number = value if all(str(key).isdecimal() for key in value) else {str(number): name for name, number in value.items()}
    names = {str(number): str(name) for number, name in by_number.items()}
    numbers = [str(index) for index in range(len(value))]
    return tuple(names[number] for number in numbers) if set(names) == set(numbers) else ()


def _is_encoder(folder: Path) -> bool:
    """Whether a folder is an image encoder alone, as `write` leaves it."""
    if is_classifier(folder) or not (folder / "model.safetensors").is_file():
        return False
    return _read_config(folder).get("model_type") == "clip_vision_model"


def _whole_number(config: Mapping[str, Any], key: str, default: int) -> int:
    value = config.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 4096:
        raise WeightsError(f"the {key} in {CONFIG} is {value!r}, and not a whole number from 1 to 4096")
    return value


def _is_clip(folder: Path | None) -> bool:
    return folder is not None and str(folder) not in ("", ".") and (folder / CONFIG).is_file() and not (folder / WEIGHTS).exists()


def _vision_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a CLIP's config about images, with the default of transformers where it leaves the heads out."""
    inside = config.get("vision_config_dict") or config.get("vision_config")
    vision: Mapping[str, Any] = inside if isinstance(inside, dict) else config
    fields = (*_FIELDS, "hidden_act", "layer_norm_eps", "num_channels")
    return {"num_attention_heads": 12, **{key: vision[key] for key in fields if vision.get(key) is not None}}


def _download_config(repository: str) -> dict[str, Any]:
    folder = hub.cached_folder(repository, "main")
    if folder is None:
        with hub.explained(repository, "main", "config"):
            folder = hub.download_file(repository, CONFIG, "main").parent
    return _read_config(folder)
