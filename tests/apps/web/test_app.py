"""The app's parts without a browser: words, folders, HTML, ports, jobs; and its pages as Streamlit runs them."""

from __future__ import annotations

import json
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toys import Colours, draw_colours

from quickstep.evaluation.rendering import write_card
from quickstep.inference.attribution import weigh
from quickstep.models.model import Model
from quickstep.models.predictions import Prediction
from quickstep.signals.video import probe, read_frames
from quickstep.storage.cache import Cache
from quickstep.storage.serialization import from_plain, to_plain
from quickstep.training.train import TrainConfig, train
from quickstep.types.confidence_intervals import Interval
from quickstep.types.errors import ConfigError, MediaError, ModelError
from quickstep.types.segment import Segment

pytest.importorskip("streamlit")

from streamlit.testing.v1 import AppTest

from quickstep.apps.web import html_fragments, launch, page_elements, video_player
from quickstep.apps.web.confidence_words import clock, read, share
from quickstep.apps.web.config import AppConfig, Started
from quickstep.apps.web.jobs import Job, Jobs

MAIN = str(Path(page_elements.__file__).with_name("main.py"))
LABELS = ("a", "b", "c", "d")


def said(*scores: float, threshold: float | None = None) -> Prediction:
    return Prediction(Segment(Path("x.mp4")), np.array(scores), LABELS, threshold)


@pytest.mark.parametrize(
    ("prediction", "short"),
    [
        (said(0.9, 0.04, 0.03, 0.03, threshold=0.8), "fairly sure"),
        (said(0.7, 0.2, 0.05, 0.05, threshold=0.8), "not sure"),
        (said(0.3, 0.25, 0.25, 0.2, threshold=0.29), "none of these"),
        (said(0.9, 0.04, 0.03, 0.03), "likely"),
        (said(0.6, 0.2, 0.1, 0.1), "not sure"),
    ],
)
def test_a_score_sounds_no_surer_than_it_may(prediction: Prediction, short: str) -> None:
    assert read(prediction).short == short
    assert read(prediction).named is (short != "none of these")


def test_numbers_are_read_as_people_read_them() -> None:
    assert [share(value) for value in (0, 0.001, 0.5, 0.996, 1)] == ["0 %", "< 1 %", "50 %", "> 99 %", "100 %"]
    assert [clock(seconds) for seconds in (0, 59.96, 61.25)] == ["0:00.0", "1:00.0", "1:01.2"]


def test_words_from_outside_are_never_html() -> None:
    evil = "<script>alert(1)</script>"
    one = replace(said(0.9, 0.04, 0.03, 0.03), labels=(evil, "b", "c", "d"))
    made = [
        html_fragments.answer(one),
        html_fragments.bars(one.top(4)),
        html_fragments.table(("x",), [(evil,)]),
        html_fragments.verdict(evil),
        html_fragments.message(evil, evil),
    ]
    made.append(html_fragments.intervals([(evil, Interval(0.5, 0.2, 0.8))]))
    assert all("<script" not in html and "&lt;script&gt;" in html for html in made)


def test_a_files_name_is_only_for_reading() -> None:
    for name in ("../../etc/passwd.mp4", "a\\b\\passwd.mp4", "pass\0wd.mp4", "x" * 300 + ".mp4", "💃.mp4", "a\nb.mp4", "/"):
        shown = page_elements._called(name)
        assert shown
        assert len(shown) <= 80
        assert not set(shown) & set("/\\\0\n")
    assert page_elements.plain("*a* <b>") == "\\*a\\* \\<b\\>"


def test_only_what_lies_in_the_roots_may_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in" / "set").mkdir(parents=True)
    (tmp_path / "out").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path / "out")
    started = Started((), AppConfig(roots=(tmp_path / "in",)), tmp_path)
    assert started.allowed("set") == (tmp_path / "in" / "set").resolve()
    assert started.allowed(str(tmp_path / "in" / "set")) == (tmp_path / "in" / "set").resolve()
    for bad in ("../out", str(tmp_path / "out"), "link", "nothing", "", "/etc", "a\0b"):
        with pytest.raises(ConfigError):
            started.allowed(bad)
    assert from_plain(Started, json.loads(json.dumps(to_plain(started)))) == started


def test_settings_that_cannot_be_are_named(tmp_path: Path) -> None:
    for wrong, name in (({"port": 0}, "--port"), ({"roots": (tmp_path / "no",)}, "--data-folder"), ({"stun": "example.org"}, "--stun")):
        with pytest.raises(ConfigError, match=name):
            AppConfig(**wrong)  # type: ignore[arg-type]
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        with pytest.raises(ConfigError, match="in use"):
            launch._port(AppConfig(port=taken.getsockname()[1]))


