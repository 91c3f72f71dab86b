"""Pretrained: what all networks of published checkpoints share: which checkpoint it is, what identifies them, what words are to them.

Knows no torch: the network itself loads with the first use.
"""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from quickstep.backbones.base_network import VERSION, Network, Vectors, short_hash
from quickstep.backbones.checkpoints.hub_checkpoint import PUBLISHED, Checkpoint, find_checkpoint
from quickstep.backbones.interface import PROMPTED, ClassifierLayer
from quickstep.backbones.parameter_groups import blocks_of
from quickstep.backbones.preprocessing import Processor
from quickstep.backbones.registry import no_text_encoder
from quickstep.backbones.spec import BackboneSpec
from quickstep.storage.cache import Cache
from quickstep.types.errors import WeightsError
from quickstep.types.signals import Matching

if TYPE_CHECKING:
    import torch

    from quickstep.backbones.text_encoders import TextSide

SETTINGS = ("weights", "embedding", "precision", "engine")  # the fields of a BackboneSpec that these networks take
TEXT_VERSION = 1  # of our preparation of sentences: counts up when it changes the values


class Pretrained(Network):
    """A network of a published checkpoint, opened without loading it."""

    embedding: str
    templates: tuple[str, ...] = ()  # that labels are put into
    processor: Processor

    def __init__(self, spec: BackboneSpec, cache: Cache) -> None:
        super().__init__(spec, cache)
        self._reading = threading.Lock()
        published = PUBLISHED.get(spec.name)
        if spec.weights is None and published is not None:
            self.checkpoint = find_checkpoint(published.repository, revision=published.revision)
        else:
            self.checkpoint = find_checkpoint(spec.weights or spec.name.partition(":")[2])
        self.license = published.license if published else self.checkpoint.license

    @property
    @abstractmethod
    def text_kind(self) -> str | None:
        """The class of transformers that reads sentences too; None where there is no text encoder to what it gives."""

    def blocks(self, module: torch.nn.Module) -> list[list[str]]:
        """The names of the module's parameters, grouped from the input to the output: embeddings, each layer, what stands above."""
        return blocks_of(name for name, _ in module.named_parameters())

    @property
    def revision(self) -> str | None:
        """The commit the weights were fetched at; None for a local folder."""
        return self.checkpoint.revision

    @cached_property
    def description(self) -> dict[str, Any]:
        """Which function of pictures this is, whoever computes it. Not where the files lie: a copied checkpoint is the same."""
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

    def classifier_layer(self) -> ClassifierLayer | None:
        """Return None: image encoders are published without a classifier."""
        return None

    # -- words -------------------------------------------------------------------------------------------------------------

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
            "weights": self.checkpoint.digests(self.cache),
            "config": short_hash(self.checkpoint.config),
            "tokenizer": self.checkpoint.tokenizer_digests(),
            "version": TEXT_VERSION,
        }

    @property
    def matching(self) -> Matching:
        """How the network itself holds words against what it sees."""
        with self._reading:
            return self._text.matching(prompting=self.embedding == PROMPTED)

    @cached_property
    def _text(self) -> TextSide:
        from quickstep.backbones.text_encoders import TextSide  # imports torch

        if self.text_kind is None:
            raise no_text_encoder(self.name)
        assert self.description  # reads every weight file once
        return TextSide(self.checkpoint, self.text_kind)


def check_size(checkpoint: Checkpoint, processor: Processor, takes: Any) -> None:
    """Refuse a checkpoint whose pictures are prepared at another size than its network takes."""
    if takes != processor.view.size:
        raise WeightsError(
            f"{checkpoint.source} contradicts itself: pictures are prepared at {processor.view.size} pixels, and its network takes {takes}"
        )
