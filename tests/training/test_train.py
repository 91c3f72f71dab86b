"""train: the whole line on tiny videos; what it never looks at, what it refuses, and what it says."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toys import COLOURS, Colours, draw_colours

from quickstep.backbones import BackboneSpec
from quickstep.datasets.manifest import Manifest
from quickstep.evaluation import evaluate
from quickstep.models.model import Model
from quickstep.storage.cache import Cache
from quickstep.training.train import TrainConfig, Trained, open_for_training, train
from quickstep.types.errors import ConfigError, ManifestError, MediaError, QuickstepError, WeightsError
from quickstep.types.segment import Segment
from quickstep.types.signals import Features, Frames

QUICK = TrainConfig(epochs=15)


class Watched(Colours):
    """Counts the windows it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.shown = 0

    def embed(self, batch: Sequence[Frames]) -> list[Features]:
        self.shown += len(batch)
        return super().embed(batch)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("colours")


@pytest.fixture(scope="module")
def manifest(place: Path) -> Manifest:
    return draw_colours(place / "videos")


@pytest.fixture(scope="module")
def cache(place: Path) -> Cache:
    return Cache(place / "store")


@pytest.fixture(scope="module")
def trained(manifest: Manifest, cache: Cache) -> Trained:
    return train(manifest, QUICK, backbone=Colours(), cache=cache)


def test_colours_are_learnt_and_the_facts_are_told(trained: Trained, manifest: Manifest, cache: Cache) -> None:
    found = trained.model.predict(manifest.segments, cache=cache).predictions
    assert np.mean([each.label == each.segment.label for each in found]) == 1.0
    facts = trained.model.facts
    assert trained.model.labels == tuple(sorted(COLOURS))
    assert facts.splits == {part: dict.fromkeys(COLOURS, count) for part, count in (("train", 5), ("val", 2), ("test", 1))}
    assert facts.fingerprint == manifest.fingerprint
    assert facts.training["epochs"] == 15
    assert set(facts.seconds) == {"opening", "splits", "features", "fitting"}
    assert facts.versions["torch"]
    assert not trained.failures
    assert [segment.split for segment in trained.history.val_segments] == ["val"] * 6


def test_scores_are_the_same_from_the_folder_and_in_the_report(trained: Trained, manifest: Manifest, cache: Cache, tmp_path: Path) -> None:
    trained.model.save(tmp_path / "m")
    again = Model.load(tmp_path / "m")
    report = evaluate(again, cache=cache)
    fresh = again.predict([segment.path for segment in manifest.part("test").segments], cache=Cache(tmp_path / "other"))
    assert [each.scores for each in report.tested] == [tuple(each.scores) for each in fresh.predictions]


def test_the_test_part_is_never_looked_at(manifest: Manifest, tmp_path: Path) -> None:
    moved = Manifest(tuple(replace(s, path=tmp_path / "gone.mp4") if s.split == "test" else s for s in manifest.segments))
    backbone = Watched()
    found = train(moved, QUICK, backbone=backbone, cache=Cache(tmp_path / "store"))
    assert not found.failures
    assert backbone.shown == found.computed == 21


def test_training_again_decodes_nothing_and_gives_the_same_bytes(trained: Trained, manifest: Manifest, cache: Cache) -> None:
    backbone = Watched()
    again = train(manifest, QUICK, backbone=backbone, cache=cache)
    assert backbone.shown == again.computed == 0
    weights, before = again.model.head.weights(), trained.model.head.weights()
    assert {name: array.tobytes() for name, array in weights.items()} == {name: array.tobytes() for name, array in before.items()}
    assert (again.model.temperature, again.history) == (trained.model.temperature, trained.history)


def test_splits_are_drawn_where_there_are_none(manifest: Manifest, cache: Cache) -> None:
    bare = manifest.with_splits([None] * len(manifest))
    found = train(bare, QUICK, backbone=Colours(), cache=cache)
    assert found.split is not None
    assert found.model.manifest is not None
    assert found.model.manifest.splits == ("train", "val", "test")
    assert found.model.facts.fingerprint == found.model.manifest.fingerprint != bare.fingerprint


def test_settings_reach_the_view_the_head_and_the_loop(manifest: Manifest, cache: Cache) -> None:
    config = TrainConfig(head="attention", frames=2, epochs=3, dropout=0.2, optimizer="sgd", seed=4)
    found = train(manifest, config, backbone=Colours(), cache=cache)
    assert (found.model.view.frames, found.model.head.name, found.model.head.config.dropout) == (2, "attention", 0.2)
    assert found.history.epochs == 3
    assert (found.model.facts.fitting["optimizer"], found.model.facts.fitting["seed"]) == ("sgd", 4)