def test_a_folder_that_is_no_model_is_said_before_the_server_starts(tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        launch.start([tmp_path])


def test_the_room_of_a_killed_app_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    left = tmp_path / "quickstep-app-999999999-x"
    (left / "session-1").mkdir(parents=True)
    with launch._room() as room:
        assert room.is_dir()
        assert not left.exists()
    assert list(tmp_path.iterdir()) == []


def test_a_job_tells_how_far_it_is_and_what_went_wrong(tmp_path: Path) -> None:
    jobs, job = Jobs(), Job("none", [["evaluate", str(tmp_path / "nothing")]], tmp_path)
    job._take("features: 41 of 82, about 5 s left")
    assert (job.far.stage, job.far.share, job.far.left) == ("features", 0.5, 5.0)
    assert jobs.begin(job)
    assert not jobs.begin(Job("other", [], tmp_path))
    until = time.monotonic() + 100
    while job.running and time.monotonic() < until:
        time.sleep(0.1)
    assert job.status == 1
    assert "there is no such folder" in job.told


@pytest.fixture(scope="module")
def coloured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of colours in a folder."""
    folder = tmp_path_factory.mktemp("coloured")
    manifest = draw_colours(folder / "videos")
    model = train(manifest, TrainConfig(epochs=40), backbone=Colours(), cache=Cache(folder / "cache")).model
    model.save(folder / "model")
    write_card(model, folder / "model")
    return folder


def test_each_part_of_a_segment_is_judged_by_itself(coloured: Path, tmp_path: Path) -> None:
    from library_sets import draw

    video = draw(tmp_path / "two.mp4", ("red", 2), ("blue", 2))
    found = weigh(Model.load(coloured / "model"), Segment(video), "red", parts=4, cache=Cache(tmp_path / "cache"))
    assert [part.label for part in found.parts] == ["red", "red", "blue", "blue"]
    assert min(part.score for part in found.parts[:2]) > max(part.score for part in found.parts[2:])
    assert found.strongest in found.parts[:2]
    assert weigh(Model.load(coloured / "model"), Segment(video, end=0.4), "red", cache=Cache(tmp_path / "cache")).parts == ()


def test_a_browser_gets_what_it_can_play(tmp_path: Path) -> None:
    from library_sets import draw

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
    """Runs the app's script on the model of colours; a page by its name."""
    import streamlit as st

    started = Started((coloured / "model",), AppConfig(roots=(coloured,), out=tmp_path / "models"), tmp_path, coloured / "cache")
    monkeypatch.setattr(sys, "argv", ["main.py", json.dumps(to_plain(started))])
    st.cache_resource.clear()

    def opened(page: str = "try") -> AppTest:
        script = (
            "import streamlit as st\n"
            "from importlib import import_module\n"
            "from quickstep.apps.web import page_elements as desk\n"
            "with desk.sentences():\n"
            f"    import_module('quickstep.apps.web.pages.{page}').page()\n"
        )
        return AppTest.from_string(script, default_timeout=120).run()

    yield opened
    st.cache_resource.clear()


def html(page: AppTest) -> str:
    return "\n".join(str(each.proto.body) for each in page.get("html"))


def test_the_whole_script_runs(run: Any) -> None:
    page = AppTest.from_file(MAIN, default_timeout=120).run()
    assert not page.exception
    assert [each.value for each in page.title] == ["What is this move?"]


def test_try_shows_the_models_own_answer_for_a_sample(run: Any, coloured: Path) -> None:
    page = run("try_it")
    assert not page.exception
    model = Model.load(coloured / "model")
    sample = next(each for each in model.manifest.part("test").segments if each.label == page.get("button_group")[0].value)  # type: ignore[union-attr]
    said = model.predict([sample.path], cache=Cache(coloured / "cache")).predictions[0]
    assert f"<b>{said.label}</b>" in html(page)
    assert share(said.score) in html(page).replace("&gt;", ">")


def test_models_can_be_switched(run: Any, coloured: Path, tmp_path: Path) -> None:
    Model.load(coloured / "model").save(tmp_path / "models" / "another")
    page = run("try_it")
    (choice,) = [each for each in page.selectbox if each.label == "Model"]
    assert (choice.options, choice.value) == (["model", "another"], "model")
    page = choice.select("another").run()
    assert page.session_state["chosen"] == "another"
    assert "<b>" in html(page)
    assert not page.exception


def test_a_library_that_was_not_named_is_a_sentence(run: Any) -> None:
    assert "No library was named" in run("library").info[0].value


def test_a_model_that_was_not_evaluated_says_so(run: Any) -> None:
    assert "has not been evaluated yet" in run("report").info[0].value


def test_a_folder_outside_the_roots_is_a_sentence(run: Any) -> None:
    page = run("train")
    page.text_input[0].set_value("/etc")
    page.button[0].click().run()
    assert "only what lies there may be used" in page.error[0].value
    assert not page.exception
