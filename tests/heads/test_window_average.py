"""The window-average head: the mean of the windows' probabilities."""

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
    return [Features(segment, np.arange(vectors) / 4) for segment in values], labels


def test_scores_are_the_mean_probabilities_of_the_windows() -> None:
    rng = np.random.default_rng(1)
    weight, bias = rng.normal(size=(5, 3)).astype(np.float32), rng.normal(size=3).astype(np.float32)
    features, _ = segments(4, 6)
    for together in (1, 2, 3):
        head = open_head("window-average", {"together": together})
        head.load({"weight": weight, "bias": bias})
        for segment, scores in zip(features, head.scores(features), strict=True):
            windows = segment.values.astype(np.float64).reshape(-1, together, 5).mean(axis=1)
            np.testing.assert_allclose(softmax(scores), softmax(windows @ weight + bias, axis=1).mean(axis=0), rtol=1e-9)


def test_with_one_window_it_equals_the_linear_head() -> None:
    features, labels = segments(60, 1)
    fitting = FitConfig(epochs=30)
    linear, averaged = open_head("linear"), open_head("window-average")
    for head in (linear, averaged):
        head.fit(Examples(features, labels), None, classes=3, fitting=fitting)
    np.testing.assert_allclose(softmax(averaged.scores(features), axis=1), softmax(linear.scores(features), axis=1), atol=1e-5)
    again = open_head("window-average")
    again.load(averaged.weights())
    np.testing.assert_array_equal(again.scores(features), averaged.scores(features))


def test_other_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="arrays are bias, weight"):
        open_head("window-average").load({"weight": np.zeros((2, 2), np.float32)})
    with pytest.raises(ConfigError, match="together"):
        open_head("window-average", {"together": 0})
    head = open_head("window-average")
    head.load({"weight": np.zeros((4, 2), np.float32), "bias": np.zeros(2, np.float32)})
    with pytest.raises(ConfigError, match="5 numbers where this head was fitted on 4"):
        head.scores(segments(1, 1)[0])
