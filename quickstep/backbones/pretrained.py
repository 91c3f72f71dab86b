"""Pretrained: what all networks of published checkpoints share: which checkpoint, which precision and engine, what identifies them.

Sees to it that what a network says of one thing never depends on its neighbours in the batch. Knows no torch: the network itself, and
the library that runs it, load with the first use.
"""

from __future__ import annotations

import hashlib
import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from quickstep.backbones.blocks import blocks_of
from quickstep.backbones.processor import Processor
from quickstep.backbones.weights import PUBLISHED, Checkpoint, find_checkpoint
from quickstep.errors import WeightsError
from quickstep.settings import one_of
from quickstep.signals import Frames, Matching
from quickstep.store import Store
from quickstep.table import Entry, look_up
from quickstep.view import View

if TYPE_CHECKING:
    import torch

    from quickstep.backbones.sentences import TextSide

Pixels = NDArray[np.uint8]
Vectors = NDArray[np.float32]

_WORTH_IT = 256  # networks narrower than this are quick anyway, and rounding errors do not average out in them
VERSION = 1  # of our preparation of pictures: counts up when it changes the values
TEXT_VERSION = 1  # the same for sentences

ENGINES: dict[str, Entry] = {
    "torch": Entry("quickstep.backbones.torch_engine:TorchEngine", "torch, on the GPU where there is one"),
    "openvino": Entry("quickstep.backbones.openvino_engine:OpenVinoEngine", "OpenVINO, the fastest on CPUs", extra="openvino"),
}


class Engine(Protocol):
    """Runs one network on batches of one fixed shape."""

    def __call__(self, batches: Iterable[Pixels]) -> Iterator[Vectors]:
        """uint8 (B, ...) -> (B, ...), for each batch, in order."""


