"""Hyperparameter search: the test part is used once, killed workers are replaced, and scores are checked by hand."""

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
from places import HELPERS, ROOT
from toys import Colours, draw_colours

from quickstep.backbones import Capabilities
from quickstep.datasets.manifest import Manifest, write_manifest
from quickstep.models import feature_extraction
from quickstep.models.model import Model
from quickstep.storage.cache import Cache
from quickstep.training.train import TrainConfig
from quickstep.training.tuning import TuneConfig, TuneResult, tune
from quickstep.training.tuning.leaderboard import Entry, Leaderboard
from quickstep.training.tuning.rendering import study_page, write_study
from quickstep.training.tuning.search_space import FINETUNE_LEARNING_RATES, LEARNING_RATES, BackboneChoices, SearchSpace
from quickstep.training.tuning.study import StudyPlan
from quickstep.training.tuning.trial import Candidate, TrialRunner, TrialStopped
from quickstep.types.errors import ConfigError, MediaError, MissingExtra
from quickstep.types.signals import Features, Frames

optuna = pytest.importorskip("optuna")
BASE = TrainConfig(epochs=4)
QUICK = TuneConfig(trials=5, backbones=("toys:Colours",), heads=("linear", "prototypes"), folds=0)


class Broken(Colours):
    """Opens, and fails at every video."""

    name = "broken"

    def __init__(self) -> None:
        self.identity = {"name": "broken"}

    def embed(self, batch):  # type: ignore[no-untyped-def]
        raise RuntimeError("the network failed")


class Slow(Colours):
    """Takes a minute for the first video, so that the process can be killed; fast when it is started again."""

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
def done(colours: tuple[Manifest, Cache], tmp_path_factory: pytest.TempPathFactory) -> TuneResult:
    manifest, cache = colours
    return tune(manifest, tmp_path_factory.mktemp("study") / "s", QUICK, BASE, cache=cache)


def test_a_search_gives_a_model_a_leaderboard_and_one_test_result(done: TuneResult, colours: tuple[Manifest, Cache]) -> None:
    manifest, cache = colours
    board = done.board
    assert [entry.state for entry in board.entries] == ["done"] * 5
    assert sum(entry.default for entry in board.entries) == 1
    assert board.best is not None
    assert board.best.value == max(entry.value or 0 for entry in board.entries)
    assert board.test is not None
    assert board.test["tested"] == len(manifest.part("test"))
    content = json.loads((done.folder / "leaderboard.json").read_text())
    assert [entry["trial"] for entry in content["entries"]] == [entry.trial for entry in board.entries]
    assert {"accuracy", "seconds", "numbers", "settings"} <= set(content["entries"][0])
    assert any("too high" in line for line in content["sentences"])
    model = Model.load(done.folder / "best", cache=cache)
    assert model.facts.notes[-1].startswith("chosen by validation out of 5 trials")
    assert (done.folder / "best" / "report.json").is_file()


def test_the_score_in_the_leaderboard_is_that_of_the_saved_model(colours: tuple[Manifest, Cache], done: TuneResult) -> None:
    """Scored by hand: the model with the best settings predicts the validation segments."""
    manifest, cache = colours
    best = done.board.best
    assert best is not None
    assert best.accuracy is not None
    model = Model.load(done.folder / "best", cache=cache)
    val = manifest.part("val").segments
    right = [one.label == one.segment.label for one in model.predict(val, cache=cache).predictions]
    assert best.value == pytest.approx(np.mean(right))
    assert best.right == "".join("1" if correct else "0" for correct in right)


