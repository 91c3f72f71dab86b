"""Metrics against scikit-learn and brute force; intervals against simulated truth."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as truth

from quickstep.evaluation import metrics
from quickstep.types import confidence_intervals


def made_up(seed: int, *, count: int = 60, classes: int = 4, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities; with `ties` many scores are equal."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    logits = rng.normal(size=(count, classes)) + 1.2 * np.eye(classes)[labels]
    if ties:
        logits = np.round(logits)
    scores = np.exp(logits)
    return labels, scores / scores.sum(axis=1, keepdims=True)


@st.composite
def wild(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Any labels, absent classes included, with coarse scores, so that ties are common."""
    classes, count = draw(st.integers(2, 6)), draw(st.integers(1, 30))
    labels = draw(st.lists(st.integers(0, classes - 1), min_size=count, max_size=count))
    raw = draw(st.lists(st.lists(st.integers(0, 4), min_size=classes, max_size=classes), min_size=count, max_size=count))
    scores = np.array(raw, dtype=np.float64) + 1e-9
    return np.array(labels), scores / scores.sum(axis=1, keepdims=True)


def test_classes_without_segments_do_not_lower_the_shares() -> None:
    """Two of four classes were tested, with recalls of 1/2 and 1."""
    labels, predicted = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
    accuracy, balanced, f1 = metrics.plain_shares(labels, predicted, classes=4)
    assert (accuracy, balanced) == (0.75, 0.75)
    assert balanced == pytest.approx(truth.balanced_accuracy_score(labels, predicted))
    assert f1 == pytest.approx(truth.f1_score(labels, predicted, average="macro"))


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_shares_equal_scikit_learn(seed: int, ties: bool) -> None:
    labels, scores = made_up(seed, ties=ties)
    predicted = scores.argmax(axis=1)
    summary = metrics.summarize(labels, predicted, range(len(labels)), classes=4)
    assert summary.accuracy.value == pytest.approx(truth.accuracy_score(labels, predicted))
    assert summary.balanced_accuracy.value == pytest.approx(truth.balanced_accuracy_score(labels, predicted))
    assert summary.macro_f1.value == pytest.approx(truth.f1_score(labels, predicted, average="macro"))
    np.testing.assert_array_equal(
        metrics.confusion(labels, predicted, classes=4), truth.confusion_matrix(labels, predicted, labels=range(4))
    )
    assert metrics.log_loss(labels, scores) == pytest.approx(truth.log_loss(labels, scores, labels=range(4)))


@pytest.mark.parametrize("ties", [False, True])
def test_per_class_figures_equal_scikit_learn(ties: bool) -> None:
    labels, scores = made_up(5, ties=ties)
    predicted = scores.argmax(axis=1)
    classes = metrics.per_class(metrics.confusion(labels, predicted, classes=4), list("abcd"))
    precision, recall, f1, support = truth.precision_recall_fscore_support(labels, predicted, labels=range(4))
    for index, figures in enumerate(classes):
        assert (figures.precision, figures.recall, figures.f1) == pytest.approx((precision[index], recall[index], f1[index]))
        assert figures.count == support[index]


@pytest.mark.parametrize("ties", [False, True])
def test_areas_equal_scikit_learn(ties: bool) -> None:
    labels, scores = made_up(7, count=200, ties=ties)
    rocs, prs = metrics.one_against_rest(labels, scores, list("abcd"))
    for index in range(4):
        assert rocs[index].area == pytest.approx(truth.roc_auc_score(labels == index, scores[:, index]))
        assert prs[index].area == pytest.approx(truth.average_precision_score(labels == index, scores[:, index]))
        assert (rocs[index].x[0], rocs[index].y[0], rocs[index].x[-1], rocs[index].y[-1]) == (0, 0, 1, 1)


def test_absent_classes_have_no_curve_and_no_recall() -> None:
    scores = np.array([[0.5, 0.3, 0.2], [0.2, 0.6, 0.2]])
    labels = np.array([0, 1])
    rocs, prs = metrics.one_against_rest(labels, scores, list("abc"))
    assert rocs[2].area is None
    assert prs[2].area is None
    assert rocs[2].x == ()
    absent = metrics.per_class(metrics.confusion(labels, labels, classes=3), list("abc"))[2]
    assert (absent.count, absent.recall, absent.precision, absent.f1) == (0, None, None, None)
    assert metrics.mean_area(rocs) == 1.0
    only = metrics.roc(np.array([True, True]), np.array([0.1, 0.9]))
    assert only.area is None


