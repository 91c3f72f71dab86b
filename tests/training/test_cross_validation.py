"""Cross-validation: every segment is tested once, by a model that was fitted without its group; the final model is fitted on everything."""

from __future__ import annotations

import json
import shlex
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import call
from toys import Colours, draw_colours

from quickstep.datasets.groups import with_groups
from quickstep.datasets.manifest import Manifest, read_manifest, write_manifest
from quickstep.evaluation import evaluate
from quickstep.evaluation.report import Report
from quickstep.models.ensemble import load_model
from quickstep.storage.cache import Cache
from quickstep.training import cross_validation
from quickstep.training.cross_validation import CrossValidated, cross_validate
from quickstep.training.train import TrainConfig
from quickstep.types.errors import ConfigError
from quickstep.types.signals import Features, Frames

CONFIG = TrainConfig(epochs=30)


class Counting(Colours):
    """Counts the segments that were embedded."""

    embedded = 0

    def embed(self, batch: Sequence[Frames]) -> list[Features]:
        type(self).embedded += len(batch)
        return super().embed(batch)


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """24 videos of three colours in eight groups, with splits that must not count."""
    manifest = draw_colours(tmp_path_factory.mktemp("videos"), each=8)
    return manifest.with_segments(replace(s, group=f"dancer{n % 8}") for n, s in enumerate(manifest.segments))


@pytest.fixture(scope="module")
def validated(colours: Manifest, tmp_path_factory: pytest.TempPathFactory) -> CrossValidated:
    Counting.embedded = 0
    return cross_validate(colours, CONFIG, folds=4, backbone=Counting(), cache=Cache(tmp_path_factory.mktemp("cache")), baselines=False)


def test_every_segment_is_tested_once_and_features_are_computed_once(validated: CrossValidated, colours: Manifest) -> None:
    assert Counter(one.path for one in validated.report.tested) == Counter(str(s.path) for s in colours.segments)
    assert Counting.embedded == len(colours)
    assert [fold.number for fold in validated.report.folds] == [1, 2, 3, 4]
    assert sum(fold.segments for fold in validated.report.folds) == len(colours)
    assert sum(fold.groups for fold in validated.report.folds) == 8  # no group is in two folds
    assert sum(fold.correct for fold in validated.report.folds) == validated.report.correct
    assert validated.report.figures.accuracy.value == pytest.approx(validated.report.correct / len(colours))
    assert validated.report.figures.accuracy.value > 0.9
    assert validated.report.proof.clean


def test_the_final_model_is_fitted_on_everything(validated: CrossValidated, colours: Manifest) -> None:
    assert validated.model.manifest is not None
    assert validated.model.manifest.splits == ("train",)
    assert len(validated.model.manifest) == len(colours)
    assert validated.model.facts.training["folds"] == 4


def test_the_same_baselines_are_pooled_over_the_folds(colours: Manifest, tmp_path: Path) -> None:
    report = cross_validate(colours, CONFIG, folds=2, backbone=Colours(), cache=Cache(tmp_path)).report
    baselines = {baseline.name: baseline for baseline in report.baselines}
    assert baselines.keys() == {"frame", "metadata", "majority"}
    assert baselines["majority"].accuracy is not None
    assert baselines["majority"].accuracy.value <= 0.5  # three balanced classes
    assert all(not baseline.problem for baseline in baselines.values())


def test_what_can_only_be_remembered_is_not_recognized(tmp_path: Path) -> None:
    """Each group has a label of its own choice and two videos alike: a model that saw one of them knows the other."""
    manifest = draw_colours(tmp_path / "videos", each=8, labels=("blue",))
    labels = ["a", "b", "b", "a"]
    segments = [replace(s, label=labels[n % 4], group=str(n % 4), split=None) for n, s in enumerate(manifest.segments)]
    for number in range(4, 8):  # the second video of a group is a copy of the first
        shutil.copy(segments[number - 4].path, segments[number].path)
    validated = cross_validate(
        Manifest(tuple(segments)), CONFIG, folds=4, backbone=Colours(), cache=Cache(tmp_path / "cache"), baselines=False
    )
    fitted = validated.model.predict(segments, cache=Cache(tmp_path / "cache")).predictions
    assert validated.report.figures.accuracy.value <= 0.5
    assert all(one.segment.group is not None for one in fitted)


