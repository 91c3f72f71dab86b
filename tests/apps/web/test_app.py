"""The web app without a browser: formatting, folders, ports, jobs, and its pages as Streamlit runs them."""

from __future__ import annotations

import io
import json
import shutil
import socket
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from library_sets import draw
from toys import Colours, draw_colours

from quickstep.datasets.manifest import Manifest
from quickstep.evaluation.rendering import write_card
from quickstep.inference.predict import attribute
from quickstep.models.classifier import Prediction
from quickstep.models.model import Model
from quickstep.signals.video import probe, read_frames
from quickstep.storage.cache import Cache
from quickstep.storage.serialization import from_plain, to_plain
from quickstep.training.few_clips import train_on_clips
from quickstep.training.train import TrainConfig, train
from quickstep.types.confidence_intervals import Interval
from quickstep.types.errors import ConfigError, ManifestError, MediaError, ModelError, QuickstepError
from quickstep.types.progress import ProgressUpdate
from quickstep.types.segment import Segment

pytest.importorskip("streamlit")

from streamlit.testing.v1 import AppTest

from quickstep.apps.web import formatting, launch, page_elements, video_player
from quickstep.apps.web.clips import Clips
from quickstep.apps.web.config import AppConfig, Started
from quickstep.apps.web.formatting import clock, share, verdict_on
from quickstep.apps.web.jobs import Job, Jobs

MAIN = str(Path(page_elements.__file__).parent / "pages" / "main.py")
LABELS = ("a", "b", "c", "d")


def prediction_of(*scores: float, threshold: float | None = None) -> Prediction:
    return Prediction(Segment(Path("x.mp4")), np.array(scores), LABELS, threshold)


@pytest.mark.parametrize(
    ("prediction", "short"),
    [
        (prediction_of(0.9, 0.04, 0.03, 0.03, threshold=0.8), "fairly sure"),
        (prediction_of(0.7, 0.2, 0.05, 0.05, threshold=0.8), "not sure"),
        (prediction_of(0.3, 0.25, 0.25, 0.2, threshold=0.29), "not sure"),
        (prediction_of(0.9, 0.04, 0.03, 0.03), "likely"),
        (prediction_of(0.6, 0.2, 0.1, 0.1), "not sure"),
    ],
)
def test_a_prediction_is_worded_by_its_confidence(prediction: Prediction, short: str) -> None:
    assert verdict_on(prediction).short == short
    assert verdict_on(prediction).named is (short != "not sure")


def test_below_the_confidence_that_the_app_asks_for_not_sure_comes_first_and_the_label_second() -> None:
    one = prediction_of(0.7, 0.2, 0.05, 0.05, threshold=0.5)
    assert formatting.answer(one, min_confidence=0.6).index("<b>a</b>") >= 0
    shown = formatting.answer(one, min_confidence=0.8)
    assert shown.index("<b>not sure</b>") < shown.index("perhaps a")
    assert "<b>a</b>" not in shown
    with pytest.raises(ConfigError, match="min_confidence"):
        AppConfig(min_confidence=1.5)


def test_shares_and_times_are_rounded_for_people() -> None:
    assert [share(value) for value in (0, 0.001, 0.5, 0.996, 1)] == ["0 %", "< 1 %", "50 %", "> 99 %", "100 %"]
    assert [clock(seconds) for seconds in (0, 59.96, 61.25)] == ["0:00.0", "1:00.0", "1:01.2"]


def test_text_from_outside_is_escaped() -> None:
    evil = "<script>alert(1)</script>"
    one = replace(prediction_of(0.9, 0.04, 0.03, 0.03), labels=(evil, "b", "c", "d"))
    pages = [
        formatting.answer(one),
        formatting.bars(one.top(4)),
        formatting.table(("x",), [(evil,)]),
        formatting.verdict(evil),
        formatting.message(evil, evil),
    ]
    pages.append(formatting.intervals([(evil, Interval(0.5, 0.2, 0.8))]))
    assert all("<script" not in html and "&lt;script&gt;" in html for html in pages)


