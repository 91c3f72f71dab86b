"""evaluate: figures that are Model.predict's own, parts and labels chosen rightly, and sentences that say what was planted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
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


def warned(report: Report, about: str) -> str:
    """What is said about something, with its level in front."""
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
    """Trained, saved and loaded again."""
    train(moving, CONFIG, backbone=Change(), cache=cache).model.save(place / "model")
    return Model.load(place / "model")


@pytest.fixture(scope="module")
def report(model: Model, cache: Cache) -> Report:
    return evaluate(model, cache=cache)


def test_the_scores_are_those_of_predict_to_the_bit(report: Report, model: Model, moving: Manifest, cache: Cache) -> None:
    again = model.predict(moving.part("test").segments, cache=cache).predictions
    assert [one.path for one in report.tested] == [str(prediction.segment.path) for prediction in again]
    for one, prediction in zip(report.tested, again):
        assert np.array(one.scores).tobytes() == prediction.scores.tobytes()
        assert one.said == prediction.label
    read = Report.from_json(report.to_json())
    assert [one.scores for one in read.tested] == [tuple(prediction.scores.tolist()) for prediction in again]


def test_motion_beats_its_baselines_and_says_so(report: Report) -> None:
    assert report.figures.accuracy.value == 1.0
    assert report.headline.startswith("Right on 8 of 8 test videos: 100 %")
    assert report.figures.accuracy.low < 0.7
    made = {baseline.name: baseline for baseline in report.baselines}
    assert made["majority"].accuracy is not None
    assert made["majority"].accuracy.value == 0.5
    assert made["frame"].accuracy is not None
    assert made["frame"].accuracy.value < 1
    assert not warned(report, "metadata")
    assert "Too few" in warned(report, "size")


def test_a_report_is_the_same_after_json(report: Report, tmp_path: Path) -> None:
    assert Report.from_json(report.to_json()) == report
    write_report(report, tmp_path)
    assert Report.load(tmp_path) == report
    assert Report.load(tmp_path / "report.json") == report


def test_two_evaluations_agree(report: Report, model: Model, cache: Cache) -> None:
    again = evaluate(model, cache=cache)
    assert replace(again, made=report.made, seconds=report.seconds) == report


def test_where_it_came_from_is_told(report: Report, model: Model, moving: Manifest) -> None:
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


def test_a_stage_that_gives_the_class_away_is_a_warning(place: Path, cache: Cache) -> None:
    staged = draw(place / "staged", "stage", count=80, groups=20)
    found = evaluate(train(staged, CONFIG, backbone=Change(), cache=cache).model, cache=cache)
    assert "warning: A single frame scores" in warned(found, "frame")
    assert "reading the stage, not the move" in warned(found, "frame")
    assert warned(found, "chance").startswith("warning")
    assert found.mistakes
    assert all(mistake.strip.startswith("data:image/jpeg;base64,") for mistake in found.mistakes)
    sure = [mistake.tested.sure for mistake in found.mistakes]
    assert sure == sorted(sure, reverse=True)


def test_files_that_give_the_class_away_are_a_warning(place: Path, cache: Cache) -> None:
    sized = draw(place / "sized", "size", count=80, groups=20)
    found = evaluate(train(sized, CONFIG, backbone=Change(), cache=cache).model, cache=cache)
    made = {baseline.name: baseline for baseline in found.baselines}
    assert made["metadata"].accuracy is not None
    assert made["metadata"].accuracy.value == 1.0
    assert "warning: File metadata alone" in warned(found, "metadata")


def test_other_videos_are_tested_as_a_whole_and_named(model: Model, place: Path, cache: Cache) -> None:
    others = draw(place / "others", "motion", count=12, groups=3, seed=9)
    loose = others.with_splits([None] * len(others))
    found = evaluate(model, loose, cache=cache)
    assert len(found.tested) == 12
    assert (found.trained_on.name, found.tested_on.name) == ("moving", "others")
    assert "not divided into parts" in warned(found, "data")
    assert found.proof.clean is False  # "dancer 0" was trained on too: the name may be chance, but it is said
    assert "group" in warned(found, "proof")


def test_labels_that_were_never_learnt_are_left_out_and_said(model: Model, moving: Manifest, cache: Cache) -> None:
    test = moving.part("test")
    changed = test.with_segments([replace(test.segments[0], label="spin"), *test.segments[1:]])
    found = evaluate(model, changed, cache=cache)
    assert found.left_out == {"spin": 1}
    assert len(found.tested) == 7
    assert "1 of 8 segments have labels that the model never learnt" in warned(found, "labels")
    with pytest.raises(ManifestError, match="no segment with a label that the model knows"):
        evaluate(model, test.with_segments([replace(segment, label="spin") for segment in test.segments]), cache=cache)


def test_what_cannot_be_read_is_counted(model: Model, moving: Manifest, cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_text("no video")
    broken = Segment(tmp_path / "broken.mp4", "left", split="test")
    found = evaluate(model, moving.with_segments([*moving.segments, broken]), cache=cache)
    assert len(found.tested) == 8
    assert [failure.name for failure in found.failures] == [str(tmp_path / "broken.mp4")]
    assert "1 of 9 test segments could not be read" in warned(found, "failures")
    with pytest.raises(MediaError, match="none of the 1 test segments can be read"):
        evaluate(model, Manifest((broken,)), cache=cache)
    with pytest.raises(MediaError):
        evaluate(model, Manifest((broken, *moving.part("test").segments)), cache=cache, strict=True)


def test_testing_on_what_was_learnt_is_a_warning(model: Model, cache: Cache) -> None:
    found = evaluate(model, split="train", cache=cache)
    assert not found.proof.clean
    assert "24 of 24 tested segments are of the model's own train part" in found.proof.leaks[0]
    assert warned(found, "proof").startswith("warning: The test is not clean")
    assert len(evaluate(model, split="all", cache=cache, baselines=False).tested) == 40


def test_a_copy_of_a_training_video_is_found(model: Model, moving: Manifest, cache: Cache, tmp_path: Path) -> None:
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(moving.part("train").segments[0].path.read_bytes())
    found = evaluate(model, Manifest((Segment(copy, "left"), *moving.part("test").segments)).with_splits(["test"] * 9), cache=cache)
    assert not found.proof.clean
    assert warned(found, "proof").startswith("warning")


def test_parts_that_are_not_there_are_named(model: Model, moving: Manifest, cache: Cache) -> None:
    with pytest.raises(ConfigError, match="no 'test' part; it has: train"):
        evaluate(model, moving.part("train"), cache=cache)
    with pytest.raises(ConfigError, match="name a folder or csv"):
        evaluate(replace(model, manifest=None), cache=cache)


def test_without_the_training_videos_the_baselines_say_why(model: Model, moving: Manifest, cache: Cache) -> None:
    found = evaluate(replace(model, manifest=None), moving.part("test"), cache=cache)
    assert all(baseline.accuracy is None and "learnt from" in baseline.problem for baseline in found.baselines)
    assert "not known" in warned(found, "proof")


def test_segments_without_a_label_are_left_out(model: Model, moving: Manifest, cache: Cache) -> None:
    test = moving.part("test").segments
    found = evaluate(model, Manifest((replace(test[0], label=None), *test[1:])), cache=cache)
    assert len(found.tested) == 7
    assert "1 segments have no label" in warned(found, "data")


def test_a_card_before_evaluation_says_that_it_is_one(model: Model) -> None:
    card = model_card(model)
    assert "Not evaluated yet" in card
    assert "model-index" not in card
    assert "left, right" in card


@pytest.mark.parametrize("bad", ["", "{", "[]", "{}", '{"format":1}', '{"format":1,"x":NaN}', "\x00", "[" * 100_000])
def test_what_is_no_report_is_one_line(bad: str) -> None:
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


def test_a_name_that_is_no_text_survives(report: Report) -> None:
    odd = replace(report, tested=(replace(report.tested[0], path="/videos/\udcff.mp4"), *report.tested[1:]))
    assert Report.from_json(odd.to_json()) == odd
    assert "mp4" in page(odd)


def test_models_can_be_compared_too(model: Model, report: Report, cache: Cache) -> None:
    assert "exactly the same" in compare([report, model], cache=cache).text


def test_a_newer_report_is_refused_politely(report: Report) -> None:
    plain = json.loads(report.to_json())
    with pytest.raises(ModelError, match="newer quickstep"):
        Report.from_json(json.dumps({**plain, "format": FORMAT + 1}))
    with pytest.raises(ModelError, match="surprise"):
        Report.from_json(json.dumps({**plain, "surprise": 1}))
    plain["tested"][0]["start"] = "soon"
    with pytest.raises(ModelError, match=r"tested\[0\].start"):
        Report.from_json(json.dumps(plain))
