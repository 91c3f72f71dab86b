"""The zero-shot head: each class is the direction of its descriptions' vectors, and a score is the video's cosine with it.

The scores are the backbone's own: `scale * cosine + bias`, averaged over the video's vectors. Nothing is fitted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from quickstep.heads import Examples, FitConfig, HeadCapabilities, History, history_without_epochs
from quickstep.heads.feature_arrays import check_weights
from quickstep.heads.text.xclip_prompts import adapt_texts
from quickstep.types.errors import ConfigError
from quickstep.types.progress import Progress, silent
from quickstep.types.signals import Features, Matching, Texts

_PROMPTING = "prompting."  # prefix of the weights that adapt texts to the video


@dataclass(frozen=True)
class ZeroShotConfig:
    """The zero-shot head has no settings: the class descriptions decide."""


class ZeroShotHead:
    """Scores by class descriptions alone."""

    Config = ZeroShotConfig
    name = "zero-shot"
    capabilities: ClassVar[HeadCapabilities] = HeadCapabilities(reads_texts=True, reads_image_parts=True)

    def __init__(self, config: ZeroShotConfig | None = None) -> None:
        self.config = config or ZeroShotConfig()
        self._texts: Texts | None = None

    @property
    def classes(self) -> int:
        """The number of classes; 0 before the head is fitted or loaded."""
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
        """Take the class descriptions; the examples are only measured."""
        if train.texts is None or train.texts.classes != classes:
            raise ConfigError("head", "zero-shot needs class descriptions, and a backbone that embeds text")
        self._texts = train.texts
        self.load(self.weights())  # so that the scores are those of the saved head
        progress("fitting", 1, 1)
        return history_without_epochs(self, train, validation, stopped="the class descriptions decide: nothing was fitted")

    def scores(self, features: Sequence[Features]) -> NDArray[np.float64]:
        """Return logits (N, C); segments are scored one by one, so that none depends on the others."""
        assert self._texts is not None
        texts = self._texts
        fixed = None if texts.matching.prompting else _class_directions(texts.vectors.astype(np.float64), texts.owners)
        rows = [self._score(segment, texts, fixed) for segment in features]
        return np.stack(rows) if rows else np.zeros((0, texts.classes))

    def _score(self, features: Features, texts: Texts, fixed: NDArray[np.float64] | None) -> NDArray[np.float64]:
        """Return the mean over timestamps (or windows) of the backbone's own score; `fixed` are directions that no video changes."""
        dimensions = 2 if fixed is not None else 3
        if features.values.ndim != dimensions or features.values.shape[-1] != texts.vectors.shape[1]:
            shape = "(T, D)" if dimensions == 2 else "(T, 1 + P, D)"
            raise ValueError(
                f"texts of width {texts.vectors.shape[1]} are compared with {shape}, not with features of {features.values.shape}"
            )
        vectors = features.values.astype(np.float64)
        if fixed is not None:
            cosines = (_unit(vectors) @ fixed.T).mean(axis=0)  # (C,)
        else:
            cosines = np.mean([self._adapted_cosines(window, texts) for window in vectors], axis=0)
        return np.asarray(texts.matching.scale * cosines + texts.matching.bias)

    def _adapted_cosines(self, window: NDArray[np.float64], texts: Texts) -> NDArray[np.float64]:
        """Return the cosines (C,) of a window with the texts that X-CLIP adapts to its image parts."""
        adapted = adapt_texts(texts.vectors, window[1:].astype(np.float32), texts.matching.prompting)  # (S, D)
        cosines: NDArray[np.float64] = _class_directions(adapted.astype(np.float64), texts.owners) @ _unit(window[0])
        return cosines

    def weights(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that the scores depend on."""
        if self._texts is None:
            return {}
        matching = self._texts.matching
        arrays = {"texts": self._texts.vectors, "owners": self._texts.owners, "scale": matching.scale, "bias": matching.bias}
        arrays |= {_PROMPTING + name: value for name, value in matching.prompting.items()}
        return {name: np.asarray(value, dtype=np.float32) for name, value in arrays.items()}

    def last_weights(self) -> dict[str, NDArray[Any]] | None:
        """Return None: there are no epochs."""
        return None

    def load(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """Set the weights; ValueError when they are not exactly this head's."""
        prompting = {name.removeprefix(_PROMPTING): value for name, value in weights.items() if name.startswith(_PROMPTING)}
        rest = {name: value for name, value in weights.items() if not name.startswith(_PROMPTING)}
        sentences, width = np.shape(rest.get("texts", np.zeros((0, 0))))
        check_weights(rest, {"texts": (sentences, width), "owners": (sentences,), "scale": (), "bias": ()})
        matching = Matching(float(rest["scale"]), float(rest["bias"]), prompting)
        self._texts = Texts(rest["texts"].astype(np.float32), rest["owners"].astype(np.int64), matching)


def _class_directions(vectors: NDArray[np.float64], owners: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the direction of each class's sentences: (S, D) -> (C, D)."""
    sums = np.zeros((int(owners.max()) + 1, vectors.shape[1]))
    np.add.at(sums, owners, _unit(vectors))
    return _unit(sums)


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths: NDArray[np.float64] = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.maximum(lengths, 1e-12)