def test_a_file_name_is_shown_without_its_folder() -> None:
    for name in ("../../etc/passwd.mp4", "a\\b\\passwd.mp4", "pass\0wd.mp4", "x" * 300 + ".mp4", "💃.mp4", "a\nb.mp4", "/"):
        displayed = page_elements.display_name(name)
        assert displayed
        assert len(displayed) <= 80
        assert not set(displayed) & set("/\\\0\n")
    assert page_elements.plain("*a* <b>") == "\\*a\\* \\<b\\>"


def test_only_files_in_the_data_folders_may_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in" / "set").mkdir(parents=True)
    (tmp_path / "out").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path / "out")
    started = Started((), AppConfig(data_folder=(tmp_path / "in",)), tmp_path)
    assert started.allowed("set") == (tmp_path / "in" / "set").resolve()
    assert started.allowed(str(tmp_path / "in" / "set")) == (tmp_path / "in" / "set").resolve()
    for bad in ("../out", str(tmp_path / "out"), "link", "nothing", "", "/etc", "a\0b"):
        with pytest.raises(ConfigError):
            started.allowed(bad)
    assert from_plain(Started, json.loads(json.dumps(to_plain(started)))) == started


def test_wrong_settings_are_refused_by_name(tmp_path: Path) -> None:
    for wrong, name in (({"port": 0}, "port"), ({"data_folder": (tmp_path / "no",)}, "data_folder"), ({"stun": "example.org"}, "stun")):
        with pytest.raises(ConfigError, match=name):
            AppConfig(**wrong)  # type: ignore[arg-type]
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        with pytest.raises(ConfigError, match="in use"):
            launch._port(AppConfig(port=taken.getsockname()[1]))


