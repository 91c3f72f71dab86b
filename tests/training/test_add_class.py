"""add_class: one more class without running the encoder on old videos, its effects, and a model that survives a failure."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toys import COLOURS, Colours, Words, draw_colours

from quickstep.apps.commands.models import add_class_command
from quickstep.apps.commands.options import Run
from quickstep.datasets.manifest import Manifest
from quickstep.evaluation import evaluate
from quickstep.heads import Examples, FitConfig, open_head
from quickstep.models.model import Model
from quickstep.signals.video import write_video
from quickstep.storage.cache import Cache
from quickstep.storage.output_locks import release_all
from quickstep.training.add_class import Added, add_class, set_reports_aside
from quickstep.training.add_class.effects import describe_effects, measure_effects
from quickstep.training.add_class.extension import imprint
from quickstep.training.train import TrainConfig, train
from quickstep.training.zero_shot import ZeroShotConfig, zero_shot
from quickstep.types.errors import ConfigError, ManifestError, ModelError, QuickstepError
from quickstep.types.segment import Segment
from quickstep.types.signals import Features

YELLOW = (180, 180, 40)


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
def yellow(place: Path) -> list[Path]:
    """Eight videos of a colour that no model here knows."""
    rng = np.random.default_rng(4)
    paths = []
    for number in range(8):
        path = place / "new" / f"{number}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        colour = np.clip(np.array(YELLOW) + rng.integers(-25, 25, 3), 0, 255)
        frames = np.clip(colour + rng.integers(-20, 20, (6, 24, 32, 3)), 0, 255).astype(np.uint8)
        write_video(path, list(frames), fps=6)
        paths.append(path)
    return paths


def model_of(manifest: Manifest, cache: Cache, head: str, backbone: Colours | None = None) -> Model:
    return train(manifest, TrainConfig(head=head, epochs=40), backbone=backbone or Colours(), cache=cache).model


def elsewhere(manifest: Manifest, folder: Path) -> Manifest:
    """Copy the videos to another folder, so that a test can delete them."""
    root = next(iter(manifest.paths)).parents[1]
    shutil.copytree(root, folder)
    return Manifest(tuple(replace(s, path=folder / s.path.relative_to(root)) for s in manifest.segments), folder)


@pytest.mark.parametrize("head", ["linear", "prototypes", "attention"])
def test_the_same_kind_of_head_is_refitted_to_all_segments(
    head: str, manifest: Manifest, cache: Cache, yellow: Sequence[Path], tmp_path: Path
) -> None:
    before = model_of(manifest, cache, head)
    weights = {name: array.copy() for name, array in before.head.weights().items()}
    added = add_class(before, " yellow ", yellow, cache=cache)
    assert (added.name, added.how, added.failures) == ("yellow", "refitted", ())
    assert added.model.labels == ("blue", "green", "red", "yellow")
    assert (added.model.head.name, added.model.head.config) == (head, before.head.config)
    assert added.effects.part == "test"
    assert added.effects.segments == 3
    assert added.effects.new_segments >= 2
    assert added.effects.new is not None
    assert added.effects.new.value == 1.0
    assert added.effects.after is not None
    assert added.effects.after.value == 1.0
    assert before.labels == ("blue", "green", "red")
    assert all(np.array_equal(array, before.head.weights()[name]) for name, array in weights.items())
    added.model.save(tmp_path / "m")
    again = Model.load(tmp_path / "m")
    assert again.labels == added.model.labels
    assert again.facts.splits["train"]["yellow"] + again.facts.splits["test"]["yellow"] == 8
    assert again.manifest is not None
    assert again.manifest.fingerprint == again.facts.fingerprint
    assert "'yellow' was added on" in again.facts.notes[-1]
    report = evaluate(again, cache=cache, baselines=False)
    assert report.figures.accuracy.value == 1.0
    assert len(report.tested) == 3 + added.effects.new_segments


def test_the_encoder_reads_only_the_new_videos(manifest: Manifest, cache: Cache, yellow: Sequence[Path]) -> None:
    before = model_of(manifest, cache, "linear")
    batch_sizes = []

    class Watched(Colours):
        def embed(self, batch: Sequence[object]) -> list[Features]:  # type: ignore[override]
            batch_sizes.append(len(batch))
            return super().embed(batch)  # type: ignore[arg-type]

    fresh = Cache(cache.folder)
    for entry in list(fresh.entries()):  # remove the features of the new videos
        if entry.key.get("kind") == "features" and entry.key.get("video") in {fresh.digest(path) for path in yellow}:
            entry.file.unlink()
    add_class(replace(before, backbone=Watched()), "yellow", yellow, cache=fresh)
    assert sum(batch_sizes) == len(yellow)


def test_whole_groups_are_held_out_and_a_known_group_keeps_its_part(manifest: Manifest, cache: Cache, yellow: Sequence[Path]) -> None:
    before = model_of(manifest, cache, "prototypes")
    tested = next(s.group for s in manifest.segments if s.split == "test")
    watched = next(s.group for s in manifest.segments if s.split == "val")
    groups = [tested, watched, "n1", "n1", "n2", "n2", "n3", "n3"]
    added = add_class(before, "yellow", [Segment(path, group=group) for path, group in zip(yellow, groups)], cache=cache)
    assert added.model.manifest is not None
    parts: dict[str | None, set[str | None]] = {}
    for segment in added.model.manifest.segments:
        if segment.label == "yellow":
            parts.setdefault(segment.group, set()).add(segment.split)
    assert all(len(splits) == 1 for splits in parts.values())
    assert parts[tested] == {"test"}
    assert parts[watched] == {"val"}
    assert any(splits == {"train"} for splits in parts.values())


def test_a_single_video_is_used_for_training_and_the_recall_is_unknown(manifest: Manifest, cache: Cache, yellow: Sequence[Path]) -> None:
    added = add_class(model_of(manifest, cache, "prototypes"), "yellow", yellow[:1], cache=cache)
    assert added.effects.new is None
    assert any("1 video" in note for note in added.notes)
    assert "unknown" in " ".join(added.sentences)


@pytest.mark.parametrize("head", ["linear", "prototypes"])
def test_without_the_training_videos_a_head_is_imprinted(
    head: str, manifest: Manifest, cache: Cache, yellow: Sequence[Path], tmp_path: Path
) -> None:
    before = model_of(elsewhere(manifest, tmp_path / "gone"), cache, head)
    before.save(tmp_path / "m")
    shutil.rmtree(tmp_path / "gone")
    loaded = Model.load(tmp_path / "m")
    assert loaded.manifest is None
    added = add_class(loaded, "yellow", yellow, cache=cache)
    assert added.how == "imprinted"
    assert added.effects.before is None
    assert "unknown" in " ".join(added.sentences)
    assert added.model.threshold is None
    added.model.save(tmp_path / "m")
    again = Model.load(tmp_path / "m")
    predictions = again.predict([*yellow, *(s.path for s in manifest.segments)], cache=cache).predictions
    labels = [*["yellow"] * 8, *(segment.label for segment in manifest.segments)]
    right = [prediction.label == label for prediction, label in zip(predictions, labels, strict=True)]
    assert np.mean(right[:8]) >= 0.6
    assert np.mean(right[8:]) >= 0.9


def test_a_head_that_cannot_be_extended_is_refused(manifest: Manifest, cache: Cache, yellow: Sequence[Path], tmp_path: Path) -> None:
    model_of(elsewhere(manifest, tmp_path / "gone"), cache, "attention").save(tmp_path / "m")
    shutil.rmtree(tmp_path / "gone")
    before = (tmp_path / "m" / "model.json").read_bytes()
    with pytest.raises(ModelError, match="'attention'"):
        add_class(Model.load(tmp_path / "m"), "yellow", yellow, cache=cache)
    assert (tmp_path / "m" / "model.json").read_bytes() == before


@pytest.mark.parametrize("name", ["linear", "prototypes"])
def test_an_imprinted_row_recognizes_the_new_class_and_takes_little_from_the_others(name: str) -> None:
    recalls, losses = [], []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        means = rng.normal(0, 1, (5, 32))
        old, new = np.repeat(np.arange(4), 20), np.full(6, 4)
        new_labels, others = np.full(50, 4), np.repeat(np.arange(4), 50)
        features, fresh, tested, held_out = (
            [Features(value.astype(np.float32)[None], np.zeros(1)) for value in means[labels] + rng.normal(0, 1, (len(labels), 32))]
            for labels in (old, new, new_labels, others)
        )
        head = open_head(name)
        head.fit(Examples(features, old), None, classes=4, fitting=FitConfig())
        extended = imprint(head, {}, fresh, place=4)
        before, after = head.scores(held_out).argmax(axis=1), extended.scores(held_out).argmax(axis=1)
        assert np.array_equal(after[after != 4], before[after != 4])
        recalls.append((extended.scores(tested).argmax(axis=1) == 4).mean())
        losses.append((before == others).mean() - (after == others).mean())
    assert np.mean(recalls) > 0.65
    assert np.mean(losses) < 0.03


# -- text ---------------------------------------------------------------------------------------------------------------


def test_a_zero_shot_model_needs_no_video_of_the_new_class(cache: Cache, manifest: Manifest, tmp_path: Path) -> None:
    before = zero_shot(ZeroShotConfig(labels="red,green"), backbone=Words(), cache=cache)
    added = add_class(before, "blue", cache=cache)
    assert added.how == "words"
    assert added.model.labels == ("blue", "green", "red")
    assert added.model.facts.words["blue"] == ("a video of blue",)
    assert added.model.facts.words["red"] == before.facts.words["red"]
    added.model.save(tmp_path / "m")
    predictions = Model.load(tmp_path / "m").predict([s.path for s in manifest.segments], cache=cache).predictions
    assert all(prediction.label == s.label for prediction, s in zip(predictions, manifest.segments, strict=True))
    described = add_class(before, "sky: something blue; blue blue", cache=cache)
    assert described.model.facts.words["sky"] == ("something blue", "blue blue")
    addition = add_class(before, "blue", [s.path for s in manifest.segments if s.label == "blue"], cache=cache)
    assert (addition.effects.new_segments, addition.effects.new is not None and addition.effects.new.value) == (8, 1.0)


def test_few_shot_uses_text_and_videos(cache: Cache, manifest: Manifest, yellow: Sequence[Path], tmp_path: Path) -> None:
    before = model_of(elsewhere(manifest, tmp_path / "gone"), cache, "few-shot", Words())
    added = add_class(before, "yellow: red green", yellow, cache=cache)
    assert (added.how, added.model.facts.words["yellow"]) == ("refitted", ("red green",))
    assert added.effects.new is not None
    assert added.effects.new.value == 1.0
    before.save(tmp_path / "m")
    shutil.rmtree(tmp_path / "gone")
    extended = add_class(Model.load(tmp_path / "m"), "yellow: red green", yellow, cache=cache)
    assert extended.how == "imprinted"
    predictions = extended.model.predict(yellow, cache=cache).predictions
    assert np.mean([prediction.label == "yellow" for prediction in predictions]) >= 0.6


# -- effects -------------------------------------------------------------------------------------------------------------


def test_segments_lost_to_the_new_class_are_counted(manifest: Manifest, cache: Cache, yellow: Sequence[Path]) -> None:
    """A model that predicts yellow everywhere has taken every segment of the others."""
    before = model_of(manifest, cache, "prototypes")
    after = add_class(before, "yellow", yellow, cache=cache).model
    greedy = open_head("prototypes")
    greedy.load({n: a if n != "bias" else a + np.float32(1e6) * (np.arange(4) == 3) for n, a in after.head.weights().items()})
    old = [s for s in manifest.segments if s.split == "test"]
    features = {s: Features(np.array([COLOURS[str(s.label)]] * 3, dtype=np.float32), np.arange(3.0)) for s in old}
    effects = measure_effects(before, replace(after, head=greedy), "yellow", old=old, new=(), features=features, part="test")
    assert effects.taken == 3
    assert [(recall.before, recall.after, recall.taken) for recall in effects.recalls] == [(1.0, 0.0, 1)] * 3
    assert effects.change is not None
    assert effects.change.interval.value == -1.0
    sentences = " ".join(describe_effects(effects, "yellow"))
    assert "3 are now predicted as 'yellow'" in sentences
    assert "'blue' 100 % -> 0 % of 1" in sentences


# -- wrong input -----------------------------------------------------------------------------------------------------------


def test_wrong_input_is_refused_in_one_line(manifest: Manifest, cache: Cache, yellow: Sequence[Path], tmp_path: Path) -> None:
    model = model_of(manifest, cache, "prototypes")
    (tmp_path / "text.mp4").write_text("not a video")
    (tmp_path / "empty").mkdir()
    reds = [s.path for s in manifest.segments if s.label == "red"]
    wrong: list[tuple[str, Sequence[str | Path], type[QuickstepError], str]] = [
        ("red", yellow, ConfigError, "'red'"),
        ("  RED ", yellow, ConfigError, "'red'"),
        ("", yellow, ConfigError, "name"),
        ("   ", yellow, ConfigError, "name"),
        ("a\x00b", yellow, ConfigError, "name"),
        ("yellow", [], ConfigError, "video"),
        ("yellow", [tmp_path / "text.mp4"], ManifestError, r"text\.mp4"),
        ("yellow", [tmp_path / "nowhere.mp4"], ManifestError, r"nowhere\.mp4"),
        ("yellow", [tmp_path / "empty"], ManifestError, "empty"),
        ("yellow", reds, ManifestError, "'red'"),
    ]
    for name, inputs, kind, words in wrong:
        with pytest.raises(kind, match=words) as refused:
            add_class(model, name, inputs, cache=cache)
        assert "\n" not in str(refused.value)
    with pytest.raises(QuickstepError):
        add_class(model, "yellow", [*yellow, tmp_path / "text.mp4"], cache=cache, strict=True)
    added = add_class(model, "yellow", [*yellow, tmp_path / "text.mp4", reds[0]], cache=cache)
    assert [failure.segment.path.name for failure in added.failures] == ["text.mp4"]
    assert any("'red'" in note for note in added.notes)
    words = zero_shot(ZeroShotConfig(labels="red,green"), backbone=Words(), cache=cache)
    with pytest.raises(ConfigError, match="'blue:'"):
        add_class(words, "blue:", cache=cache)


# -- the command ---------------------------------------------------------------------------------------------------------


def test_the_command_replaces_the_model_and_sets_old_reports_aside(
    manifest: Manifest, cache: Cache, yellow: Sequence[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "m"
    model_of(manifest, cache, "prototypes").save(folder)
    (folder / "report.json").write_text("{}")
    (folder / "on-others").mkdir()
    (folder / "on-others" / "report.json").write_text("{}")
    add_class_command(folder, "yellow", tuple(map(str, yellow)), out=tmp_path / "other", run=Run(cache_folder=cache.folder))
    assert Model.load(folder).labels == ("blue", "green", "red")
    assert (folder / "report.json").exists()
    capsys.readouterr()
    add_class_command(folder, "yellow", tuple(map(str, yellow)), run=Run(cache_folder=cache.folder, json=True))
    printed = capsys.readouterr()
    content = json.loads(printed.out)
    assert content["how"] == "refitted"
    assert content["effects"]["taken"] == 0
    assert Model.load(folder).labels == Model.load(tmp_path / "other").labels == ("blue", "green", "red", "yellow")
    assert not (folder / "report.json").exists()
    assert (folder / "on-others-of-an-earlier-model" / "report.json").exists()
    assert not (folder / "on-others").exists()
    card = (folder / "README.md").read_text()
    assert "yellow" in card
    assert "Not evaluated yet" in card
    assert set_reports_aside(folder) == ()


def test_a_folder_without_a_model_is_left_alone(yellow: Sequence[Path], tmp_path: Path, cache: Cache) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ModelError):
        add_class_command(tmp_path, "yellow", tuple(map(str, yellow)), run=Run(cache_folder=cache.folder))
    with pytest.raises(ModelError, match="nothing"):
        add_class_command(tmp_path / "nothing", "yellow", tuple(map(str, yellow)), run=Run(cache_folder=cache.folder))
    release_all()  # as the command line does at the end of a command
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_the_result_is_plain_data(manifest: Manifest, cache: Cache, yellow: Sequence[Path]) -> None:
    added: Added = add_class(model_of(manifest, cache, "linear"), "yellow", yellow, cache=cache)
    plain = json.loads(json.dumps(added.to_json(), allow_nan=False))
    assert plain["labels"] == list(added.model.labels)
    assert plain["effects"]["new_segments"] == added.effects.new_segments
    assert plain["sentences"] == list(added.sentences)
