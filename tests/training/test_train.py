"""train on tiny videos: the model, calibration, an unused test part, and refused input."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toys import COLOURS, Colours, draw_colours

from quickstep.backbones import BackboneSpec
from quickstep.datasets.manifest import Manifest, read_manifest, write_manifest
from quickstep.evaluation import evaluate
from quickstep.models.classifier import fit_temperature
from quickstep.models.feature_extraction import extract
from quickstep.models.model import Model
from quickstep.storage.cache import Cache
from quickstep.training.train import TrainConfig, Trained, open_for_training, train
from quickstep.types.errors import ConfigError, ManifestError, MediaError, QuickstepError, WeightsError
from quickstep.types.segment import Segment
from quickstep.types.signals import Features, Frames

QUICK = TrainConfig(epochs=15)


class Watched(Colours):
    """Counts the windows that it embeds."""

    def __init__(self) -> None:
        super().__init__()
        self.embedded = 0

    def embed(self, batch: Sequence[Frames]) -> list[Features]:
        self.embedded += len(batch)
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


def test_colours_are_recognized_and_the_facts_are_kept(trained: Trained, manifest: Manifest, cache: Cache) -> None:
    predictions = trained.model.predict(manifest.segments, cache=cache).predictions
    assert all(prediction.label == prediction.segment.label for prediction in predictions)
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
    assert [prediction.scores for prediction in report.tested] == [tuple(prediction.scores) for prediction in fresh.predictions]


def test_the_test_part_is_never_read(manifest: Manifest, tmp_path: Path) -> None:
    moved = Manifest(tuple(replace(s, path=tmp_path / "gone.mp4") if s.split == "test" else s for s in manifest.segments))
    backbone = Watched()
    result = train(moved, QUICK, backbone=backbone, cache=Cache(tmp_path / "store"))
    assert not result.failures
    assert backbone.embedded == result.computed == 21


def test_training_again_decodes_nothing_and_gives_the_same_bytes(trained: Trained, manifest: Manifest, cache: Cache) -> None:
    backbone = Watched()
    again = train(manifest, QUICK, backbone=backbone, cache=cache)
    assert backbone.embedded == again.computed == 0
    weights, before = again.model.head.weights(), trained.model.head.weights()
    assert {name: array.tobytes() for name, array in weights.items()} == {name: array.tobytes() for name, array in before.items()}
    assert (again.model.temperature, again.history) == (trained.model.temperature, trained.history)


def test_missing_splits_are_drawn(manifest: Manifest, cache: Cache) -> None:
    bare = manifest.with_splits([None] * len(manifest))
    result = train(bare, QUICK, backbone=Colours(), cache=cache)
    assert result.split is not None
    assert result.model.manifest is not None
    assert result.model.manifest.splits == ("train", "val", "test")
    assert result.model.facts.fingerprint == result.model.manifest.fingerprint != bare.fingerprint


def test_settings_reach_the_view_the_head_and_the_loop(manifest: Manifest, cache: Cache) -> None:
    config = TrainConfig(head="attention", frames=2, epochs=3, dropout=0.2, optimizer="sgd", seed=4)
    result = train(manifest, config, backbone=Colours(), cache=cache)
    assert (result.model.view.frames, result.model.head.name, result.model.head.config.dropout) == (2, "attention", 0.2)
    assert result.history.epochs == 3
    assert (result.model.facts.fitting["optimizer"], result.model.facts.fitting["seed"]) == ("sgd", 4)


def test_a_broken_video_is_listed_and_strict_stops_at_it(manifest: Manifest, cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a video")
    broken = Manifest((*manifest.segments, Segment(tmp_path / "text.mp4", "red", split="train")))
    result = train(broken, QUICK, backbone=Colours(), cache=cache)
    assert [failure.segment.path.name for failure in result.failures] == ["text.mp4"]
    assert "1 of 22 segments could not be used" in result.warnings[0]
    assert "text.mp4" in result.model.facts.failures[0]
    assert len(result.history.train_segments) == 15
    with pytest.raises(MediaError, match=r"text\.mp4"):
        train(broken, QUICK, backbone=Colours(), cache=cache, strict=True)


def test_calibration_uses_the_val_part(trained: Trained, manifest: Manifest, cache: Cache) -> None:
    model = trained.model
    fitted = {}
    for part in ("train", "val"):
        segments = manifest.part(part).segments
        features = extract(segments, model.backbone, view=model.view, cache=cache).features
        labels = np.array([model.labels.index(str(segment.label)) for segment in segments])
        fitted[part] = fit_temperature(model.head.scores([features[segment] for segment in segments]), labels)
    assert fitted["train"] != fitted["val"]
    assert model.temperature == fitted["val"]


def test_a_path_is_as_good_as_a_manifest(manifest: Manifest, cache: Cache, tmp_path: Path) -> None:
    write_manifest(manifest, tmp_path / "list.csv")
    from_manifest = train(read_manifest(tmp_path / "list.csv"), QUICK, backbone=Colours(), cache=cache).model
    for path in (tmp_path / "list.csv", str(tmp_path / "list.csv")):
        from_path = train(path, QUICK, backbone=Colours(), cache=cache).model
        assert from_path.facts.fingerprint == from_manifest.facts.fingerprint
        assert all(np.array_equal(array, from_manifest.head.weights()[name]) for name, array in from_path.head.weights().items())
    with pytest.raises(TypeError, match=r"a Manifest.*int"):
        train(3, QUICK, backbone=Colours(), cache=cache)  # type: ignore[arg-type]


def refuse(segments: Sequence[Segment], cache: Cache, message: str) -> None:
    with pytest.raises(ManifestError, match=message) as refused:
        train(Manifest(tuple(segments)), QUICK, backbone=Colours(), cache=cache)
    assert "\n" not in str(refused.value)


def test_unusable_data_is_refused_in_one_line(manifest: Manifest, cache: Cache, tmp_path: Path) -> None:
    segments = manifest.segments
    blue = [s for s in segments if s.label == "blue"]
    refuse([], cache, "lists no videos")
    refuse(blue, cache, "only one class")
    refuse([blue[0], next(s for s in segments if s.label == "red")], cache, "each of 2 classes")
    refuse([*segments[:-1], replace(segments[-1], label=None)], cache, "no label")
    refuse([s if s.label != "red" else replace(s, split="test") for s in segments], cache, "'red' .*train part")
    text = tmp_path / "text.mp4"
    text.write_text("not a video")
    refuse(
        [s if s.label != "red" else replace(s, path=text) for s in segments], cache, r"no training video of 'red' can be used.*text\.mp4"
    )
    refuse([replace(s, path=text) for s in segments], cache, "'blue', 'green', 'red'")


def test_missing_validation_is_noted(manifest: Manifest, cache: Cache) -> None:
    """Two groups are too few for three parts: the test part is given, so there is no val part."""
    pairs = [s for s in manifest.segments if s.label != "green"]
    tied = [replace(s, group="test" if s.split == "test" else "one", split="test" if s.split == "test" else "train") for s in pairs]
    result = train(Manifest(tuple(tied)), QUICK, backbone=Colours(), cache=cache)
    assert result.history.val_loss == ()
    assert result.model.temperature == 1.0
    assert result.model.threshold is None
    assert any("without validation segments" in warning for warning in result.warnings)


def test_missing_weights_of_the_default_backbone_name_the_alternatives(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(spec: BackboneSpec, _cache: Cache | None = None) -> object:
        raise WeightsError(f"{spec.name}: the hub cannot be reached")

    monkeypatch.setattr(BackboneSpec, "open", unreachable)
    with pytest.raises(WeightsError, match=r"flow-hist.*weights"):
        open_for_training(TrainConfig())
    with pytest.raises(WeightsError, match="clip-vit-l14: the hub"):
        open_for_training(TrainConfig(backbone="clip-vit-l14"))


def test_flow_hist_is_saved_by_its_name(manifest: Manifest, cache: Cache, tmp_path: Path) -> None:
    some = Manifest(tuple(s for s in manifest.segments if s.label != "green" and s.path.stem in "0156"))
    train(some, TrainConfig(backbone="flow-hist", epochs=2), cache=cache).model.save(tmp_path / "m")
    again = Model.load(tmp_path / "m", cache=cache)
    assert again.spec.name == again.backbone.name == "flow-hist"


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"dropout": 1.0}, {"frames": 0}, {"optimizer": "lion"}, {"seed": -1}, {"learning_rate": -1.0}]
)
def test_settings_out_of_range_are_named(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as refused:
        TrainConfig(**wrong)  # type: ignore[arg-type]
    assert refused.value.field == next(iter(wrong))


def test_an_unknown_head_or_backbone_is_refused_before_any_video_is_read(manifest: Manifest, tmp_path: Path) -> None:
    for config in (TrainConfig(head="liner"), TrainConfig(backbone="clop")):
        with pytest.raises(QuickstepError, match="there is no"):
            train(manifest, config, cache=Cache(tmp_path / "s"))
    shutil.rmtree(tmp_path / "s", ignore_errors=True)
