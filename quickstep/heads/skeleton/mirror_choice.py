"""Decide whether a head may train on mirrored copies: not where left and right tell the labels apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quickstep.heads import Examples
from quickstep.heads.inner_folds import grouped_folds
from quickstep.heads.skeleton.augmentation import mirrored
from quickstep.heads.skeleton.descriptors import describe
from quickstep.heads.skeleton.input_channels import Body, resample
from quickstep.heads.tree_ensemble import TreeArrays
from quickstep.types.skeleton import Skeleton

STEPS = 32  # timestamps are enough for this test
TREES = 100
MOST_SEGMENTS = 600  # to test on
SMOOTHING = 1e-2  # added to every probability, because no tree gives some classes any


def use_mirrored_copies(setting: bool | None, train: Examples, skeleton: Skeleton, *, classes: int, seed: int) -> bool:
    """Return the setting; where it is None, test on held-out segments whether mirrored copies are harmless."""
    if not skeleton.mirrored:
        return False
    return mirroring_is_harmless(train, skeleton, classes=classes, seed=seed) if setting is None else setting


def mirroring_is_harmless(train: Examples, skeleton: Skeleton, *, classes: int, seed: int) -> bool:
    """Return whether trees fitted with mirrored copies are not clearly worse on held-out groups than trees without."""
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(len(train))[:MOST_SEGMENTS])
    labels = train.labels[chosen]
    folds = grouped_folds(labels, [train.groups[number] for number in chosen], rng)
    if folds.max() < 1:
        return True
    body = Body.of(skeleton)
    sequences = resample([train.features[number] for number in chosen], STEPS)
    rows, copies = describe(sequences, body), describe(mirrored(sequences, skeleton), body)
    losses = []  # of the held-out labels: the log-probability without copies minus that with them
    for fold in range(folds.max() + 1):
        held_out = folds == fold
        train_rows, train_labels = rows[~held_out], labels[~held_out]
        without = TreeArrays.fit(train_rows, train_labels, trees=TREES, seed=seed)
        both = np.concatenate([train_rows, copies[~held_out]])
        with_copies = TreeArrays.fit(both, np.tile(train_labels, 2), trees=TREES, seed=seed)
        one, other = (
            _log_probabilities(trees.probabilities(rows[held_out], classes), labels[held_out]) for trees in (without, with_copies)
        )
        losses.append(one - other)
    loss = np.concatenate(losses)  # (N,)
    return bool(loss.mean() <= loss.std() / np.sqrt(len(loss)))


def _log_probabilities(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the logarithm of each label's smoothed probability (N,)."""
    smoothed = (probabilities + SMOOTHING) / (1 + SMOOTHING * probabilities.shape[1])
    return np.asarray(np.log(smoothed[np.arange(len(labels)), labels]))
