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
WAYS = ("words alone", "linear", "nearest mean", "prototypes", "few-shot")
SOME = {kind.name: kind for kind in KINDS}


def results(kind: Kind, shots: int, seeds: range) -> dict[str, float]:
    """The mean accuracy of each way over fresh problems."""
    found = []
    for seed in seeds:
        problem = Problem(kind, seed)
        pool, asked = problem.draw(MOST, name="train"), problem.draw(max(10, 300 // kind.classes), name="test")
        kept = np.tile(np.arange(MOST) < shots, kind.classes)
        found.append(accuracies(pool.examples(problem.texts, kept), asked.examples(), classes=kind.classes, ways=WAYS))
    return {way: float(np.mean([one[way] for one in found])) for way in WAYS}


def toy(counts: tuple[int, ...], *, width: int = 12, seed: int = 0, moments: int = 3, words: bool = True) -> Examples:
    """So many segments of each class around middles that words know."""
    rng, truth = np.random.default_rng(seed), np.random.default_rng(7)
    middles = truth.normal(0, 1, (len(counts), width))
    labels = np.repeat(np.arange(len(counts)), counts)
    values = middles[labels][:, None] + rng.normal(0, 0.5, (len(labels), moments, width))
    features = [Features(one.astype(np.float32), np.arange(float(moments))) for one in values]
    texts = Texts((middles + truth.normal(0, 0.3, middles.shape)).astype(np.float32), np.arange(len(counts)), Matching(50.0, -3.0))
    segments = tuple(Segment(Path(f"{seed}-{index}.mp4")) for index in range(len(labels)))
    return Examples(features, labels, segments, texts if words else None)


def fitted(name: str, examples: Examples, classes: int) -> Head:
    head = open_head(name)
    head.fit(examples, None, classes=classes, fitting=FitConfig())
    return head


def accuracy(head: Head, examples: Examples) -> float:
    return float((head.scores(examples.features).argmax(axis=1) == examples.labels).mean())


@pytest.mark.parametrize(("name", "shots"), [("worthless words", 1), ("uneven", 4)])
def test_they_are_never_clearly_below_what_is_simpler(name: str, shots: int) -> None:
    """Fresh problems: 4 of each kind, 1200 answers; a difference of 0.03 may be luck, one of 0.06 is not."""
    found = results(SOME[name], shots, range(5000, 5004))
    assert found["few-shot"] > max(found["words alone"], found["linear"]) - 0.05
    assert found["prototypes"] > max(found["nearest mean"], found["linear"]) - 0.06


@pytest.mark.slow
@pytest.mark.parametrize("shots", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_on_every_kind_they_are_never_clearly_below_what_is_simpler(kind: Kind, shots: int) -> None:
    found = results(kind if kind.classes < 50 else replace(kind, width=256, moments=2), shots, range(6000, 6006))
    assert found["few-shot"] > max(found["words alone"], found["linear"]) - 0.05
    assert shots > 8 or found["prototypes"] > max(found["nearest mean"], found["linear"]) - 0.06


def test_examples_and_words_together_beat_both() -> None:
    found = results(SOME["plain"], 2, range(5100, 5103))
    assert found["few-shot"] > max(found["words alone"], found["linear"], found["prototypes"]) + 0.1


def test_without_examples_words_decide_with_the_networks_own_scale() -> None:
    shown = toy((4, 4, 4))
    none = Examples([], np.zeros(0, np.int64), texts=shown.texts)
    head, words = fitted("few-shot", none, 3), fitted("zero-shot", none, 3)
    # of the direction of the mean, where the head of words alone means over cosines: the same for a single moment
    single = [Features(each.values[:1], each.times[:1]) for each in shown.features]
    assert np.allclose(head.scores(single), words.scores(single), atol=1e-4)


def test_a_class_without_examples_is_known_by_its_words() -> None:
    head = fitted("few-shot", toy((6, 6, 0)), 3)
    asked = toy((20, 20, 20), seed=5)
    said = head.scores(asked.features).argmax(axis=1)
    assert ((said == asked.labels)[asked.labels == 2]).mean() > 0.8
    with pytest.raises(ConfigError, match="1 of 3 have none"):
        fitted("prototypes", toy((6, 6, 0)), 3)
    with pytest.raises(ConfigError, match="needs class descriptions"):
        fitted("few-shot", toy((6, 6, 6), words=False), 3)


@pytest.mark.parametrize("name", BOTH)
def test_unequal_numbers_do_not_drown_the_rare_class(name: str) -> None:
    head = fitted(name, toy((1, 16, 16)), 3)
    asked = toy((30, 30, 30), seed=6)
    assert ((head.scores(asked.features).argmax(axis=1) == 0)[asked.labels == 0]).mean() > 0.7


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("counts", [(1, 1), (1, 1, 1), (2, 2), (1, 2, 5), (16, 16, 16)])
@pytest.mark.parametrize("width", [3, 12, 4096])
def test_any_number_and_any_width(name: str, counts: tuple[int, ...], width: int) -> None:
    head = fitted(name, toy(counts, width=width), len(counts))
    asked = toy((10,) * len(counts), width=width, seed=3)
    scores = head.scores(asked.features)
    assert scores.shape == (10 * len(counts), len(counts))
    assert np.isfinite(scores).all()
    assert accuracy(head, asked) > 1.2 / len(counts)


@pytest.mark.parametrize("name", BOTH)
def test_copies_and_constant_numbers_do_no_harm(name: str) -> None:
    shown = toy((4, 4, 4))
    copies = Examples([shown.features[0], shown.features[4], shown.features[8]] * 4, np.tile(np.arange(3), 4), texts=shown.texts)
    assert np.isfinite(fitted(name, copies, 3).scores(shown.features)).all()
    same = Examples([shown.features[0]] * 6, np.tile(np.arange(3), 2), texts=shown.texts)
    assert np.isfinite(fitted(name, same, 3).scores(shown.features)).all()
    nothing = Features(np.zeros((2, 12), np.float32), np.arange(2.0))
    assert np.isfinite(fitted(name, Examples([nothing] * 6, np.tile(np.arange(3), 2), texts=shown.texts), 3).scores([nothing])).all()
    constant = [Features(np.concatenate([each.values, np.full((3, 4), 0.25, np.float32)], axis=1), each.times) for each in shown.features]
    assert shown.texts is not None
    wider = replace(shown.texts, vectors=np.concatenate([shown.texts.vectors, np.zeros((3, 4), np.float32)], axis=1))
    assert accuracy(fitted(name, replace(shown, features=constant, texts=wider), 3), replace(shown, features=constant)) > 0.9


@pytest.mark.parametrize("name", BOTH)
def test_scores_are_of_a_segment_alone_and_the_same_after_loading(name: str) -> None:
    head, asked = fitted(name, toy((5, 5, 5)), 3), toy((9, 9, 9), seed=4)
    scores = head.scores(asked.features)
    assert scores.dtype == np.float64
    assert np.array_equal(scores, np.concatenate([head.scores([each]) for each in asked.features]))
    assert head.scores([]).shape == (0, 3)
    weights = head.weights()
    assert all(array.flags["C_CONTIGUOUS"] and array.dtype == np.float32 for array in weights.values())
    again = open_head(name)
    again.load(weights)
    assert np.array_equal(again.scores(asked.features), scores)
    worse: list[dict[str, NDArray[np.float32]]] = [
        {},
        {n: a for n, a in weights.items() if n != "bias"},
        weights | {"more": weights["bias"]},
        weights | {"weight": weights["weight"][:-1]},
        weights | {"weight": weights["weight"].astype(np.float64)},
        weights | {"mean": weights["mean"] * np.float32(np.nan)},
    ]
    for each in worse:
        with pytest.raises(ValueError):
            open_head(name).load(each)


@pytest.mark.parametrize("name", BOTH)
def test_the_same_examples_give_the_same_bytes_in_any_company(name: str) -> None:
    np.random.seed(1)  # noqa: NPY002 - somebody else's chance must not matter
    one = fitted(name, toy((4, 4, 4)), 3).weights()
    np.random.seed(2)  # noqa: NPY002
    assert {n: a.tobytes() for n, a in one.items()} == {n: a.tobytes() for n, a in fitted(name, toy((4, 4, 4)), 3).weights().items()}


@pytest.mark.parametrize("name", BOTH)
def test_what_cannot_be_used_is_refused_in_one_line(name: str) -> None:
    shown = toy((4, 4, 4))
    head = fitted(name, shown, 3)
    with pytest.raises(ConfigError, match="13 numbers where this head was fitted on 12"):
        head.scores(toy((1, 1), width=13).features)
    shown.features[3].values[0, 0] = np.nan
    with pytest.raises(ConfigError, match="not finite"):
        fitted(name, shown, 3)


@pytest.mark.parametrize("name", BOTH)
def test_history_tells_what_was_measured(name: str) -> None:
    shown, watched = toy((5, 5, 5)), toy((3, 3, 3), seed=2)
    head = open_head(name)
    history = head.fit(shown, watched, classes=3, fitting=FitConfig())
    assert (history.epochs, history.best_epoch) == (1, 1)
    assert "without epochs" in history.stopped
    assert history.train_accuracy[0] == accuracy(head, shown)
    assert history.val_accuracy[0] == accuracy(head, watched)
    assert (history.train_segments, history.val_segments) == (shown.segments, watched.segments)
    assert 0 < (history.shrinkage or 0) <= 1


def test_joints_are_taken_as_they_come() -> None:
    shown = toy((5, 5, 5))
    joints = replace(shown, features=[Features(each.values.reshape(3, 4, 3), each.times) for each in shown.features])
    assert np.array_equal(fitted("prototypes", joints, 3).scores(joints.features), fitted("prototypes", shown, 3).scores(shown.features))


def test_four_hundred_classes_take_seconds() -> None:
    shown = toy((2,) * 400, width=256)
    spent = time.process_time()
    head = fitted("few-shot", shown, 400)
    assert time.process_time() - spent < 30  # seconds of work, on a machine that may be busy
    assert accuracy(head, toy((1,) * 400, width=256, seed=9)) > 0.9


def test_scores_are_about_as_sure_as_they_are_right() -> None:
    """Mean surprise, uncalibrated, against that at the temperature that would have suited best."""
    from scipy.special import log_softmax

    problem = Problem(SOME["plain"], 77)
    pool, asked = problem.draw(8, name="train"), problem.draw(40, name="test")
    for name in BOTH:
        scores = fitted(name, pool.examples(problem.texts), 10).scores(asked.features)
        rows = np.arange(len(asked.labels))
        losses = [float(-log_softmax(scores * factor, axis=1)[rows, asked.labels].mean()) for factor in np.geomspace(0.1, 10, 41)]
        assert losses[20] < min(losses) + 0.1


def test_words_that_are_near_to_everything_are_held_back() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(5), 12)
    told = rng.normal(0, 0.1, (60, 5)) + np.eye(5)[labels]
    assert np.abs(text_bias(told, labels, 5)).max() < 0.1
    assert np.allclose(text_bias(told + 3.0 * (np.arange(5) == 2), labels, 5) - 3.0 * ((np.arange(5) == 2) - 0.2), 0, atol=0.2)


def test_groups_are_held_back_whole_and_every_class_stays_known() -> None:
    labels, groups = np.tile(np.arange(3), 8), [f"g{index // 3}" for index in range(24)]
    folds = held_out_folds(labels, groups, np.random.default_rng(0))
    assert folds is not None
    assert all(len({int(fold) for fold, group in zip(folds, groups) if group == name}) == 1 for name in set(groups))
    assert all(set(labels[rest]) == {0, 1, 2} for rest, _ in training_and_held_out(folds, labels))
    assert held_out_folds(np.arange(3), ["a", "b", "c"], np.random.default_rng(0)) is None


def test_a_useless_opinion_ends_up_counting_little() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 30)
    telling, noise = 2.0 * np.eye(3)[labels] + rng.normal(0, 1, (90, 3)), rng.normal(0, 1, (90, 3))
    weights, surprise = blend([telling, noise], labels, [1.0, 1.0])
    assert weights[0] > 5 * weights[1]
    assert surprise.mean() < np.log(3) / 2


def test_directions_full_of_noise_count_less() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(2), 40)
    inputs = rng.normal(0, 1, (80, 3)) * np.array([5.0, 1.0, 1.0])
    inputs[:, 1] += np.where(labels == 0, -1.5, 1.5)
    classes = GaussianClasses.of(inputs, labels, 2)
    weight, _ = classes.linear(classes.means(0.05), 0.05)
    assert abs(weight[1, 0]) > 10 * abs(weight[0, 0])