def test_no_fold_is_calibrated_on_itself(colours: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    fit = cross_validation.fit_temperature

    def recorded(logits: np.ndarray, labels: np.ndarray) -> float:
        sizes.append(len(labels))
        return fit(logits, labels)

    monkeypatch.setattr(cross_validation, "fit_temperature", recorded)
    report = cross_validate(colours, CONFIG, folds=4, backbone=Colours(), cache=Cache(tmp_path), baselines=False).report
    assert sizes == [*(len(colours) - fold.segments for fold in report.folds), len(colours)]


def test_a_class_of_one_group_is_wrong_where_it_is_tested(colours: Manifest, tmp_path: Path) -> None:
    rare = [replace(s, label="rare") if s.group == "dancer0" else s for s in colours.segments]
    validated = cross_validate(Manifest(tuple(rare)), CONFIG, folds=4, backbone=Colours(), cache=Cache(tmp_path), baselines=False)
    tested = [one for one in validated.report.tested if one.label == "rare"]
    assert len(tested) == 3
    assert not any(one.correct for one in tested)
    assert all(sum(one.scores) == pytest.approx(1) for one in validated.report.tested)
    assert "rare" in validated.model.labels


def test_more_folds_than_groups_are_refused(colours: Manifest, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"folds.*8 groups"):
        cross_validate(colours, CONFIG, folds=9, backbone=Colours(), cache=Cache(tmp_path), baselines=False)


def test_the_command_writes_the_report_and_evaluate_returns_it(
    colours: Manifest, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    write_manifest(colours, tmp_path / "videos.csv")
    command = ("train", tmp_path / "videos.csv", "-o", tmp_path / "m", "--backbone", "toys:Colours", "--epochs", "30")
    status, _, printed = call(capsys, *command, "--folds", "2")
    assert status == 0
    report = Report.load(tmp_path / "m")
    assert report.headline in printed
    assert report.model.name == "m"
    page = (tmp_path / "m" / "report.html").read_text()
    assert page.count("<tr><th>1</th>") == 1
    assert "2 folds" in page
    assert evaluate(tmp_path / "m") == report
    status, printed, _ = call(capsys, "evaluate", tmp_path / "m", "--json")
    assert json.loads(printed[printed.index("{") :])["folds"][0]["segments"] == report.folds[0].segments
    assert not evaluate(
        load_model(tmp_path / "m"), read_manifest(tmp_path / "videos.csv"), split="all"
    ).proof.clean  # it was trained on them
    (tmp_path / "m" / "report.json").unlink()
    with pytest.raises(ConfigError, match="folds"):
        evaluate(tmp_path / "m")
    status, _, printed = call(capsys, *command, "--overwrite")
    assert "--folds 5" in printed  # few test groups: the command to use
    assert "validation: 100 % (95 % interval" in printed
    assert "--groups" not in printed


def test_a_set_without_groups_is_said_so_and_proves_nothing(colours: Manifest, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    named = tmp_path / "named"
    for segment in colours.segments:
        person = named / str(segment.label) / f"dancer-{segment.group[-1] if segment.group else ''}-{segment.path.name}"
        person.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(segment.path, person)
    command = ("train", named, "--backbone", "toys:Colours", "--epochs", "30")
    _, _, printed = call(capsys, *command, "-o", tmp_path / "a")
    assert "--groups auto" in printed
    assert "8 groups" in printed
    pattern = shlex.split(printed[printed.index("(--groups ") + 1 : printed.index("): --groups auto")])[1]
    assert [segment.group for segment in with_groups(read_manifest(named), pattern).segments].count("dancer-0") == 3
    _, _, folded = call(capsys, *command, "-o", tmp_path / "c", "--folds", "2")
    assert "--groups auto" in folded
    report = evaluate(tmp_path / "a", baselines=False)
    assert not report.proof.clean
    assert any(verdict.about == "groups" and verdict.level == "caution" for verdict in report.verdicts)
    _, _, printed = call(capsys, *command, "-o", tmp_path / "b", "--groups", "auto")
    assert "own group" not in printed
    assert evaluate(tmp_path / "b", baselines=False).proof.clean


def test_a_report_without_folds_is_read(validated: CrossValidated) -> None:
    plain = json.loads(validated.report.to_json())
    del plain["folds"]
    assert Report.from_json(json.dumps({**plain, "format": 2})).folds == ()
