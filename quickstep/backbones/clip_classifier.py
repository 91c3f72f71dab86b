"""ClipClassifier: the image tower of a published CLIP classifier, a folder of `weights.ckpt` and `config.json`; pooled output.

The folder's config says how pictures are prepared and what the classes are called; the shape of the tower comes from the CLIP checkpoint
that it names. Knows no torch: the weights load with the first use.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quickstep.backbones.base_network import Network
from quickstep.backbones.checkpoints.hub_checkpoint import Checkpoint
from quickstep.backbones.image_encoders import FAMILIES, ImageEncoder
from quickstep.backbones.interface import ClassifierLayer
from quickstep.backbones.preprocessing import read_processor
from quickstep.backbones.spec import BackboneSpec
from quickstep.storage import hub
from quickstep.storage.cache import Cache
from quickstep.types.errors import ConfigError, WeightsError

if TYPE_CHECKING:
    import torch

WEIGHTS, CONFIG = "weights.ckpt", "config.json"
FAMILY = "clip-classifier"
_FRAMES = 10  # moments, where the config does not say
_BASES = ("clip_model", "base_model", "pretrained_model_name", "model_name")  # under which a config names its CLIP
_LABELS = ("class_labels", "labels", "classes", "class_names", "label_map")

# CLIP's own image towers: width, inner width, layers, heads, patch, picture.
_KNOWN = {
    "clip-vit-base-patch32": (768, 3072, 12, 12, 32, 224),
    "clip-vit-base-patch16": (768, 3072, 12, 12, 16, 224),
    "clip-vit-large-patch14": (1024, 4096, 24, 16, 14, 224),
    "clip-vit-large-patch14-336": (1024, 4096, 24, 16, 14, 336),
}
_FIELDS = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "patch_size", "image_size")


def is_classifier(folder: Path) -> bool:
    """Whether a folder is such a classifier, by its files."""
    return (folder / WEIGHTS).is_file() and (folder / CONFIG).is_file() and not (folder / "model.json").exists()


class ClipClassifier(ImageEncoder):
    """The tower of such a folder (`clip-classifier:FOLDER`); `weights` is a folder of CLIP, where the config names none that is here.

    A folder that `write` made, a plain checkpoint, opens as well.
    """

    def __init__(self, spec: BackboneSpec, cache: Cache) -> None:
        spec = replace(spec, precision=spec.precision or "fp32")
        named = Path(spec.name.partition(":")[2]).expanduser()
        given = Path(spec.weights).expanduser() if spec.weights is not None else None
        self.encoder_only = given is not None and _is_tower(given)
        if self.encoder_only:
            super().__init__(replace(spec, embedding="pooled"), cache)
            return
        if spec.embedding not in (None, "pooled"):
            raise ConfigError("embedding", f"a CLIP classifier has the pooled embedding, not {spec.embedding!r}")
        Network.__init__(self, spec, cache)
        self._reading = threading.Lock()
        self.folder = given if given is not None and is_classifier(given) else named
        self._base = given if given is not None and given != self.folder else None
        self.said = _config(self.folder)
        self.family, self.embedding = FAMILIES["clip_vision_model"], "pooled"
        self.checkpoint = self._checkpoint()
        self.license = self.checkpoint.license
        self.processor = read_processor(self.checkpoint.processor, str(self.folder), frames=_whole(self.said, "max_frames", _FRAMES))

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the layer; () where the config has none."""
        return next((names for key in (*_LABELS, "id2label", "label2id") if (names := _names(self.said.get(key)))), ())

    def classifier_layer(self) -> ClassifierLayer | None:
        """The linear layer of the folder, over the mean of the vectors; None where only the encoder is left."""
        from quickstep.backbones.checkpoints.clip_classifier_file import layer_of

        return ClassifierLayer(*layer_of(self._state), self.labels or None) if not self.encoder_only else None

    @cached_property
    def _state(self) -> dict[str, Any]:
        from quickstep.backbones.checkpoints.clip_classifier_file import read_state  # imports torch

        return read_state(self.folder / WEIGHTS)

    def load(self) -> torch.nn.Module:
        """The image tower, in fp32 on the CPU."""
        if self.encoder_only:
            return super().load()
        from quickstep.backbones.checkpoints.clip_classifier_file import load_tower
        from quickstep.backbones.image_network import Prepared, Tower

        network = load_tower(self._state, self._tower, self.folder / WEIGHTS)
        return Tower(Prepared(self.processor.slope, self.processor.offset), network, "pooler_output").eval().requires_grad_(False)

    @cached_property
    def _tower(self) -> dict[str, Any]:
        """The config of the image tower: from here, from the CLIP that is named, or of a published one that these shapes are."""
        from quickstep.backbones.checkpoints.clip_classifier_file import shapes_of

        shapes = shapes_of(self._state)
        told = self._told(shapes)
        differing = [key for key, value in shapes.items() if told.get(key, value) != value]
        if differing:
            both = ", ".join(f"{key} {shapes[key]} and not {told[key]}" for key in differing)
            raise WeightsError(f"{self.folder / WEIGHTS} was not made of the CLIP that its {CONFIG} names: it has {both}")
        return {**told, **shapes}

    def _told(self, shapes: Mapping[str, int]) -> dict[str, Any]:
        for inside in (self.said.get("vision_config"), *(self.said.get(key) for key in _BASES)):
            if isinstance(inside, dict):
                return _vision(inside)
        named = next((str(self.said[key]) for key in _BASES if isinstance(self.said.get(key), str)), "")
        folder = next((each for each in (self._base, Path(named), self.folder / named, self.folder.parent / named) if _is_clip(each)), None)
        if folder is not None:
            return _vision(_config(folder))
        if isinstance(heads := self.said.get("num_attention_heads"), int):
            return {"num_attention_heads": heads}
        values = [tuple(shapes.get(key, -1) for key in _FIELDS)]
        for name, known in _KNOWN.items():
            if all(have in (-1, want) for have, want in zip(values[0], known, strict=True)) and named.rpartition("/")[2] in ("", name):
                return dict(zip(_FIELDS, known, strict=True))
        if "/" in named and named.rpartition("/")[2] not in _KNOWN:
            return _vision(_fetched(named))
        raise WeightsError(
            f"{self.folder / WEIGHTS} is not of the size of {named or 'any CLIP known here'}, so how many attention heads it has is not "
            f"known: give the folder of its CLIP with --weights FOLDER, or put its vision_config into {CONFIG}"
        )

    def _checkpoint(self) -> Checkpoint:
        return Checkpoint(
            folder=self.folder,
            source=str(self.folder),
            revision=None,
            weights=(self.folder / WEIGHTS,),
            config={"model_type": "clip_vision_model", **self._tower},
            processor=self._processor(),
            license=str(self.said.get("license", "unknown")),
        )

    def _processor(self) -> dict[str, Any]:
        """As such classifiers prepare pictures: a square of the whole picture, by their own statistics; else as CLIP itself does."""
        side = self._tower["image_size"]
        size = _whole(self.said, "image_size", side)
        if size != side:
            raise WeightsError(f"{self.folder} contradicts itself: pictures are prepared at {size} pixels, and its network takes {side}")
        square = {"height": size, "width": size}
        made = {"image_processor_type": "CLIPImageProcessor", "crop_size": square}
        if "normalization_mean" not in self.said and "image_size" not in self.said:
            return {**made, "size": {"shortest_edge": size}}
        statistics = {"image_mean": self.said.get("normalization_mean"), "image_std": self.said.get("normalization_std")}
        return {**made, **statistics, "size": square, "do_center_crop": False, "resample": 2}


