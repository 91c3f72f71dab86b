"""Whether a set may be learnt from mirrored copies: not where left and right are what tells its labels apart. Asked of the segments."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quickstep.heads import Examples
from quickstep.heads.regularization import deal
from quickstep.heads.skeleton.augmentation import mirrored
from quickstep.heads.skeleton.descriptors import described
from quickstep.heads.skeleton.input_channels import Body, evenly
from quickstep.heads.tree_arrays import Forest
from quickstep.types.skeleton import Skeleton

STEPS = 32  # moments are enough for this
TREES = 100
MOST = 600  # segments to ask
DOUBT = 1e-2  # added to every share: what no tree has said may still be


def with_mirror(asked: bool | None, train: Examples, skeleton: Skeleton, *, classes: int, seed: int) -> bool:
    """Whether mirrored copies are learnt from: as asked, else where held-back segments are not named worse by what knows them too."""
    if not skeleton.mirrored:
        return False
    return mirroring_is_harmless(train, skeleton, classes=classes, seed=seed) if asked is None else asked


def mirroring_is_harmless(train: Examples, skeleton: Skeleton, *, classes: int, seed: int) -> bool:
    """Whether trees that learn from mirrored copies as well are not clearly worse at held-back groups than those that do not."""
    rng = np.random.default_rng(seed)
    kept = np.sort(rng.permutation(len(train))[:MOST])
    labels = train.labels[kept]
    folds = deal(labels, [train.groups[number] for number in kept], rng)
    if folds.max() < 1:
        return True
    body = Body.of(skeleton)
    moves = evenly([train.features[number] for number in kept], STEPS)
    rows, copies = described(moves, body), described(mirrored(moves, skeleton), body)
    told = []  # the log-probability of each held-back label: without copies, and with them
    for fold in range(folds.max() + 1):
        held = folds == fold
        plain = Forest.grow(rows[~held], labels[~held], trees=TREES, seed=seed)
        both = Forest.grow(np.concatenate([rows[~held], copies[~held]]), np.tile(labels[~held], 2), trees=TREES, seed=seed)
        told.append(np.stack([_told(each.shares(rows[held], classes), labels[held]) for each in (plain, both)]))
    loss = np.concatenate(told, axis=1)[0] - np.concatenate(told, axis=1)[1]  # (N,)
    return bool(loss.mean() <= loss.std() / np.sqrt(len(loss)))


def _told(shares: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    doubted = (shares + DOUBT) / (1 + DOUBT * shares.shape[1])
    return np.asarray(np.log(doubted[np.arange(len(labels)), labels]))
