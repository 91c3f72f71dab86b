"""Tuning: the test part is spied on, workers are killed, settings that cannot work fail by themselves; what is drawn is judged by hand."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import checkpoints
import numpy as np
import pytest
from places import ROOT
from toys import Colours, draw_colours

from quickstep.backbones import Capabilities
from quickstep.datasets.manifest import Manifest, write_manifest
from quickstep.models import window_input
from quickstep.models.model import Model
from quickstep.storage.cache import Cache
from quickstep.training.train import TrainConfig
from quickstep.training.tuning import TuneConfig, Tuned, tune
from quickstep.training.tuning.leaderboard import Entry, Leaderboard
from quickstep.training.tuning.rendering import study_page, write_study
from quickstep.training.tuning.search_space import Space
from quickstep.training.tuning.trial import Hopeless, Recipe, Trier
from quickstep.types.errors import ConfigError, MediaError, MissingExtra
from quickstep.types.signals import Features, Frames

optuna = pytest.importorskip("optuna")
BASE = TrainConfig(epochs=4)
QUICK = TuneConfig(trials=5, backbones=("toys:Colours",), heads=("linear", "prototypes"), folds=0)


class Broken(Colours):
    """Opens well and fails at every video."""

    name = "broken"

    def __init__(self) -> None:
        self.identity = {"name": "broken"}

    def embed(self, batch):  # type: ignore[no-untyped-def]
        raise RuntimeError("the network fell over")


class Slow(Colours):
    """Takes so long over each video that it can be killed meanwhile; twice it was looked at, it is quick."""

    name = "slow"

    def __init__(self) -> None:
        self.identity = {"name": "slow"}

    def embed(self, batch):  # type: ignore[no-untyped-def]
        flag = Path(os.environ["SLOW_FLAG"])
        if not flag.exists():
            flag.write_text("begun")
            time.sleep(60)
        return super().embed(batch)


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> tuple[Manifest, Cache]:
    folder = tmp_path_factory.mktemp("colours")
    return draw_colours(folder / "set"), Cache(folder / "store")


@pytest.fixture(scope="module")
def done(colours: tuple[Manifest, Cache], tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    manifest, cache = colours
    return tune(manifest, tmp_path_factory.mktemp("study") / "s", QUICK, BASE, cache=cache)


def test_a_search_ends_in_a_model_a_leaderboard_and_one_test(done: Tuned, colours: tuple[Manifest, Cache]) -> None:
    manifest, cache = colours
    board = done.board
    assert [entry.state for entry in board.entries] == ["done"] * 5
    assert sum(entry.usual for entry in board.entries) == 1
    assert board.best is not None
    assert board.best.value == max(entry.value or 0 for entry in board.entries)
    assert board.test is not None
    assert board.test["tested"] == len(manifest.part("test"))
    told = json.loads((done.folder / "leaderboard.json").read_text())
    assert [entry["trial"] for entry in told["entries"]] == [entry.trial for entry in board.entries]
    assert {"accuracy", "seconds", "numbers", "settings"} <= set(told["entries"][0])
    assert any("too good" in line for line in told["sentences"])
    model = Model.load(done.folder / "best", cache=cache)
    assert model.facts.notes[-1].startswith("chosen by validation out of 5 trials")
    assert (done.folder / "best" / "report.json").is_file()


def test_the_leaderboards_score_is_that_of_the_saved_best_epoch(colours: tuple[Manifest, Cache], done: Tuned) -> None:
    """Judged by hand: the model of the best settings, asked for the validation segments."""
    manifest, cache = colours
    best = done.board.best
    assert best is not None
    assert best.accuracy is not None
    model = Model.load(done.folder / "best", cache=cache)
    val = manifest.part("val").segments
    said = model.predict(val, cache=cache).predictions
    assert best.value == pytest.approx(np.mean([one.label == one.segment.label for one in said]))
    assert best.right == "".join("1" if one.label == one.segment.label else "0" for one in said)


@pytest.mark.parametrize("folds", [0, 3])
def test_no_trial_is_shown_a_test_segment_and_the_end_only_once(
    folds: int, colours: tuple[Manifest, Cache], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, _ = colours
    test = {segment.path for segment in manifest.part("test").segments}
    events: list[str] = []
    true_run, true_predict, true_windows = Trier.run, Model.predict, window_input.read_windows

    def run(self, config, report, progress=lambda *_: None):  # type: ignore[no-untyped-def]
        events.append("trial")
        return true_run(self, config, report, progress)

    def predict(self, segments, **more):  # type: ignore[no-untyped-def]
        segments = list(segments)
        events.append("test" if {segment.path for segment in segments} & test else "val")
        return true_predict(self, segments, **more)

    def windows(segment, view, **more):  # type: ignore[no-untyped-def]
        events.append("decoded test" if segment.path in test else "decoded")
        return true_windows(segment, view, **more)

    monkeypatch.setattr(Trier, "run", run)
    monkeypatch.setattr(Model, "predict", predict)
    monkeypatch.setattr(window_input, "read_windows", windows)
    config = replace(QUICK, trials=3, folds=folds)
    tune(manifest, tmp_path / "s", config, BASE, cache=Cache(tmp_path / "fresh"))
    last_trial = max(place for place, event in enumerate(events) if event == "trial")
    assert "test" not in events[: last_trial + 1]
    assert "decoded test" not in events[: last_trial + 1]
    assert events.count("test") == 1
    events.clear()
    again = tune(manifest, tmp_path / "s", replace(config, trials=4), BASE, cache=Cache(tmp_path / "fresh"))
    assert "test" not in events
    assert again.board.test is not None
    assert len(again.board.entries) == 4


@pytest.mark.slow
def test_the_test_stays_locked_where_that_is_asked(colours: tuple[Manifest, Cache], tmp_path: Path) -> None:
    manifest, cache = colours
    kept = tune(manifest, tmp_path / "s", replace(QUICK, trials=1, keep_test=True), BASE, cache=cache)
    assert kept.board.test is None
    assert not (tmp_path / "s" / "best" / "report.json").exists()
    assert tune(manifest, tmp_path / "s", replace(QUICK, trials=1), BASE, cache=cache).board.test is not None


@pytest.mark.slow
def test_a_second_choice_is_not_tested_on_what_the_first_was(colours: tuple[Manifest, Cache], tmp_path: Path) -> None:
    manifest, cache = colours
    first = tune(manifest, tmp_path / "s", replace(QUICK, trials=1), BASE, cache=cache)
    (tmp_path / "s" / "test.json").write_text(json.dumps({"trial": 17, "sentence": "On the test part, looked at once: ..."}))
    assert first.board.best is not None
    again = tune(manifest, tmp_path / "s", replace(QUICK, trials=1), BASE, cache=cache)
    assert any("is to choose by the test" in note for note in again.notes)


def test_features_are_computed_once_for_all_trials(
    colours: tuple[Manifest, Cache], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, _ = colours
    seen: list[tuple[Path, int]] = []
    true_windows = window_input.read_windows

    def windows(segment, view, **more):  # type: ignore[no-untyped-def]
        seen.append((segment.path, view.frames))
        return true_windows(segment, view, **more)

    monkeypatch.setattr(window_input, "read_windows", windows)
    config = replace(QUICK, trials=6, over=("learning-rate", "dropout"), heads=(), keep_test=True)
    tune(manifest, tmp_path / "s", config, BASE, cache=Cache(tmp_path / "fresh"))
    assert len(seen) == len(set(seen)) == len(manifest.part("train")) + len(manifest.part("val"))


def test_a_failed_trial_is_recorded_and_the_study_goes_on(colours: tuple[Manifest, Cache], tmp_path: Path) -> None:
    manifest, cache = colours
    config = replace(QUICK, trials=4, backbones=("tests.training.test_tuning:Broken", "toys:Colours"), heads=("linear",), keep_test=True)
    board = tune(manifest, tmp_path / "s", config, BASE, cache=cache).board
    assert board.best is not None
    assert board.best.settings["backbone"] == "toys:Colours"
    failed = [entry for entry in board.entries if entry.state == "failed"]
    assert failed
    assert failed[0].cause == "RuntimeError: the network fell over"


def test_all_failed_is_said_with_the_first_cause(colours: tuple[Manifest, Cache], tmp_path: Path) -> None:
    manifest, cache = colours
    config = replace(QUICK, trials=2, backbones=("tests.training.test_tuning:Broken",), heads=("linear",))
    with pytest.raises(ConfigError, match=r"none of the 2 trials .* 2 failed; the first: RuntimeError: the network fell over"):
        tune(manifest, tmp_path / "s", config, BASE, cache=cache)


@pytest.mark.slow
def test_what_was_tried_is_not_tried_again_and_an_exhausted_search_ends(colours: tuple[Manifest, Cache], tmp_path: Path) -> None:
    manifest, cache = colours
    config = replace(QUICK, trials=None, budget="10m", over=("class-weights",), heads=(), keep_test=True)
    board = tune(manifest, tmp_path / "s", config, BASE, cache=cache).board
    done = [entry for entry in board.entries if entry.state == "done"]
    assert len(done) == len({json.dumps(entry.config, sort_keys=True) for entry in done}) == 2  # with class weights and without
    assert all(entry.cause.startswith("the same as trial") for entry in board.entries if entry.state == "stopped")


def test_a_search_in_which_everything_fails_ends_long_before_its_budget(colours: tuple[Manifest, Cache], tmp_path: Path) -> None:
    manifest, cache = colours
    config = replace(QUICK, trials=None, budget="10m", backbones=("tests.training.test_tuning:Broken",), heads=("linear",))
    with pytest.raises(ConfigError, match="none of the 10 trials"):
        tune(manifest, tmp_path / "s", config, BASE, cache=cache)


def test_what_a_trial_cannot_read_it_has_wrong(colours: tuple[Manifest, Cache], tmp_path: Path) -> None:
    """Else a backbone that fails on the difficult ones would win."""
    manifest, _ = colours

    class Choosy(Colours):
        capabilities = Capabilities(parallel=True)

        def __init__(self) -> None:
            self.identity = {"name": "choosy"}

        def embed(self, batch: list[Frames]) -> list[Features]:
            if batch[0].pixels[..., 0].mean() > batch[0].pixels[..., 1].mean() + 40:  # red
                raise MediaError("a", "I do not look at red")
            return super().embed(batch)

    trier = Trier.of(manifest, metric="accuracy", folds=0, seed=0, cache=Cache(tmp_path))
    model = tune(manifest, tmp_path / "s", replace(QUICK, trials=1, keep_test=True), BASE, cache=Cache(tmp_path / "c")).model
    assert model is not None
    val = manifest.part("val").segments
    _, right = trier._judge(replace(model, backbone=Choosy()), val)
    assert [bool(hit) for hit, segment in zip(right, val) if segment.label == "red"] == [False, False]


def test_hopeless_trials_are_stopped_between_steps(colours: tuple[Manifest, Cache], tmp_path: Path) -> None:
    manifest, cache = colours
    trier = Trier.of(manifest, metric="accuracy", folds=3, seed=0, cache=cache)
    assert trier.folds == 3
    told: list[int] = []

    def report(step: int, value: float) -> None:
        told.append(step)
        if step == 1:
            raise Hopeless

    with pytest.raises(Hopeless):
        trier.run(Recipe(replace(BASE, backbone="toys:Colours")), report)
    assert told == [0, 1]


def test_folds_are_of_train_and_val_and_divide_no_group(colours: tuple[Manifest, Cache]) -> None:
    manifest, cache = colours
    dancers = [replace(one, group=f"dancer {number % 8}") for number, one in enumerate(manifest.segments)]
    part = {"dancer 0": "test", "dancer 1": "val"}
    grouped = manifest.with_segments(dancers).with_splits([part.get(str(one.group), "train") for one in dancers])
    trier = Trier.of(grouped, metric="accuracy", folds=None, seed=0, cache=cache)
    assert trier.folds == 5
    assert sorted(str(s.path) for s in trier.judged) == sorted(str(s.path) for s in grouped.segments if s.split != "test")
    for step in trier.steps:
        sides = [set(step.manifest.part(part).groups) for part in ("train", "val")]
        assert not sides[0] & sides[1]
        assert "dancer 0" not in sides[0] | sides[1]


def test_a_study_of_something_else_is_not_gone_on_with(done: Tuned, colours: tuple[Manifest, Cache]) -> None:
    manifest, cache = colours
    fewer = manifest.with_segments(manifest.segments[:-1])
    with pytest.raises(ConfigError, match="holds a study of other videos, labels or splits"):
        tune(fewer, done.folder, QUICK, BASE, cache=cache)
    with pytest.raises(ConfigError, match="begun with another --metric"):
        tune(manifest, done.folder, replace(QUICK, metric="log-loss"), BASE, cache=cache)
    with pytest.raises(ConfigError, match="begun with another --dropout"):
        tune(manifest, done.folder, QUICK, replace(BASE, dropout=0.3), cache=cache)
    more = tune(manifest, done.folder, TuneConfig(trials=6), cache=cache)  # what is left out is as it was
    assert len(more.board.entries) == 6


def test_a_folder_with_other_things_is_left_alone(colours: tuple[Manifest, Cache], tmp_path: Path) -> None:
    manifest, cache = colours
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds other things and no study"):
        tune(manifest, tmp_path, QUICK, BASE, cache=cache)


def test_an_end_must_be_said() -> None:
    with pytest.raises(ConfigError, match="budget: say how long to search"):
        tune(Manifest(()), "nowhere", TuneConfig())
    assert TuneConfig(budget="1h30m").seconds == 5400
    assert TuneConfig(over=("head,view",)).over == ("head", "view")
    for wrong in ({"budget": "soon"}, {"over": ("colour",)}, {"trials": 0}, {"folds": 1}, {"workers": 0}):
        with pytest.raises(ConfigError):
            TuneConfig(**wrong)  # type: ignore[arg-type]


def test_without_optuna_the_extra_is_named(colours: tuple[Manifest, Cache], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("quickstep.training.tuning.study", "quickstep.training.tuning.worker"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtra, match=r"pip install 'quickstep\[tune\]'"):
        tune(colours[0], tmp_path / "s", QUICK, BASE, cache=colours[1])


def test_what_was_said_is_not_searched(colours: tuple[Manifest, Cache]) -> None:
    manifest, cache = colours
    space = Space.of(manifest, TuneConfig(), replace(BASE, backbone="toys:Colours", learning_rate=0.1), cache=cache)
    assert "learning-rate" not in space.over
    assert "backbone" not in space.over
    assert "optimizer" in space.over
    with pytest.raises(ConfigError, match="learning-rate was fixed by an option of its own"):
        Space.of(manifest, TuneConfig(over=("learning-rate",)), replace(BASE, learning_rate=0.1), cache=cache)
    with pytest.raises(ConfigError, match="nothing to search"):
        Space.of(manifest, TuneConfig(over=("backbone",), backbones=("flow-hist",)), BASE, cache=cache)


def test_every_draw_is_a_config_that_train_takes(colours: tuple[Manifest, Cache]) -> None:
    manifest, cache = colours
    space = Space.of(manifest, TuneConfig(backbones=("flow-hist", "toys:Colours", "toys:Words", "kinematics")), BASE, cache=cache)
    from quickstep.heads import open_head

    rng = np.random.default_rng(0)

    class Dice:
        def suggest_categorical(self, name, choices):  # type: ignore[no-untyped-def]
            return choices[rng.integers(len(choices))]

        def suggest_float(self, name, low, high, *, log=False):  # type: ignore[no-untyped-def]
            return float(rng.uniform(low, high))

    drawn = [space.draw(Dice(), BASE).train for _ in range(60)]
    for config in drawn:
        open_head(config.head, ({"dropout": config.dropout} if config.dropout else {}) | config.head_settings)
    assert {config.backbone for config in drawn} == {"flow-hist", "toys:Colours", "toys:Words", "kinematics"}
    assert {config.head for config in drawn if config.backbone == "kinematics"} == {"linear", "extra-trees"}
    assert "few-shot" in {config.head for config in drawn if config.backbone == "toys:Words"}
    assert "few-shot" not in {config.head for config in drawn if config.backbone == "flow-hist"}


def test_the_page_shows_what_there_is_and_nothing_from_outside_is_taken_as_html(done: Tuned, tmp_path: Path) -> None:
    page = write_study(done.board, done.folder).read_text()
    assert "<svg" in page
    assert "looked at once" in page
    nasty = Entry(9, "failed", {"backbone": "<script>alert(1)</script>"}, {}, cause="<img src=x>")
    text = study_page(Leaderboard((nasty,), "accuracy", 0, 4, {}), "<b>study</b>")
    assert "<script>alert" not in text
    assert "<img" not in text
    assert "No trial has come to its end yet" in text


@pytest.mark.slow
def test_trials_that_open_the_network(colours: tuple[Manifest, Cache], tmp_path: Path) -> None:
    checkpoints.save("clip", tmp_path / "clip")
    manifest, cache = colours
    config = TuneConfig(trials=3, finetune=True, folds=0, keep_test=True)
    base = TrainConfig(backbone="clip-vit-b32", weights=str(tmp_path / "clip"), epochs=1, batch=4)
    tuned = tune(manifest, tmp_path / "s", config, base, cache=cache)
    assert [entry.state for entry in tuned.board.entries] == ["done"] * 3
    assert all(entry.settings["fine-tuned"] and entry.settings["epochs"] == 1 for entry in tuned.board.entries)
    assert {"unfreeze", "layer-decay", "augment", "learning-rate"} <= set().union(*(entry.drawn for entry in tuned.board.entries))
    assert tuned.model is not None
    assert (tmp_path / "s" / "best" / "backbone").is_dir()  # the network of its own
    val = manifest.part("val").segments
    said = tuned.model.predict(val, cache=cache).predictions
    assert tuned.board.best is not None
    assert np.mean([one.label == one.segment.label for one in said]) == pytest.approx(tuned.board.best.value)


def test_a_network_that_cannot_be_opened_is_named(colours: tuple[Manifest, Cache]) -> None:
    manifest, cache = colours
    with pytest.raises(ConfigError, match="the network of 'flow-hist' cannot be trained further"):
        Space.of(manifest, TuneConfig(finetune=True), replace(BASE, backbone="flow-hist"), cache=cache)
    with pytest.raises(ConfigError, match="unfreeze belongs to trials that fine-tune"):
        TuneConfig(over=("unfreeze",))


# -- processes ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def listed(colours: tuple[Manifest, Cache], tmp_path: Path) -> Path:
    write_manifest(colours[0], tmp_path / "set.csv")
    return tmp_path / "set.csv"


def command(listed: Path, folder: Path, *more: str, **env: str) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-m", "quickstep", "tune", str(listed), "-o", str(folder), "--epochs", "4", "--folds", "0", *more]
    return subprocess.Popen(arguments, cwd=ROOT, env={**os.environ, **env}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until(path: Path, seconds: float = 60) -> Iterator[None]:
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} never came"
        time.sleep(0.1)
        yield


@pytest.mark.slow
def test_a_killed_search_goes_on_and_repeats_what_it_was_at(listed: Path, tmp_path: Path) -> None:
    flag, folder = tmp_path / "flag", tmp_path / "s"
    options = ("--trials", "3", "--backbones", "tests.training.test_tuning:Slow", "--heads", "linear", "--json")
    killed = command(listed, folder, *options, SLOW_FLAG=str(flag))
    for _ in until(flag):
        pass
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    again = command(listed, folder, *options, SLOW_FLAG=str(flag))
    printed, said = again.communicate(timeout=120)
    assert again.returncode == 0, said
    entries = json.loads(printed)["entries"]
    states = sorted(entry["state"] for entry in entries)
    assert states == ["done", "done", "done", "failed"]
    (failed,) = [entry for entry in entries if entry["state"] == "failed"]
    assert "its process ended in the midst of it" in failed["cause"]
    assert sum(entry["usual"] for entry in entries if entry["state"] == "done") == 1  # the one that was killed, tried again


@pytest.mark.slow
def test_several_workers_share_one_study(listed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "s"
    options = ("--trials", "8", "--backbones", "toys:Colours", "--heads", "linear,prototypes")
    first = command(listed, folder, *options, "--workers", "2")
    second = command(listed, folder, *options)
    for process in (first, second):
        _, said = process.communicate(timeout=200)
        assert process.returncode == 0, said
    last = command(listed, folder, "--trials", "8", "--json")
    printed, said = last.communicate(timeout=100)
    assert last.returncode == 0, said
    entries = json.loads(printed)["entries"]
    assert [entry["state"] for entry in entries] == ["done"] * 8
    assert (folder / "best" / "model.json").is_file()


@pytest.mark.slow
def test_a_budget_is_kept(listed: Path, tmp_path: Path) -> None:
    process = command(listed, tmp_path / "s", "--budget", "8s", "--backbones", "toys:Colours", "--heads", "linear", "--keep-test", "--json")
    printed, said = process.communicate(timeout=100)
    assert process.returncode == 0, said
    assert sum(entry["seconds"] for entry in json.loads(printed)["entries"]) < 14
