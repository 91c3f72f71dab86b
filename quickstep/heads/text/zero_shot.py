"""The head that words write: each class is its sentences' direction, and a score is how far the video points there.

The numbers are the network's own: `scale * cosine + bias`, averaged over what was seen. Nothing is fitted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from quickstep.heads import Examples, FitConfig, HeadCapabilities, History
from quickstep.heads.feature_arrays import check_weights
from quickstep.heads.history import history_without_epochs
from quickstep.heads.text.xclip_prompts import prompted
from quickstep.types.errors import ConfigError
from quickstep.types.progress import Progress, silent
from quickstep.types.signals import Features, Matching, Texts

_PROMPTING = "prompting."  # what its weights are called that rewrite words by what is seen


@dataclass(frozen=True)
class ZeroShotConfig:
    """The words decide everything: nothing to set."""


class ZeroShotHead:
    """Scores by words alone."""

    Config = ZeroShotConfig
    name = "zero-shot"
    capabilities: ClassVar = HeadCapabilities(reads_texts=True, reads_image_parts=True)

    def __init__(self, config: ZeroShotConfig | None = None) -> None:
        self.config = config or ZeroShotConfig()
        self._texts: Texts | None = None

    @property
    def classes(self) -> int:
        """How many classes there are words for."""
        return self._texts.classes if self._texts else 0

    def fit(
        self,
        train: Examples,
        validation: Examples | None = None,
        *,
        classes: int,
        fitting: FitConfig,  # noqa: ARG002 - there is no loop
        progress: Progress = silent,
    ) -> History:
        """Takes the words over; the examples only tell how well they do."""
        if train.texts is None or train.texts.classes != classes:
            raise ConfigError("head", "zero-shot needs class descriptions, and a backbone that embeds text")
        self._texts = train.texts
        self.load(self.weights())  # what is saved decides, here too
        progress("fitting", 1, 1)
        return history_without_epochs(self, train, validation, stopped="the class descriptions decide: nothing was fitted")

    def scores(self, features: Sequence[Features]) -> NDArray[np.float64]:
        """Logits (N, C), a segment at a time so that none depends on its neighbours."""
        assert self._texts is not None
        texts = self._texts
        plain = None if texts.matching.prompting else _directions(texts.vectors.astype(np.float64), texts.owners)
        rows = [self._score(each, texts, plain) for each in features]
        return np.stack(rows) if rows else np.zeros((0, texts.classes))

    def _score(self, features: Features, texts: Texts, plain: NDArray[np.float64] | None) -> NDArray[np.float64]:
        """The mean over moments (or windows) of the network's own score."""
        wanted = 2 if plain is not None else 3
        if features.values.ndim != wanted or features.values.shape[-1] != texts.vectors.shape[1]:
            shape = "(T, D)" if wanted == 2 else "(T, 1 + P, D)"
            raise ValueError(f"words of {texts.vectors.shape[1]} numbers are held against {shape}, not features of {features.values.shape}")
        seen = features.values.astype(np.float64)
        if plain is not None:
            cosines = (_unit(seen) @ plain.T).mean(axis=0)  # (C,)
        else:
            cosines = np.mean([self._prompted_cosines(window, texts) for window in seen], axis=0)
        return np.asarray(texts.matching.scale * cosines + texts.matching.bias)

    def _prompted_cosines(self, window: NDArray[np.float64], texts: Texts) -> NDArray[np.float64]:
        rewritten = prompted(texts.vectors, window[1:].astype(np.float32), texts.matching.prompting)  # (S, D)
        cosines: NDArray[np.float64] = _directions(rewritten.astype(np.float64), texts.owners) @ _unit(window[0])
        return cosines

    def weights(self) -> dict[str, NDArray[Any]]:
        """Everything that scores are made with."""
        if self._texts is None:
            return {}
        matching = self._texts.matching
        arrays = {"texts": self._texts.vectors, "owners": self._texts.owners, "scale": matching.scale, "bias": matching.bias}
        arrays |= {_PROMPTING + name: value for name, value in matching.prompting.items()}
        return {name: np.asarray(value, dtype=np.float32) for name, value in arrays.items()}

    def last_weights(self) -> dict[str, NDArray[Any]] | None:
        """There is no other epoch."""
        return None

    def load(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """Takes over what `weights` gave."""
        prompting = {name.removeprefix(_PROMPTING): value for name, value in weights.items() if name.startswith(_PROMPTING)}
        rest = {name: value for name, value in weights.items() if not name.startswith(_PROMPTING)}
        sentences, width = np.shape(rest.get("texts", np.zeros((0, 0))))
        check_weights(rest, {"texts": (sentences, width), "owners": (sentences,), "scale": (), "bias": ()})
        matching = Matching(float(rest["scale"]), float(rest["bias"]), prompting)
        self._texts = Texts(rest["texts"].astype(np.float32), rest["owners"].astype(np.int64), matching)


def _directions(vectors: NDArray[np.float64], owners: NDArray[np.int64]) -> NDArray[np.float64]:
    """(S, D) -> (C, D): where the sentences of each class point together."""
    sums = np.zeros((int(owners.max()) + 1, vectors.shape[1]))
    np.add.at(sums, owners, _unit(vectors))
    return _unit(sums)


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths: NDArray[np.float64] = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.maximum(lengths, 1e-12)