def test_top_k_never_crashes_and_counts_ties_as_named() -> None:
    scores = np.array([[0.25, 0.25, 0.25, 0.25], [0.1, 0.4, 0.4, 0.1]])
    labels = np.array([1, 2])
    assert [metrics.top_k(labels, scores, k=k) for k in (1, 2, 3, 4, 5, 99)] == [0.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    labels, scores = made_up(3)
    for k in range(1, 5):
        brute = np.mean([label in sorted(range(4), key=lambda c: (-row[c], c))[:k] for label, row in zip(labels, scores)])
        assert metrics.top_k(labels, scores, k=k) == pytest.approx(brute)


def test_calibration_by_hand() -> None:
    scores = np.array([[0.95, 0.05], [0.92, 0.08], [0.65, 0.35], [0.4, 0.6]])
    labels = np.array([0, 1, 0, 1])
    reliability = metrics.reliability(labels, scores)
    # bands: (0.5, 0.6] one sure 0.6 and right, (0.6, 0.7] one 0.65 right, (0.9, 1] two of mean 0.935, one right
    assert reliability.counts == (1, 1, 2)
    assert reliability.ece == pytest.approx((abs(0.6 - 1) + abs(0.65 - 1) + 2 * abs(0.935 - 0.5)) / 4)
    assert reliability.brier == pytest.approx(np.mean([2 * 0.05**2, 2 * 0.92**2, 2 * 0.35**2, 2 * 0.4**2]))


@given(wild(), st.floats(0.1, 8.0))
def test_temperature_is_undone(made: tuple[np.ndarray, np.ndarray], temperature: float) -> None:
    _, first = made
    first = (first + 0.01) / (first + 0.01).sum(axis=1, keepdims=True)
    cooled = np.exp(np.log(first) / temperature)
    cooled /= cooled.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(metrics.at_temperature(cooled, temperature), first, atol=1e-9)


def test_certain_scores_survive_the_temperature() -> None:
    scaled = metrics.at_temperature(np.array([[1.0, 0.0], [0.5, 0.5]]), 3.0)
    assert np.isfinite(scaled).all()
    assert scaled[1].tolist() == [0.5, 0.5]


def test_risk_and_coverage_by_brute_force() -> None:
    labels, scores = made_up(11, count=7, ties=True)
    sure, wrong = scores.max(axis=1), scores.argmax(axis=1) != labels
    orders = [  # every order in which equally sure segments may come
        order for order in itertools.permutations(range(7)) if all(sure[a] >= sure[b] for a, b in itertools.pairwise(order))
    ]
    risks = [[wrong[list(order[:n])].mean() for n in range(1, 8)] for order in orders]
    curve = metrics.risk_coverage(labels, scores)
    np.testing.assert_allclose(curve.risk, np.mean(risks, axis=0), atol=1e-6)
    assert curve.area == pytest.approx(np.mean(risks))
    assert curve.coverage[-1] == 1.0
    assert curve.best_area <= curve.area + 1e-12


@given(wild())
@settings(max_examples=60)
def test_wild_inputs_give_numbers_in_range(made: tuple[np.ndarray, np.ndarray]) -> None:
    labels, scores = made
    metrics.check(labels, scores)
    predicted = scores.argmax(axis=1)
    summary = metrics.summarize(labels, predicted, [str(n % 3) for n in range(len(labels))], classes=scores.shape[1])
    for interval in (summary.accuracy, summary.balanced_accuracy, summary.macro_f1):
        assert 0 <= interval.low <= interval.value + 1e-12
        assert interval.value <= interval.high + 1e-12 <= 1 + 1e-9
        assert interval.low < interval.high
    calibrated, risk = metrics.reliability(labels, scores), metrics.risk_coverage(labels, scores)
    assert 0 <= calibrated.ece <= 1
    assert sum(calibrated.counts) == len(labels)
    assert 0 <= risk.best_area <= risk.area + 1e-9 <= 1 + 1e-9
    for curve in itertools.chain(*metrics.one_against_rest(labels, scores, [str(n) for n in range(scores.shape[1])])):
        assert curve.area is None or 0 <= curve.area <= 1 + 1e-12


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0], [[math.nan, 0.5]], "not finite"),
        ([0], [[math.inf, 0.0]], "not finite"),
        ([0], [[0.4, 0.4]], "sum to 1"),
        ([0], [[1.5, -0.5]], "at least 0"),
        ([2], [[0.5, 0.5]], "from 0 to 1"),
        ([-1], [[0.5, 0.5]], "from 0 to 1"),
        ([0.0], [[0.5, 0.5]], "integers"),
        ([0, 1], [[0.5, 0.5]], "(N,)"),
        (np.zeros(0, dtype=int), np.zeros((0, 2)), "nothing to measure"),
    ],
)
def test_what_is_no_measurement_is_refused(labels: object, scores: object, message: str) -> None:
    with pytest.raises(ValueError, match="(?i)" + message.replace("(", r"\(").replace(")", r"\)")):
        metrics.check(np.array(labels), np.array(scores, dtype=np.float64))


# -- intervals ---------------------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_interval() -> None:
    right = np.arange(40) % 3 > 0
    groups = [n % 8 for n in range(40)]
    assert confidence_intervals.share(right, groups, seed=3) == confidence_intervals.share(right, groups, seed=3)


