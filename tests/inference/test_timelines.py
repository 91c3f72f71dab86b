"""Timelines: windows score as segments do, to the bit; spans are the best sequence; files are valid; metrics equal hand-computed ones."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from places import HELPERS, ROOT
from toys import COLOURS, Colours, Words, draw_colours

from quickstep.apps.cli import main
from quickstep.backbones import Backbone, Capabilities
from quickstep.inference.timelines import (
    Span,
    Timeline,
    TimelineConfig,
    WindowScores,
    evaluate_timeline,
    read_spans,
    timeline,
    timelines,
    write_timeline,
)
from quickstep.inference.timelines.evaluation import _f1
from quickstep.inference.timelines.smoothing import Smoothing, best_sequence, spans_of
from quickstep.inference.timelines.spans import joined
from quickstep.inference.timelines.windows import lay_grid, lay_windows
from quickstep.models.ensemble import Ensemble
from quickstep.models.model import Model
from quickstep.signals.poses.formats import write_poses
from quickstep.signals.video import write_video
from quickstep.storage.cache import Cache
from quickstep.training.train import TrainConfig, train
from quickstep.training.zero_shot import ZeroShotConfig, zero_shot
from quickstep.types.errors import ConfigError, ManifestError, MediaError
from quickstep.types.segment import Failure, Segment
from quickstep.types.signals import Features, Frames, Poses
from quickstep.types.skeleton import SKELETONS
from quickstep.types.view import View

TRUTH = (("red", 0, 5), ("blue", 5, 9), ("green", 9, 16), ("red", 16, 20))
FPS = 6
EMBEDDED: list[int] = []  # frames of each call of a backbone


class FrameColours(Colours):
    """Embeds each frame by itself, and declares it."""

    capabilities = Capabilities(frame_by_frame=True)

    def embed(self, batch):  # type: ignore[no-untyped-def]
        EMBEDDED.extend(len(frames) for frames in batch)
        return super().embed(batch)


class Uneven(Colours):
    """A backbone with a frame rate that gives one vector for a dark window, and two for a light one."""

    name = "uneven"
    view = View(frames=4, fps=4.0, size=8, windows=None, fit="stretch", resample="area")

    def __init__(self) -> None:
        self.identity = {"name": "uneven"}

    def embed(self, batch: list[Frames]) -> list[Features]:
        features = []
        for frames in batch:
            mean = frames.pixels.mean(axis=(0, 1, 2), dtype=np.float32)
            count = 1 + int(mean.sum() > 262)
            features.append(Features(np.stack([mean] * count), frames.times[:count]))
        return features


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("timelines")


@pytest.fixture(scope="module")
def cache(place: Path) -> Cache:
    return Cache(place / "cache")


@pytest.fixture(scope="module")
def models(place: Path, cache: Cache) -> dict[str, Model]:
    manifest = draw_colours(place / "videos")
    trained = {}
    backbones: dict[str, Backbone] = {"each": FrameColours(), "windows": Colours("b"), "uneven": Uneven()}
    for name, backbone in backbones.items():
        trained[name] = train(manifest, TrainConfig(epochs=15), backbone=backbone, cache=cache).model
    return trained


@pytest.fixture(scope="module")
def long(place: Path) -> Path:
    rng = np.random.default_rng(1)
    path = place / "long video.mp4"
    colours = [COLOURS[label] for label, start, end in TRUTH for _ in range((end - start) * FPS)]
    write_video(path, [np.clip(np.array(c) + rng.integers(-20, 20, (24, 32, 3)), 0, 255).astype(np.uint8) for c in colours], fps=FPS)
    return path


def spans(*rows: tuple[str | None, float, float]) -> tuple[Span, ...]:
    return tuple(Span(start, end, label, 1.0, None, label or "a") for label, start, end in rows)


def predicted_timeline(*rows: tuple[str | None, float, float], labels: tuple[str, ...] = ("a", "b", "c")) -> Timeline:
    end = max((row[2] for row in rows), default=0.0)
    scores = WindowScores(np.array([end / 2]), np.full((1, len(labels)), 1 / len(labels)), end, end)
    return Timeline(Path("x.mp4"), end, labels, spans(*rows), (scores,))


# -- windows -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["each", "windows", "uneven"])
def test_a_window_has_the_scores_of_a_segment_to_the_bit(models: dict[str, Model], long: Path, cache: Cache, name: str) -> None:
    windows = timeline(models[name], long, cache=cache).scores[0]
    halves = windows.window / 2
    segments = [Segment(long, start=max(0.0, float(t - halves)), end=float(t + halves)) for t in windows.times]
    expected = np.stack([prediction.scores for prediction in models[name].predict(segments, cache=cache).predictions])
    assert np.array_equal(windows.scores, expected)


@pytest.mark.parametrize("name", ["each", "windows", "uneven"])
def test_spans_are_where_the_video_changes(models: dict[str, Model], long: Path, cache: Cache, name: str) -> None:
    result = timeline(models[name], long, cache=cache)
    assert [span.label for span in result.spans] == [label for label, _, _ in TRUTH]
    assert result.spans[0].start == 0
    assert result.spans[-1].end == result.duration == pytest.approx(20)
    for span, other in itertools.pairwise(result.spans):
        assert span.end == other.start
    for span, (_, start, end) in zip(result.spans, TRUTH, strict=True):
        assert span.start == pytest.approx(start, abs=0.3)
        assert span.end == pytest.approx(end, abs=0.3)


def test_a_frame_is_embedded_once_and_then_cached(models: dict[str, Model], long: Path, tmp_path: Path) -> None:
    EMBEDDED.clear()
    first = timeline(models["each"], long, cache=Cache(tmp_path))
    assert sum(EMBEDDED) == round(first.duration / (first.scores[0].window / 3))  # three timestamps a window, shared by windows
    EMBEDDED.clear()
    again = timeline(models["each"], long, cache=Cache(tmp_path))
    assert EMBEDDED == []
    assert np.array_equal(first.scores[0].scores, again.scores[0].scores)
    assert first.spans == again.spans


def test_stretches_do_not_change_scores(
    models: dict[str, Model], long: Path, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("each", "windows", "uneven"):
        whole = timeline(models[name], long, cache=cache)
        monkeypatch.setattr("quickstep.inference.timelines.window_scores.STRETCH_SECONDS", 3.3)
        parts = timeline(models[name], long, cache=Cache(tmp_path / name))
        monkeypatch.undo()
        assert np.array_equal(whole.scores[0].scores, parts.scores[0].scores)


def test_a_window_is_as_long_as_the_training_segments(models: dict[str, Model], long: Path, cache: Cache) -> None:
    assert timeline(models["each"], long, cache=cache).scores[0].window == pytest.approx(1.0, rel=0.02)
    windows = timeline(models["each"], long, TimelineConfig(window=2.0, stride=1.0), cache=cache).scores[0]
    assert (windows.window, windows.stride) == pytest.approx((2.0, 4 / 3), rel=0.01)  # a grid of three timestamps a window
    windows = timeline(models["windows"], long, TimelineConfig(window=2.0, stride=1.0), cache=cache).scores[0]
    assert (windows.window, windows.stride, len(windows.times)) == (2.0, 1.0, 19)
    unknown = replace(models["each"], manifest=None)
    assert timeline(unknown, long, cache=cache).scores[0].window == pytest.approx(3.0, rel=0.02)
    with pytest.raises(ConfigError, match="stride"):
        timeline(models["each"], long, TimelineConfig(stride=2.0), cache=cache)


def test_a_video_shorter_than_a_window_is_one_span(models: dict[str, Model], place: Path, cache: Cache) -> None:
    short = place / "videos" / "red" / "0.mp4"
    for name in ("each", "windows", "uneven"):
        result = timeline(models[name], short, TimelineConfig(window=9.0), cache=cache)
        assert [(span.label, span.start, span.end) for span in result.spans] == [("red", 0.0, result.duration)]
        predicted = models[name].predict([short], cache=cache).predictions[0]
        assert np.array_equal(result.scores[0].scores[0], predicted.scores)


def test_windows_cover_the_whole_video() -> None:
    for duration, window, stride in ((10.0, 3.0, 0.7), (3.0, 3.0, 1.0), (3.01, 3.0, 1.0), (0.5, 3.0, 1.0)):
        layout = lay_windows(duration, window, stride)
        assert layout.starts[0] == 0
        assert layout.starts[-1] + layout.length == pytest.approx(duration)
        assert np.all(np.diff(layout.starts) <= stride + 1e-9)
        grid = lay_grid(duration, window, stride, per_window=8)
        assert grid.count * grid.step == pytest.approx(duration)
        assert grid.firsts[-1] + grid.per_window == grid.count
        assert grid.layout.length == pytest.approx(min(window, duration), rel=0.07)


def test_zero_shot_models_and_ensembles_have_timelines(place: Path, models: dict[str, Model], long: Path, cache: Cache) -> None:
    prompted = zero_shot(ZeroShotConfig(labels="red,green,blue"), backbone=Words(), cache=cache)
    result = timeline(prompted, long, TimelineConfig(min_confidence=0), cache=cache)
    assert [span.label for span in result.spans] == [label for label, _, _ in TRUTH]
    both = Ensemble((models["each"], models["windows"]), (0.5, 0.5), ("one", "two"))
    result = timeline(both, long, cache=cache)
    assert [span.label for span in result.spans] == [label for label, _, _ in TRUTH]
    twin = Ensemble((models["windows"], models["windows"]), (0.3, 0.7), ("one", "two"))
    assert np.allclose(timeline(twin, long, cache=cache).scores[0].scores, timeline(models["windows"], long, cache=cache).scores[0].scores)


def test_a_video_that_cannot_be_read_is_a_failure(models: dict[str, Model], long: Path, cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    results = list(timelines(models["each"], [tmp_path / "text.mp4", long, tmp_path / "nowhere.mp4"], cache=cache))
    assert [type(result) for result in results] == [Failure, Timeline, Failure]
    with pytest.raises(ConfigError, match="person"):
        timeline(models["each"], long, person="all", cache=cache)


@pytest.mark.parametrize("name", ["each", "windows"])
def test_a_damaged_part_of_the_file_is_a_gap(models: dict[str, Model], long: Path, tmp_path: Path, name: str) -> None:
    """Bytes in the middle are zero; what comes before and after is read."""
    colours = [COLOURS[label] for label in ("red", "blue", "green") for _ in range(40 * FPS)]
    rng = np.random.default_rng(0)
    pictures = [np.clip(np.array(c) + rng.integers(-20, 20, (24, 32, 3)), 0, 255).astype(np.uint8) for c in colours]
    path = tmp_path / "hole.mp4"
    write_video(path, pictures, fps=FPS)
    data = bytearray(path.read_bytes())
    start, end = int(len(data) * 0.45), int(len(data) * 0.6)
    data[start:end] = bytes(end - start)
    path.write_bytes(data)
    result = timeline(models[name], path, cache=Cache(tmp_path))
    assert len(result.failures) == 1
    gap = result.failures[0].segment
    assert gap.end is not None
    assert 40 < gap.start < 60 < gap.end < 90
    assert f"from {gap.start:.1f} to {gap.end:.1f} s" in str(result.failures[0])
    assert list(dict.fromkeys(span.label for span in result.spans)) == ["red", "blue", "green"]
    assert not any(span.start < (gap.start + gap.end) / 2 < span.end for span in result.spans)


# -- people ------------------------------------------------------------------------------------------------------------------


def waving(seconds: float, *, fast: bool, left: float) -> np.ndarray:
    """Return a standing body whose arms go up and down, (T, 17, 3), at 10 frames a second."""
    times = np.arange(round(seconds * 10)) / 10
    body = np.zeros((len(times), 17, 3), np.float32)
    body[..., 0] = left + np.array([0, 2, -2, 4, -4, 15, -15, 25, -25, 30, -30, 10, -10, 11, -11, 12, -12])
    body[..., 1] = np.array([20, 18, 18, 19, 19, 50, 50, 70, 70, 90, 90, 110, 110, 150, 150, 190, 190])
    swing = 40 * np.sin(2 * np.pi * (2.0 if fast else 0.25) * times)
    body[:, 7:11, 1] += swing[:, None] * np.array([0.5, 0.5, 1, 1])
    body[..., 2] = 0.9
    return body


def write_people(path: Path, joints: list[np.ndarray]) -> Path:
    whole = np.stack(joints, axis=1)  # (T, P, 17, 3)
    times = np.arange(len(whole)) / 10
    write_poses(Poses(whole, times, SKELETONS["coco-17"], tuple(range(len(joints))), (400, 300)), path)
    return path


@pytest.fixture(scope="module")
def posed(place: Path) -> Model:
    rng = np.random.default_rng(3)
    rows = ["path,label,split"]
    for number in range(15):
        for label in ("fast", "slow"):
            body = waving(3, fast=label == "fast", left=float(rng.uniform(50, 300)))
            body[..., :2] += rng.normal(0, 1, body[..., :2].shape)
            write_people(place / f"{label}{number}.npz", [body.astype(np.float32)])
            rows.append(f"{label}{number}.npz,{label},{'train' if number < 10 else 'val'}")
    (place / "poses.csv").write_text("\n".join(rows) + "\n")
    from quickstep.datasets.manifest import read_manifest

    config = TrainConfig(backbone="joints", head="pose-trees")
    return train(read_manifest(place / "poses.csv"), config, cache=Cache(place / "cache")).model


def test_each_person_has_spans(posed: Model, place: Path, cache: Cache) -> None:
    one = np.concatenate([waving(8, fast=True, left=100), waving(8, fast=False, left=100)])
    two = np.concatenate([waving(8, fast=False, left=300), waving(8, fast=True, left=300)])
    two[:20] = np.nan  # comes two seconds late
    two[:20, :, 2] = 0
    path = write_people(place / "two.npz", [one, two])
    config = TimelineConfig(min_confidence=0)
    result = timeline(posed, path, config, person="all", cache=cache)
    assert result.people == (0, 1)
    assert [span.label for span in result.of(0)] == ["fast", "slow"]
    assert [span.label for span in result.of(1)] == ["slow", "fast"]
    assert result.of(0)[0].end == pytest.approx(8, abs=0.8)
    assert result.of(1)[0].start > 0
    alone = timeline(posed, path, config, person="1", cache=cache)
    assert [replace(span) for span in alone.spans] == list(result.of(1))
    auto = timeline(posed, path, config, person="auto", cache=cache)
    assert auto.people == (None,)
    with pytest.raises(MediaError, match="no person 7"):
        timeline(posed, path, config, person="7", cache=cache)


def test_a_window_of_a_person_has_the_scores_of_predict(posed: Model, place: Path, cache: Cache) -> None:
    path = write_people(place / "one.npz", [np.concatenate([waving(5, fast=True, left=100), waving(5, fast=False, left=100)])])
    windows = timeline(posed, path, cache=cache).scores[0]
    segments = [Segment(path, start=max(0.0, float(t - windows.window / 2)), end=float(t + windows.window / 2)) for t in windows.times]
    expected = np.stack([prediction.scores for prediction in posed.predict(segments, cache=cache).predictions])
    assert np.array_equal(windows.scores, expected)


# -- smoothing ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("min_length", [1, 2, 3])
def test_the_sequence_is_the_best_of_all(min_length: int) -> None:
    """Compare with every possible sequence."""
    rng = np.random.default_rng(min_length)
    for _ in range(12):
        steps, states, penalty = int(rng.integers(1, 8)), int(rng.integers(1, 4)), float(rng.uniform(0, 2))
        logs = np.log(rng.dirichlet(np.ones(states) * 0.5, steps) + 1e-6)
        best = -math.inf
        for sequence in itertools.product(range(states), repeat=steps):
            runs = [len(list(run)) for _, run in itertools.groupby(sequence)]
            if min(runs) >= min_length or (len(runs) == 1):
                best = max(best, sum(logs[t, s] for t, s in enumerate(sequence)) - penalty * (len(runs) - 1))
        best_states = best_sequence(logs, penalty=penalty, min_length=min_length)
        runs = [len(list(run)) for _, run in itertools.groupby(best_states.tolist())]
        assert min(runs) >= min_length or len(runs) == 1
        assert logs[np.arange(steps), best_states].sum() - penalty * (len(runs) - 1) == pytest.approx(best)


def scores_over_time(rows: list[list[float]]) -> WindowScores:
    scores = np.array(rows)
    return WindowScores(np.arange(len(rows)) + 0.5, scores, 1.0, 1.0)


def test_one_deviating_window_is_smoothed_away_and_low_scores_are_unsure() -> None:
    labels = ("a", "b")
    rows = [[0.9, 0.1]] * 5 + [[0.4, 0.6]] + [[0.9, 0.1]] * 5
    smooth = spans_of(scores_over_time(rows), labels, 11.0, Smoothing(1.5, 0.5, None))
    assert [(s.label, s.start, s.end) for s in smooth] == [("a", 0.0, 11.0)]
    bare = spans_of(scores_over_time(rows), labels, 11.0, Smoothing(0.0, 0.0, None))
    assert [s.label for s in bare] == ["a", "b", "a"]
    three = ("a", "b", "c")
    rows = [[0.9, 0.05, 0.05]] * 5 + [[0.34, 0.33, 0.33]] * 8 + [[0.05, 0.9, 0.05]] * 5
    result = spans_of(scores_over_time(rows), three, 18.0, Smoothing(1.5, 0.5, 0.5, 0.95))
    assert [(s.label, s.confidence) for s in result] == [("a", "not sure"), (None, "not sure"), ("b", "not sure")]
    assert (result[1].start, result[1].end) == pytest.approx((5, 13), abs=0.6)


def test_overlapping_windows_count_by_their_share_of_new_frames() -> None:
    """Two windows favour b by 2 ln 9 = 4.4, and two changes cost 3.0; where half of each window is new, they favour b by 2.2."""
    scores = np.array([[0.9, 0.1]] * 5 + [[0.1, 0.9]] * 2 + [[0.9, 0.1]] * 5)
    apart = WindowScores(np.arange(12) + 0.5, scores, window=1.0, stride=1.0)
    overlapping = WindowScores(np.arange(12) + 0.5, scores, window=2.0, stride=1.0)
    smoothing = Smoothing(1.5, 0.0, None)
    assert [span.label for span in spans_of(apart, ("a", "b"), 12.0, smoothing)] == ["a", "b", "a"]
    assert [span.label for span in spans_of(overlapping, ("a", "b"), 12.0, smoothing)] == ["a"]


def test_a_boundary_is_where_both_labels_are_equally_likely() -> None:
    result = spans_of(scores_over_time([[0.9, 0.1], [0.8, 0.2], [0.02, 0.98], [0.01, 0.99]]), ("a", "b"), 4.0, Smoothing(0.1, 0, None))
    left, right = math.log(0.8 / 0.2), math.log(0.98 / 0.02)
    assert result[0].end == pytest.approx(1.5 + left / (left + right))


def test_spans_that_touch_are_joined_and_their_score_is_the_mean_over_time() -> None:
    made = joined([Span(1.0, 4.0, "a", 0.2), Span(0.0, 1.0, "a", 1.0), Span(4.0, 5.0, "b", 0.7), Span(5.5, 6.0, "b", 0.5)])
    assert [(span.start, span.end, span.label) for span in made] == [(0.0, 4.0, "a"), (4.0, 5.0, "b"), (5.5, 6.0, "b")]
    assert [span.score for span in made] == pytest.approx([0.4, 0.7, 0.5])


def test_windows_without_scores_have_no_span() -> None:
    rows = [[0.9, 0.1]] * 3 + [[np.nan, np.nan]] * 3 + [[0.1, 0.9]] * 3
    result = spans_of(scores_over_time(rows), ("a", "b"), 9.0, Smoothing(1.0, 0, None))
    assert [(s.label, s.start, s.end) for s in result] == [("a", 0.0, 3.0), ("b", 6.0, 9.0)]
    assert spans_of(scores_over_time([[np.nan, np.nan]] * 3), ("a", "b"), 3.0, Smoothing(1.0, 0, None)) == ()


# -- evaluation --------------------------------------------------------------------------------------------------------------


def test_metrics_equal_those_computed_by_hand() -> None:
    truth = spans(("a", 0, 4), ("b", 4, 8), ("a", 8, 10))
    evaluation = evaluate_timeline(predicted_timeline(("a", 0, 5), ("b", 5, 7), ("c", 7, 8), ("a", 8, 10)), truth)
    assert evaluation.metrics.accuracy == pytest.approx((4 + 2 + 2) / 10)
    # a 0-5 on 0-4: 4/5; b 5-7 on 4-8: 2/4; c: none; a 8-10: 1. Three of four found, three of three true.
    assert evaluation.metrics.f1 == pytest.approx((6 / 7, 6 / 7, 6 / 7))
    assert evaluation.metrics.edit == pytest.approx(1 - 1 / 4)
    assert evaluation.boundary_error == pytest.approx((1 + 0) / 2)
    assert evaluation.majority_class == "a"
    assert evaluation.baseline.accuracy == pytest.approx(0.6)
    assert evaluation.baseline.f1 == pytest.approx((2 * 1 / 4, 2 * 1 / 4, 0))
    assert evaluation.baseline.edit == pytest.approx(1 / 3)


def test_a_true_span_is_matched_by_one_predicted_span() -> None:
    """One of three predicted spans matches the only true one: 2 * 1 / (3 + 1)."""
    predicted = [Span(0.0, 5.0, "a", 1.0), Span(5.0, 5.2, "b", 1.0), Span(5.2, 10.0, "a", 1.0)]
    assert _f1({None: (predicted, [Span(0.0, 10.0, "a", 1.0)])}, 0.1) == pytest.approx(0.5)


def f1_of_frames(predicted: list[str], true: list[str], least: float) -> float:
    """Compute the published F1 of segments, on one label a frame: a segment counts for the true one that it overlaps most, once."""

    def segments(labels: list[str]) -> list[tuple[str, int, int]]:
        edges = [0, *(n for n in range(1, len(labels)) if labels[n] != labels[n - 1]), len(labels)]
        return [(labels[start], start, end) for start, end in itertools.pairwise(edges)]

    hit: set[int] = set()
    for label, start, end in segments(predicted):
        shares = [(min(end, b) - max(start, a)) / (max(end, b) - min(start, a)) if label == name else 0.0 for name, a, b in segments(true)]
        place = int(np.argmax(shares))
        if shares[place] >= least:
            hit.add(place)
    return 2 * len(hit) / (len(segments(predicted)) + len(segments(true)))


@pytest.mark.parametrize("fps", [25, 30, 29.97])
def test_f1_of_spans_in_seconds_is_that_of_their_frames(fps: float) -> None:
    """An overlap of exactly the threshold counts, whatever the rounding of times in seconds."""
    random = np.random.default_rng(3)

    def draw() -> list[str]:
        return [label for _ in range(6) for label in [str(random.choice(["a", "b", "c"]))] * int(random.integers(1, 9))]

    for _ in range(400):
        predicted, true = draw(), draw()
        count = min(len(predicted), len(true))
        rows = []
        for labels in (predicted[:count], true[:count]):
            edges = [0, *(n for n in range(1, count) if labels[n] != labels[n - 1]), count]
            rows.append(spans(*((labels[start], start / fps, end / fps) for start, end in itertools.pairwise(edges))))
        expected = [f1_of_frames(predicted[:count], true[:count], least) for least in (0.1, 0.25, 0.5)]
        measured = evaluate_timeline(predicted_timeline(*((s.label, s.start, s.end) for s in rows[0])), rows[1]).metrics.f1
        assert measured == pytest.approx(expected)


def test_unsure_time_is_not_correct_and_time_without_truth_is_not_evaluated() -> None:
    truth = spans(("a", 0, 4), ("b", 6, 10))
    evaluation = evaluate_timeline(predicted_timeline(("a", 0, 4), ("c", 4, 6), (None, 6, 8), ("b", 8, 10)), truth)
    assert evaluation.metrics.accuracy == pytest.approx(6 / 8)
    assert evaluation.answered == pytest.approx(6 / 8)
    assert evaluation.accuracy_answered == pytest.approx(1)
    assert evaluation.evaluated == 8
    assert evaluation.metrics.f1 == pytest.approx((1, 1, 1))
    assert evaluate_timeline(predicted_timeline(("a", 0, 4)), spans(("tango", 0, 4))).unknown == ("tango",)


def test_true_spans_are_read_and_wrong_ones_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("\ufeffvideo,start,end,label\nx.mp4,0,1:02.5,a\ny.mp4,0,3,b\nx.mp4,62.5,70,\nx.mp4,70,71,b\n", encoding="utf-8")
    assert [(s.label, s.start, s.end) for s in read_spans(path, video="/v/x.mp4")] == [("a", 0, 62.5), ("b", 70, 71)]
    assert len(read_spans(path, video="y.mp4")) == 1
    for text, named in {
        "start,end\n0,1\n": "no column 'label'",
        "start,end,label\n0,x,a\n": "line 2",
        "start,end,label\n3,1,a\n": "line 2",
        "start,end,label\n0,3,a\n2,4,b\n": "overlap",
        "start,end,label\n": "no true spans",
    }.items():
        path.write_text(text)
        with pytest.raises(ManifestError, match=named):
            read_spans(path)


# -- files -------------------------------------------------------------------------------------------------------------------


def test_the_formats_for_players_and_programs(tmp_path: Path) -> None:
    result = predicted_timeline(("a", 0, 1.5), (None, 1.5, 3), ("b", 3, 3661.25))
    result = replace(result, labels=("a", "b <&>"), spans=(*result.spans[:2], replace(result.spans[2], label="b <&>", score=0.62)))
    result = replace(result, scores=(replace(result.scores[0], scores=np.array([[0.25, 0.75]])),))
    read = {form: write_timeline(result, tmp_path / f"out{form}").read_text() for form in (".srt", ".vtt", ".csv", ".json", ".txt", ".eaf")}
    cues = read[".srt"].split("\n\n")
    assert cues[2] == "3\n00:00:03,000 --> 01:01:01,250\nb <&> 62 %\n"
    assert cues[1].endswith("unsure (a 100 %)")
    assert read[".vtt"].startswith("WEBVTT\n\n00:00:00.000 --> 00:00:01.500\na\n")
    assert "b &lt;&amp;&gt;" in read[".vtt"]
    assert read[".csv"].splitlines()[:3] == [
        "video,start,end,label,score,most_probable,confidence",
        "x.mp4,0.000,1.500,a,1.0000,a,uncalibrated",
        "x.mp4,1.500,3.000,,1.0000,a,not sure",
    ]
    assert read[".txt"].splitlines()[1] == "1.500000\t3.000000\tunsure"
    plain = json.loads(read[".json"])
    assert [span["label"] for span in plain["spans"]] == ["a", None, "b <&>"]
    assert plain["moments"][0]["scores"] == [[0.25, 0.75]]
    assert [s.label for s in read_spans(tmp_path / "out.csv")] == ["a", "b <&>"]
    with pytest.raises(ConfigError, match="out"):
        write_timeline(result, tmp_path / "out.doc")
    with pytest.raises(ConfigError, match="out"):
        write_timeline([result, result], tmp_path / "out.srt")
    assert len(json.loads(write_timeline([result, result], tmp_path / "two.json").read_text())) == 2


def test_an_eaf_file_has_what_its_schema_requires(tmp_path: Path) -> None:
    """Check the order of elements, required attributes, and that identifiers are unique and refer to something (EAF 3.0)."""
    result = predicted_timeline(("a", 0, 1.5), (None, 1.5, 3), ("b", 3, 4))
    people = tuple(replace(result.scores[0], person=person) for person in (0, 2))
    result = replace(
        result, scores=people, spans=tuple(replace(s, person=p) for p in (0, 2) for s in result.spans), video=tmp_path / "ä b.mp4"
    )
    root = ElementTree.parse(write_timeline(result, tmp_path / "out.eaf")).getroot()
    assert root.tag == "ANNOTATION_DOCUMENT"
    assert {"DATE", "AUTHOR", "VERSION", "FORMAT"} <= root.attrib.keys()
    assert [child.tag for child in root] == ["HEADER", "TIME_ORDER", "TIER", "TIER", "LINGUISTIC_TYPE"]
    header = root[0]
    assert header.attrib["TIME_UNITS"] == "milliseconds"
    assert [child.tag for child in header] == ["MEDIA_DESCRIPTOR", "PROPERTY"]
    assert header[0].attrib["MEDIA_URL"].startswith("file:///")
    assert header[0].attrib.keys() >= {"MEDIA_URL", "MIME_TYPE"}
    slots = {slot.attrib["TIME_SLOT_ID"]: int(slot.attrib["TIME_VALUE"]) for slot in root[1]}
    assert list(slots.values()) == sorted(slots.values()) == [0, 1500, 3000, 4000]
    types = {kind.attrib["LINGUISTIC_TYPE_ID"] for kind in root.iter("LINGUISTIC_TYPE")}
    identifiers = [annotation.attrib["ANNOTATION_ID"] for annotation in root.iter("ALIGNABLE_ANNOTATION")]
    assert len(set(identifiers) | set(slots)) == len(identifiers) + len(slots) == 10
    for tier, name in zip(root.iter("TIER"), ("person 0", "person 2"), strict=True):
        assert tier.attrib["TIER_ID"] == name
        assert tier.attrib["LINGUISTIC_TYPE_REF"] in types
        end = 0
        for annotation in tier.iter("ALIGNABLE_ANNOTATION"):
            first, second = (slots[annotation.attrib[f"TIME_SLOT_REF{n}"]] for n in (1, 2))
            assert end <= first < second
            assert [child.tag for child in annotation] == ["ANNOTATION_VALUE"]
            end = second
        assert [value.text for value in tier.iter("ANNOTATION_VALUE")] == ["a", "unsure", "b"]


def test_a_timeline_is_drawn_to_png_and_svg(tmp_path: Path) -> None:
    from quickstep.inference.timelines.plot import draw_timeline

    result = predicted_timeline(("a", 0, 4), (None, 4, 5), ("b", 5, 9))
    for name in ("out.png", "out.svg"):
        assert draw_timeline(result, tmp_path / name, truth=spans(("$a_b$", 0, 9))).stat().st_size > 5000
    with pytest.raises(MediaError, match=r"out\.xyz"):
        draw_timeline(result, tmp_path / "out.xyz")
    assert draw_timeline(replace(result, spans=()), tmp_path / "none.png").exists()


def test_an_invalid_setting_is_named() -> None:
    for wrong, name in (
        ({"stride": 0}, "stride"),
        ({"window": math.nan}, "window"),
        ({"min_duration": -1}, "min_duration"),
        ({"min_confidence": 2}, "min_confidence"),
    ):
        with pytest.raises(ConfigError, match=f"{name}:"):
            TimelineConfig(**wrong)  # type: ignore[arg-type]


# -- the command -------------------------------------------------------------------------------------------------------------


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Run a command in this process; return its exit status, stdout and stderr."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    printed = capsys.readouterr()
    return int(ended.value.code or 0), printed.out, printed.err


@pytest.fixture(scope="module")
def saved(models: dict[str, Model], place: Path) -> Path:
    models["each"].save(place / "model")
    return place / "model"


def test_the_command_prints_what_the_function_returns(saved: Path, long: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = tmp_path / "truth.csv"
    truth.write_text("start,end,label\n" + "".join(f"{start},{end},{label}\n" for label, start, end in TRUTH))
    files = [word for form in ("csv", "srt", "png", "eaf") for word in ("-o", tmp_path / f"out.{form}")]
    status, out, err = call(capsys, "timeline", saved, long, *files, "--truth", truth)
    assert status == 0, err
    assert [line.split()[2] for line in out.splitlines()[1:5]] == [label for label, _, _ in TRUTH]
    assert "edit score" in out
    assert "always green" in out or "always red" in out
    assert all((tmp_path / f"out.{form}").stat().st_size > 50 for form in ("csv", "srt", "png", "eaf"))
    status, out, _ = call(capsys, "timeline", saved, long, "--json", "--truth", truth)
    data = json.loads(out)[0]
    result = timeline(Model.load(saved), long)
    assert [span["start"] for span in data["spans"]] == [span.start for span in result.spans]
    assert data["moments"][0]["scores"] == result.scores[0].scores.tolist()
    assert data["evaluation"]["metrics"]["edit"] == 1


def test_the_command_takes_several_videos(saved: Path, long: Path, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    inputs = [long, place / "videos" / "red" / "0.mp4", tmp_path / "text.mp4"]
    status, _, err = call(capsys, "timeline", saved, *inputs, "-o", tmp_path / "all.csv", "-o", tmp_path / "{name}.vtt")
    assert status == 0
    assert "text.mp4" in err
    assert (tmp_path / "0.vtt").exists()
    assert (tmp_path / "long video.vtt").exists()
    assert len((tmp_path / "all.csv").read_text().splitlines()) == 1 + 4 + 1
    assert call(capsys, "timeline", saved, *inputs, "--strict")[0] == 1
    for wrong, named in ((["-o", "x.srt"], "{name}"), (["-o", "x.doc"], ".eaf"), (["--person", "all"], "person")):
        status, _, err = call(capsys, "timeline", saved, *inputs, *wrong)
        assert status == 1
        assert named in err
        assert len(err.strip().splitlines()) == 1


# -- memory ------------------------------------------------------------------------------------------------------------------

PEAK = """
import sys, resource
sys.path[:0] = sys.argv[1].split(":")
from tests.inference.test_timelines import FrameColours
from quickstep.inference.timelines import timeline
from quickstep.models.model import Model
from quickstep.storage.cache import Cache
model = Model.load(sys.argv[2])
result = timeline(model, sys.argv[3], cache=Cache(sys.argv[4]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, len(result.spans))
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_video(models: dict[str, Model], tmp_path: Path) -> None:
    models["each"].save(tmp_path / "model")
    peaks = {}
    for minutes in (4, 40):
        path = tmp_path / f"{minutes}.mp4"
        order = [COLOURS[label] for label in ("red", "blue", "green")]
        pictures = (np.full((240, 320, 3), order[second // 20 % 3], np.uint8) for second in range(minutes * 60) for _ in range(5))
        write_video(path, pictures, fps=5)
        words = [f"{HELPERS}:{ROOT}", tmp_path / "model", path, tmp_path / f"cache{minutes}"]
        done = subprocess.run([sys.executable, "-c", PEAK, *map(str, words)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        peak, count = map(int, done.stdout.split())
        peaks[minutes] = peak
        assert count == minutes * 3
    assert peaks[40] < peaks[4] + 40_000  # kilobytes; the pictures of the long one are 2.7 GB
