"""Baselines: each reads only its own kind of input, is fitted on the training part alone, and states why where it is missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import made_up
import numpy as np
import pytest
from small_sets import Change, draw

from quickstep.backbones import BackboneSpec
from quickstep.backbones.frame_statistics import FrameStatistics, describe
from quickstep.datasets.audit.metadata_shortcuts import Shortcut
from quickstep.datasets.manifest import Manifest
from quickstep.evaluation import verdicts
from quickstep.evaluation.baselines import Task, compute_baselines, majority, majority_label, metadata, middle_frame
from quickstep.evaluation.report import Baseline, Proof, Verdict
from quickstep.evaluation.report_figures import measure
from quickstep.heads import open_head
from quickstep.models.model import Facts, Model
from quickstep.storage.cache import Cache
from quickstep.types.confidence_intervals import Difference, Interval
from quickstep.types.segment import Segment
from quickstep.types.signals import Frames


def task_of(manifest: Manifest, *, predicted: str | None = None) -> Task:
    """Return a task whose model always predicts one label, or is always correct."""
    parts = [manifest.part(part).segments for part in ("train", "val", "test")]
    return Task(*parts, tuple(predicted or str(segment.label) for segment in parts[2]))


def untrained(labels: tuple[str, ...] = ("left", "right")) -> Model:
    """Return a model with what baselines use: its backbone, view, kind of head and settings."""
    facts = Facts(fitting={"epochs": 40, "seed": 0, "shrinkage": 0.1})
    return Model(labels, Change(), Change.view, open_head("linear"), BackboneSpec("small_sets:Change"), facts=facts)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sets")


@pytest.fixture(scope="module")
def cache(place: Path) -> Cache:
    return Cache(place / "store")


@pytest.fixture(scope="module")
def staged(place: Path) -> Manifest:
    return draw(place / "staged", "stage")


@pytest.fixture(scope="module")
def sized(place: Path) -> Manifest:
    return draw(place / "sized", "size")


@pytest.fixture(scope="module")
def moving(place: Path) -> Manifest:
    return draw(place / "moving", "motion", count=80, groups=20)


def accuracy(predicted: tuple[str | None, ...], task: Task) -> float:
    return float(np.mean([label == segment.label for label, segment in zip(predicted, task.tested)]))


def test_the_majority_class_is_that_of_the_training_part_and_ties_go_by_name(staged: Manifest) -> None:
    some = [Segment(Path(f"{index}"), label) for index, label in enumerate("bbaac")]
    assert majority_label(some) == "a"
    assert majority_label(some[:3]) == "b"
    assert set(majority(task_of(staged)).labels) == {"left"}


def test_one_frame_shows_the_background_but_not_the_movement(staged: Manifest, moving: Manifest, cache: Cache) -> None:
    assert accuracy(middle_frame(untrained(), task_of(staged), cache=cache).labels, task_of(staged)) >= 0.85
    assert 0.2 <= accuracy(middle_frame(untrained(), task_of(moving), cache=cache).labels, task_of(moving)) <= 0.8


def test_metadata_shows_the_size_but_not_the_movement(sized: Manifest, moving: Manifest, cache: Cache) -> None:
    assert accuracy(metadata(task_of(sized), cache=cache).labels, task_of(sized)) == 1.0
    assert 0.2 <= accuracy(metadata(task_of(moving), cache=cache).labels, task_of(moving)) <= 0.8


def test_the_labels_of_tested_segments_are_not_used(staged: Manifest, cache: Cache) -> None:
    task = task_of(staged)
    turned = replace(task, tested=tuple(replace(s, label="left" if s.label == "right" else "right") for s in task.tested))
    assert middle_frame(untrained(), turned, cache=cache).labels == middle_frame(untrained(), task, cache=cache).labels
    assert metadata(turned, cache=cache).labels == metadata(task, cache=cache).labels


def test_baselines_are_deterministic(staged: Manifest, cache: Cache) -> None:
    assert compute_baselines(untrained(), task_of(staged), cache=cache) == compute_baselines(untrained(), task_of(staged), cache=cache)


def test_each_baseline_is_compared_with_the_model_on_the_same_segments(sized: Manifest, cache: Cache) -> None:
    baselines = {baseline.name: baseline for baseline in compute_baselines(untrained(), task_of(sized, predicted="left"), cache=cache)}
    assert list(baselines) == ["frame", "metadata", "majority"]
    difference = baselines["metadata"].difference
    assert difference is not None
    assert (difference.interval.value, difference.only_a, difference.only_b) == (-0.5, 0, 4)
    assert baselines["majority"].difference is not None
    assert baselines["majority"].difference.interval.value == 0
    assert baselines["metadata"].over_majority is not None
    assert baselines["metadata"].over_majority.interval.value == 0.5


def test_unreadable_segments_are_left_out_with_a_note(staged: Manifest, cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_text("no video")
    task = task_of(staged)
    task = replace(task, tested=(*task.tested, Segment(tmp_path / "broken.mp4", "left")), predicted=(*task.predicted, "left"))
    baselines = {baseline.name: baseline for baseline in compute_baselines(untrained(), task, cache=cache)}
    assert baselines["metadata"].note == baselines["frame"].note == "1 of 9 tested segments could not be read for it and are left out"
    assert baselines["majority"].note == ""


def test_a_training_part_that_cannot_be_read_is_a_problem_not_a_crash(cache: Cache, tmp_path: Path) -> None:
    gone = tuple(Segment(tmp_path / f"{index}.mp4", "left" if index % 2 else "right") for index in range(4))
    baselines = {baseline.name: baseline for baseline in compute_baselines(untrained(), Task(gone, (), gone, ("left",) * 4), cache=cache)}
    assert baselines["frame"].accuracy is None
    assert "too few could be read" in baselines["frame"].problem
    assert "too few could be read" in baselines["metadata"].problem
    assert baselines["majority"].accuracy is not None


# -- image statistics --------------- ---------------------------------------------------------------------------------------


def test_image_statistics_are_finite_and_of_one_length() -> None:
    rng = np.random.default_rng(0)
    for picture in (np.zeros((64, 64, 3)), np.full((64, 64, 3), 255), rng.integers(0, 256, (64, 64, 3))):
        statistics = describe(picture.astype(np.uint8))
        assert statistics.shape == (FrameStatistics.width,)
        assert np.isfinite(statistics).all()


def test_image_statistics_do_not_depend_on_the_batch() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    together = FrameStatistics().embed([Frames(pixels, np.arange(3.0)), Frames(pixels[:1], np.zeros(1))])
    np.testing.assert_array_equal(together[0].values[:1], together[1].values)


def test_edges_have_a_direction() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[::8] = stripes[1::8] = 255
    upright = np.ascontiguousarray(stripes.transpose(1, 0, 2))
    assert np.abs(describe(stripes) - describe(upright)).max() > 0.1


# -- verdicts --------------------------------------------------------------------------------------------------------------


def lead_of(value: float, low: float, high: float) -> Difference:
    return Difference(Interval(value, low, high), 0.5, 0.5, 1, 1)


def baseline_of(
    name: str, score: float, *, lead: tuple[float, float, float], over: tuple[float, float, float] = (0.3, 0.2, 0.4)
) -> Baseline:
    return Baseline(name, "always “a”", Interval(score, score - 0.1, score + 0.1), lead_of(*lead), lead_of(*over))


@pytest.fixture(scope="module")
def figures() -> object:
    return measure(made_up.segments(60, skill=2.0), made_up.MOVES).figures


def levels(found: list[Verdict]) -> list[str]:
    return [verdict.level for verdict in found]


def test_verdicts_on_chance(figures: object) -> None:
    ahead = verdicts.on_chance(figures, baseline_of("majority", 0.2, lead=(0.5, 0.3, 0.7)), 5)
    near = verdicts.on_chance(figures, baseline_of("majority", 0.77, lead=(0.01, -0.1, 0.1)), 5)
    unsure = verdicts.on_chance(figures, baseline_of("majority", 0.5, lead=(0.1, -0.1, 0.3)), 5)
    assert ahead == []
    assert near[0].text.startswith("The model is not better than chance: always “a” is 77 % accurate")
    assert "balanced accuracy" in near[0].text
    assert unsure[0].text.startswith("The test set is too small")
    assert levels(near + unsure) == ["warning", "warning"]


def test_verdicts_on_a_frame(figures: object) -> None:
    as_well = verdicts.on_frame(figures, baseline_of("frame", 0.8, lead=(0.0, -0.1, 0.1)))
    better = verdicts.on_frame(figures, baseline_of("frame", 0.95, lead=(-0.2, -0.3, -0.1)))
    unsure = verdicts.on_frame(figures, baseline_of("frame", 0.7, lead=(0.1, -0.05, 0.2)))
    ahead = verdicts.on_frame(figures, baseline_of("frame", 0.4, lead=(0.4, 0.2, 0.6)))
    nothing = verdicts.on_frame(figures, baseline_of("frame", 0.2, lead=(0.0, -0.1, 0.1), over=(0.0, -0.1, 0.1)))
    assert "A single frame is as good as the model" in as_well[0].text
    assert "background" in as_well[0].text
    assert "is better than the model" in better[0].text
    vague = verdicts.on_frame(figures, baseline_of("frame", 0.8, lead=(0.0, -0.6, 0.6)))
    assert vague[0].text.startswith("The test set is too small")
    assert levels(as_well + better + unsure + ahead + nothing) == ["warning", "warning", "caution", "good"]


def test_verdicts_on_metadata(figures: object) -> None:
    better = verdicts.on_metadata(figures, baseline_of("metadata", 0.9, lead=(-0.2, -0.3, -0.1)))
    shortcut = verdicts.on_metadata(figures, baseline_of("metadata", 0.5, lead=(0.3, 0.1, 0.5)))
    unsure = verdicts.on_metadata(figures, baseline_of("metadata", 0.5, lead=(0.1, -0.1, 0.3), over=(0.1, -0.1, 0.3)))
    alone = Shortcut(0.77, 0.53, 0.1, 0.3, 0.001, (("length", 0.7),), 189, 189)
    spoken = verdicts.on_metadata(figures, baseline_of("metadata", 0.5, lead=(0.3, 0.1, 0.5), over=(0.1, -0.1, 0.3)), alone)
    assert "77%" in spoken[0].text
    assert "mostly by length" in spoken[0].text
    assert levels(spoken) == ["warning"]
    innocent = verdicts.on_metadata(figures, baseline_of("metadata", 0.2, lead=(0.6, 0.4, 0.8), over=(0.0, -0.1, 0.1)))
    assert "the files give the classes away" in better[0].text
    assert "50 % accurate where chance is 20 %" in shortcut[0].text
    assert levels(better + shortcut + unsure + innocent) == ["warning", "warning", "caution"]


def test_verdicts_on_size() -> None:
    assert verdicts.on_size(Interval(0.8, 0.78, 0.82), 500) == []
    assert levels(verdicts.on_size(Interval(0.8, 0.6, 0.9), 40)) == ["caution"]
    assert verdicts.on_size(Interval(0.8, 0.2, 0.95), 6)[0].text.startswith("The test set is too small")
    assert "6 test segments in 3 groups" in verdicts.on_size(Interval(0.8, 0.2, 0.95, "groups", 3), 6)[0].text


def test_verdicts_on_classes_certainty_and_proof(figures: object) -> None:
    measured = measure(made_up.segments(60, skill=0.0), made_up.MOVES)
    hidden = [replace(measured.classes[0], correct=0), replace(measured.classes[1], count=0)]
    texts = [verdict.text for verdict in verdicts.on_classes(hidden)]
    assert "halo (0 of 12)" in texts[0]
    assert "moonwalk" in texts[1]
    sure = replace(measured.curves.calibrated, ece=0.4, confidence=(0.9,), accuracy=(0.5,), counts=(60,))
    assert "overconfident" in verdicts.on_calibration(sure, measured.figures, 60)[0].text
    assert verdicts.on_calibration(replace(sure, ece=0.05), measured.figures, 60) == []
    assert verdicts.on_proof(Proof((), ("fine",))) == []
    assert levels(verdicts.on_proof(Proof((), ("fine",), ("a is in both",)))) == ["warning"]
    assert levels(verdicts.on_proof(Proof((), ("nothing here",), known=False))) == ["caution"]


def test_warnings_come_first() -> None:
    unsorted = [Verdict(level, "x", level) for level in ("good", "note", "warning", "caution")]
    assert levels(list(verdicts.by_severity(unsorted))) == ["warning", "caution", "note", "good"]
