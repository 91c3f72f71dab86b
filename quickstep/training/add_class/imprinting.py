"""A head that takes a class on without the videos of the others: by words where words make it, else by a row drawn from the new ones.

Such a row points to where the new videos lie, is as long as the others are, and comes with a bias that lets most of the new videos
through and no more than that, so that it does not swallow the others. Whether it does cannot be tried without their videos.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quickstep.heads import Examples, FitConfig, Head, open_head
from quickstep.types.signals import Features, Texts

STRICT = 0.84  # standard deviations below the mean lead of the new videos: four of five are let through where leads are spread as usual
LINEAR = {"linear", "prototypes", "few-shot"}

Array = NDArray[np.float64]


def can_extend(head: Head) -> bool:
    """Whether a class can be added to it without the videos of the others."""
    return head.name in LINEAR


def with_words(head: Head, config: Mapping[str, Any], texts: Texts, classes: int) -> Head:
    """A head made of words, with all words anew."""
    grown = open_head(head.name, config)
    grown.fit(Examples([], np.zeros(0, np.int64), texts=texts), None, classes=classes, fitting=FitConfig())
    return grown


def imprinted(head: Head, config: Mapping[str, Any], features: Sequence[Features], *, place: int, words: Array | None = None) -> Head:
    """The head with one class more at `place` of its labels, drawn from the new class's features; `words` (1 + C, D) begin with its own."""
    old = {name: np.asarray(value, dtype=np.float64) for name, value in head.weights().items()}
    heed = _heed(old["weight"])
    weight = old["weight"] / heed[:, None]
    seen = _seen(head, features, old) * heed  # (N, D)
    shift = weight.mean(axis=1)
    length = float(np.linalg.norm(weight - shift[:, None], axis=0).mean())
    towards = None if words is None else (words[0] - words[1:].mean(axis=0)) * heed
    row = _row(seen.mean(axis=0), towards, length) + shift
    rows = [_row(_without(seen, index), towards, length) + shift for index in range(len(seen))]  # what each would meet, were it new
    lead = (seen * np.stack(rows)).sum(axis=1) - head.scores(features).max(axis=1)
    bias = min(STRICT * float(lead.std()) - float(lead.mean()), _most(weight, old["bias"], row, seen))
    arrays = {**old, "weight": np.insert(old["weight"], place, row * heed, axis=1), "bias": np.insert(old["bias"], place, bias)}
    grown = open_head(head.name, config)
    grown.load({name: np.ascontiguousarray(value, dtype=np.float32) for name, value in arrays.items()})
    return grown


def _heed(weight: Array) -> Array:
    """How much each number (D,) is heeded by the older rows: what they heed little is large by nature, or noise."""
    usual = np.sqrt(((weight - weight.mean(axis=1, keepdims=True)) ** 2).mean(axis=1))
    return np.asarray(np.maximum(np.hypot(usual, np.median(usual)), 1e-12))


def _most(weight: Array, bias: Array, row: Array, seen: Array) -> float:
    """The highest bias under which no older class loses to the new one where it is most itself: as far out as the new videos lie."""
    own = weight.T - weight.mean(axis=1)  # (C, D)
    axes = np.linalg.svd(own, full_matrices=False)[2][: len(own) - 1]  # what tells the older classes apart
    reach = float(np.median(np.linalg.norm(seen @ axes.T, axis=1)))
    typical = reach * np.stack([_one(each) for each in own])  # (C, D)
    logits = typical @ weight + bias
    return float((np.diag(logits) - typical @ row).min())


def _seen(head: Head, features: Sequence[Features], arrays: Mapping[str, Array]) -> Array:
    """What the head's weights are multiplied with, found by asking it: its inputs less its mean, in its own scale."""
    if head.name == "few-shot":
        from quickstep.heads.few_shot.head import direction, unit

        pooled = [direction(unit(each.values.reshape(len(each), -1).astype(np.float64))) for each in features]
    else:
        pooled = [each.values.reshape(len(each), -1).astype(np.float64).mean(axis=0) for each in features]
    return (np.stack(pooled) - arrays["mean"]) * arrays.get("scale", np.ones(1))


def _row(middle: Array, words: Array | None, length: float) -> Array:
    """A direction of the usual length: to the middle of the new videos and, where there are words, to what they say."""
    pointing = _one(middle) if words is None else _one(_one(middle) + _one(words))
    return np.asarray(length * pointing)


def _without(seen: Array, index: int) -> Array:
    """The middle of the others; of one alone, itself."""
    return np.asarray(np.delete(seen, index, axis=0).mean(axis=0) if len(seen) > 1 else seen[0])


def _one(vector: Array) -> Array:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12))
