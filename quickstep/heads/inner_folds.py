"""Folds inside the training part, by which heads choose their own settings: groups stay whole, classes are spread evenly."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

FOLDS, FEWER_FOLDS = 5, 3
FEW_SEGMENTS = 150  # up to this many segments FOLDS are worth their time, for more FEWER_FOLDS

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def grouped_folds(labels: Ints, groups: Sequence[Hashable], rng: np.random.Generator) -> Ints:
    """Return the fold of each segment (N,); all 0 where nothing can be held out.

    Where there are too few groups to hold some out and still train on every class, each segment is a group of its own.
    """
    count = FOLDS if len(labels) <= FEW_SEGMENTS else FEWER_FOLDS
    enough = len(set(groups)) >= 2 * len(set(labels.tolist()))
    folds = fold_numbers(labels, groups if enough else None, count, rng)
    return np.zeros(len(labels), dtype=np.int64) if folds is None else folds


def fold_numbers(labels: Ints, groups: Sequence[Hashable] | None, count: int, rng: np.random.Generator) -> Ints | None:
    """Return the fold of each segment (N,), at most `count` of them; None where fewer than two are possible."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    numbers = {group: index for index, group in enumerate(dict.fromkeys(groups))} if groups is not None else {}
    by_group = groups is not None and len(numbers) < len(labels)
    count = min(count, int(np.bincount(labels).max()), len(numbers) if by_group else len(labels))
    if count < 2:
        return None
    splitter = (StratifiedGroupKFold if by_group else StratifiedKFold)(count, shuffle=True, random_state=int(rng.integers(2**31)))
    members = np.array([numbers[group] for group in groups]) if by_group and groups is not None else None
    folds = np.zeros(len(labels), dtype=np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class with fewer segments than folds is held out in some of them
        for fold, (_, held_out) in enumerate(splitter.split(labels, labels, members)):
            folds[held_out] = fold
    return folds


def training_and_held_out(folds: Ints, labels: Ints) -> Iterator[tuple[Bools, Bools]]:
    """Yield for each fold the segments to train on (N,), and those of the fold whose class is among them (N,)."""
    for fold in np.unique(folds):
        rest = folds != fold
        held_out = ~rest & np.isin(labels, labels[rest])
        if rest.any() and held_out.any():
            yield rest, held_out
