"""share_network: a model whose windows share the network's batches with those of other requests.

Each request reads its video in a thread of its own, so that a slow or poisoned one delays nobody; only the networks are run by one
thread, for all. A request waits for it at most as long as one batch takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from dataclasses import replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from quickstep.apps.server.batch_worker import BatchWorker, JobKind
from quickstep.backbones import Backbone, TextBackbone, reads_poses
from quickstep.models.ensemble import AnyModel, Ensemble
from quickstep.models.model import Model
from quickstep.types.progress import Stopped, check_stop
from quickstep.types.signals import Features, Frames

_CHECK_SECONDS = 0.05  # between two looks whether the request was stopped


def share_network(model: AnyModel, worker: BatchWorker) -> AnyModel:
    """Return the same model; its networks run on the worker."""
    if isinstance(model, Ensemble):
        return replace(model, members=tuple(_share(member, worker) for member in model.members))
    return _share(model, worker)


def _share(model: Model, worker: BatchWorker) -> Model:
    if reads_poses(model.backbone) or model.backbone.capabilities.parallel:
        return model  # a backbone that is called from several threads as it is
    return replace(model, backbone=cast(Backbone, SharedBackbone(model.backbone, worker)))


class SharedBackbone:
    """A backbone whose network is run by a worker; everything else is the backbone's own."""

    def __init__(self, backbone: Backbone, worker: BatchWorker) -> None:
        self._backbone, self._worker = backbone, worker
        self._embed = JobKind(f"embed:{backbone.name}", lambda inputs: _embed_together(backbone, inputs))
        text = cast(TextBackbone, backbone)
        self._embed_text = JobKind(f"text:{backbone.name}", lambda inputs: [text.embed_text(words) for words in inputs])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backbone, name)

    def embed(self, batch: Sequence[Frames]) -> list[Features]:
        """Compute the features of each window, together with those of other requests."""
        features: list[Features] = _result(self._worker.submit(self._embed, batch))
        return features

    def embed_text(self, words: Sequence[str]) -> NDArray[np.float32]:
        """Compute one vector a sentence."""
        vectors: NDArray[np.float32] = _result(self._worker.submit(self._embed_text, words))
        return vectors


def _embed_together(backbone: Backbone, batches: Sequence[Sequence[Frames]]) -> list[list[Features]]:
    features = iter(backbone.embed([window for batch in batches for window in batch]))
    return [[next(features) for _ in batch] for batch in batches]


def _result(future: Future[Any]) -> Any:
    """Wait for a result; cancel the job if the request is stopped."""
    while True:
        try:
            return future.result(_CHECK_SECONDS)
        except NotYet:
            if future.done():  # the work itself raised a TimeoutError
                raise
        try:
            check_stop()
        except Stopped:
            future.cancel()
            raise