@pytest.mark.parametrize("folds", [pytest.param(0, marks=pytest.mark.slow), 3])
def test_no_trial_uses_the_test_part_and_the_end_uses_it_once(
    folds: int, colours: tuple[Manifest, Cache], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, _ = colours
    test = {segment.path for segment in manifest.part("test").segments}
    events: list[str] = []
    true_run, true_predict, true_windows = TrialRunner.run, Model.predict, feature_extraction.read_windows

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

    monkeypatch.setattr(TrialRunner, "run", run)
    monkeypatch.setattr(Model, "predict", predict)
    monkeypatch.setattr(feature_extraction, "read_windows", windows)
    config = replace(QUICK, trials=2, folds=folds)
    tune(manifest, tmp_path / "s", config, BASE, cache=Cache(tmp_path / "fresh"))
    last_trial = max(place for place, event in enumerate(events) if event == "trial")
    assert "test" not in events[: last_trial + 1]
    assert "decoded test" not in events[: last_trial + 1]
    assert events.count("test") == 1
    events.clear()
    again = tune(manifest, tmp_path / "s", replace(config, trials=3), BASE, cache=Cache(tmp_path / "fresh"))
    assert "test" not in events
    assert again.board.test is not None
    assert len(again.board.entries) == 3


@pytest.mark.slow
def test_keep_test_leaves_the_test_part_unused(colours: tuple[Manifest, Cache], tmp_path: Path) -> None:
    manifest, cache = colours
    result = tune(manifest, tmp_path / "s", replace(QUICK, trials=1, keep_test=True), BASE, cache=cache)
    assert result.board.test is None
    assert not (tmp_path / "s" / "best" / "report.json").exists()
    assert tune(manifest, tmp_path / "s", replace(QUICK, trials=1), BASE, cache=cache).board.test is not None


@pytest.mark.slow
def test_a_second_choice_is_not_tested_on_the_same_part(colours: tuple[Manifest, Cache], tmp_path: Path) -> None:
    manifest, cache = colours
    first = tune(manifest, tmp_path / "s", replace(QUICK, trials=1), BASE, cache=cache)
    (tmp_path / "s" / "test.json").write_text(json.dumps({"trial": 17, "sentence": "Accuracy on the test part: ..."}))
    assert first.board.best is not None
    again = tune(manifest, tmp_path / "s", replace(QUICK, trials=1), BASE, cache=cache)
    assert any("trial 17" in note for note in again.notes)


def test_features_are_computed_once_for_all_trials(
    colours: tuple[Manifest, Cache], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, _ = colours
    decoded: list[tuple[Path, int]] = []
    true_windows = feature_extraction.read_windows

    def windows(segment, view, **more):  # type: ignore[no-untyped-def]
        decoded.append((segment.path, view.frames))
        return true_windows(segment, view, **more)

    monkeypatch.setattr(feature_extraction, "read_windows", windows)
    config = replace(QUICK, trials=6, over=("learning-rate", "dropout"), heads=(), keep_test=True)
    tune(manifest, tmp_path / "s", config, BASE, cache=Cache(tmp_path / "fresh"))
    assert len(decoded) == len(set(decoded)) == len(manifest.part("train")) + len(manifest.part("val"))


def test_a_failed_trial_is_recorded_and_the_study_continues(colours: tuple[Manifest, Cache], tmp_path: Path) -> None:
    manifest, cache = colours
    config = replace(QUICK, trials=4, backbones=("tests.training.test_tuning:Broken", "toys:Colours"), heads=("linear",), keep_test=True)
    board = tune(manifest, tmp_path / "s", config, BASE, cache=cache).board
    assert board.best is not None
    assert board.best.settings["backbone"] == "toys:Colours"
    failed = [entry for entry in board.entries if entry.state == "failed"]
    assert failed
    assert failed[0].cause == "RuntimeError: the network failed"


def test_a_study_in_which_all_trials_fail_names_the_first_cause(colours: tuple[Manifest, Cache], tmp_path: Path) -> None:
    manifest, cache = colours
    config = replace(QUICK, trials=2, backbones=("tests.training.test_tuning:Broken",), heads=("linear",))
    with pytest.raises(ConfigError, match=r"2 failed.*RuntimeError: the network failed"):
        tune(manifest, tmp_path / "s", config, BASE, cache=cache)


@pytest.mark.slow
def test_no_settings_are_tried_twice_and_an_exhausted_search_ends(colours: tuple[Manifest, Cache], tmp_path: Path) -> None:
    manifest, cache = colours
    config = replace(QUICK, trials=None, budget="10m", over=("class-weights",), heads=(), keep_test=True)
    board = tune(manifest, tmp_path / "s", config, BASE, cache=cache).board
    done = [entry for entry in board.entries if entry.state == "done"]
    assert len(done) == len({json.dumps(entry.config, sort_keys=True) for entry in done}) == 2  # with class weights and without
    assert all(entry.cause.startswith("the same as trial") for entry in board.entries if entry.state == "stopped")


def test_a_search_in_which_everything_fails_ends_before_its_budget(colours: tuple[Manifest, Cache], tmp_path: Path) -> None:
    manifest, cache = colours
    config = replace(QUICK, trials=None, budget="10m", backbones=("tests.training.test_tuning:Broken",), heads=("linear",))
    with pytest.raises(ConfigError, match="none of the 10 trials"):
        tune(manifest, tmp_path / "s", config, BASE, cache=cache)


def test_an_unreadable_segment_counts_as_wrong(colours: tuple[Manifest, Cache], tmp_path: Path) -> None:
    """Otherwise a backbone that fails on difficult segments would win."""
    manifest, _ = colours

    class Choosy(Colours):
        capabilities = Capabilities(parallel=True)

        def __init__(self) -> None:
            self.identity = {"name": "choosy"}

        def embed(self, batch: list[Frames]) -> list[Features]:
            if batch[0].pixels[..., 0].mean() > batch[0].pixels[..., 1].mean() + 40:  # red
                raise MediaError("a", "red is refused")
            return super().embed(batch)

    runner = TrialRunner.of(manifest, metric="accuracy", folds=0, seed=0, cache=Cache(tmp_path))
    model = tune(manifest, tmp_path / "s", replace(QUICK, trials=1, keep_test=True), BASE, cache=Cache(tmp_path / "c")).model
    assert model is not None
    val = manifest.part("val").segments
    _, right = runner._score(replace(model, backbone=Choosy()), val)
    assert [bool(hit) for hit, segment in zip(right, val) if segment.label == "red"] == [False, False]


def test_a_trial_can_be_stopped_between_steps(colours: tuple[Manifest, Cache], tmp_path: Path) -> None:
    manifest, cache = colours
    runner = TrialRunner.of(manifest, metric="accuracy", folds=3, seed=0, cache=cache)
    assert runner.folds == 3
    steps: list[int] = []

    def report(step: int, value: float) -> None:
        steps.append(step)
        if step == 1:
            raise TrialStopped

    with pytest.raises(TrialStopped):
        runner.run(Candidate(replace(BASE, backbone="toys:Colours")), report)
    assert steps == [0, 1]


def test_folds_use_train_and_val_and_divide_no_group(colours: tuple[Manifest, Cache]) -> None:
    manifest, cache = colours
    dancers = [replace(one, group=f"dancer {number % 8}") for number, one in enumerate(manifest.segments)]
    part = {"dancer 0": "test", "dancer 1": "val"}
    grouped = manifest.with_segments(dancers).with_splits([part.get(str(one.group), "train") for one in dancers])
    runner = TrialRunner.of(grouped, metric="accuracy", folds=None, seed=0, cache=cache)
    assert runner.folds == 5
    assert sorted(str(s.path) for s in runner.scored) == sorted(str(s.path) for s in grouped.segments if s.split != "test")
    for step in runner.steps:
        sides = [set(step.manifest.part(part).groups) for part in ("train", "val")]
        assert not sides[0] & sides[1]
        assert "dancer 0" not in sides[0] | sides[1]


def test_a_study_of_something_else_is_not_resumed(done: TuneResult, colours: tuple[Manifest, Cache]) -> None:
    manifest, cache = colours
    fewer = manifest.with_segments(manifest.segments[:-1])
    with pytest.raises(ConfigError, match="other videos") as refused:
        tune(fewer, done.folder, QUICK, BASE, cache=cache)
    assert refused.value.field == "out"
    with pytest.raises(ConfigError) as refused:
        tune(manifest, done.folder, replace(QUICK, metric="log-loss"), BASE, cache=cache)
    assert refused.value.field == "metric"
    with pytest.raises(ConfigError) as refused:
        tune(manifest, done.folder, QUICK, replace(BASE, dropout=0.3), cache=cache)
    assert refused.value.field == "dropout"
    more = tune(manifest, done.folder, TuneConfig(trials=6), cache=cache)  # settings that are left out keep their values
    assert len(more.board.entries) == 6


def test_a_folder_with_other_files_is_left_alone(colours: tuple[Manifest, Cache], tmp_path: Path) -> None:
    manifest, cache = colours
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="no study"):
        tune(manifest, tmp_path, QUICK, BASE, cache=cache)


def test_a_search_needs_an_end() -> None:
    with pytest.raises(ConfigError) as refused:
        tune(Manifest(()), "nowhere", TuneConfig())
    assert refused.value.field == "budget"
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


def test_a_fixed_setting_is_not_searched(colours: tuple[Manifest, Cache]) -> None:
    manifest, cache = colours
    space = SearchSpace.of(manifest, TuneConfig(), replace(BASE, backbone="toys:Colours", learning_rate=0.1), cache=cache)
    assert "learning-rate" not in space.over
    assert "backbone" not in space.over
    assert "optimizer" in space.over
    with pytest.raises(ConfigError, match="learning-rate"):
        SearchSpace.of(manifest, TuneConfig(over=("learning-rate",)), replace(BASE, learning_rate=0.1), cache=cache)
    with pytest.raises(ConfigError, match="nothing to search"):
        SearchSpace.of(manifest, TuneConfig(over=("backbone",), backbones=("flow-hist",)), BASE, cache=cache)


def test_every_draw_is_a_config_that_train_takes(colours: tuple[Manifest, Cache]) -> None:
    manifest, cache = colours
    space = SearchSpace.of(manifest, TuneConfig(backbones=("flow-hist", "toys:Colours", "toys:Words", "kinematics")), BASE, cache=cache)
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


@pytest.mark.parametrize("finetune", [False, True])
def test_learning_rates_are_drawn_on_a_logarithmic_scale(finetune: bool) -> None:
    """Each order of magnitude is drawn about equally often; on a linear scale nine of ten draws would be in the last one."""
    space = SearchSpace((BackboneChoices("flow-hist", ("linear",), (8,)),), ("learning-rate",), finetune)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    rates = []
    for _ in range(60):
        candidate = space.draw(study.ask(), BASE)
        rates.append(candidate.finetune.learning_rate if finetune else candidate.train.learning_rate)
    low, high = FINETUNE_LEARNING_RATES if finetune else LEARNING_RATES
    middle = (low * high) ** 0.5
    assert all(low <= rate <= high for rate in rates)
    assert 15 < sum(rate < middle for rate in rates) < 45


def test_trials_are_ordered_by_score_then_log_loss_then_time() -> None:
    entries = [
        Entry(0, "done", {}, {}, value=0.8, log_loss=0.9, seconds=1),
        Entry(1, "done", {}, {}, value=0.8, log_loss=0.4, seconds=9),
        Entry(2, "done", {}, {}, value=0.9, log_loss=2.0, seconds=9),
        Entry(3, "done", {}, {}, value=0.8, log_loss=0.4, seconds=2),
        Entry(4, "failed", {}, {}),
    ]
    assert [entry.trial for entry in sorted(entries, key=lambda entry: entry.rank)] == [2, 3, 1, 0, 4]


def test_the_report_has_the_charts_and_escapes_html(done: TuneResult, tmp_path: Path) -> None:
    page = write_study(done.board, done.folder).read_text()
    assert "<svg" in page
    assert done.board.test is not None
    assert done.board.test["sentence"] in page
    nasty = Entry(9, "failed", {"backbone": "<script>alert(1)</script>"}, {}, cause="<img src=x>")
    text = study_page(Leaderboard((nasty,), "accuracy", 0, 4, {}), "<b>study</b>")
    assert "<script>alert" not in text
    assert "<img" not in text
    assert "No trial is completed yet" in text


@pytest.mark.slow
def test_trials_can_fine_tune(colours: tuple[Manifest, Cache], tmp_path: Path) -> None:
    checkpoints.save("clip", tmp_path / "clip")
    manifest, cache = colours
    config = TuneConfig(trials=3, finetune=True, folds=0, keep_test=True)
    base = TrainConfig(backbone="clip-vit-b32", weights=str(tmp_path / "clip"), epochs=1, batch=4)
    tuned = tune(manifest, tmp_path / "s", config, base, cache=cache)
    assert [entry.state for entry in tuned.board.entries] == ["done"] * 3
    assert all(entry.settings["fine-tuned"] and entry.settings["epochs"] == 1 for entry in tuned.board.entries)
    assert {"unfreeze", "layer-decay", "augment", "learning-rate"} <= set().union(*(entry.drawn for entry in tuned.board.entries))
    assert tuned.model is not None
    assert (tmp_path / "s" / "best" / "backbone").is_dir()  # the fine-tuned network
    val = manifest.part("val").segments
    predictions = tuned.model.predict(val, cache=cache).predictions
    assert tuned.board.best is not None
    assert np.mean([one.label == one.segment.label for one in predictions]) == pytest.approx(tuned.board.best.value)


def test_a_backbone_that_cannot_be_fine_tuned_is_named(colours: tuple[Manifest, Cache]) -> None:
    manifest, cache = colours
    with pytest.raises(ConfigError, match="cannot be fine-tuned"):
        SearchSpace.of(manifest, TuneConfig(finetune=True), replace(BASE, backbone="flow-hist"), cache=cache)
    with pytest.raises(ConfigError, match="unfreeze"):
        TuneConfig(over=("unfreeze",))


# -- processes ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def csv_file(colours: tuple[Manifest, Cache], tmp_path: Path) -> Path:
    write_manifest(colours[0], tmp_path / "set.csv")
    return tmp_path / "set.csv"


def command(csv_file: Path, folder: Path, *more: str, **env: str) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-m", "quickstep", "tune", str(csv_file), "-o", str(folder), "--epochs", "4", "--folds", "0", *more]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{HELPERS}", **env}
    return subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until(path: Path, seconds: float = 60) -> Iterator[None]:
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} was not created"
        time.sleep(0.1)
        yield


