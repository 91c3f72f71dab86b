"""Linear and attention heads: accuracy on few examples, order of events, determinism, and no use of global random generators."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from quickstep.heads import Examples, FitConfig, Head, History, open_head, softmax
from quickstep.heads.inner_folds import STRENGTHS, choose_shrinkage, grouped_folds
from quickstep.types.errors import ConfigError, UnknownName
from quickstep.types.segment import Segment
from quickstep.types.signals import Features

LOOPED = ("attention", "linear")  # fitted by the training loop to vectors in time


def blobs(count: int, *, width: int = 24, classes: int = 3, lead: float = 0.6, seed: int = 0) -> Examples:
    """Return classes with different means, a different scale for each feature, and 1 to 9 timestamps a segment."""
    truth = np.random.default_rng(99)
    centres, scale, offset = truth.normal(0, lead, (classes, width)), np.exp(truth.normal(0, 1, width)), truth.normal(0, 5, width)
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    features = []
    for label in labels:
        moments = int(rng.integers(1, 10))
        values = (centres[label] + rng.normal(0, 1, width) + rng.normal(0, 0.3, (moments, width))) * scale + offset
        features.append(Features(values.astype(np.float32), np.arange(moments) * 0.5))
    return Examples(features, labels, tuple(Segment(f"{i}.mp4", group=f"g{i // 4}") for i in range(count)))


def ordered(count: int, *, seed: int) -> Examples:
    """Return segments of A then B or B then A, which only their order distinguishes."""
    first, second = np.random.default_rng(99).normal(0, 1, (2, 16))
    rng = np.random.default_rng(seed)
    features = []
    for index in range(count):
        half = int(rng.integers(3, 7))
        early, late = (first, second) if index % 2 == 0 else (second, first)
        values = np.repeat([early, late], half, axis=0) + rng.normal(0, 1, (2 * half, 16))
        features.append(Features(values.astype(np.float32), np.arange(2 * half) * 0.2))
    return Examples(features, np.arange(count) % 2)


def accuracy(head: Head, examples: Examples) -> float:
    return float((head.scores(examples.features).argmax(axis=1) == examples.labels).mean())


def fit(name: str, train: Examples, val: Examples | None = None, *, classes: int = 3, **settings: object) -> tuple[Head, History]:
    head = open_head(name)
    return head, head.fit(train, val, classes=classes, fitting=FitConfig(**settings))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", LOOPED)
@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
def test_classes_are_separated_with_every_optimizer(name: str, optimizer: str) -> None:
    head, history = fit(name, blobs(60), blobs(20, seed=1), optimizer=optimizer, epochs=60)
    assert accuracy(head, blobs(150, seed=2)) >= 0.9
    assert history.train_loss[-1] < history.train_loss[0]


@pytest.mark.slow
def test_the_linear_head_is_as_good_as_a_tuned_logistic_regression() -> None:
    ours, theirs = [], []
    for seed in range(5):
        train, val, test = (blobs(n, width=200, lead=0.16, seed=10 * seed + i) for i, n in enumerate((60, 18, 300)))
        ours.append(accuracy(fit("linear", train, val, seed=seed)[0], test))
        means = [np.stack([f.values.mean(axis=0) for f in part.features]) for part in (train, val, test)]
        fits = [make_pipeline(StandardScaler(), LogisticRegression(C=c)).fit(means[0], train.labels) for c in 10.0 ** np.arange(-4, 2)]
        best = max(fits, key=lambda made: made.score(means[1], val.labels))
        theirs.append(best.score(means[2], test.labels))
    assert np.mean(ours) > np.mean(theirs) - 0.03  # 1500 answers: two standard errors


def test_only_attention_distinguishes_an_order_from_its_reverse() -> None:
    train, val, test = ordered(60, seed=0), ordered(20, seed=1), ordered(200, seed=2)
    attention, linear = (accuracy(fit(name, train, val, classes=2)[0], test) for name in ("attention", "linear"))
    assert attention >= 0.95
    assert linear <= 0.65


@pytest.mark.parametrize("name", LOOPED)
def test_the_same_seed_gives_the_same_bytes_and_leaves_the_global_generator_alone(name: str) -> None:
    before = torch.get_rng_state()
    twice = []
    for noise in (1, 2):
        np.random.seed(noise)  # noqa: NPY002 - the global generator must not matter
        head = open_head(name, {"dropout": 0.3})
        history = head.fit(blobs(40), blobs(12, seed=1), classes=3, fitting=FitConfig(epochs=12, seed=7))
        twice.append((history, head.weights(), head.last_weights()))
    assert torch.equal(before, torch.get_rng_state())
    assert twice[0][0] == twice[1][0]
    for one, other in zip(twice[0][1:], twice[1][1:], strict=True):
        assert one is not None
        assert other is not None
        assert {n: a.tobytes() for n, a in one.items()} == {n: a.tobytes() for n, a in other.items()}
    other_seed = open_head(name, {"dropout": 0.3})
    other_seed.fit(blobs(40), blobs(12, seed=1), classes=3, fitting=FitConfig(epochs=12, seed=8))
    assert any((other_seed.weights()[n] != array).any() for n, array in twice[0][1].items())


@pytest.mark.parametrize("name", LOOPED)
def test_scores_depend_only_on_the_segment_and_the_weights(name: str) -> None:
    head, _ = fit(name, blobs(40), blobs(12, seed=1), epochs=8)
    features = blobs(30, seed=3).features
    together = head.scores(features)
    assert together.dtype == np.float64
    assert np.array_equal(together, np.concatenate([head.scores([case]) for case in features]))
    again = open_head(name)
    again.load(head.weights())
    assert np.array_equal(again.scores(features), together)
    assert head.scores([]).shape == (0, 3)


@pytest.mark.parametrize("name", LOOPED)
def test_padding_in_a_batch_does_not_change_scores(name: str) -> None:
    """The loop uses padded batches, scoring one segment at a time: both must find the same errors."""
    train = blobs(40, lead=0.2)
    head, history = fit(name, train, None, epochs=1)
    wrong = head.scores(train.features).argmax(axis=1) != train.labels
    assert tuple(wrong.astype(int).tolist()) == history.wrong_train


def test_the_history_has_curves_best_epoch_and_wrong_segments() -> None:
    train, val = blobs(40), blobs(12, seed=1)
    relabelled = replace(val, labels=np.where(np.arange(12) == 5, (val.labels + 1) % 3, val.labels))
    _, history = fit("linear", train, relabelled, epochs=30, patience=5)
    assert len(history.train_loss) == len(history.val_loss) == len(history.train_accuracy) == len(history.val_accuracy) == history.epochs
    assert history.best_epoch in (history.epochs, 1 + int(np.argmin(history.val_calibrated)))
    assert history.val_segments[5] in [segment for segment, _ in history.most_wrong("val", 3)]
    assert History.from_json(json.loads(json.dumps(history.to_json()))).with_segments(train.segments, val.segments) == history
    with pytest.raises(ValueError, match="number of segments"):
        history.with_segments(train.segments[1:], val.segments)


def test_without_validation_all_epochs_are_run() -> None:
    head, history = fit("linear", blobs(30), None, epochs=15)
    assert (history.epochs, history.best_epoch, history.val_loss) == (15, 15, ())
    assert "without validation" in history.stopped
    assert all(np.array_equal(head.weights()[name], array) for name, array in (head.last_weights() or {}).items())


def test_early_stopping_keeps_the_best_epoch() -> None:
    """Every fourth training label is wrong, so the head overfits in later epochs."""
    train, val = blobs(60, width=40, lead=0.5), blobs(300, width=40, lead=0.5, seed=1)
    relabelled = replace(train, labels=np.where(np.arange(60) % 4 == 0, (train.labels + 1) % 3, train.labels))
    head = open_head("linear", {"shrinkage": 0.0})
    history = head.fit(relabelled, val, classes=3, fitting=FitConfig(epochs=300, patience=6, learning_rate=0.3))
    assert history.best_epoch == 1 + int(np.argmin(history.val_calibrated)) < history.epochs < 300
    assert "6 epochs in a row were significantly worse" in history.stopped
    last = head.last_weights()
    assert last is not None
    assert not np.array_equal(last["weight"], head.weights()["weight"])


def test_standardization_uses_the_training_segments_alone() -> None:
    train = blobs(40)
    shifted = replace(blobs(20, seed=1), features=[replace(f, values=f.values * 3 + 1000) for f in blobs(20, seed=1).features])
    assert np.array_equal(
        fit("linear", train, None, epochs=2)[0].weights()["mean"], fit("linear", train, shifted, epochs=2)[0].weights()["mean"]
    )


def test_class_weights_help_the_rare_class() -> None:
    many = blobs(240, lead=0.25, classes=2)
    indices = [i for i, label in enumerate(many.labels) if label == 0 or i % 16 == 1]
    rare = Examples([many.features[i] for i in indices], many.labels[indices])
    test = blobs(200, lead=0.25, classes=2, seed=2)
    recall = []
    for weighted in (False, True):
        head, _ = fit("linear", rare, None, classes=2, class_weights=weighted)
        recall.append(float((head.scores(test.features).argmax(axis=1) == 1)[test.labels == 1].mean()))
    assert recall[1] > recall[0] + 0.1


@pytest.mark.parametrize("name", LOOPED)
def test_label_smoothing_keeps_the_true_class_at_its_smoothed_share(name: str) -> None:
    """Of three classes far apart, the loss with smoothing 0.3 is lowest where the true class has 1 - 0.3 + 0.3 / 3 = 0.8."""
    train = blobs(60, lead=3.0)
    shares = []
    for smoothing in (0.0, 0.3):
        head = open_head(name, {"shrinkage": 0.0})
        head.fit(train, None, classes=3, fitting=FitConfig(epochs=150, label_smoothing=smoothing))
        shares.append(float(softmax(head.scores(train.features), axis=1)[np.arange(60), train.labels].mean()))
    assert shares[0] > 0.97
    assert shares[1] == pytest.approx(0.8, abs=0.03)


def test_constant_features_and_joints_can_be_fitted() -> None:
    train = blobs(30)
    constant = [replace(f, values=np.concatenate([f.values, np.full((len(f), 5), 0.1, np.float32)], axis=1)) for f in train.features]
    joints = [replace(f, values=f.values.reshape(len(f), 8, 3)) for f in train.features]
    assert np.isfinite(fit("attention", replace(train, features=constant), None, epochs=3)[0].scores(constant)).all()
    flat, shaped = fit("linear", train, None, epochs=3)[0], fit("linear", replace(train, features=joints), None, epochs=3)[0]
    assert np.array_equal(flat.scores(train.features), shaped.scores(joints))


def test_a_diverging_loss_names_the_learning_rate() -> None:
    with pytest.raises(ConfigError, match=r"learning_rate: .*lower"):
        fit("linear", blobs(30), None, optimizer="sgd", learning_rate=1e30, epochs=20)


def test_features_that_are_not_finite_are_refused() -> None:
    train = blobs(12)
    train.features[3].values[0, 0] = np.nan
    for name in LOOPED:
        with pytest.raises(ConfigError, match="not finite"):
            fit(name, train, None, epochs=1)


def test_features_of_another_width_are_refused() -> None:
    for name in LOOPED:
        head, _ = fit(name, blobs(12), None, epochs=1)
        with pytest.raises(ConfigError, match="25 numbers where this head was fitted on 24"):
            head.scores(blobs(3, width=25).features)


@pytest.mark.parametrize("name", LOOPED)
def test_weights_of_another_head_are_refused(name: str) -> None:
    head, _ = fit(name, blobs(12), None, epochs=1)
    good = head.weights()
    worse: list[dict[str, NDArray[np.float32]]] = [
        {},
        {n: a for n, a in good.items() if n != "bias"},
        good | {"more": good["bias"]},
        good | {"weight": good["weight"][:-1]},
        good | {"weight": good["weight"].astype(np.float64)},
        good | {"mean": good["mean"] * np.float32(np.nan)},
    ]
    for weights in worse:
        with pytest.raises(ValueError):
            open_head(name).load(weights)


def test_unknown_names_and_settings_are_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownName, match=r"attention.* linear"):
        open_head("liner")
    with pytest.raises(ConfigError, match="dropout, shrinkage"):
        open_head("linear", {"drop": 0.1})
    for settings in (
        {"epochs": 0},
        {"optimizer": "lion"},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"patience": 0},
        {"batch": 0},
    ):
        with pytest.raises(ConfigError):
            FitConfig(**settings)  # type: ignore[arg-type]


def test_folds_keep_groups_whole_and_classes_spread() -> None:
    labels = np.arange(60) % 3
    groups = [f"g{i // 6}" for i in range(60)]
    folds = grouped_folds(labels, groups, np.random.default_rng(0))
    assert all(len({int(fold) for fold, group in zip(folds, groups, strict=True) if group == name}) == 1 for name in set(groups))
    assert np.bincount(folds).tolist() == [12] * 5


def test_noise_gets_more_regularization_than_signal() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    noise = rng.normal(0, 1, (60, 100)) / 10
    signal = noise + np.where(labels[:, None] == 0, 0.2, -0.2)
    strong, weak = (choose_shrinkage(inputs, labels, range(60), classes=2).strength for inputs in (noise, signal))
    assert strong > weak
    assert strong in STRENGTHS


def test_a_thousand_segments_are_fitted_in_seconds() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(1000) % 10
    centres = rng.normal(0, 0.25, (10, 512))
    features = [Features((centres[k] + rng.normal(0, 1, (8, 512))).astype(np.float32), np.arange(8.0)) for k in labels]
    spent = time.process_time()
    _, history = fit("linear", Examples(features[:900], labels[:900]), Examples(features[900:], labels[900:]), classes=10)
    assert time.process_time() - spent < 30  # seconds of work, on a machine that may be busy
    assert max(history.val_accuracy) > 0.9
