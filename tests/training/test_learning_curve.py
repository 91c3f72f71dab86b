"""learning_curve: nested draws, intervals that cover, and advice that names a class only where its gain is significant."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toys import COLOURS, Colours, Words, draw_colours

from quickstep.datasets.manifest import Manifest
from quickstep.storage.cache import Cache
from quickstep.training.learning_curve import CurveConfig, learning_curve
from quickstep.training.learning_curve.curve import Advice
from quickstep.training.learning_curve.label_gain import advise
from quickstep.training.learning_curve.rendering import write_curve
from quickstep.training.learning_curve.trials import HeldOut, Part, Trials, draw_orders, first_of_each
from quickstep.types.errors import ConfigError, ManifestError
from quickstep.types.progress import silent
from quickstep.types.segment import Segment
from quickstep.types.signals import Features


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("colours")


@pytest.fixture(scope="module")
def manifest(place: Path) -> Manifest:
    return draw_colours(place / "videos")


@pytest.fixture(scope="module")
def cache(place: Path) -> Cache:
    return Cache(place / "store")


def quick(**settings: object) -> CurveConfig:
    return CurveConfig(**{"shots": "1,2,4", "repeats": 3, "more": 1, **settings})  # type: ignore[arg-type]


# -- draws ---------------------------------------------------------------------------------------------------------------


def test_draws_are_nested_and_every_group_is_used_before_any_is_used_twice() -> None:
    labels, groups = np.repeat(np.arange(3), 12), [f"g{index % 4}" for index in range(36)]
    orders = draw_orders(labels, groups, repeats=4, seed=0)
    assert len(orders) == 4
    for order in orders:
        before: set[int] = set()
        for shots in (1, 2, 4, 8, 12):
            chosen = first_of_each(order, shots)
            assert np.bincount(labels[chosen]).tolist() == [shots] * 3
            assert before <= set(chosen.tolist())
            before = set(chosen.tolist())
        for label in range(3):
            assert len({groups[index] for index in order[label][:4]}) == 4
        assert len(first_of_each(order, 4, {1: 8})) == 20
        assert len(first_of_each(order, 100)) == 36
    assert not np.array_equal(orders[0][0], orders[1][0])
    again = draw_orders(labels, groups, repeats=4, seed=0)
    assert all(np.array_equal(a[label], b[label]) for a, b in zip(orders, again) for label in range(3))


# -- intervals -----------------------------------------------------------------------------------------------------------


def test_intervals_cover_the_truth_when_groups_and_draws_both_vary() -> None:
    covered = 0
    for trial in range(60):
        rng = np.random.default_rng(trial)
        skill = 0.7 + rng.normal(0, 0.08, 20)[:, None] + rng.normal(0, 0.04, 6)[None]  # of each group, in each draw
        right = rng.random((20, 6, 5)) < np.clip(skill, 0, 1)[..., None]  # (G, R, 5 segments a group)
        predicted = np.where(right.transpose(1, 0, 2).reshape(6, -1), 0, 1)
        held_out = HeldOut.of(np.zeros(100, np.int64), [f"g{index // 5}" for index in range(100)], 2, seed=trial)
        interval = held_out.accuracy(predicted)
        covered += interval.low <= 0.7 <= interval.high
    assert covered >= 53


def test_a_gain_is_measured_on_the_same_groups_and_draws() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 2
    groups = [f"g{index // 6}" for index in range(120)]
    hard = rng.random(120) < 0.3
    before = np.stack([np.where(hard | (rng.random(120) < 0.2), 1 - labels, labels) for _ in range(5)])
    after = np.where(hard, 1 - labels, labels)[None].repeat(5, axis=0)
    held_out = HeldOut.of(labels, groups, 2, seed=0)
    gain = held_out.gain(after, before)
    assert gain.low > 0.05
    assert gain.value == pytest.approx((after == labels).mean() - (before == labels).mean())
    assert gain.high - gain.low < held_out.accuracy(after).high - held_out.accuracy(after).low
    assert held_out.gain(after, after).value == 0
    assert held_out.recalls(after)[0] == pytest.approx(1 - hard[labels == 0].mean())


# -- advice --------------------------------------------------------------------------------------------------------------


def random_part(counts: dict[int, int], *, spread: dict[int, float], seed: int) -> Part:
    """Segments of four classes around means; some classes have a larger spread."""
    rng, truth = np.random.default_rng(seed), np.random.default_rng(5)
    means = truth.normal(0, 1, (4, 24))
    labels = np.concatenate([np.full(count, label) for label, count in counts.items()])
    values = np.stack([means[label] + spread[label] * rng.normal(0, 1, 24) for label in labels]).astype(np.float32)
    segments = tuple(Segment(Path(f"{seed}/{index}.mp4")) for index in range(len(labels)))
    return Part(segments, [Features(value[None], np.zeros(1)) for value in values], labels.astype(np.int64))


def advice_of(counts: dict[int, int], spread: dict[int, float], *, more: int = 8, shots: tuple[int, ...] = (1, 2)) -> Advice:
    pool, held_out = random_part(counts, spread=spread, seed=1), random_part(dict.fromkeys(range(4), 60), spread=spread, seed=2)
    trials = Trials(pool, held_out, 4, "prototypes", None, 6, 0, silent)
    held_out = HeldOut.of(held_out.labels, held_out.groups, 4, seed=0)
    predicted = trials.run([(number, {}) for number in shots])
    return advise(trials, held_out, ("a", "b", "c", "d"), shots=shots, predicted=predicted, more=more)


def test_the_gain_of_more_labels_is_measured_where_there_are_enough() -> None:
    advice = advice_of(dict.fromkeys(range(4), 12), {0: 0.6, 1: 2.0, 2: 0.6, 3: 0.6})
    assert all(gain.measured_at == 2 for gain in advice.gains)
    assert advice.gains[0].label == "b"
    assert advice.gains[0].gain.low > 0
    assert "2 segments a class" in advice.verdict


def test_no_class_is_named_where_no_gain_differs() -> None:
    advice = advice_of(dict.fromkeys(range(4), 12), dict.fromkeys(range(4), 0.2))
    assert advice.best is None
    assert "unclear" in advice.verdict


def test_a_gain_without_a_trial_is_extrapolated_and_marked() -> None:
    too_few = advice_of(dict.fromkeys(range(4), 6), dict.fromkeys(range(4), 1.5))
    assert all(gain.measured_at is None for gain in too_few.gains)
    assert too_few.best is None
    assert "extrapolated" in too_few.verdict
    mixed = advice_of({0: 12, 1: 12, 2: 12, 3: 5}, dict.fromkeys(range(4), 1.5))
    assert [gain.label for gain in mixed.gains if gain.measured_at is None] == ["d"]
    assert "'d' has too few segments" in mixed.verdict
    assert "extrapolated" in mixed.verdict


# -- learning_curve -----------------------------------------------------------------------------------------------------------


def test_the_curve_of_colours_is_measured_and_written(manifest: Manifest, cache: Cache, tmp_path: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    curve = learning_curve(manifest, quick(), backbone=Colours(), cache=cache, progress=lambda *step: steps.append(step))
    assert [point.shots for point in curve.points] == [1, 2, 4]
    assert curve.head == "prototypes"
    assert curve.points[-1].accuracy.value == 1.0
    assert all(p.accuracy.low <= p.accuracy.value <= p.accuracy.high for p in curve.points)
    assert curve.learnt_from == dict.fromkeys(COLOURS, 5)
    assert curve.held_out == dict.fromkeys(COLOURS, 1)
    assert [baseline.name for baseline in curve.baselines] == ["majority"]
    assert any("6 segments of the val part are not used" in note for note in curve.notes)
    assert ("fitting", 9, 9) in steps
    picture = write_curve(curve, tmp_path / "curve")
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    saved = json.loads((tmp_path / "curve" / "curve.json").read_text())
    assert saved["sentences"] == list(curve.sentences)
    assert saved["points"][0]["shots"] == 1
    assert [path.name for path in sorted((tmp_path / "curve").iterdir())] == ["curve.json", "curve.png"]


def test_a_second_run_uses_the_cache_and_the_same_seed_gives_the_same_curve(manifest: Manifest, cache: Cache) -> None:
    first = learning_curve(manifest, quick(), backbone=Colours(), cache=cache)

    class Blind(Colours):
        def embed(self, batch: object) -> list[Features]:
            raise AssertionError("features are in the cache")

    second = learning_curve(manifest, quick(), backbone=Blind(), cache=cache)
    assert replace(first, seconds=0.0) == replace(second, seconds=0.0)
    assert learning_curve(manifest, quick(seed=3), backbone=Colours(), cache=cache).points[0].draws != ()


def test_zero_shot_is_a_baseline_where_the_backbone_reads_text(manifest: Manifest, cache: Cache) -> None:
    curve = learning_curve(manifest, quick(), backbone=Words(), cache=cache)
    assert curve.head == "few-shot"
    assert [baseline.name for baseline in curve.baselines] == ["majority", "words"]
    assert curve.baselines[1].accuracy.value == 1.0
    assert "zero-shot: 100 %" in curve.sentences[0]


def test_a_missing_test_part_is_drawn(manifest: Manifest, cache: Cache) -> None:
    bare = manifest.with_splits([None] * len(manifest))
    curve = learning_curve(bare, quick(test=0.25), backbone=Colours(), cache=cache)
    assert sum(curve.learnt_from.values()) + curve.tested == len(bare)
    assert curve.tested == 6


def test_the_curve_ends_at_the_last_number_that_half_of_the_classes_have(manifest: Manifest, cache: Cache) -> None:
    blues = [s for s in manifest.segments if s.label == "blue" and s.split == "train"]
    scarce = Manifest(tuple(s for s in manifest.segments if s not in blues[2:]))
    curve = learning_curve(scarce, quick(shots="1,2,4,8"), backbone=Colours(), cache=cache)
    assert [point.shots for point in curve.points] == [1, 2, 4]
    assert curve.points[-1].fewer == {"blue": 2}
    assert curve.rows[2][0] == "4*"
    notes = " | ".join(curve.notes)
    assert "ends at 4 segments a class" in notes
    assert "'blue' (2)" in notes
    with pytest.raises(ConfigError, match="at most 5") as refused:
        learning_curve(manifest, quick(shots="32"), backbone=Colours(), cache=cache)
    assert refused.value.field == "shots"


def test_a_class_without_held_out_segments_is_named(manifest: Manifest, cache: Cache) -> None:
    some = Manifest(tuple(s for s in manifest.segments if not (s.label == "blue" and s.split == "test")))
    curve = learning_curve(some, quick(), backbone=Colours(), cache=cache)
    assert any("held out" in note and "'blue'" in note for note in curve.notes)
    assert curve.points[0].recalls[0] is None


def test_a_broken_video_is_listed(manifest: Manifest, cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a video")
    broken = Manifest((*manifest.segments, Segment(tmp_path / "text.mp4", "red", split="train")))
    curve = learning_curve(broken, quick(), backbone=Colours(), cache=cache)
    assert len(curve.failures) == 1
    assert "text.mp4" in curve.failures[0]


def test_data_without_a_curve_is_refused_in_one_line(manifest: Manifest, cache: Cache) -> None:
    for segments, words in (
        ([], "has 0 classes"),
        ([s for s in manifest.segments if s.label == "red"], "has 1 classes"),
        ([replace(manifest.segments[0], label=None), *manifest.segments[1:]], "has no label"),
        ([replace(s, split="test") for s in manifest.segments], "no train part"),
    ):
        with pytest.raises(ManifestError, match=words) as refused:
            learning_curve(Manifest(tuple(segments)), quick(), backbone=Colours(), cache=cache)
        assert "\n" not in str(refused.value)
    with pytest.raises(LookupError, match="text encoder"):
        learning_curve(manifest, quick(head="few-shot"), backbone=Colours(), cache=cache)


@pytest.mark.parametrize(
    "wrong", [{"shots": "1,x"}, {"shots": ""}, {"shots": "0,1"}, {"repeats": 0}, {"more": -1}, {"test": 0.99}, {"seed": -1}]
)
def test_settings_out_of_range_are_named(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as refused:
        CurveConfig(**wrong)  # type: ignore[arg-type]
    assert refused.value.field == next(iter(wrong))