def test_a_broken_video_is_listed_and_strict_stops_at_it(manifest: Manifest, cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    broken = Manifest((*manifest.segments, Segment(tmp_path / "text.mp4", "red", split="train")))
    found = train(broken, QUICK, backbone=Colours(), cache=cache)
    assert [failure.segment.path.name for failure in found.failures] == ["text.mp4"]
    assert "1 of 22 segments could not be used" in found.warnings[0]
    assert "text.mp4" in found.model.facts.failures[0]
    assert len(found.history.train_segments) == 15
    with pytest.raises(MediaError, match=r"text\.mp4"):
        train(broken, QUICK, backbone=Colours(), cache=cache, strict=True)


def refuse(segments: Sequence[Segment], cache: Cache, words: str) -> None:
    with pytest.raises(ManifestError, match=words) as refused:
        train(Manifest(tuple(segments)), QUICK, backbone=Colours(), cache=cache)
    assert "\n" not in str(refused.value)


def test_what_cannot_be_learnt_from_is_refused_in_one_line(manifest: Manifest, cache: Cache, tmp_path: Path) -> None:
    segments = manifest.segments
    blue = [s for s in segments if s.label == "blue"]
    refuse([], cache, "lists no video")
    refuse(blue, cache, "only one class")
    refuse([blue[0], next(s for s in segments if s.label == "red")], cache, "one video for each of 2 classes")
    refuse([*segments[:-1], replace(segments[-1], label=None)], cache, "has no label")
    refuse(
        [s if s.label != "red" else replace(s, split="test") for s in segments], cache, "'red' has no video in the train part, only in test"
    )
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    refuse(
        [s if s.label != "red" else replace(s, path=text) for s in segments], cache, r"no training video of 'red' can be used.*text\.mp4"
    )
    refuse([replace(s, path=text) for s in segments], cache, "no training video of 'blue', 'green', 'red' can be used")


def test_without_validation_it_says_so(manifest: Manifest, cache: Cache) -> None:
    """Two groups are too few for three parts: the test part is given, and nothing is left to watch."""
    pairs = [s for s in manifest.segments if s.label != "green"]
    tied = [replace(s, group="test" if s.split == "test" else "one", split="test" if s.split == "test" else "train") for s in pairs]
    found = train(Manifest(tuple(tied)), QUICK, backbone=Colours(), cache=cache)
    assert found.history.val_loss == ()
    assert found.model.temperature == 1.0
    assert found.model.threshold is None
    assert any("no validation segments" in warning for warning in found.warnings)


def test_no_backbone_named_and_no_clip_at_hand_names_both_ways_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(spec: BackboneSpec, _cache: Cache | None = None) -> object:
        raise WeightsError(f"{spec.name}: the hub cannot be reached")

    monkeypatch.setattr(BackboneSpec, "open", unreachable)
    with pytest.raises(WeightsError, match=r"--backbone flow-hist.*--weights"):
        open_for_training(TrainConfig())
    with pytest.raises(WeightsError, match="clip-vit-l14: the hub"):
        open_for_training(TrainConfig(backbone="clip-vit-l14"))


def test_motion_is_taken_when_it_is_named(manifest: Manifest, cache: Cache, tmp_path: Path) -> None:
    some = Manifest(tuple(s for s in manifest.segments if s.label != "green" and s.path.stem in "0156"))
    train(some, TrainConfig(backbone="flow-hist", epochs=2), cache=cache).model.save(tmp_path / "m")
    again = Model.load(tmp_path / "m", cache=cache)
    assert again.spec.name == again.backbone.name == "flow-hist"


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"dropout": 1.0}, {"frames": 0}, {"optimizer": "lion"}, {"seed": -1}, {"learning_rate": -1.0}]
)
def test_settings_out_of_range_are_named(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="--" + next(iter(wrong)).replace("_", "-")):
        TrainConfig(**wrong)  # type: ignore[arg-type]


def test_a_head_or_backbone_that_is_not_there_is_answered_before_any_video_is_read(manifest: Manifest, tmp_path: Path) -> None:
    for config in (TrainConfig(head="liner"), TrainConfig(backbone="clop")):
        with pytest.raises(QuickstepError, match="there is no"):
            train(manifest, config, cache=Cache(tmp_path / "s"))
    shutil.rmtree(tmp_path / "s", ignore_errors=True)
