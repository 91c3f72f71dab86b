"""The averaged head: probabilities of windows, averaged; as a plain softmax says it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from quickstep.heads import Examples, FitConfig, open_head
from quickstep.types.errors import ConfigError
from quickstep.types.signals import Features


def segments(count: int, vectors: int, *, seed: int = 0) -> tuple[list[Features], np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    centres = rng.normal(size=(3, 5)) * 2
    values = [(centres[label] + rng.normal(size=(vectors, 5))).astype(np.float32) for label in labels]
    return [Features(each, np.arange(vectors) / 4) for each in values], labels


def test_scores_are_the_mean_of_what_is_said_of_each_window() -> None:
    rng = np.random.default_rng(1)
    weight, bias = rng.normal(size=(5, 3)).astype(np.float32), rng.normal(size=3).astype(np.float32)
    features, _ = segments(4, 6)
    for together in (1, 2, 3):
        head = open_head("window-average", {"together": together})
        head.load({"weight": weight, "bias": bias})
        for each, found in zip(features, head.scores(features), strict=True):
            windows = each.values.astype(np.float64).reshape(-1, together, 5).mean(axis=1)
            np.testing.assert_allclose(softmax(found), softmax(windows @ weight + bias, axis=1).mean(axis=0), rtol=1e-9)


def test_fitted_alone_it_is_the_linear_head_where_a_segment_is_one_window() -> None:
    features, labels = segments(60, 1)
    fitting = FitConfig(epochs=30)
    linear, averaged = open_head("linear"), open_head("window-average")
    for head in (linear, averaged):
        head.fit(Examples(features, labels), None, classes=3, fitting=fitting)
    np.testing.assert_allclose(softmax(averaged.scores(features), axis=1), softmax(linear.scores(features), axis=1), atol=1e-5)
    again = open_head("window-average")
    again.load(averaged.weights())
    np.testing.assert_array_equal(again.scores(features), averaged.scores(features))


def test_what_is_no_layer_is_refused() -> None:
    with pytest.raises(ValueError, match="arrays are bias, weight"):
        open_head("window-average").load({"weight": np.zeros((2, 2), np.float32)})
    with pytest.raises(ConfigError, match="together"):
        open_head("window-average", {"together": 0})
    head = open_head("window-average")
    head.load({"weight": np.zeros((4, 2), np.float32), "bias": np.zeros(2, np.float32)})
    with pytest.raises(ConfigError, match="5 numbers where this head was fitted on 4"):
        head.scores(segments(1, 1)[0])
