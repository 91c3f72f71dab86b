"""The extra-trees head: extremely randomized trees on statistics of each feature, for backbones whose features have names.

scikit-learn fits the trees; they are stored and evaluated as plain arrays, with numpy alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quickstep.heads import Examples, FitConfig, History, history_without_epochs
from quickstep.heads.feature_arrays import FittedArrays, check_names, check_width, flat, sample_weights
from quickstep.types.config_fields import between, setting
from quickstep.types.progress import Progress, silent
from quickstep.types.signals import Features

STATISTICS = 4  # mean, standard deviation, minimum, maximum
DTYPES: dict[str, type[np.generic]] = {
    "roots": np.int32,
    "children": np.int32,
    "feature": np.int32,
    "threshold": np.float64,
    "starts": np.int32,
    "leaf_class": np.int32,
    "leaf_share": np.float64,
}


@dataclass(frozen=True, eq=False)
class TreeArrays:
    """All nodes of all trees in one sequence. A leaf has no feature (-1); its shares are those of its training rows by class."""

    roots: NDArray[np.int32]  # (trees,): the first node of each tree
    children: NDArray[np.int32]  # (nodes, 2): the next node when the feature is at most the threshold, and when it is above
    feature: NDArray[np.int32]  # (nodes,)
    threshold: NDArray[np.float64]  # (nodes,)
    starts: NDArray[np.int32]  # (nodes + 1,): a node's shares are those from its start to the next node's
    leaf_class: NDArray[np.int32]  # (shares,)
    leaf_share: NDArray[np.float64]

    @classmethod
    def fit(
        cls, rows: NDArray[np.float32], labels: NDArray[np.int64], weight: NDArray[np.float64] | None = None, *, trees: int, seed: int
    ) -> TreeArrays:
        """Fit extremely randomized trees to rows (N, F); labels are 0, 1 ... with gaps for classes without rows."""
        from sklearn.ensemble import ExtraTreesClassifier

        return cls.of(ExtraTreesClassifier(trees, random_state=seed % 2**32, n_jobs=1).fit(rows, labels, sample_weight=weight))

    @classmethod
    def of(cls, ensemble: Any) -> TreeArrays:
        """Return the arrays of a fitted tree ensemble of scikit-learn."""
        trees = [tree.tree_ for tree in ensemble.estimators_]
        roots = np.concatenate([[0], np.cumsum([tree.node_count for tree in trees])[:-1]]).astype(np.int32)
        left, right = (
            np.concatenate([np.where(side >= 0, side + root, -1) for side, root in zip(sides, roots, strict=True)])
            for sides in zip(*((tree.children_left, tree.children_right) for tree in trees), strict=True)
        )
        values = np.concatenate([tree.value[:, 0] for tree in trees])  # (nodes, classes)
        shares = np.where((left < 0)[:, None], values / values.sum(axis=1, keepdims=True), 0.0)
        nodes, classes = np.nonzero(shares)
        return cls(
            roots,
            np.stack([left, right], axis=1).astype(np.int32),
            np.where(left < 0, -1, np.concatenate([tree.feature for tree in trees])).astype(np.int32),
            np.concatenate([tree.threshold for tree in trees]),
            np.searchsorted(nodes, np.arange(len(left) + 1)).astype(np.int32),
            ensemble.classes_[classes].astype(np.int32),
            shares[nodes, classes],
        )

    def probabilities(self, rows: NDArray[np.float32], classes: int) -> NDArray[np.float64]:
        """Return the mean over all trees of the shares of the leaves that rows (N, F) reach: (N, classes)."""
        sums = np.zeros((len(rows), classes))
        for number, row in enumerate(rows):
            at = self.roots.astype(np.intp)  # the current node of every tree
            inner = np.flatnonzero(self.feature[at] >= 0)
            while len(inner):
                node = at[inner]
                above = row[self.feature[node]] > self.threshold[node]
                at[inner] = self.children[node, above.astype(np.intp)]
                inner = inner[self.feature[at[inner]] >= 0]
            counts = self.starts[at + 1] - self.starts[at]
            places = np.repeat(self.starts[at], counts) + np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
            np.add.at(sums[number], self.leaf_class[places], self.leaf_share[places])
        return sums / len(self.roots)

    def logits(self, rows: NDArray[np.float32], classes: int) -> NDArray[np.float64]:
        """Return the logarithms of the probabilities, smoothed as if one more tree gave all classes the same share."""
        trees = len(self.roots)
        return np.asarray(np.log((self.probabilities(rows, classes) * trees + 1 / classes) / (trees + 1)))

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """All arrays by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], *, numbers: int, classes: int) -> TreeArrays:
        """Return the trees of such arrays; ValueError where they are not trees over so many features and classes."""
        for name, dtype in DTYPES.items():
            if arrays[name].dtype != dtype or not np.isfinite(arrays[name]).all():
                raise ValueError(f"the trees' {name!r} is not finite {np.dtype(dtype)}: {arrays[name].dtype} {arrays[name].shape}")
        trees = cls(**{name: arrays[name] for name in DTYPES})
        if not trees._is_complete(numbers, classes):
            raise ValueError(f"the trees' arrays do not fit together, or not {numbers} features and {classes} classes")
        return trees

    def _is_complete(self, numbers: int, classes: int) -> bool:
        """Whether every path ends at a leaf with shares."""
        nodes = len(self.feature)
        shapes = (self.children.shape, self.threshold.shape, self.starts.shape, self.leaf_share.shape)
        if shapes != ((nodes, 2), (nodes,), (nodes + 1,), self.leaf_class.shape) or self.leaf_class.ndim != 1 or not len(self.roots):
            return False
        leaf, node = self.feature < 0, np.arange(nodes)[:, None]
        forward = leaf[:, None] | ((self.children > node) & (self.children < nodes))  # so no path is a circle
        counts = np.diff(self.starts)
        return bool(
            forward.all()
            and (self.feature < numbers).all()
            and ((self.roots >= 0) & (self.roots < nodes)).all()
            and self.starts[0] == 0
            and self.starts[-1] == len(self.leaf_class)
            and (counts >= leaf).all()
            and ((self.leaf_class >= 0) & (self.leaf_class < classes)).all()
            and (self.leaf_share > 0).all()
        )


