"""Pretrained: the base of all networks of published checkpoints: the checkpoint, the identity, the text encoder, groups of parameters."""

from __future__ import annotations

import re
import threading
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from quickstep.backbones.base_network import VERSION, Network, Vectors, short_hash
from quickstep.backbones.checkpoints.checkpoint import PUBLISHED, Checkpoint, find_checkpoint
from quickstep.backbones.interface import PROMPTED, ClassifierLayer
from quickstep.backbones.preprocessing import Processor
from quickstep.backbones.spec import BackboneSpec, no_text_encoder
from quickstep.storage.cache import Cache
from quickstep.types.errors import WeightsError
from quickstep.types.signals import Matching
from quickstep.types.view import View

if TYPE_CHECKING:
    import torch

    from quickstep.backbones.text_encoders import TextEncoder

SETTINGS = ("weights", "embedding", "precision", "engine")  # the fields of a BackboneSpec that these networks take
TEXT_VERSION = 1  # of the preparation of sentences: goes up when it changes the values


class Pretrained(Network):
    """A network of a published checkpoint; its weights load with the first use."""

    embedding: str
    templates: tuple[str, ...] = ()  # that labels are put into
    processor: Processor

    def __init__(self, spec: BackboneSpec, cache: Cache) -> None:
        super().__init__(spec, cache)
        self._text_lock = threading.Lock()
        published = PUBLISHED.get(spec.name)
        if spec.weights is None and published is not None:
            self.checkpoint = find_checkpoint(published.repository, revision=published.revision)
        else:
            self.checkpoint = find_checkpoint(spec.weights or spec.name.partition(":")[2])
        self.license = published.license if published else self.checkpoint.license

    @property
    @abstractmethod
    def text_class(self) -> str | None:
        """The class of transformers with the text encoder; None where no text encoder shares the embedding's space."""

    @property
    def view(self) -> View:
        """The checkpoint's own frame size, and the number of frames it is made for."""
        return self.processor.view

    @property
    def revision(self) -> str | None:
        """The commit that the weights were downloaded at; None for a local folder."""
        return self.checkpoint.revision

    @cached_property
    def description(self) -> dict[str, Any]:
        """What decides the vectors, apart from how they are computed. Not the place of the files: a copied checkpoint is the same."""
        view = self.view
        prepared = {"size": [view.size, view.fit, view.edge, view.resample], "slope": self.processor.slope, "offset": self.processor.offset}
        return {
            "name": self.name.partition(":")[0],
            "weights": self.checkpoint.digests(self.cache),
            "config": short_hash(self.checkpoint.config),
            "picture": short_hash(prepared),
            "output": self.embedding,
            "version": VERSION,
        }

    def blocks(self, module: torch.nn.Module) -> list[list[str]]:
        """Group the names of the module's parameters from the input to the output: embeddings, each layer, the rest."""
        return group_parameters(name for name, _ in module.named_parameters())

    def classifier_layer(self) -> ClassifierLayer | None:
        """Return None: these checkpoints are published without a classifier."""
        return None

    # -- texts -------------------------------------------------------------------------------------------------------------

    def embed_text(self, words: Sequence[str]) -> Vectors:
        """Compute one vector a sentence, (N, D), as the network gives it, not normalized.

        Always in fp32; a sentence's vector has the same bits whatever else is in `words`. Sentences longer than the network reads are
        cut, as the checkpoint's own tokenizer cuts them.
        """
        with self._text_lock:  # a tokenizer serves one thread at a time
            return self._text_encoder.embed(words)

    @property
    def text_identity(self) -> dict[str, Any]:
        """Everything that decides the vectors of sentences."""
        return {
            "weights": self.checkpoint.digests(self.cache),
            "config": short_hash(self.checkpoint.config),
            "tokenizer": self.checkpoint.tokenizer_digests(),
            "version": TEXT_VERSION,
        }

    @property
    def matching(self) -> Matching:
        """How the network itself compares texts with images or videos."""
        with self._text_lock:
            return self._text_encoder.matching(prompting=self.embedding == PROMPTED)

    @cached_property
    def _text_encoder(self) -> TextEncoder:
        from quickstep.backbones.text_encoders import TextEncoder  # imports torch

        if self.text_class is None:
            raise no_text_encoder(self.name)
        self.check_weights()
        return TextEncoder(self.checkpoint, self.text_class)


def check_size(checkpoint: Checkpoint, processor: Processor, size: Any) -> None:
    """Refuse a checkpoint whose processor prepares images of another size than its network takes."""
    if size != processor.view.size:
        raise WeightsError(
            f"{checkpoint.source} contradicts itself: its processor makes images of {processor.view.size} pixels, its network takes {size}"
        )


# -- groups of parameters ------------------------------------------------------------------------------------------------------

_STAGE = re.compile(r"(?:^|\.)stages\.(\d+)\.(?:layers\.(\d+)\.)?")
_LAYER = re.compile(r"(?:^|\.)(?:layers?|blocks?)\.(\d+)\.")
_STEM = ("embeddings.", "embed", "pre_layrnorm.", "pre_layernorm.")  # parts before the first layer, in all families


def group_parameters(names: Iterable[str], *, top: tuple[str, ...] = ()) -> list[list[str]]:
    """Group the parameters of a transformer: stem, each layer, and everything behind the layers; empty groups are left out.

    `top` are beginnings of names that belong behind the layers whatever else is in them. Unfreezing and layer-wise rates count these
    groups.
    """
    stem: list[str] = []
    layers: dict[tuple[int, int], list[str]] = {}
    behind: list[str] = []
    for name in names:
        layer = None if name.startswith(top) else _layer_of(name)
        if layer is not None:
            layers.setdefault(layer, []).append(name)
        elif any(part in name for part in _STEM) and not name.startswith(top):
            stem.append(name)
        else:
            behind.append(name)
    return [group for group in (stem, *(layers[layer] for layer in sorted(layers)), behind) if group]


def _layer_of(name: str) -> tuple[int, int] | None:
    stage = _STAGE.search(name)
    if stage:  # the downsampling at the beginning of a stage belongs to its first layer
        return int(stage.group(1)), int(stage.group(2) or 0)
    layer = _LAYER.search(name)
    return (int(layer.group(1)), 0) if layer else None
