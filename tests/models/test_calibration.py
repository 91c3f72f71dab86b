"""Calibration: probabilities are those of the logits divided by the temperature."""

from __future__ import annotations

import numpy as np
import pytest

from quickstep.models.classifier import fit_temperature, probabilities


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 7.0])
def test_probabilities_are_the_softmax_of_logits_over_temperature(temperature: float) -> None:
    logits = np.array([[3.0, 1.0, -2.0], [0.0, 0.5, 0.25]])
    powers = np.exp(logits / temperature)
    np.testing.assert_allclose(probabilities(logits, temperature), powers / powers.sum(axis=1, keepdims=True), rtol=1e-12)


def test_a_high_temperature_lowers_the_confidence_and_a_low_one_raises_it() -> None:
    logits = np.array([[2.0, 0.0]])
    assert probabilities(logits, 4.0).max() < probabilities(logits, 1.0).max() < probabilities(logits, 0.25).max()


def test_the_fitted_temperature_is_the_factor_by_which_logits_are_too_large() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (4000, 3))
    labels = np.array([rng.choice(3, p=row) for row in probabilities(logits, 1.0)])
    for factor in (0.4, 3.0):
        fitted = fit_temperature(factor * logits, labels)
        assert fitted == pytest.approx(factor, rel=0.1)
        np.testing.assert_allclose(probabilities(factor * logits, fitted), probabilities(logits), atol=0.05)
