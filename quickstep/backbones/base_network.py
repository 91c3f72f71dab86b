"""Network: what all networks share, wherever their weights come from: batches of one shape, precision, engine, identity.

Sees to it that what a network says of one thing never depends on its neighbours in the batch. Knows no torch: the network itself, and
the library that runs it, load with the first use.
"""

from __future__ import annotations

import hashlib
import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from copy import copy, deepcopy
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from quickstep.backbones.interface import Capabilities
from quickstep.backbones.spec import BackboneSpec
from quickstep.storage.cache import Cache
from quickstep.types.config_fields import one_of
from quickstep.types.registry import Entry, look_up
from quickstep.types.signals import Frames
from quickstep.types.view import View

if TYPE_CHECKING:
    import torch

Pixels = NDArray[np.uint8]
Vectors = NDArray[np.float32]

_WORTH_IT = 256  # networks narrower than this are quick anyway, and rounding errors do not average out in them
VERSION = 1  # of our preparation of pictures: counts up when it changes the values

ENGINES: dict[str, Entry] = {
    "torch": Entry("quickstep.backbones.engines.torch_engine:TorchEngine", "torch, on the GPU where there is one"),
    "openvino": Entry("quickstep.backbones.engines.openvino_engine:OpenVinoEngine", "OpenVINO, the fastest on CPUs", extra="openvino"),
}


class Engine(Protocol):
    """Runs one network on batches of one fixed shape."""

    def __call__(self, batches: Iterable[Pixels]) -> Iterator[Vectors]:
        """uint8 (B, ...) -> (B, ...), for each batch, in order."""


class Network(ABC):
    """A network, opened without loading it."""

    capabilities: Capabilities
    exact = False  # whether pictures that come at another size are scaled to the last bit as Pillow does it
    name: str
    license: str

    def __init__(self, spec: BackboneSpec, cache: Cache) -> None:
        self.spec, self.name, self.cache = spec, spec.name, cache
        self.engine = spec.engine or "torch"
        self._asked_precision = spec.precision or "auto"
        one_of("precision", self._asked_precision, ("auto", "fp32", "bf16"))
        one_of("engine", self.engine, ENGINES)
        self._lock = threading.Lock()

    # -- what each kind of network says of itself --------------------------------------------------------------------------

    @property
    @abstractmethod
    def view(self) -> View:
        """The moments and the size it is made for."""

    @property
    @abstractmethod
    def width(self) -> int:
        """D: how many numbers a vector has."""

    @property
    @abstractmethod
    def inner_width(self) -> int:
        """How wide the network itself is."""

    @property
    @abstractmethod
    def unit(self) -> tuple[int, ...]:
        """The shape of the bytes it looks at in one go: of a picture, or of a window of them."""

    @property
    @abstractmethod
    def description(self) -> Mapping[str, Any]:
        """Which function of pictures this is, whoever computes it. Not where its files lie: a copied one is the same."""

    @abstractmethod
    def load(self) -> torch.nn.Module:
        """uint8 (B, *unit) -> float32 (B, ...): the network in fp32 on the CPU, its weights all there and no other."""

    @abstractmethod
    def write(self, module: torch.nn.Module, folder: Path) -> None:
        """The module's weights as a folder that opens again with equal output."""

    def ready(self) -> torch.nn.Module:
        """What engines run: as `load`, with all settled that only training would change."""
        return self.load()

    # -- running it --------------------------------------------------------------------------------------------------------

    @cached_property
    def precision(self) -> str:
        """What was asked for; left to us, bf16 where this machine is fast in it and a trial with these weights says that it is safe.

        The trial's outcome is kept in the cache: only the first time, once a machine and checkpoint, needs the network.
        """
        from quickstep.backbones.precision import SAFE_COSINE, cosine, fast_in_bf16, machine, probe  # imports torch

        if self._asked_precision != "auto":
            return self._asked_precision
        if self.inner_width < _WORTH_IT or not fast_in_bf16(self.engine):
            return "fp32"
        key = {**self.description, "engine": self.engine, "machine": machine(self.engine)}
        known = self.cache.recall("bf16-cosine", key)
        if not isinstance(known, float):
            pictures = probe(self.together * self._pictures_each, self.view.size)[..., : self.unit[-1]].reshape(self.together, *self.unit)
            known = cosine(*(_rows(next(self._made(*how)([pictures]))) for how in (("torch", "fp32"), (self.engine, "bf16"))))
            self.cache.remember("bf16-cosine", key, known)
        return "bf16" if known >= SAFE_COSINE else "fp32"

    @cached_property
    def together(self) -> int:
        """The one number of things (pictures, or windows of them) the network is run on."""
        from quickstep.backbones.precision import choose_batch  # imports torch

        return max(1, choose_batch(self.engine) // self._pictures_each)

    @property
    def batch(self) -> int:
        """Frames enough for every core to have some runs of its own."""
        return 4 * self.together * self._pictures_each

    @property
    def _pictures_each(self) -> int:
        return int(np.prod(self.unit[:-3], dtype=int))

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Everything that decides the values."""
        return {**self.description, "precision": self.precision, "engine": self.engine, "batch": self.together}

    def prepared(self, frames: Frames) -> Pixels:
        """Frames of the view's size are taken as ready; others are prepared as the checkpoint's processor would."""
        size = self.view.size
        if frames.pixels.shape[1:3] == (size, size):
            return frames.pixels
        from quickstep.backbones.pixel_operations import bring_to  # imports torch

        return bring_to(frames.pixels, self.view, exact=self.exact)

    def vectors(self, things: Iterable[Pixels], unit: tuple[int, ...] | None = None) -> Iterator[Vectors]:
        """Runs the network on batches of one shape only (another than usual where `unit` says it), the last one filled up with black.

        How a matrix product rounds depends on its shape, but not on what stands in its other rows: so what is made of one thing is the
        same bits in whatever company it comes. (Another number of threads or another machine may round otherwise.)
        """
        unit = unit or self.unit
        counts: list[int] = []
        with self._lock:
            for vectors in self._running(self._filled(iter(things), counts, unit)):
                yield vectors[: counts.pop(0)]

    def _filled(self, things: Iterator[Pixels], counts: list[int], unit: tuple[int, ...]) -> Iterator[Pixels]:
        """Things in batches of the one shape; how many of each are real goes into `counts`."""
        while some := list(islice(things, self.together)):
            room = np.zeros((self.together, *unit), np.uint8)
            room[: len(some)] = some
            counts.append(len(some))
            yield room

    @cached_property
    def _running(self) -> Engine:
        return self._made(self.engine, self.precision)

    def _made(self, engine: str, precision: str) -> Engine:
        """An engine with this network in it; a damaged download is noticed before it is loaded."""
        assert self.description  # reads every weight file once
        made: Engine = look_up("engine", engine, ENGINES)(self, precision)
        return made

    def with_weights_of(self, module: torch.nn.Module) -> Self:
        """The same network with the weights that a module such as `load` gives has by now: for who measures it while it learns."""
        other = copy(self)
        other.__dict__.pop("_running", None)
        other.__dict__["load"] = lambda: deepcopy(module).to("cpu").eval().requires_grad_(False)
        return other


def _rows(values: Vectors) -> Vectors:
    """(B, ..., D) -> (N, D)"""
    return values.reshape(-1, values.shape[-1])


def short_hash(value: object) -> str:
    """A few digits that stand for a value of JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