def test_groups_that_are_right_together_make_it_wider() -> None:
    groups = np.repeat(np.arange(20), 10)
    right = groups % 4 > 0
    alone, together = confidence_intervals.share(right, list(range(200))), confidence_intervals.share(right, groups.tolist())
    assert together.high - together.low > 2 * (alone.high - alone.low)
    assert (alone.over, together.over, together.units) == ("segments", "groups", 20)


def test_too_few_groups_are_said() -> None:
    right = np.arange(30) % 3 > 0
    assert confidence_intervals.share(right, ["one"] * 30).over == "segments"
    assert "all segments are of one group" in confidence_intervals.share(right, ["one"] * 30).note
    assert "only 2 groups" in confidence_intervals.share(right, ["one", "two"] * 15).note
    assert "only 5 groups" in confidence_intervals.share(right, [n % 5 for n in range(30)]).note
    assert confidence_intervals.share(right, list(range(30))).note == ""


def test_all_right_is_not_certainty() -> None:
    interval = confidence_intervals.share(np.ones(40, dtype=bool), list(range(40)))
    low, high = confidence_intervals.wilson(40, 40)
    assert (interval.low, interval.high) == (pytest.approx(low), 1.0)
    assert 0.9 < interval.low < 0.92
    assert "all right" in interval.note
    assert high == 1.0
    few = confidence_intervals.share(np.ones(40, dtype=bool), [n % 4 for n in range(40)])
    assert few.low < 0.6  # four dancers cannot promise more
    none = confidence_intervals.share(np.zeros(5, dtype=bool), list(range(5)))
    assert none.low == 0
    assert none.high > 0.4


def test_one_segment_is_hardly_anything() -> None:
    interval = confidence_intervals.share(np.array([True]), ["a"])
    assert interval.low < 0.25
    assert interval.high == 1.0


@pytest.mark.parametrize(("groups", "size", "spread"), [(6, 8, 0.3), (20, 5, 0.3), (40, 1, 0.0), (12, 4, 0.15)])
def test_intervals_hold_the_truth_about_as_often_as_they_say(groups: int, size: int, spread: float) -> None:
    rng = np.random.default_rng(0)
    held, turns = 0, 150
    for turn in range(turns):
        rates = np.clip(0.7 + spread * rng.uniform(-1, 1, groups), 0, 1)
        right = rng.random((groups, size)) < rates[:, None]
        interval = confidence_intervals.share(right.ravel(), np.repeat(np.arange(groups), size).tolist(), seed=turn)
        held += interval.low <= 0.7 <= interval.high
    assert held / turns >= 0.9


def test_wilson_equals_the_textbook() -> None:
    # Newcombe (1998), table I: 81 of 263 and 15 of 148
    assert confidence_intervals.wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert confidence_intervals.wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=1e-4)


def test_paired_difference_and_mcnemar_by_hand() -> None:
    a = np.array([True] * 30 + [True] * 9 + [False] * 2 + [False] * 9)
    b = np.array([True] * 30 + [False] * 9 + [True] * 2 + [False] * 9)
    difference = confidence_intervals.difference(a, b, list(range(50)))
    assert difference.interval.value == pytest.approx(7 / 50)
    assert (difference.only_a, difference.only_b) == (9, 2)
    assert difference.p_mcnemar == pytest.approx(2 * sum(math.comb(11, k) for k in range(3)) / 2**11)
    assert difference.p == pytest.approx(difference.p_mcnemar, abs=1e-9)  # of single segments, flipping signs is McNemar's test
    assert difference.interval.low < 7 / 50 < difference.interval.high


def test_equal_answers_differ_by_nothing_but_not_surely() -> None:
    same = np.array([True, False] * 10)
    difference = confidence_intervals.difference(same, same, list(range(20)))
    assert difference.interval.value == 0
    assert difference.interval.low < 0 < difference.interval.high
    assert (difference.p, difference.p_mcnemar) == (1.0, 1.0)


def test_sign_flips_count_groups_not_segments() -> None:
    groups = np.repeat(np.arange(4), 25).tolist()
    better, worse = np.ones(100, dtype=bool), np.zeros(100, dtype=bool)
    difference = confidence_intervals.difference(better, worse, groups)
    assert difference.p == pytest.approx(2 / 2**4)  # four groups cannot say more
    assert difference.p_mcnemar < 1e-20
    many = confidence_intervals.sign_flip(np.ones(30), seed=1)
    assert 0 < many < 0.01


def test_holm_by_hand() -> None:
    assert confidence_intervals.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert confidence_intervals.holm([0.9, 0.8]) == [1.0, 1.0]
    assert confidence_intervals.holm([]) == []


def test_ten_thousand_groups_are_quick_and_small() -> None:
    right = np.random.default_rng(0).random(10_000) < 0.8
    interval = confidence_intervals.share(right, list(range(10_000)))
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * 0.4 / 100, rel=0.1)