class Pretrained(ABC):
    """A network of a published checkpoint, opened without loading it."""

    reads = "frames"
    parallel = False  # the network uses all cores by itself
    exact = False  # whether pictures that come at another size are scaled to the last bit as by the checkpoint's own processor
    output: str
    processor: Processor

    def __init__(self, name: str, weights: str | Path | None, *, precision: str, engine: str, store: Store | None) -> None:
        one_of("precision", precision, ("auto", "fp32", "bf16"))
        one_of("engine", engine, ENGINES)
        self.name = name
        self.engine = engine
        self._asked_precision = precision
        self.store = store or Store()
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        published = PUBLISHED.get(name)
        if weights is None and published is not None:
            self.checkpoint = find_checkpoint(published.repository, revision=published.revision)
        else:
            self.checkpoint = find_checkpoint(weights or name.partition(":")[2])
        self.license = published.license if published else self.checkpoint.license

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
    def text_kind(self) -> str | None:
        """The class of transformers that reads sentences too; None where there is no text side to what it gives."""

    @abstractmethod
    def load(self) -> torch.nn.Module:
        """uint8 (B, *unit) -> float32 (B, ...): the network in fp32 on the CPU, its weights all there and no other."""

    @abstractmethod
    def write(self, module: torch.nn.Module, folder: Path) -> None:
        """The module's weights as a checkpoint folder that opens again with equal output."""

    def ready(self) -> torch.nn.Module:
        """What engines run: as `load`, with all settled that only training would change."""
        return self.load()

    def blocks(self, module: torch.nn.Module) -> list[list[str]]:
        """The names of the module's parameters, grouped from the input to the output: embeddings, each layer, what stands above."""
        return blocks_of(name for name, _ in module.named_parameters())

    # -- pictures ----------------------------------------------------------------------------------------------------------

    @property
    def revision(self) -> str | None:
        """The commit the weights were fetched at; None for a local folder."""
        return self.checkpoint.revision

    @cached_property
    def precision(self) -> str:
        """What was asked for; left to us, bf16 where this machine is fast in it and a trial with these weights says that it is safe.

        The trial's outcome is kept in the store: only the first time, once a machine and checkpoint, needs the network.
        """
        from quickstep.backbones.precision import SAFE_COSINE, cosine, fast_in_bf16, machine, probe  # imports torch

        if self._asked_precision != "auto":
            return self._asked_precision
        if self.inner_width < _WORTH_IT or not fast_in_bf16(self.engine):
            return "fp32"
        key = {**self.description, "engine": self.engine, "machine": machine(self.engine)}
        known = self.store.recall("bf16-cosine", key)
        if not isinstance(known, float):
            pictures = probe(self.together * self._pictures_each, self.view.size).reshape(self.together, *self.unit)
            known = cosine(*(_rows(next(self._made(*how)([pictures]))) for how in (("torch", "fp32"), (self.engine, "bf16"))))
            self.store.remember("bf16-cosine", key, known)
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

    def prepared(self, frames: Frames) -> Pixels:
        """Frames of the view's size are taken as ready; others are prepared as the checkpoint's processor would."""
        size = self.view.size
        if frames.pixels.shape[1:3] == (size, size):
            return frames.pixels
        from quickstep.backbones.pixels import bring_to  # imports torch

        return bring_to(frames.pixels, self.view, exact=self.exact)

    def vectors(self, things: Iterable[Pixels]) -> Iterator[Vectors]:
        """Runs the network on batches of one shape only, the last one filled up with black.

        How a matrix product rounds depends on its shape, but not on what stands in its other rows: so what is made of one thing is the
        same bits in whatever company it comes. (Another number of threads or another machine may round otherwise.)
        """
        counts: list[int] = []
        with self._lock:
            for vectors in self._network(self._filled(iter(things), counts)):
                yield vectors[: counts.pop(0)]

    def _filled(self, things: Iterator[Pixels], counts: list[int]) -> Iterator[Pixels]:
        """Things in batches of the one shape; how many of each are real goes into `counts`."""
        while some := list(islice(things, self.together)):
            room = np.zeros((self.together, *self.unit), np.uint8)
            room[: len(some)] = some
            counts.append(len(some))
            yield room

    @cached_property
    def _network(self) -> Engine:
        return self._made(self.engine, self.precision)

    def _made(self, engine: str, precision: str) -> Engine:
        """An engine with this network in it; a damaged download is noticed before it is loaded."""
        assert self.description  # reads every weight file once
        made: Engine = look_up("engine", engine, ENGINES)(self, precision)
        return made

    # -- words -------------------------------------------------------------------------------------------------------------

    @property
    def has_text(self) -> bool:
        """Whether its vectors have those of words beside them; known without loading the network."""
        return self.text_kind is not None

    def embed_text(self, words: Sequence[str]) -> Vectors:
        """One vector a sentence, (N, D), as the network gives it, not normalised.

        Always in fp32, and a vector is the same bits whatever else is asked. Sentences longer than the
        network has places for are cut, as the checkpoint's own tokenizer cuts them.
        """
        with self._reading:  # a tokenizer serves one at a time
            return self._text.embed(words)

    @property
    def text_identity(self) -> dict[str, Any]:
        """Everything that decides the vectors of words."""
        return {
            "weights": self.checkpoint.digests(self.store),
            "config": _short_hash(self.checkpoint.config),
            "tokenizer": self.checkpoint.tokenizer_digests(),
            "version": TEXT_VERSION,
        }

    @property
    def matching(self) -> Matching:
        """How the network itself holds words against what it sees."""
        with self._reading:
            return self._text.matching(prompting=self.output == "prompted")

    @cached_property
    def _text(self) -> TextSide:
        from quickstep.backbones import without_words
        from quickstep.backbones.sentences import TextSide  # imports torch

        if self.text_kind is None:
            raise without_words(self.name)
        assert self.description  # reads every weight file once
        return TextSide(self.checkpoint, self.text_kind)


def check_size(checkpoint: Checkpoint, processor: Processor, takes: Any) -> None:
    """Refuse a checkpoint whose pictures are prepared at another size than its network takes."""
    if takes != processor.view.size:
        raise WeightsError(
            f"{checkpoint.source} contradicts itself: pictures are prepared at {processor.view.size} pixels, and its network takes {takes}"
        )


def _rows(values: Vectors) -> Vectors:
    """(B, ..., D) -> (N, D)"""
    return values.reshape(-1, values.shape[-1])


def _short_hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