def _config(folder: Path) -> dict[str, Any]:
    try:
        read = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise WeightsError(f"{folder / CONFIG} cannot be read ({why}): fetch or copy it again") from error
    if not isinstance(read, dict):
        raise WeightsError(f"{folder / CONFIG} is not what a classifier has there: fetch or copy it again")
    return read


def _names(said: Any) -> tuple[str, ...]:
    """Class names in order: of a list, of number -> name, or of name -> number."""
    if isinstance(said, list):
        return tuple(said) if all(isinstance(each, str) for each in said) else ()
    if not isinstance(said, dict):
        return ()
    by_number = said if all(str(key).isdecimal() for key in said) else {str(value): key for key, value in said.items()}
    named = {str(key): str(value) for key, value in by_number.items()}
    numbers = [str(index) for index in range(len(said))]
    return tuple(named[number] for number in numbers) if set(named) == set(numbers) else ()


def _is_tower(folder: Path) -> bool:
    """Whether a folder is an image tower alone, as `write` leaves it."""
    if is_classifier(folder) or not (folder / "model.safetensors").is_file():
        return False
    return _config(folder).get("model_type") == "clip_vision_model"


def _whole(said: Mapping[str, Any], key: str, usual: int) -> int:
    value = said.get(key, usual)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 4096:
        raise WeightsError(f"the {key} in {CONFIG} is {value!r}, and not a whole number from 1 to 4096")
    return value


def _is_clip(folder: Path | None) -> bool:
    return folder is not None and str(folder) not in ("", ".") and (folder / CONFIG).is_file() and not (folder / WEIGHTS).exists()


def _vision(config: Mapping[str, Any]) -> dict[str, Any]:
    """The half of a CLIP's config that is about pictures."""
    inside = config.get("vision_config_dict") or config.get("vision_config")
    return _plain(inside if isinstance(inside, dict) else config)


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    wanted = (*_FIELDS, "hidden_act", "layer_norm_eps", "num_channels")
    said = {key: config[key] for key in wanted if config.get(key) is not None}
    if "num_attention_heads" not in said:
        said["num_attention_heads"] = 12  # what transformers assumes where a config is silent
    return said


def _fetched(repository: str) -> dict[str, Any]:
    kept = hub.cached_folder(repository, "main")
    if kept is None:
        with hub.explained(repository, "main", "config"):
            kept = hub.download_file(repository, CONFIG, "main").parent
    return _config(kept)
