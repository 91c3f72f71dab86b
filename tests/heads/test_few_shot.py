"""Heads for few segments: never clearly worse than simpler classifiers, whatever the shape of their examples."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.few_shot import KINDS, MOST, Kind, Problem, accuracies
from quickstep.heads import Examples, FitConfig, Head, open_head
from quickstep.heads.few_shot.gaussian_classes import GaussianClasses
from quickstep.heads.few_shot.selection import blend, held_out_folds, text_bias
from quickstep.heads.inner_folds import training_and_held_out
from quickstep.types.errors import ConfigError
from quickstep.types.segment import Segment
from quickstep.types.signals import Features, Matching, Texts

BOTH = ("few-shot", "prototypes")
WAYS = ("zero-shot", "linear", "nearest mean", "prototypes", "few-shot")
SOME = {kind.name: kind for kind in KINDS}


def results(kind: Kind, shots: int, seeds: range) -> dict[str, float]:
    """Return the mean accuracy of each classifier over new problems."""
    measured = []
    for seed in seeds:
        problem = Problem(kind, seed)
        pool, test = problem.draw(MOST, name="train"), problem.draw(max(10, 300 // kind.classes), name="test")
        chosen = np.tile(np.arange(MOST) < shots, kind.classes)
        measured.append(accuracies(pool.examples(problem.texts, chosen), test.examples(), classes=kind.classes, ways=WAYS))
    return {way: float(np.mean([first[way] for first in measured])) for way in WAYS}


def toy(counts: tuple[int, ...], *, width: int = 12, seed: int = 0, moments: int = 3, words: bool = True) -> Examples:
    """Return so many segments of each class around means that the class descriptions are close to."""
    rng, truth = np.random.default_rng(seed), np.random.default_rng(7)
    middles = truth.normal(0, 1, (len(counts), width))
    labels = np.repeat(np.arange(len(counts)), counts)
    values = middles[labels][:, None] + rng.normal(0, 0.5, (len(labels), moments, width))
    features = [Features(first.astype(np.float32), np.arange(float(moments))) for first in values]
    texts = Texts((middles + truth.normal(0, 0.3, middles.shape)).astype(np.float32), np.arange(len(counts)), Matching(50.0, -3.0))
    segments = tuple(Segment(Path(f"{seed}-{index}.mp4")) for index in range(len(labels)))
    return Examples(features, labels, segments, texts if words else None)


def fitted(name: str, examples: Examples, classes: int) -> Head:
    head = open_head(name)
    head.fit(examples, None, classes=classes, fitting=FitConfig())
    return head


def accuracy(head: Head, examples: Examples) -> float:
    return float((head.scores(examples.features).argmax(axis=1) == examples.labels).mean())


@pytest.mark.parametrize(("name", "shots"), [("worthless words", 1), pytest.param("uneven", 4, marks=pytest.mark.slow)])
def test_they_are_never_clearly_worse_than_simpler_classifiers(name: str, shots: int) -> None:
    """Four new problems with 1200 predictions: a difference of 0.03 may be chance, one of 0.06 is not."""
    measured = results(SOME[name], shots, range(5000, 5004))
    assert measured["few-shot"] > max(measured["zero-shot"], measured["linear"]) - 0.05
    assert measured["prototypes"] > max(measured["nearest mean"], measured["linear"]) - 0.06


@pytest.mark.slow
@pytest.mark.parametrize("shots", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_on_every_kind_they_are_never_clearly_worse_than_simpler_classifiers(kind: Kind, shots: int) -> None:
    measured = results(kind if kind.classes < 50 else replace(kind, width=256, moments=2), shots, range(6000, 6006))
    assert measured["few-shot"] > max(measured["zero-shot"], measured["linear"]) - 0.05
    assert shots > 8 or measured["prototypes"] > max(measured["nearest mean"], measured["linear"]) - 0.06


def test_examples_and_descriptions_together_beat_either() -> None:
    measured = results(SOME["plain"], 2, range(5100, 5103))
    assert measured["few-shot"] > max(measured["zero-shot"], measured["linear"], measured["prototypes"]) + 0.1


def test_without_examples_the_scores_are_the_zero_shot_scores() -> None:
    train = toy((4, 4, 4))
    none = Examples([], np.zeros(0, np.int64), texts=train.texts)
    head, words = fitted("few-shot", none, 3), fitted("zero-shot", none, 3)
    # of the direction of the mean, where the zero-shot head averages cosines: they agree on a single timestamp
    single = [Features(segment.values[:1], segment.times[:1]) for segment in train.features]
    assert np.allclose(head.scores(single), words.scores(single), atol=1e-4)


def test_a_class_without_examples_is_recognized_by_its_description() -> None:
    head = fitted("few-shot", toy((6, 6, 0)), 3)
    test = toy((20, 20, 20), seed=5)
    predicted = head.scores(test.features).argmax(axis=1)
    assert ((predicted == test.labels)[test.labels == 2]).mean() > 0.8
    with pytest.raises(ConfigError, match="1 of 3 have none"):
        fitted("prototypes", toy((6, 6, 0)), 3)
    with pytest.raises(ConfigError, match="needs class descriptions"):
        fitted("few-shot", toy((6, 6, 6), words=False), 3)


@pytest.mark.parametrize("name", BOTH)
def test_a_rare_class_is_still_recognized(name: str) -> None:
    head = fitted(name, toy((1, 16, 16)), 3)
    test = toy((30, 30, 30), seed=6)
    assert ((head.scores(test.features).argmax(axis=1) == 0)[test.labels == 0]).mean() > 0.7


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("counts", [(1, 1), (1, 1, 1), (2, 2), (1, 2, 5), (16, 16, 16)])
@pytest.mark.parametrize("width", [3, 12, 4096])
def test_any_number_of_examples_and_any_width_can_be_fitted(name: str, counts: tuple[int, ...], width: int) -> None:
    head = fitted(name, toy(counts, width=width), len(counts))
    test = toy((10,) * len(counts), width=width, seed=3)
    scores = head.scores(test.features)
    assert scores.shape == (10 * len(counts), len(counts))
    assert np.isfinite(scores).all()
    assert accuracy(head, test) > 1.2 / len(counts)


@pytest.mark.parametrize("name", BOTH)
def test_copies_and_constant_features_give_finite_scores(name: str) -> None:
    train = toy((4, 4, 4))
    copies = Examples([train.features[0], train.features[4], train.features[8]] * 4, np.tile(np.arange(3), 4), texts=train.texts)
    assert np.isfinite(fitted(name, copies, 3).scores(train.features)).all()
    same = Examples([train.features[0]] * 6, np.tile(np.arange(3), 2), texts=train.texts)
    assert np.isfinite(fitted(name, same, 3).scores(train.features)).all()
    nothing = Features(np.zeros((2, 12), np.float32), np.arange(2.0))
    assert np.isfinite(fitted(name, Examples([nothing] * 6, np.tile(np.arange(3), 2), texts=train.texts), 3).scores([nothing])).all()
    constant = [
        Features(np.concatenate([segment.values, np.full((3, 4), 0.25, np.float32)], axis=1), segment.times) for segment in train.features
    ]
    assert train.texts is not None
    wider = replace(train.texts, vectors=np.concatenate([train.texts.vectors, np.zeros((3, 4), np.float32)], axis=1))
    assert accuracy(fitted(name, replace(train, features=constant, texts=wider), 3), replace(train, features=constant)) > 0.9


@pytest.mark.parametrize("name", BOTH)
def test_scores_depend_on_one_segment_and_survive_saving(name: str) -> None:
    head, test = fitted(name, toy((5, 5, 5)), 3), toy((9, 9, 9), seed=4)
    scores = head.scores(test.features)
    assert scores.dtype == np.float64
    assert np.array_equal(scores, np.concatenate([head.scores([segment]) for segment in test.features]))
    assert head.scores([]).shape == (0, 3)
    weights = head.weights()
    assert all(array.flags["C_CONTIGUOUS"] and array.dtype == np.float32 for array in weights.values())
    again = open_head(name)
    again.load(weights)
    assert np.array_equal(again.scores(test.features), scores)
    worse: list[dict[str, NDArray[np.float32]]] = [
        {},
        {n: a for n, a in weights.items() if n != "bias"},
        weights | {"more": weights["bias"]},
        weights | {"weight": weights["weight"][:-1]},
        weights | {"weight": weights["weight"].astype(np.float64)},
        weights | {"mean": weights["mean"] * np.float32(np.nan)},
    ]
    for segment in worse:
        with pytest.raises(ValueError):
            open_head(name).load(segment)


@pytest.mark.parametrize("name", BOTH)
def test_fits_are_deterministic(name: str) -> None:
    np.random.seed(1)  # noqa: NPY002 - the global generator must not matter
    first = fitted(name, toy((4, 4, 4)), 3).weights()
    np.random.seed(2)  # noqa: NPY002
    assert {n: a.tobytes() for n, a in first.items()} == {n: a.tobytes() for n, a in fitted(name, toy((4, 4, 4)), 3).weights().items()}


@pytest.mark.parametrize("name", BOTH)
def test_unusable_features_are_refused(name: str) -> None:
    train = toy((4, 4, 4))
    head = fitted(name, train, 3)
    with pytest.raises(ConfigError, match="13 numbers where this head was fitted on 12"):
        head.scores(toy((1, 1), width=13).features)
    train.features[3].values[0, 0] = np.nan
    with pytest.raises(ConfigError, match="not finite"):
        fitted(name, train, 3)


@pytest.mark.parametrize("name", BOTH)
def test_the_history_has_the_measured_accuracies(name: str) -> None:
    train, validation = toy((5, 5, 5)), toy((3, 3, 3), seed=2)
    head = open_head(name)
    history = head.fit(train, validation, classes=3, fitting=FitConfig())
    assert (history.epochs, history.best_epoch) == (1, 1)
    assert "without epochs" in history.stopped
    assert history.train_accuracy[0] == accuracy(head, train)
    assert history.val_accuracy[0] == accuracy(head, validation)
    assert (history.train_segments, history.val_segments) == (train.segments, validation.segments)
    assert 0 < (history.shrinkage or 0) <= 1


def test_joints_are_flattened() -> None:
    train = toy((5, 5, 5))
    joints = replace(train, features=[Features(segment.values.reshape(3, 4, 3), segment.times) for segment in train.features])
    assert np.array_equal(fitted("prototypes", joints, 3).scores(joints.features), fitted("prototypes", train, 3).scores(train.features))


def test_four_hundred_classes_take_seconds() -> None:
    train = toy((2,) * 400, width=256)
    spent = time.process_time()
    head = fitted("few-shot", train, 400)
    assert time.process_time() - spent < 30  # seconds of work, on a machine that may be busy
    assert accuracy(head, toy((1,) * 400, width=256, seed=9)) > 0.9


def test_scores_are_roughly_calibrated() -> None:
    """The log loss is close to that at the best temperature."""
    from scipy.special import log_softmax

    problem = Problem(SOME["plain"], 77)
    pool, test = problem.draw(8, name="train"), problem.draw(40, name="test")
    for name in BOTH:
        scores = fitted(name, pool.examples(problem.texts), 10).scores(test.features)
        rows = np.arange(len(test.labels))
        losses = [float(-log_softmax(scores * factor, axis=1)[rows, test.labels].mean()) for factor in np.geomspace(0.1, 10, 41)]
        assert losses[20] < min(losses) + 0.1


def test_a_description_close_to_every_video_is_corrected() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(5), 12)
    text_scores = rng.normal(0, 0.1, (60, 5)) + np.eye(5)[labels]
    assert np.abs(text_bias(text_scores, labels, 5)).max() < 0.1
    assert np.allclose(text_bias(text_scores + 3.0 * (np.arange(5) == 2), labels, 5) - 3.0 * ((np.arange(5) == 2) - 0.2), 0, atol=0.2)


def test_groups_are_held_out_whole_and_every_class_stays_known() -> None:
    labels, groups = np.tile(np.arange(3), 8), [f"g{index // 3}" for index in range(24)]
    folds = held_out_folds(labels, groups, np.random.default_rng(0))
    assert folds is not None
    assert all(len({int(fold) for fold, group in zip(folds, groups) if group == name}) == 1 for name in set(groups))
    assert all(set(labels[rest]) == {0, 1, 2} for rest, _ in training_and_held_out(folds, labels))
    assert held_out_folds(np.arange(3), ["a", "b", "c"], np.random.default_rng(0)) is None


def test_uninformative_scores_get_a_small_weight() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 30)
    informative, noise = 2.0 * np.eye(3)[labels] + rng.normal(0, 1, (90, 3)), rng.normal(0, 1, (90, 3))
    weights, surprise = blend([informative, noise], labels, [1.0, 1.0])
    assert weights[0] > 5 * weights[1]
    assert surprise.mean() < np.log(3) / 2


def test_noisy_features_count_less() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(2), 40)
    inputs = rng.normal(0, 1, (80, 3)) * np.array([5.0, 1.0, 1.0])
    inputs[:, 1] += np.where(labels == 0, -1.5, 1.5)
    classes = GaussianClasses.of(inputs, labels, 2)
    weight, _ = classes.linear(classes.means(0.05), 0.05)
    assert abs(weight[1, 0]) > 10 * abs(weight[0, 0])