@dataclass(frozen=True)
class ExtraTreesConfig:
    """The extra-trees head's settings."""

    trees: int = setting(300, "number of trees")

    def __post_init__(self) -> None:
        between("trees", self.trees, 1, 100_000)


class ExtraTreesHead(FittedArrays):
    """Trees on the mean, standard deviation, minimum and maximum of each feature over time."""

    Config = ExtraTreesConfig
    name = "extra-trees"

    def __init__(self, config: ExtraTreesConfig | None = None) -> None:
        super().__init__()
        self.config = config or ExtraTreesConfig()

    def fit(
        self, train: Examples, validation: Examples | None = None, *, classes: int, fitting: FitConfig, progress: Progress = silent
    ) -> History:
        """Fit the trees to the training part; the validation part is only measured."""
        rows = statistics(train.features)
        progress("fitting", 0, 1)
        trees = TreeArrays.fit(rows, train.labels, sample_weights(train.labels, fitting), trees=self.config.trees, seed=fitting.seed)
        progress("fitting", 1, 1)
        self._weights = trees.arrays | {"sizes": np.array([classes, rows.shape[1] // STATISTICS], dtype=np.int32)}
        self._last = dict(self._weights)
        return history_without_epochs(self, train, validation, stopped="trees have no epochs")

    @property
    def classes(self) -> int:
        """The number of classes; 0 before the head is fitted or loaded."""
        return int(self._weights["sizes"][0]) if self._weights else 0

    def scores(self, features: Sequence[Features]) -> NDArray[np.float64]:
        """Return logits (N, C), the logarithms of the trees' mean probabilities."""
        classes, width = (int(size) for size in self._weights["sizes"])
        if not len(features):
            return np.zeros((0, classes))
        trees = TreeArrays.from_arrays(self._weights, numbers=STATISTICS * width, classes=classes)
        return trees.logits(statistics(check_width(features, width)), classes)

    def load(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """Set the weights; ValueError when they are not exactly this head's."""
        check_names(weights, {*DTYPES, "sizes"})
        sizes = weights["sizes"]
        if sizes.shape != (2,) or sizes.dtype != np.int32 or not (sizes > 0).all():
            raise ValueError(f"the head's sizes are not two numbers above 0: {sizes.dtype} {sizes}")
        TreeArrays.from_arrays(weights, numbers=STATISTICS * int(sizes[1]), classes=int(sizes[0]))
        self._weights, self._last = dict(weights), None


def statistics(features: Sequence[Features]) -> NDArray[np.float32]:
    """Return mean, standard deviation, minimum and maximum of each feature over time, (N, 4 * D)."""
    rows = [
        np.concatenate([values.mean(axis=0), values.std(axis=0), values.min(axis=0), values.max(axis=0)])
        for values in (flat(segment) for segment in features)
    ]
    return np.stack(rows).astype(np.float32)