def test_a_folder_without_a_model_is_refused_before_the_server_starts(tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        launch.start([tmp_path], AppConfig())


def test_the_temporary_folder_of_a_killed_app_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    left = tmp_path / "quickstep-app-999999999-x"
    (left / "session-1").mkdir(parents=True)
    with launch._temporary_folder() as folder:
        assert folder.is_dir()
        assert not left.exists()
    assert list(tmp_path.iterdir()) == []


def test_a_job_reads_progress_and_the_error_of_its_command(tmp_path: Path) -> None:
    jobs, job = Jobs(), Job("none", [["evaluate", str(tmp_path / "nothing")]], tmp_path)
    job.take(ProgressUpdate("features", 0, 82).to_line())
    job.take(ProgressUpdate("features", 41, 82).to_line())
    assert (job.progress.stage, job.progress.share) == ("features", 0.5)
    assert job.seconds_left is not None
    assert job.log == []
    assert jobs.begin(job)
    assert not jobs.begin(Job("other", [], tmp_path))
    until = time.monotonic() + 100
    while job.running and time.monotonic() < until:
        time.sleep(0.1)
    assert job.status == 1
    assert "there is no such folder" in job.message


@pytest.fixture(scope="module")
def coloured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a model of colours in a folder."""
    folder = tmp_path_factory.mktemp("coloured")
    manifest = draw_colours(folder / "videos")
    model = train(manifest, TrainConfig(epochs=40), backbone=Colours(), cache=Cache(folder / "cache")).model
    model.save(folder / "model")
    write_card(model, folder / "model")
    return folder


def test_each_part_of_a_segment_gets_its_own_score(coloured: Path, tmp_path: Path) -> None:
    video = draw(tmp_path / "two.mp4", ("red", 2), ("blue", 2))
    attribution = attribute(Model.load(coloured / "model"), Segment(video), "red", parts=4, cache=Cache(tmp_path / "cache"))
    assert [part.label for part in attribution.parts] == ["red", "red", "blue", "blue"]
    assert min(part.score for part in attribution.parts[:2]) > max(part.score for part in attribution.parts[2:])
    assert attribution.strongest in attribution.parts[:2]
    assert attribute(Model.load(coloured / "model"), Segment(video, end=0.4), "red", cache=Cache(tmp_path / "cache")).parts == ()


def test_videos_that_browsers_cannot_play_are_converted(tmp_path: Path) -> None:
    mp4 = draw(tmp_path / "a.mp4", ("red", 1), ("blue", 1))
    assert video_player.playable(mp4, tmp_path / "copies") == mp4
    strange = tmp_path / "a.mkv"  # h264, in a container that not every browser opens
    shutil.copy(mp4, strange)
    copy = video_player.playable(strange, tmp_path / "copies")
    assert copy.parent == tmp_path / "copies"
    assert video_player.playable(strange, tmp_path / "copies") == copy
    assert video_player.plays(probe(copy))
    assert abs(probe(copy).duration - probe(mp4).duration) < 0.11
    colours = read_frames(copy, [0.5, 1.5]).pixels.mean(axis=(1, 2)).argmax(axis=1)
    assert colours.tolist() == [0, 2]  # red, then blue, when they were
    with pytest.raises(MediaError):
        video_player.playable(tmp_path / "nothing.avi", tmp_path / "copies")


@pytest.fixture
def run(coloured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Run the app's script on the model of colours; open a page by its name."""
    import streamlit as st

    started = Started((coloured / "model",), AppConfig(data_folder=(coloured,), out=tmp_path / "models"), tmp_path, coloured / "cache")
    monkeypatch.setattr(sys, "argv", ["main.py", json.dumps(to_plain(started))])
    st.cache_resource.clear()

    def opened(page: str = "try") -> AppTest:
        script = (
            "import streamlit as st\n"
            "from importlib import import_module\n"
            "from quickstep.apps.web import page_elements\n"
            "with page_elements.errors_shown():\n"
            f"    import_module('quickstep.apps.web.pages.{page}').page()\n"
        )
        return AppTest.from_string(script, default_timeout=120).run()

    yield opened
    st.cache_resource.clear()


def html(page: AppTest) -> str:
    return "\n".join(str(element.proto.body) for element in page.get("html"))


def test_the_whole_script_runs(run: Any) -> None:
    page = AppTest.from_file(MAIN, default_timeout=120).run()
    assert not page.exception
    assert [title.value for title in page.title] == ["What is this move?"]


def test_the_page_try_shows_the_prediction_of_a_sample(run: Any, coloured: Path) -> None:
    page = run("try_it")
    assert not page.exception
    assert "<b>" not in html(page).replace("<b>model</b>", "")  # no answer before the button is pressed
    page = page.button[0].click().run()
    assert not page.exception
    model = Model.load(coloured / "model")
    sample = next(segment for segment in model.manifest.part("test").segments if segment.label == page.get("button_group")[0].value)  # type: ignore[union-attr]
    prediction = model.predict([sample.path], cache=Cache(coloured / "cache")).predictions[0]
    assert f"<b>{prediction.label}</b>" in html(page)
    assert share(prediction.score) in html(page).replace("&gt;", ">")


def test_models_can_be_switched(run: Any, coloured: Path, tmp_path: Path) -> None:
    Model.load(coloured / "model").save(tmp_path / "models" / "another")
    page = run("try_it")
    (choice,) = [box for box in page.selectbox if box.label == "Model"]
    assert (choice.options, choice.value) == (["model", "another"], "model")
    page = choice.select("another").run()
    assert page.session_state["chosen"] == "another"
    assert "<b>another</b>" in html(page)
    assert not page.exception


def test_the_page_library_explains_how_to_name_one(run: Any) -> None:
    assert "make one from videos" in run("library").info[0].value


def test_the_page_report_explains_how_to_evaluate(run: Any) -> None:
    assert "has not been evaluated yet" in run("report").info[0].value


def test_clips_are_kept_by_class_and_person_and_deleted_from_the_disk(tmp_path: Path) -> None:
    video = draw(tmp_path / "a.mp4", ("red", 1)).read_bytes()
    clips = Clips(tmp_path / "clips")
    clips.add_class("Wave Left")
    first = clips.add("Wave Left", "Ana", video, ".mp4")
    second = clips.add("Wave Left", "Ana", video, ".mp4")
    clips.add("spin", "Bo", video, ".mp4")
    assert clips.labels == ["Wave Left", "spin"]
    assert [(segment.label, segment.group) for segment in clips.manifest().segments] == [
        ("Wave Left", "Ana"),
        ("Wave Left", "Ana"),
        ("spin", "Bo"),
    ]
    clips.delete(first)
    assert clips.of("Wave Left") == [second]
    assert clips.add("Wave Left", "Ana", video, ".mp4").path not in (first.path, second.path)
    clips.delete_class("Wave Left")
    assert not (tmp_path / "clips" / "Wave Left").exists()
    with pytest.raises(QuickstepError):
        clips.add("spin", "Bo", b"not a video", ".mp4")
    assert len(clips.of("spin")) == 1
    for bad in ("", " ", "../up", "a/b", ".hidden", "x" * 61, "a\0"):
        with pytest.raises(ConfigError):
            clips.add_class(bad)


def test_a_zip_gives_its_videos_to_the_classes_of_its_folders_and_no_more_than_allowed(tmp_path: Path) -> None:
    video = draw(tmp_path / "a.mp4", ("red", 1))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        for name in ("moves/spin/a.mp4", "../../wave/b.mp4", "c.mp4", "__MACOSX/spin/._a.mp4", "spin/notes.txt"):
            file.write(video, name)
    clips = Clips(tmp_path / "clips")
    assert clips.add_zip("other", "me", packed.getvalue(), most_bytes=10**6) == 2  # one name would leave the folder
    assert clips.labels == ["other", "spin"]
    assert {path.parent.parent.parent for path in tmp_path.rglob("*.mp4") if path != video} == {tmp_path / "clips"}
    with pytest.raises(ManifestError, match="larger"):
        Clips(tmp_path / "more").add_zip("other", "me", packed.getvalue(), most_bytes=2 * video.stat().st_size - 1)
    with pytest.raises(ManifestError, match="cannot be read"):
        clips.add_zip("other", "me", b"not a zip", most_bytes=10**6)


def test_a_few_clips_train_a_model_and_held_out_clips_measure_it(coloured: Path, tmp_path: Path) -> None:
    like = Model.load(coloured / "model")
    segments = [
        Segment(draw(tmp_path / f"{colour}{number}.mp4", (colour, 1), seed=number), label=colour, group=f"person {number}")
        for colour in ("red", "blue")
        for number in range(4)
    ]
    taught = train_on_clips(Manifest(tuple(segments)), like, cache=Cache(tmp_path / "cache"))
    assert (taught.right, taught.tested, taught.by_person) == (8, 8, True)
    assert taught.model.labels == ("blue", "red")
    fresh = draw(tmp_path / "fresh.mp4", ("blue", 1), seed=9)
    assert taught.model.predict([fresh], cache=Cache(tmp_path / "cache")).predictions[0].label == "blue"
    swapped = [
        replace(segment, label={"red": "blue", "blue": "red"}[str(segment.label)] if number % 2 else segment.label)
        for number, segment in enumerate(segments)
    ]
    nonsense = train_on_clips(Manifest(tuple(swapped)), like, cache=Cache(tmp_path / "cache"))
    assert nonsense.right <= 5  # labels that do not follow what is seen are not recognized in held-out clips


def test_only_folders_inside_the_data_folders_are_offered(run: Any, coloured: Path) -> None:
    page = run("teach")
    page = page.get("button_group")[0].set_value("A folder of videos").run()
    assert not page.exception
    assert page.text_input.len == 0  # nothing is typed
    (box,) = [box for box in page.selectbox if box.label == "Folders and lists"]
    assert "videos/" in box.options
    assert [button.disabled for button in page.button if button.label == "Up"] == [True]


def test_no_page_is_a_script_of_its_own() -> None:
    """Streamlit runs the scripts in `pages` beside its main script alone, without the model, for the first visitor after a start."""
    assert not (Path(MAIN).parent / "pages").exists()
