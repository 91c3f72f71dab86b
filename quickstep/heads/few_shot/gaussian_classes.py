"""Gaussian classes with one common covariance, estimated from few examples and, where there are any, from class descriptions.

Everything is solved in closed form. How much of the estimated covariance is used is chosen by the caller on held-out groups.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PRIOR_SEGMENTS = 2.0  # the spread of all segments counts as this many segments' evidence of the spread within a class
LEAST_OWN = 0.05  # at least this share of the observed differences between classes is kept
WITHIN_ALONE = 0.5  # with one segment a class, the share of all spread that is assumed to lie within classes

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class GaussianClasses:
    """The observed means of the classes and their common covariance."""

    centre: Array  # (D,)
    observed: Array  # (C, D) means minus the centre; zero where a class has no example
    counts: Array  # (C,) examples
    axes: Array  # (R, D) of the covariance
    variance: Array  # (R,) along each axis
    mean_variance: float  # the variance of the isotropic part that the covariance is mixed with
    within: float  # the share of the spread that lies within classes, from 0 to 1

    @classmethod
    def of(cls, inputs: Array, labels: Ints, classes: int) -> GaussianClasses:
        """Estimate them from points (N, D)."""
        means, counts = _class_means(inputs, labels, classes)
        present = counts > 0
        centre = means[present].mean(axis=0)
        freedom = len(inputs) - int(present.sum())
        inside, total = inputs - means[labels], inputs - centre
        parts = [
            inside / np.sqrt(freedom + PRIOR_SEGMENTS),
            total * np.sqrt(PRIOR_SEGMENTS / ((freedom + PRIOR_SEGMENTS) * max(len(inputs) - 1, 1))),
        ]
        variance, axes = _principal_axes(np.concatenate(parts))
        mean_variance = float(variance.mean()) if len(variance) else 1.0
        observed = np.where(present[:, None], means - centre, 0.0)
        return cls(centre, observed, counts, axes, variance, mean_variance, 1.0 if freedom else WITHIN_ALONE)

    def whitened(self, vectors: Array, isotropy: float) -> Array:
        """Multiply vectors (..., D) by the inverse covariance; `isotropy` is the share of its isotropic part."""
        outside, along = self._inverse_variances(isotropy)
        whitened: Array = outside * vectors + ((vectors @ self.axes.T) * (along - outside)) @ self.axes
        return whitened

    def means(self, isotropy: float, texts: Array | None = None) -> Array:
        """Return the most likely means (C, D): the observed ones, shrunk towards the centre or towards the texts' vectors (C, D).

        The fewer examples a class has, and the less the means differ beyond noise, the more they are shrunk.
        """
        prior = self._prior_means(isotropy, texts) if texts is not None else np.zeros_like(self.observed)
        present = self.counts > 0
        deviation = np.where(present[:, None], self.observed - prior, 0.0)
        noise = float((self._inverse_variances(isotropy)[1] * self.variance).sum()) * self.within  # of one segment
        size = (self.whitened(deviation, isotropy) * deviation).sum(axis=1)[present]
        count = int(present.sum())
        expected = noise / self.counts[present] * (1 - 1 / count)
        own = max(float((size - expected).sum()), LEAST_OWN * float(size.sum())) / max(count - 1, 1)
        trust = self.counts * own / np.maximum(self.counts * own + noise, 1e-300)
        return prior + trust[:, None] * deviation

    def linear(self, means: Array, isotropy: float) -> tuple[Array, Array]:
        """Return weights (D, C) and biases (C,) of the linear discriminant with these means and equal priors."""
        weights = self.whitened(means, isotropy)
        return weights.T, -0.5 * (weights * means).sum(axis=1) - weights @ self.centre

    def _inverse_variances(self, isotropy: float) -> tuple[float, Array]:
        """Return the inverse variance outside the axes, and along each of them."""
        outside = 1 / (isotropy * self.mean_variance)
        return outside, 1 / ((1 - isotropy) * self.variance + isotropy * self.mean_variance)

    def _prior_means(self, isotropy: float, texts: Array) -> Array:
        """Return the texts' differences (C, D), scaled by how well they agree with the observed means."""
        prior: Array = texts - texts.mean(axis=0)
        trust = self.counts / (self.counts + self.counts.mean())
        whitened = self.whitened(prior, isotropy)
        agreement = float(((whitened * self.observed).sum(axis=1) * trust).sum())
        length = float(((whitened * prior).sum(axis=1) * trust).sum())
        return prior * (max(agreement, 0.0) / length if length > 0 else 0.0)


def spanning_axes(rows: Array) -> Array | None:
    """Return axes (R, D) that span the rows (N, D), where R < D: there, every product is faster."""
    return None if len(rows) >= rows.shape[1] else np.linalg.qr(rows.T)[0].T


def feature_scales(deviation: Array, segments: int) -> tuple[Array, ...]:
    """Return three scalings of the features, (D,) each: by a mix of own and median deviation, by the median alone, by the own alone.

    In the mix the median counts more, the fewer segments the deviation was estimated from.
    """
    highest = deviation.max(initial=0.0)
    varies = deviation > 1e-6 * highest if highest > 0 else np.zeros(len(deviation), dtype=bool)
    own, median = np.where(varies, deviation, 1.0), float(np.median(deviation[varies])) if varies.any() else 1.0
    mixed = np.hypot(own, median * np.sqrt(0.5 + 2 / max(segments - 1, 1)))
    return tuple(np.where(varies, 1 / scale, 0.0) for scale in (mixed, np.full(len(own), median), own))


def _class_means(values: Array, labels: Ints, classes: int) -> tuple[Array, Array]:
    """Return the mean of each class's rows (C, D), zero where there are none, and the numbers of rows (C,)."""
    counts = np.bincount(labels, minlength=classes).astype(np.float64)
    sums = np.zeros((classes, values.shape[1]))
    np.add.at(sums, labels, values)
    return sums / np.maximum(counts, 1)[:, None], counts


def _principal_axes(rows: Array) -> tuple[Array, Array]:
    """Return the variances (R,) and axes (R, D) of rows (N, D) about zero, from the smaller of the two Gram matrices."""
    if len(rows) >= rows.shape[1]:
        values, vectors = np.linalg.eigh(rows.T @ rows)
        nonzero = values > 1e-10 * max(values[-1], 0.0)
        return values[nonzero], vectors[:, nonzero].T
    values, vectors = np.linalg.eigh(rows @ rows.T)
    nonzero = values > 1e-10 * max(values[-1], 0.0)
    return values[nonzero], (vectors[:, nonzero] / np.sqrt(values[nonzero])).T @ rows
