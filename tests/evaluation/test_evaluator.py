"""evaluate: scores equal those of Model.predict, the right parts and labels are tested, and verdicts name planted problems."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from places import FIXTURES
from small_sets import Change, draw

from quickstep.datasets.manifest import Manifest
from quickstep.evaluation import evaluate
from quickstep.evaluation.comparison import compare
from quickstep.evaluation.rendering import markdown, model_card, page, write_report
from quickstep.evaluation.report import FORMAT, Report
from quickstep.models.model import Model
from quickstep.storage.cache import Cache
from quickstep.training.train import TrainConfig, train
from quickstep.types.errors import ConfigError, ManifestError, MediaError, ModelError
from quickstep.types.segment import Segment

CONFIG = TrainConfig(epochs=40)


def verdicts_on(report: Report, about: str) -> str:
    """Return the verdicts on a subject, each with its level in front."""
    return " ".join(f"{verdict.level}: {verdict.text}" for verdict in report.verdicts if verdict.about == about)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sets")


@pytest.fixture(scope="module")
def cache(place: Path) -> Cache:
    return Cache(place / "store")


@pytest.fixture(scope="module")
def moving(place: Path) -> Manifest:
    return draw(place / "moving", "motion")


@pytest.fixture(scope="module")
def model(moving: Manifest, cache: Cache, place: Path) -> Model:
    """Return a model that was trained, saved and loaded again."""
    train(moving, CONFIG, backbone=Change(), cache=cache).model.save(place / "model")
    return Model.load(place / "model")


@pytest.fixture(scope="module")
def report(model: Model, cache: Cache) -> Report:
    return evaluate(model, cache=cache)


def test_scores_equal_those_of_predict_to_the_bit(report: Report, model: Model, moving: Manifest, cache: Cache) -> None:
    again = model.predict(moving.part("test").segments, cache=cache).predictions
    assert [one.path for one in report.tested] == [str(prediction.segment.path) for prediction in again]
    for one, prediction in zip(report.tested, again):
        assert np.array(one.scores).tobytes() == prediction.scores.tobytes()
        assert one.predicted == prediction.label
    read = Report.from_json(report.to_json())
    assert [one.scores for one in read.tested] == [tuple(prediction.scores.tolist()) for prediction in again]


def test_a_model_of_movement_beats_its_baselines(report: Report) -> None:
    assert report.figures.accuracy.value == 1.0
    assert report.correct == len(report.tested) == 8
    assert report.headline.startswith("8 of 8 test videos correct: 100 %")
    assert report.figures.accuracy.low < 0.7
    baselines = {baseline.name: baseline for baseline in report.baselines}
    assert baselines["majority"].accuracy is not None
    assert baselines["majority"].accuracy.value == 0.5
    assert baselines["frame"].accuracy is not None
    assert baselines["frame"].accuracy.value < 1
    assert not verdicts_on(report, "metadata")
    assert verdicts_on(report, "size").startswith("warning: The test set is too small")


def test_a_report_is_the_same_after_json(report: Report, tmp_path: Path) -> None:
    assert Report.from_json(report.to_json()) == report
    write_report(report, tmp_path)
    assert Report.load(tmp_path) == report
    assert Report.load(tmp_path / "report.json") == report


def test_two_evaluations_agree(report: Report, model: Model, cache: Cache) -> None:
    again = evaluate(model, cache=cache)
    assert replace(again, made=report.made, seconds=report.seconds) == report


def test_a_report_names_its_model_and_data(report: Report, model: Model, moving: Manifest) -> None:
    assert report.trained_on.name == report.tested_on.name == "moving"
    assert report.tested_on.fingerprint == moving.fingerprint
    assert (report.trained_on.segments, report.trained_on.groups) == (32, 8)
    assert (report.tested_on.segments, report.tested_on.groups) == (8, 2)
    assert report.model.name == "model"
    assert (report.model.backbone, report.model.head, report.model.license) == ("change", "linear", "MIT")
    assert report.model.settings["epochs"] == 40
    assert [(row.train, row.val, row.test) for row in report.proof.counts] == [(12, 4, 4)] * 2
    assert report.proof.clean
    assert report.learning is not None
    assert model.history is not None
    assert report.learning.curves["train_loss"] == model.history.train_loss
    assert {"predicting", "baselines", "proof", "pictures", "training: fitting"} <= report.seconds.keys()


def test_a_background_that_gives_the_class_away_is_a_warning(place: Path, cache: Cache) -> None:
    staged = draw(place / "staged", "stage", count=80, groups=20)
    tested = evaluate(train(staged, CONFIG, backbone=Change(), cache=cache).model, cache=cache)
    assert verdicts_on(tested, "frame").startswith("warning: A single frame is")
    assert "background" in verdicts_on(tested, "frame")
    assert verdicts_on(tested, "chance").startswith("warning")
    assert tested.mistakes
    assert all(mistake.strip.startswith("data:image/jpeg;base64,") for mistake in tested.mistakes)
    confidences = [mistake.tested.confidence for mistake in tested.mistakes]
    assert confidences == sorted(confidences, reverse=True)


def test_files_that_give_the_class_away_are_a_warning(place: Path, cache: Cache) -> None:
    sized = draw(place / "sized", "size", count=80, groups=20)
    tested = evaluate(train(sized, CONFIG, backbone=Change(), cache=cache).model, cache=cache)
    baselines = {baseline.name: baseline for baseline in tested.baselines}
    assert baselines["metadata"].accuracy is not None
    assert baselines["metadata"].accuracy.value == 1.0
    assert "warning: File metadata alone" in verdicts_on(tested, "metadata")


def test_videos_without_parts_are_all_tested(model: Model, place: Path, cache: Cache) -> None:
    others = draw(place / "others", "motion", count=12, groups=3, seed=9)
    loose = others.with_splits([None] * len(others))
    tested = evaluate(model, loose, cache=cache)
    assert len(tested.tested) == 12
    assert (tested.trained_on.name, tested.tested_on.name) == ("moving", "others")
    assert "not divided into parts" in verdicts_on(tested, "data")
    assert tested.proof.clean is False  # "dancer 0" is a group of the training part too
    assert "group" in verdicts_on(tested, "proof")


def test_segments_with_unknown_labels_are_left_out(model: Model, moving: Manifest, cache: Cache) -> None:
    test = moving.part("test")
    changed = test.with_segments([replace(test.segments[0], label="spin"), *test.segments[1:]])
    tested = evaluate(model, changed, cache=cache)
    assert tested.left_out == {"spin": 1}
    assert len(tested.tested) == 7
    assert "1 of 8 segments" in verdicts_on(tested, "labels")
    with pytest.raises(ManifestError, match="no segment with a label of the model"):
        evaluate(model, test.with_segments([replace(segment, label="spin") for segment in test.segments]), cache=cache)


def test_unreadable_videos_are_counted(model: Model, moving: Manifest, cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_text("no video")
    broken = Segment(tmp_path / "broken.mp4", "left", split="test")
    tested = evaluate(model, moving.with_segments([*moving.segments, broken]), cache=cache)
    assert len(tested.tested) == 8
    assert [failure.name for failure in tested.failures] == [str(tmp_path / "broken.mp4")]
    assert "1 of 9 test segments" in verdicts_on(tested, "failures")
    with pytest.raises(MediaError, match="none of the 1 test segments"):
        evaluate(model, Manifest((broken,)), cache=cache)
    with pytest.raises(MediaError):
        evaluate(model, Manifest((broken, *moving.part("test").segments)), cache=cache, strict=True)


def test_testing_on_the_training_part_is_a_warning(model: Model, cache: Cache) -> None:
    tested = evaluate(model, split="train", cache=cache)
    assert not tested.proof.clean
    assert "24 of 24 tested segments" in tested.proof.leaks[0]
    assert verdicts_on(tested, "proof").startswith("warning: The test set is not clean")
    assert len(evaluate(model, split="all", cache=cache, baselines=False).tested) == 40


def test_a_copy_of_a_training_video_is_found(model: Model, moving: Manifest, cache: Cache, tmp_path: Path) -> None:
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(moving.part("train").segments[0].path.read_bytes())
    tested = evaluate(model, Manifest((Segment(copy, "left"), *moving.part("test").segments)).with_splits(["test"] * 9), cache=cache)
    assert not tested.proof.clean
    assert verdicts_on(tested, "proof").startswith("warning")


def test_a_missing_part_is_refused_with_those_that_exist(model: Model, moving: Manifest, cache: Cache) -> None:
    with pytest.raises(ConfigError, match="it has: train"):
        evaluate(model, moving.part("train"), cache=cache)
    with pytest.raises(ConfigError, match="folder or csv"):
        evaluate(replace(model, manifest=None), cache=cache)


def test_baselines_without_training_videos_state_the_problem(model: Model, moving: Manifest, cache: Cache) -> None:
    tested = evaluate(replace(model, manifest=None), moving.part("test"), cache=cache)
    assert all(baseline.accuracy is None and "training videos" in baseline.problem for baseline in tested.baselines)
    assert "unknown" in verdicts_on(tested, "proof")


def test_segments_without_a_label_are_left_out(model: Model, moving: Manifest, cache: Cache) -> None:
    test = moving.part("test").segments
    tested = evaluate(model, Manifest((replace(test[0], label=None), *test[1:])), cache=cache)
    assert len(tested.tested) == 7
    assert "1 segments have no label" in verdicts_on(tested, "data")


def test_a_card_before_evaluation_has_no_figures(model: Model) -> None:
    card = model_card(model)
    assert "Not evaluated yet" in card
    assert "model-index" not in card
    assert "left, right" in card


def test_reports_of_version_0_1_open_and_become_pages() -> None:
    for file in (FIXTURES / "v0.1" / "report.json", FIXTURES / "v0.1" / "models" / "motion-linear" / "report.json"):
        plain = json.loads(file.read_text())
        report = Report.load(file)
        assert report.format == FORMAT
        assert [segment.predicted for segment in report.tested] == [segment["said"] for segment in plain["tested"]]
        assert [figures.correct for figures in report.classes] == [figures["right"] for figures in plain["classes"]]
        assert report.curves.calibrated.confidence == tuple(plain["curves"]["calibrated"]["sure"])
        assert report.figures.coverage == plain["figures"]["answered"]
        assert [feature.name for feature in report.importances] == [feature["name"] for feature in plain["deciding"]]
        assert "<h1>" in page(report)
        assert Report.from_json(report.to_json()) == report


def test_evaluate_takes_paths(model: Model, report: Report, moving: Manifest, cache: Cache) -> None:
    assert moving.source is not None
    tested = evaluate(str(model.folder), moving.with_splits([None] * len(moving)), cache=cache, baselines=False)
    assert len(tested.tested) == len(moving)
    assert evaluate(str(model.folder), cache=cache, baselines=False).figures == report.figures


@pytest.mark.parametrize("bad", ["", "{", "[]", "{}", '{"format":2}', '{"format":2,"x":NaN}', "\x00", "[" * 100_000])
def test_other_files_are_refused_in_one_line(bad: str) -> None:
    with pytest.raises(ModelError, match=r"report\.json: "):
        Report.from_json(bad)


@given(st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_changed_report_is_refused_or_still_makes_a_page(report: Report, data: st.DataObject) -> None:
    plain = json.loads(report.to_json())
    plain["tested"] = plain["tested"][:2]
    place, key = plain, data.draw(st.sampled_from(sorted(plain)))
    while isinstance(place[key], (dict, list)) and place[key] and data.draw(st.booleans()):
        place = place[key]
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
    place[key] = data.draw(st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False) | st.text(max_size=3) | st.just([]))
    try:
        changed = Report.from_json(json.dumps(plain))
    except ModelError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert "<h1>" in page(changed)
        assert markdown(changed)


def test_a_path_that_is_not_unicode_survives(report: Report) -> None:
    odd = replace(report, tested=(replace(report.tested[0], path="/videos/\udcff.mp4"), *report.tested[1:]))
    assert Report.from_json(odd.to_json()) == odd
    assert "mp4" in page(odd)


def test_models_can_be_compared_too(model: Model, report: Report, cache: Cache) -> None:
    assert compare([report, model], cache=cache).pairs[0].difference.only_a == 0


def test_a_newer_report_is_refused(report: Report) -> None:
    plain = json.loads(report.to_json())
    with pytest.raises(ModelError, match="newer quickstep"):
        Report.from_json(json.dumps({**plain, "format": FORMAT + 1}))
    with pytest.raises(ModelError, match="surprise"):
        Report.from_json(json.dumps({**plain, "surprise": 1}))
    plain["tested"][0]["start"] = "soon"
    with pytest.raises(ModelError, match=r"tested\[0\].start"):
        Report.from_json(json.dumps(plain))
