"""Compare classifiers on few segments a class: zero-shot, the linear head, nearest mean, prototypes, few-shot and others.

    python -m benchmarks.few_shot [--seeds 5] [--shots 1,2,4,8,16] [--kinds NAME ...] [--data FOLDER]

No pretrained weights are needed: the problems are synthetic features like CLIP's (class means, text vectors at a distance from them,
anisotropic noise, groups that share part of it), easy and hard, with texts from excellent to useless. Real videos are encoded by the
backbone `flow-hist`, with held-out groups; it embeds no text.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.tables import show
from quickstep.datasets.manifest import group_of, read_manifest
from quickstep.heads import Examples, FitConfig, open_head
from quickstep.models.feature_extraction import extract
from quickstep.storage.cache import Cache
from quickstep.types.segment import Segment
from quickstep.types.signals import Features, Matching, Texts

SHOTS = (1, 2, 4, 8, 16)
MOST = 16
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Kind:
    """A family of problems; lengths are in units of the noise's length."""

    name: str
    classes: int = 10
    width: int = 256
    apart: float = 0.4  # length of a class's own part of the mean
    words: float = 0.6  # cosine of the text vector with the class's own part
    gap: float = 3.0  # distance between text vectors and video vectors
    favour: float = 0.0  # deviation of the classes' text bias
    decay: float = 0.7  # power by which the noise falls off over its directions
    shared: float = 0.0  # the part of the noise's variance that a group has in common
    aligned: float = 0.0  # the part of it in the space of the class means
    tails: float = 0.0  # degrees of freedom of the noise's length; 0: Gaussian
    uneven: float = 0.0  # deviation of the logarithm of the features' scales
    ways: int = 1  # variants of each class
    moments: int = 4
    length_one: bool = True


KINDS = (
    Kind("plain"),
    Kind("good words", words=0.9, apart=0.3),
    Kind("poor words", words=0.2),
    Kind("worthless words", words=0.0),
    Kind("hard, fair words", apart=0.25),
    Kind("hard, good words", apart=0.25, words=0.9),
    Kind("two classes", classes=2, words=0.3),
    Kind("two, good words", classes=2, apart=0.25, words=0.8),
    Kind("fifty", classes=50, width=512),
    Kind("fifty, poor words", classes=50, width=512, words=0.3, apart=0.35),
    Kind("groups", shared=0.6, decay=1.2),
    Kind("groups, poor words", shared=0.6, decay=1.2, words=0.2, apart=0.3),
    Kind("steep noise", decay=1.6, apart=0.25, words=0.4),
    Kind("white noise", decay=0.0, apart=0.3, words=0.4),
    Kind("noise among classes", aligned=0.6, words=0.4),
    Kind("three ways", ways=3, words=0.4),
    Kind("heavy tails", tails=2.0, words=0.4),
    Kind("favoured words", favour=1.5, words=0.7),
    Kind("narrow", width=16, classes=6, apart=0.5, words=0.4),
    Kind("uneven", uneven=1.0, words=0.4),
    Kind("as motion is", uneven=0.7, length_one=False, classes=2, shared=0.5, width=512, decay=0.9, words=0.2),
)


@dataclass(frozen=True, eq=False)
class Drawn:
    """Segments of a problem: features, classes, groups."""

    features: Sequence[Features]
    labels: NDArray[np.int64]
    groups: Sequence[str]

    def examples(self, texts: Texts | None = None, chosen: NDArray[np.bool_] | None = None) -> Examples:
        """Return the segments as examples, all or a selection."""
        chosen = np.flatnonzero(np.ones(len(self.labels), dtype=bool) if chosen is None else chosen).tolist()
        segments = tuple(Segment(Path(f"{i}.mp4"), group=self.groups[i]) for i in chosen)
        return Examples([self.features[i] for i in chosen], self.labels[chosen], segments, texts)


