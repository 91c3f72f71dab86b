"""Add a class to a head without the videos of the other classes.

A zero-shot head gets its weights from text. Other heads get a new weight row from the features of the new videos: it points to where
these lie, is as long as the older rows, and has a bias that lets most of the new videos through and no more, so that it does not take
segments from the older classes. Whether it does take some cannot be tested without their videos.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quickstep.heads import Examples, FitConfig, Head, open_head
from quickstep.types.signals import Features, Texts

STRICTNESS = 0.84  # standard deviations below the mean lead of the new videos: 80 % of normally distributed leads pass
LINEAR = {"linear", "prototypes", "few-shot"}

Array = NDArray[np.float64]


def can_extend(head: Head) -> bool:
    """Return whether a class can be added to the head without the videos of the others."""
    return head.name in LINEAR


def head_from_texts(head: Head, config: Mapping[str, Any], texts: Texts, classes: int) -> Head:
    """Make a zero-shot head of the same kind from the texts of all classes."""
    extended = open_head(head.name, config)
    extended.fit(Examples([], np.zeros(0, np.int64), texts=texts), None, classes=classes, fitting=FitConfig())
    return extended


def imprint(head: Head, config: Mapping[str, Any], features: Sequence[Features], *, place: int, texts: Array | None = None) -> Head:
    """Return the head with one more class at `place` of its labels, from the features of the new class.

    `texts` (1 + C, D) are text vectors, that of the new class first.
    """
    old = {name: np.asarray(value, dtype=np.float64) for name, value in head.weights().items()}
    scale = _dimension_scale(old["weight"])
    weight = old["weight"] / scale[:, None]
    inputs = _head_inputs(head, features, old) * scale  # (N, D)
    shift = weight.mean(axis=1)
    length = float(np.linalg.norm(weight - shift[:, None], axis=0).mean())
    direction = None if texts is None else (texts[0] - texts[1:].mean(axis=0)) * scale
    row = _row(inputs.mean(axis=0), direction, length) + shift
    left_out = [_row(_mean_without(inputs, index), direction, length) + shift for index in range(len(inputs))]  # the row for each, unseen
    lead = (inputs * np.stack(left_out)).sum(axis=1) - head.scores(features).max(axis=1)
    bias = min(STRICTNESS * float(lead.std()) - float(lead.mean()), _highest_bias(weight, old["bias"], row, inputs))
    arrays = {**old, "weight": np.insert(old["weight"], place, row * scale, axis=1), "bias": np.insert(old["bias"], place, bias)}
    extended = open_head(head.name, config)
    extended.load({name: np.ascontiguousarray(value, dtype=np.float32) for name, value in arrays.items()})
    return extended


def _dimension_scale(weight: Array) -> Array:
    """Return how much the older rows weigh each dimension (D,); a small weight means that its values are large, or noise."""
    spread = np.sqrt(((weight - weight.mean(axis=1, keepdims=True)) ** 2).mean(axis=1))
    return np.asarray(np.maximum(np.hypot(spread, np.median(spread)), 1e-12))


def _highest_bias(weight: Array, bias: Array, row: Array, inputs: Array) -> float:
    """Return the highest bias under which each older class still wins at its most typical point.

    That point lies in the direction of the class's own row, as far from the origin as the new videos do.
    """
    own = weight.T - weight.mean(axis=1)  # (C, D)
    axes = np.linalg.svd(own, full_matrices=False)[2][: len(own) - 1]  # the directions that separate the older classes
    reach = float(np.median(np.linalg.norm(inputs @ axes.T, axis=1)))
    typical = reach * np.stack([_unit(class_row) for class_row in own])  # (C, D)
    logits = typical @ weight + bias
    return float((np.diag(logits) - typical @ row).min())


def _head_inputs(head: Head, features: Sequence[Features], arrays: Mapping[str, Array]) -> Array:
    """Return what the head multiplies with its weights (N, D): pooled features less their mean, scaled."""
    if head.name == "few-shot":
        from quickstep.heads.few_shot.head import direction, unit

        pooled = [direction(unit(feature.values.reshape(len(feature), -1).astype(np.float64))) for feature in features]
    else:
        pooled = [feature.values.reshape(len(feature), -1).astype(np.float64).mean(axis=0) for feature in features]
    return (np.stack(pooled) - arrays["mean"]) * arrays.get("scale", np.ones(1))


def _row(mean: Array, text: Array | None, length: float) -> Array:
    """Return a row of this length that points to the mean of the new videos and, where there is a text vector, to that as well."""
    pointing = _unit(mean) if text is None else _unit(_unit(mean) + _unit(text))
    return np.asarray(length * pointing)


def _mean_without(inputs: Array, index: int) -> Array:
    """Return the mean of all others; a single input is its own mean."""
    return np.asarray(np.delete(inputs, index, axis=0).mean(axis=0) if len(inputs) > 1 else inputs[0])


def _unit(vector: Array) -> Array:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12))
