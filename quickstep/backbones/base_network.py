"""Network: the base of all networks: batches of one shape, precision, engine, identity.

The vectors of one input never depend on the other inputs of the batch. The network, and the library that runs it, load with the first use.
"""

from __future__ import annotations

import hashlib
import json
import logging
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
from quickstep.backbones.precision import SAFE_COSINE, choose_batch, cosine, fast_in_bf16, machine, probe
from quickstep.backbones.preprocessing import resize_and_crop
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

_MIN_WIDTH_FOR_BF16 = 256  # narrower networks are fast anyway, and their rounding errors do not average out
VERSION = 1  # of the preparation of frames: goes up when it changes the values

ENGINES: dict[str, Entry] = {
    "torch": Entry("quickstep.backbones.engines.torch_engine:TorchEngine", "torch, on the GPU where there is one"),
    "openvino": Entry("quickstep.backbones.engines.openvino_engine:OpenVinoEngine", "OpenVINO, the fastest on CPUs", extra="openvino"),
}
_log = logging.getLogger(__name__)


class Engine(Protocol):
    """Runs one network on batches of one fixed shape."""

    def __call__(self, batches: Iterable[Pixels]) -> Iterator[Vectors]:
        """uint8 (B, ...) -> (B, ...), for each batch, in order."""


class Network(ABC):
    """A network that is open but not loaded."""

    capabilities: Capabilities
    exact = False  # whether frames of another size are resized to the last bit as Pillow does it
    license: str

    def __init__(self, spec: BackboneSpec, cache: Cache) -> None:
        self.spec, self.name, self.cache = spec, spec.name, cache
        self.engine = spec.engine or "torch"
        self._wanted_precision = spec.precision or "auto"
        one_of("precision", self._wanted_precision, ("auto", "fp32", "bf16"))
        one_of("engine", self.engine, ENGINES)
        self._lock = threading.Lock()

    # -- what each kind of network defines ---------------------------------------------------------------------------------

    @property
    @abstractmethod
    def view(self) -> View:
        """The timestamps and the frame size it is made for."""

    @property
    @abstractmethod
    def width(self) -> int:
        """D, the length of a vector."""

    @property
    @abstractmethod
    def inner_width(self) -> int:
        """The length of the vectors inside the network."""

    @property
    @abstractmethod
    def unit(self) -> tuple[int, ...]:
        """The shape of one input: a frame or a window of frames."""

    @property
    @abstractmethod
    def description(self) -> Mapping[str, Any]:
        """What decides the vectors, apart from how they are computed. Not the place of the files: a copied checkpoint is the same."""

    @abstractmethod
    def load(self) -> torch.nn.Module:
        """uint8 (B, *unit) -> float32 (B, ...): load the network in fp32 on the CPU, with exactly the weights of its files."""

    @abstractmethod
    def write(self, module: torch.nn.Module, folder: Path, *, view: View | None = None) -> None:
        """Write the module's weights as a folder that opens again with equal output, and with this view where the folder can say it."""

    def ready(self) -> torch.nn.Module:
        """Load the network for an engine, with everything computed that only training would change."""
        return self.load()

    # -- how it is run -----------------------------------------------------------------------------------------------------

    @cached_property
    def precision(self) -> str:
        """The precision that was set; for "auto", bf16 where this machine is fast in it and a trial with these weights finds it safe.

        The trial's result stays in the cache: the network is needed only the first time on a machine.
        """
        if self._wanted_precision != "auto":
            return self._wanted_precision
        if self.inner_width < _MIN_WIDTH_FOR_BF16 or not fast_in_bf16(self.engine):
            return "fp32"
        key = {**self.description, "engine": self.engine, "machine": machine(self.engine)}
        similarity = self.cache.recall("bf16-cosine", key)
        if not isinstance(similarity, float):
            similarity = self._compare_bf16()
            self.cache.remember("bf16-cosine", key, similarity)
            _log.info("%s in bf16: cosine %.6f to fp32", self.name, similarity)
        return "bf16" if similarity >= SAFE_COSINE else "fp32"

    def _compare_bf16(self) -> float:
        """Return the smallest cosine between vectors in bf16 and in fp32, over frames made for the trial."""
        frames = probe(self.together * self._frames_an_input, self.view.size)
        inputs = frames[..., : self.unit[-1]].reshape(self.together, *self.unit)
        expected, lower = (next(self._load_engine(*how)([inputs])) for how in (("torch", "fp32"), (self.engine, "bf16")))
        return cosine(expected.reshape(-1, expected.shape[-1]), lower.reshape(-1, lower.shape[-1]))

    @cached_property
    def together(self) -> int:
        """How many inputs (frames, or windows) the network is always run on at once."""
        return max(1, choose_batch(self.engine) // self._frames_an_input)

    @property
    def batch(self) -> int:
        """How many frames keep every core busy with some runs of its own."""
        return 4 * self.together * self._frames_an_input

    @property
    def _frames_an_input(self) -> int:
        return int(np.prod(self.unit[:-3], dtype=int))

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Everything that decides the values."""
        return {**self.description, "precision": self.precision, "engine": self.engine, "batch": self.together}

    def prepared(self, frames: Frames) -> Pixels:
        """Return the frames' pixels; frames that do not have the view's size are resized and cropped as the checkpoint's processor does."""
        size = self.view.size
        if frames.pixels.shape[1:3] == (size, size):
            return frames.pixels
        return resize_and_crop(frames.pixels, self.view, exact=self.exact)

    def vectors(self, inputs: Iterable[Pixels], unit: tuple[int, ...] | None = None) -> Iterator[Vectors]:
        """Run the network on batches of one shape only (`unit` where it is not the usual one), the last one filled up with black.

        How a matrix product rounds depends on its shape, but not on the values in its other rows: so the vectors of one input have the
        same bits whatever else is in the batch. (Another number of threads or another machine may round otherwise.)
        """
        unit = unit or self.unit
        counts: list[int] = []
        with self._lock:
            for vectors in self._loaded_engine(self._full_batches(iter(inputs), counts, unit)):
                yield vectors[: counts.pop(0)]

    def _full_batches(self, inputs: Iterator[Pixels], counts: list[int], unit: tuple[int, ...]) -> Iterator[Pixels]:
        """Put the inputs into batches of the one shape; how many of each are real is appended to `counts`."""
        while block := list(islice(inputs, self.together)):
            batch = np.zeros((self.together, *unit), np.uint8)
            batch[: len(block)] = block
            counts.append(len(block))
            yield batch

    @cached_property
    def _loaded_engine(self) -> Engine:
        return self._load_engine(self.engine, self.precision)

    def _load_engine(self, engine: str, precision: str) -> Engine:
        self.check_weights()
        _log.info("loading %s (%s, %s)", self.name, engine, precision)
        loaded: Engine = look_up("engine", engine, ENGINES)(self, precision)
        return loaded

    def check_weights(self) -> None:
        """Read every weight file once, so that a damaged download is refused before it is loaded."""
        _ = self.description

    def with_weights_of(self, module: torch.nn.Module) -> Self:
        """Return the same network with the weights that a module such as `load` gives has now: to measure it while it is trained."""
        other = copy(self)
        other.__dict__.pop("_loaded_engine", None)
        other.__dict__["load"] = lambda: deepcopy(module).to("cpu").eval().requires_grad_(False)
        return other


def short_hash(value: object) -> str:
    """Return a short digest of a value of JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