class Problem:
    """One problem of a kind: its directions are drawn once, its segments as often as needed."""

    def __init__(self, kind: Kind, seed: int) -> None:
        self.kind, self.rng = kind, np.random.default_rng(seed)
        width, classes = kind.width, kind.classes
        self.axes = np.linalg.qr(self.rng.normal(size=(width, width)))[0]
        spectrum = np.arange(1, width + 1) ** -kind.decay
        self.spread = np.sqrt(spectrum / spectrum.sum())
        self.room = np.linalg.qr(self.rng.normal(size=(width, min(width - 1, classes + 4))))[0]  # the space of the class means
        own = _one(self.rng.normal(size=(classes, self.room.shape[1])) @ self.room.T)
        self.own = kind.apart * own
        self.ways = 0.8 * kind.apart * _one(self.rng.normal(size=(classes, kind.ways, width))) * (kind.ways > 1)
        common = _one(self.rng.normal(size=width))
        self.common = 2.0 * common if kind.length_one else np.zeros(width)
        self.scales = np.exp(kind.uneven * self.rng.normal(size=width))
        beside = kind.words * own + np.sqrt(1 - kind.words**2) * _one(self.rng.normal(size=(classes, width)))
        beside += common * (1.5 + kind.favour * self.rng.normal(size=(classes, 1))) + kind.gap * _one(self.rng.normal(size=width))
        sentences = np.repeat(beside, 3, axis=0) + 0.2 * _one(self.rng.normal(size=(3 * classes, width)))
        self.texts = Texts((sentences * self.scales).astype(np.float32), np.repeat(np.arange(classes), 3), Matching(scale=100.0))

    def draw(self, each: int, *, name: str) -> Drawn:
        """Draw so many segments of each class; the first of all classes form one group, the second another, and so on."""
        kind = self.kind
        labels, group = np.repeat(np.arange(kind.classes), each), np.tile(np.arange(each), kind.classes)
        shared, own = self._noise(each)[group], self._noise(len(labels))
        way = self.rng.integers(kind.ways, size=len(labels))
        observed = self.common + self.own[labels] + self.ways[labels, way] + np.sqrt(kind.shared) * shared + np.sqrt(1 - kind.shared) * own
        flicker = 0.3 * self._noise(len(labels) * kind.moments).reshape(len(labels), kind.moments, -1)
        values = (observed[:, None] + flicker) * self.scales
        values = (_one(values) if kind.length_one else values).astype(np.float32)
        return Drawn([Features(one, np.arange(float(kind.moments))) for one in values], labels, [f"{name} {g}" for g in group])

    def _noise(self, count: int) -> Array:
        kind, drawn = self.kind, self.rng.normal(size=(count, self.kind.width))
        if kind.tails:
            drawn /= np.sqrt(self.rng.gamma(kind.tails, 1 / kind.tails, size=(count, 1)))
        noise = (drawn * self.spread) @ self.axes.T
        among = self.rng.normal(size=(count, self.room.shape[1])) @ self.room.T / np.sqrt(self.room.shape[1])
        noise = np.sqrt(1 - kind.aligned) * noise + np.sqrt(kind.aligned) * among
        return np.asarray(noise)


def accuracies(train: Examples, test: Examples, *, classes: int, ways: Sequence[str]) -> dict[str, float]:
    """Return the accuracy of each classifier on the test segments."""
    return {way: float((_scores(way, train, test, classes).argmax(axis=1) == test.labels).mean()) for way in ways}


def _scores(way: str, train: Examples, test: Examples, classes: int) -> Array:
    if way in ("linear", "prototypes", "few-shot"):
        head = open_head(way)
        head.fit(train, None, classes=classes, fitting=FitConfig())
        return head.scores(test.features)
    if way == "zero-shot":
        return _cosines(test, train)
    if way == "cache":  # as Tip-Adapter without training: text scores, and a soft vote of the examples
        nearness = np.exp(-5.5 * (1 - _directions(test) @ _directions(train).T))
        return 100.0 * _cosines(test, train) + nearness @ np.eye(classes)[train.labels]
    train_rows, test_rows = _pooled(train), _pooled(test)
    if way == "nearest mean":
        middles = np.stack([train_rows[train.labels == number].mean(axis=0) for number in range(classes)])
        return np.asarray(test_rows @ middles.T - 0.5 * (middles**2).sum(axis=1))
    return _logistic(train_rows, train.labels, test_rows)


def _logistic(train_rows: Array, labels: NDArray[np.int64], test_rows: Array) -> Array:
    """Return scores of logistic regression; its C is cross-validated where every class has two segments."""
    few = int(np.bincount(labels).min())
    model = LogisticRegressionCV(
        Cs=10.0 ** np.arange(-4, 3), cv=min(few, 4), max_iter=300, scoring="accuracy", use_legacy_attributes=False, l1_ratios=(0.0,)
    )
    fitted = make_pipeline(StandardScaler(), model if few > 1 else LogisticRegression(C=0.1, max_iter=300)).fit(train_rows, labels)
    scores = fitted.decision_function(test_rows)
    return np.column_stack([-scores, scores]) if scores.ndim == 1 else np.asarray(scores)