@pytest.mark.slow
def test_a_killed_search_resumes_and_repeats_its_last_trial(csv_file: Path, tmp_path: Path) -> None:
    flag, folder = tmp_path / "flag", tmp_path / "s"
    options = ("--trials", "3", "--backbones", "tests.training.test_tuning:Slow", "--heads", "linear", "--json")
    killed = command(csv_file, folder, *options, SLOW_FLAG=str(flag))
    for _ in until(flag):
        pass
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    again = command(csv_file, folder, *options, SLOW_FLAG=str(flag))
    printed, errors = again.communicate(timeout=120)
    assert again.returncode == 0, errors
    entries = json.loads(printed)["entries"]
    states = sorted(entry["state"] for entry in entries)
    assert states == ["done", "done", "done", "failed"]
    (failed,) = [entry for entry in entries if entry["state"] == "failed"]
    assert "its process ended" in failed["cause"]
    assert sum(entry["usual"] for entry in entries if entry["state"] == "done") == 1  # the killed one, repeated


@pytest.mark.slow
def test_several_workers_share_a_study(csv_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "s"
    options = ("--trials", "8", "--backbones", "toys:Colours", "--heads", "linear,prototypes")
    first = command(csv_file, folder, *options, "--workers", "2")
    second = command(csv_file, folder, *options)
    for process in (first, second):
        _, errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors
    last = command(csv_file, folder, "--trials", "8", "--json", "--trust", "toys")
    printed, errors = last.communicate(timeout=100)
    assert last.returncode == 0, errors
    entries = json.loads(printed)["entries"]
    assert [entry["state"] for entry in entries] == ["done"] * 8
    assert (folder / "best" / "model.json").is_file()


@pytest.mark.slow
def test_a_search_ends_within_its_budget(csv_file: Path, tmp_path: Path) -> None:
    process = command(
        csv_file, tmp_path / "s", "--budget", "8s", "--backbones", "toys:Colours", "--heads", "linear", "--keep-test", "--json"
    )
    printed, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    assert sum(entry["seconds"] for entry in json.loads(printed)["entries"]) < 14


def test_the_plan_of_a_study_of_version_0_1_is_read(tmp_path: Path) -> None:
    """Version 0.1 had other names for some settings."""
    space = {"places": [{"backbone": "motion", "heads": ["linear"], "frames": [60], "windows": [1]}], "over": ["head"], "finetune": False}
    plan = {"fingerprint": "f", "source": "s", "base": {"output": "pooled", "words": None}, "tune": {"measure": "log-loss"}, "space": space}
    (tmp_path / "study.json").write_text(json.dumps({**plan, "store": "/cache", "format": 1}))
    read = StudyPlan.read(tmp_path)
    assert read is not None
    assert (read.cache, read.base.embedding, read.tune.metric, read.space.choices[0].heads) == ("/cache", "pooled", "log-loss", ("linear",))
