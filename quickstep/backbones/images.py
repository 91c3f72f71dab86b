"""ImageTower: pretrained networks that see one picture at a time (CLIP, SigLIP, DINO), one vector a frame.

Decides which checkpoint, which output, which engine, and sees to it that a frame's vector never depends on its neighbours in the
batch. Knows no torch: the network itself, and the library that runs it, load with the first `embed`.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from quickstep.backbones.processor import Processor, read_processor
from quickstep.backbones.weights import PUBLISHED, Checkpoint, find_checkpoint
from quickstep.errors import WeightsError
from quickstep.settings import one_of
from quickstep.signals import Features, Frames
from quickstep.store import Store
from quickstep.table import Entry, look_up
from quickstep.view import View

Output = Literal["projected", "pooled"]
Pixels = NDArray[np.uint8]
Vectors = NDArray[np.float32]

_WORTH_IT = 256  # networks narrower than this are quick anyway, and rounding errors do not average out in them
VERSION = 1  # of our preparation of pictures: counts up when it changes the values

ENGINES: dict[str, Entry] = {
    "torch": Entry("quickstep.backbones.torch_engine:TorchEngine", "torch, on the GPU where there is one"),
    "openvino": Entry("quickstep.backbones.openvino_engine:OpenVinoEngine", "OpenVINO, the fastest on CPUs", extra="openvino"),
}


class Engine(Protocol):
    """Runs one network on batches of one fixed shape."""

    def __call__(self, batches: Iterable[Pixels]) -> Iterator[Vectors]:
        """(B, H, W, 3) -> (B, D), for each batch, in order."""


@dataclass(frozen=True)
class Family:
    """A kind of checkpoint: the classes of transformers that read its image tower."""

    pooled: str
    projected: str | None = None  # where there is a vector shared with text
    nested: bool = False  # the image tower is one half of the config
    fixed_size: bool = False  # takes pictures of one size only


FAMILIES = {
    "clip": Family("CLIPVisionModel", "CLIPVisionModelWithProjection", nested=True, fixed_size=True),
    "clip_vision_model": Family("CLIPVisionModel", "CLIPVisionModelWithProjection", fixed_size=True),
    "siglip": Family("SiglipVisionModel", "SiglipVisionModel", nested=True, fixed_size=True),  # its pooled vector is the shared one
    "siglip_vision_model": Family("SiglipVisionModel", "SiglipVisionModel", fixed_size=True),
    "dinov2": Family("Dinov2Model"),
    "dinov2_with_registers": Family("Dinov2WithRegistersModel"),
    "dinov3_vit": Family("DINOv3ViTModel"),
    "dinov3_convnext": Family("DINOv3ConvNextModel"),
}

# What transformers assumes where a tower's config is silent.
_DEFAULTS = {"hidden_size": 768, "projection_dim": 512, "image_size": 224}
_DINOV3_WIDTH = 384


class ImageTower:
    """The image tower of a published checkpoint: `clip-vit-b32`, or `hf-image:NAME_OR_FOLDER`."""

    reads = "frames"
    parallel = False  # the network uses all cores by itself

    def __init__(
        self,
        name: str,
        *,
        weights: str | Path | None = None,
        output: str | None = None,
        precision: str = "auto",
        engine: str = "torch",
        store: Store | None = None,
    ) -> None:
        one_of("precision", precision, ("auto", "fp32", "bf16"))
        one_of("engine", engine, ENGINES)
        self.name = name
        self.engine = engine
        self._asked_precision = precision
        self.store = store or Store()
        self._lock = threading.Lock()
        published = PUBLISHED.get(name)
        if weights is None and published is not None:
            self.checkpoint = find_checkpoint(published.repository, revision=published.revision)
        else:
            self.checkpoint = find_checkpoint(weights or name.partition(":")[2])
        self.license = published.license if published else self.checkpoint.license
        self.family = _family(self.checkpoint)
        self.output = _output(self.checkpoint, self.family, output)
        self.processor = read_processor(self.checkpoint.processor, self.checkpoint.source)
        _check_size(self.checkpoint, self.family, self.processor)

    @property
    def revision(self) -> str | None:
        """The commit the weights were fetched at; None for a local folder."""
        return self.checkpoint.revision

    @property
    def view(self) -> View:
        """The checkpoint's own picture size, with eight moments."""
        return self.processor.view

    @property
    def width(self) -> int:
        """D: how many numbers a vector has."""
        return _width(self.checkpoint, self.family, self.output)

    @cached_property
    def precision(self) -> str:
        """What was asked for; left to us, bf16 where this machine is fast in it and a trial with these weights says that it is safe.

        The trial's outcome is kept in the store: only the first time, once a machine and checkpoint, needs the network.
        """
        from quickstep.backbones.precision import SAFE_COSINE, cosine, fast_in_bf16, machine, probe  # imports torch

        if self._asked_precision != "auto":
            return self._asked_precision
        if _width(self.checkpoint, self.family, "pooled") < _WORTH_IT or not fast_in_bf16(self.engine):
            return "fp32"
        key = {**self.description, "engine": self.engine, "machine": machine(self.engine)}
        known = self.store.recall("bf16-cosine", key)
        if not isinstance(known, float):
            pictures = probe(self.together, self.view.size)
            known = cosine(next(self._made("torch", "fp32")([pictures])), next(self._made(self.engine, "bf16")([pictures])))
            self.store.remember("bf16-cosine", key, known)
        return "bf16" if known >= SAFE_COSINE else "fp32"

    @cached_property
    def together(self) -> int:
        """The one number of frames the network is run on."""
        from quickstep.backbones.precision import choose_batch  # imports torch

        return choose_batch(self.engine)

    @property
    def batch(self) -> int:
        """Enough frames for every core to have some runs of its own."""
        return 4 * self.together

    @cached_property
    def description(self) -> dict[str, Any]:
        """Which function of pictures this is, whoever computes it. Not where the files lie: a copied checkpoint is the same."""
        view = self.view
        prepared = {"size": [view.size, view.fit, view.edge, view.resample], "slope": self.processor.slope, "offset": self.processor.offset}
        return {
            "name": self.name.partition(":")[0],
            "weights": self.checkpoint.digests(self.store),
            "config": _short_hash(self.checkpoint.config),
            "picture": _short_hash(prepared),
            "output": self.output,
            "version": VERSION,
        }

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Everything that decides the values."""
        return {**self.description, "precision": self.precision, "engine": self.engine, "batch": self.together}

    def embed(self, batch: Sequence[Frames]) -> list[Features]:
        """One vector a frame. Frames of the view's size are taken as ready; others are prepared as the checkpoint's processor would."""
        if not all(len(frames) for frames in batch):
            raise ValueError("a window without frames has no features")
        vectors = self._vectors(picture for frames in batch for picture in self._pictures(frames))
        features, start = [], 0
        values = np.concatenate(list(vectors)) if batch else np.empty((0, self.width), np.float32)
        for frames in batch:
            features.append(Features(values[start : start + len(frames)].copy(), frames.times))
            start += len(frames)
        return features

    def _pictures(self, frames: Frames) -> Iterable[Pixels]:
        size = self.view.size
        if frames.pixels.shape[1:3] == (size, size):
            return frames.pixels
        from quickstep.backbones.pixels import bring_to  # imports torch

        return bring_to(frames.pixels, self.view)

    def _vectors(self, pictures: Iterable[Pixels]) -> Iterator[Vectors]:
        """Runs the network on batches of one shape only, the last one filled up with black.

        How a matrix product rounds depends on its shape, but not on what stands in its other rows: so a frame's vector is the
        same bits in whatever company it comes. (Another number of threads or another machine may round otherwise.)
        """
        counts: list[int] = []
        with self._lock:
            for vectors in self._network(self._filled(iter(pictures), counts)):
                yield vectors[: counts.pop(0)]

    def _filled(self, pictures: Iterator[Pixels], counts: list[int]) -> Iterator[Pixels]:
        """Pictures in batches of the one shape; how many of each are real goes into `counts`."""
        while some := list(islice(pictures, self.together)):
            room = np.zeros((self.together, self.view.size, self.view.size, 3), np.uint8)
            room[: len(some)] = some
            counts.append(len(some))
            yield room

    @cached_property
    def _network(self) -> Engine:
        return self._made(self.engine, self.precision)

    def _made(self, engine: str, precision: str) -> Engine:
        """An engine with this tower in it; a damaged download is noticed before it is loaded."""
        assert self.description  # reads every weight file once
        made: Engine = look_up("engine", engine, ENGINES)(self, precision)
        return made


def _family(checkpoint: Checkpoint) -> Family:
    kind = str(checkpoint.config.get("model_type"))
    if kind not in FAMILIES:
        raise WeightsError(f"{checkpoint.source} is a {kind!r} network; image towers that can be used: {', '.join(sorted(FAMILIES))}")
    return FAMILIES[kind]


def _tower_config(checkpoint: Checkpoint, family: Family) -> dict[str, Any]:
    config = checkpoint.config.get("vision_config", {}) if family.nested else checkpoint.config
    return {**_DEFAULTS, **config} if isinstance(config, dict) else dict(_DEFAULTS)


def _output(checkpoint: Checkpoint, family: Family, asked: str | None) -> Output:
    """What was asked for, or the projected vector where the checkpoint has one."""
    if asked is not None:
        one_of("output", asked, ("projected", "pooled"))
    has = family.projected is not None
    if family.projected == "CLIPVisionModelWithProjection":
        names = checkpoint.tensor_names()
        has = (
            "visual_projection.weight" in names
            if names is not None
            else "CLIPVisionModel" not in checkpoint.config.get("architectures", ())
        )
    if asked == "projected" and not has:
        raise WeightsError(f"{checkpoint.source} has no projection: --output pooled is what it gives")
    return "pooled" if asked == "pooled" or not has else "projected"


def _width(checkpoint: Checkpoint, family: Family, output: Output) -> int:
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
    takes = _tower_config(checkpoint, family)["image_size"]
    if family.fixed_size and takes != processor.view.size:
        raise WeightsError(
            f"{checkpoint.source} contradicts itself: pictures are prepared at {processor.view.size} pixels, and its network takes {takes}"
        )


def _short_hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