def _cosines(test: Examples, train: Examples) -> Array:
    texts = train.texts
    assert texts is not None
    vectors = _one(texts.vectors.astype(np.float64))
    words = _one(np.stack([vectors[texts.owners == number].mean(axis=0) for number in range(texts.classes)]))
    return _directions(test) @ words.T


def _directions(examples: Examples) -> Array:
    return _one(np.stack([_one(features.values.astype(np.float64)).mean(axis=0) for features in examples.features]))


def _pooled(examples: Examples) -> Array:
    return np.stack([features.values.reshape(len(features), -1).mean(axis=0, dtype=np.float64) for features in examples.features])


def _one(vectors: Array) -> Array:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12))


WITH_WORDS = ("zero-shot", "linear", "logistic", "nearest mean", "prototypes", "few-shot", "cache")
WITHOUT = ("linear", "logistic", "nearest mean", "prototypes")


def measured(kind: Kind, shots: int, seeds: Sequence[int], *, ways: Sequence[str] = WITH_WORDS, test: int = 400) -> dict[str, float]:
    """Return the mean accuracy of each classifier over problems of a kind; smaller draws are contained in larger ones."""
    measured = []
    for seed in seeds:
        problem = Problem(kind, seed)
        pool, test_rows = problem.draw(MOST, name="train"), problem.draw(max(8, test // kind.classes), name="test")
        chosen = np.tile(np.arange(MOST) < shots, kind.classes)
        measured.append(accuracies(pool.examples(problem.texts, chosen), test_rows.examples(), classes=kind.classes, ways=ways))
    return {way: float(np.mean([one[way] for one in measured])) for way in ways}


def real(path: Path, cache: Cache, shots: int, seeds: Sequence[int]) -> dict[str, float]:
    """Return the same on real videos: a third of the groups is held out, shots are spread over the other groups."""
    from quickstep.backbones import open_backbone

    segments = read_manifest(path).segments
    measured = extract(segments, open_backbone("flow-hist"), cache=cache).check(strict=True).features
    names = sorted({str(segment.label) for segment in segments})
    labels = np.array([names.index(str(segment.label)) for segment in segments])
    groups = np.array([group_of(segment) for segment in segments])
    drawn = Drawn([measured[segment] for segment in segments], labels, groups.tolist())
    results: list[Mapping[str, float]] = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        order = rng.permutation(np.unique(groups))
        held = np.isin(groups, order[: len(order) // 3])
        chosen = np.zeros(len(labels), dtype=bool)
        for number in range(len(names)):
            mine = rng.permutation(np.flatnonzero(~held & (labels == number)))
            turn = [int((groups[mine[:place]] == groups[one]).sum()) for place, one in enumerate(mine)]
            chosen[mine[np.argsort(turn, kind="stable")][:shots]] = True
        results.append(accuracies(drawn.examples(chosen=chosen), drawn.examples(chosen=held), classes=len(names), ways=WITHOUT))
    return {way: float(np.mean([one[way] for one in results])) for way in WITHOUT}


def main() -> None:
    """Measure the heads on few examples a class, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="problems of each kind")
    parser.add_argument("--shots", type=lambda text: tuple(map(int, text.split(","))), default=SHOTS)
    parser.add_argument("--kinds", nargs="*", help="only these")
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data", help="has pushup/ and skateboard/")
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    rows = []
    for kind in (kind for kind in KINDS if not args.kinds or kind.name in args.kinds):
        for shots in args.shots:
            result = measured(kind if kind.classes < 50 else replace(kind, moments=2), shots, range(1000, 1000 + args.seeds))
            lead = result["few-shot"] - max(result["zero-shot"], result["linear"])
            calm = result["prototypes"] - max(result["nearest mean"], result["linear"])
            rows.append((kind.name, str(shots), *(f"{result[way]:.3f}" for way in WITH_WORDS), f"{lead:+.3f}", f"{calm:+.3f}"))
    columns = ("synthetic problems", "shots", *WITH_WORDS, "few-shot's lead", "prototypes' lead")
    show(f"accuracy, mean over {args.seeds} problems; leads are over the better baseline", columns, rows)
    with tempfile.TemporaryDirectory() as folder:
        rows = []
        for name in ("pushup", "skateboard"):
            path = args.data / name / "index.csv"
            for shots in args.shots if path.is_file() and not args.kinds else ():
                result = real(path, Cache(folder), shots, range(2 * args.seeds))
                rows.append((name, str(shots), *(f"{result[way]:.3f}" for way in WITHOUT)))
        if rows:
            show(f"real videos with flow-hist features, mean over {2 * args.seeds} draws", ("set", "shots", *WITHOUT), rows)


if __name__ == "__main__":
    main()
