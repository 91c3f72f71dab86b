"""A forest of trees as plain arrays: grown by scikit-learn, kept and asked without it; knows not what its numbers mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

KINDS: dict[str, type[np.generic]] = {
    "roots": np.int32,
    "children": np.int32,
    "feature": np.int32,
    "threshold": np.float64,
    "starts": np.int32,
    "leaf_class": np.int32,
    "leaf_share": np.float64,
}


@dataclass(frozen=True, eq=False)
class Forest:
    """All nodes of all trees in a row. A leaf has no feature (-1), and says how its training rows were shared among classes."""

    roots: NDArray[np.int32]  # (trees,): the first node of each
    children: NDArray[np.int32]  # (nodes, 2): where to go when the number is at most the threshold, and when it is above
    feature: NDArray[np.int32]  # (nodes,)
    threshold: NDArray[np.float64]  # (nodes,)
    starts: NDArray[np.int32]  # (nodes + 1,): a node's shares are those from its start to the next one's
    leaf_class: NDArray[np.int32]  # (shares,)
    leaf_share: NDArray[np.float64]

    @classmethod
    def grow(
        cls, rows: NDArray[np.float32], labels: NDArray[np.int64], weight: NDArray[np.float64] | None = None, *, trees: int, seed: int
    ) -> Forest:
        """Extremely randomised trees on rows (N, F); labels are 0, 1 ... with gaps where a class has no row."""
        from sklearn.ensemble import ExtraTreesClassifier

        grown = ExtraTreesClassifier(trees, random_state=seed % 2**32, n_jobs=1).fit(rows, labels, sample_weight=weight)
        return cls.of(grown)

    @classmethod
    def of(cls, grown: Any) -> Forest:
        """The arrays of a fitted forest of scikit-learn."""
        trees = [tree.tree_ for tree in grown.estimators_]
        roots = np.concatenate([[0], np.cumsum([tree.node_count for tree in trees])[:-1]]).astype(np.int32)
        left, right = (
            np.concatenate([np.where(side >= 0, side + root, -1) for side, root in zip(sides, roots, strict=True)])
            for sides in zip(*((tree.children_left, tree.children_right) for tree in trees), strict=True)
        )
        values = np.concatenate([tree.value[:, 0] for tree in trees])  # (nodes, classes)
        shares = np.where((left < 0)[:, None], values / values.sum(axis=1, keepdims=True), 0.0)
        nodes, numbers = np.nonzero(shares)
        return cls(
            roots,
            np.stack([left, right], axis=1).astype(np.int32),
            np.where(left < 0, -1, np.concatenate([tree.feature for tree in trees])).astype(np.int32),
            np.concatenate([tree.threshold for tree in trees]),
            np.searchsorted(nodes, np.arange(len(left) + 1)).astype(np.int32),
            grown.classes_[numbers].astype(np.int32),
            shares[nodes, numbers],
        )

    def shares(self, rows: NDArray[np.float32], classes: int) -> NDArray[np.float64]:
        """How the leaves that rows (N, F) come to are shared among classes, the mean over all trees: (N, classes)."""
        made = np.zeros((len(rows), classes))
        for number, row in enumerate(rows):
            at = self.roots.astype(np.intp)  # in all trees at once, one floor down at a time
            going = np.flatnonzero(self.feature[at] >= 0)
            while len(going):
                node = at[going]
                above = row[self.feature[node]] > self.threshold[node]
                at[going] = self.children[node, above.astype(np.intp)]
                going = going[self.feature[at[going]] >= 0]
            counts = self.starts[at + 1] - self.starts[at]
            places = np.repeat(self.starts[at], counts) + np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
            np.add.at(made[number], self.leaf_class[places], self.leaf_share[places])
        return made / len(self.roots)

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """All of it by name."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], *, numbers: int, classes: int) -> Forest:
        """The reverse of `arrays`; ValueError where they are no forest over so many numbers and classes."""
        for name, kind in KINDS.items():
            if arrays[name].dtype != kind or not np.isfinite(arrays[name]).all():
                raise ValueError(f"the forest's {name!r} is not finite {np.dtype(kind)}: {arrays[name].dtype} {arrays[name].shape}")
        forest = cls(**{name: arrays[name] for name in KINDS})
        if not forest._whole(numbers, classes):
            raise ValueError(f"the forest's arrays do not fit together, or not {numbers} numbers and {classes} classes")
        return forest

    def _whole(self, numbers: int, classes: int) -> bool:
        """Whether every way down ends at a leaf that says something."""
        nodes = len(self.feature)
        shapes = (self.children.shape, self.threshold.shape, self.starts.shape, self.leaf_share.shape)
        if shapes != ((nodes, 2), (nodes,), (nodes + 1,), self.leaf_class.shape) or self.leaf_class.ndim != 1 or not len(self.roots):
            return False
        leaf, here = self.feature < 0, np.arange(nodes)[:, None]
        down = leaf[:, None] | ((self.children > here) & (self.children < nodes))  # always onwards: no way leads in circles
        counts = np.diff(self.starts)
        return bool(
            down.all()
            and (self.feature < numbers).all()
            and ((self.roots >= 0) & (self.roots < nodes)).all()
            and self.starts[0] == 0
            and self.starts[-1] == len(self.leaf_class)
            and (counts >= leaf).all()
            and ((self.leaf_class >= 0) & (self.leaf_class < classes)).all()
            and (self.leaf_share > 0).all()
        )
