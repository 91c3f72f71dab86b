"""The command line: fast and grouped help, one-line errors, data on stdout and messages on stderr, interrupts."""

from __future__ import annotations

import json
import logging
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import call

from quickstep.apps.cli import COMMANDS, GROUPS, OPTION_GROUPS, app
from quickstep.apps.commands.demo import demo_command, make_demo
from quickstep.datasets.synthetic import DemoConfig, draw_dancers
from quickstep.library.table import Library
from quickstep.models.ensemble import load_model
from quickstep.models.model_files import TUNING_STATE
from quickstep.types.errors import ConfigError
from quickstep.types.progress import ProgressUpdate


def run(*words: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """In a process of its own, as a person would."""
    return subprocess.run([sys.executable, "-m", "quickstep", *map(str, words)], capture_output=True, text=True, cwd=cwd)


@pytest.fixture(scope="module")
def dances(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two moves of seven dancers, small and short."""
    folder = tmp_path_factory.mktemp("dances") / "DANCES"
    draw_dancers(folder, DemoConfig(moves=("windmill", "toprock"), videos=7, dancers=7, seconds=1, width=96, height=72))
    return folder


@pytest.fixture(scope="module")
def model(dances: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("models") / "dances"
    done = run("train", dances / "dancers.csv", "-o", out, "--backbone", "flow-hist", "--epochs", "20")
    assert done.returncode == 0, done.stderr
    return out


def test_help_is_quick_and_names_every_command() -> None:
    help_seconds, import_seconds = [], []
    for _ in range(4):  # in turn, so that a busy moment slows both
        import_seconds.append(_processor_seconds("-c", "import cyclopts, cyclopts.help, rich.console, rich.table"))
        help_seconds.append(_processor_seconds("-m", "quickstep", "--help"))
    assert min(help_seconds) < 1.5 * min(import_seconds) + 0.1
    printed = run("--help").stdout
    assert all(command in printed for command in COMMANDS)
    places = [printed.index(f" {group} ") for group in GROUPS]
    assert places == sorted(places)


def test_the_groups_of_the_verbs() -> None:
    groups = {group: {name for name, verb in COMMANDS.items() if verb.group == group} for group in GROUPS}
    assert groups["Core"] == {"check", "split", "train", "evaluate", "predict", "timeline", "app"}
    assert groups["Analyze"] >= {"index", "search", "kinematics"}
    assert groups["Deploy"] >= {"serve", "push"}
    assert groups["Advanced"] >= {"cache", "doctor"}


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_the_examples_of_each_verb_are_valid(command: str) -> None:
    examples = COMMANDS[command].examples
    assert examples or command == "import-dataset"
    for example in examples:
        tokens = shlex.split(example.partition(" > ")[0])
        assert tokens[0] == command
        app.parse_args(tokens, print_error=False, exit_on_error=False)


def _processor_seconds(*arguments: str) -> float:
    """Return the processor time of a Python process, which other processes change less than the time on the clock."""
    before = os.times()
    subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def test_help_imports_nothing_of_the_commands() -> None:
    program = "import sys; from quickstep.apps.cli import app; app('--help', result_action='return_value'); print(*sorted(sys.modules))"
    modules = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    ours = {name for name in modules if name.startswith("quickstep.")}
    light = ("apps", "apps.cli", "apps.interruption", "apps.option_names", "types", "types.errors", "types.progress", "types.escaping")
    assert ours == {f"quickstep.{name}" for name in light}
    assert not {"numpy", "torch", "cyclopts.completion.install", "cyclopts.config"} & set(modules)


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_each_command_explains_each_of_its_options(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    status, out, _ = call(capsys, command, "--help")
    assert status == 0
    rows = [line.strip("│ *") for line in out.splitlines() if line.startswith("│")]
    bare = [row for row in rows if row.startswith("--") and len(row.split("  ", 1)) < 2 and not row.startswith("--help")]
    assert not bare
    assert not re.search(r"default: (\(\)|\{\}|False|None)\]", out)
    assert command == "import-dataset" or "--quiet" in out


def test_the_options_of_finetune_are_in_groups(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = call(capsys, "finetune", "--help")
    titles = [title for title in OPTION_GROUPS if f" {title} " in out]
    assert titles == [
        "Network",
        "Frames of a video",
        "Head and prompts",
        "Optimization",
        "Validation",
        "Augmentation",
        "Computation",
        "Reading videos",
        "General",
    ]
    assert max(len(panel.splitlines()) for panel in out.split("╭")) < 60


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        (["train", "x", "-o", "y", "--lr", "3"], "--learning-rate"),
        (["train", "x", "-o", "y", "--batch-size", "3"], "--batch?"),
        (["train", "x", "-o", "y", "--epoch", "3"], "--epochs"),
        (["train", "x", "-o", "y", "--optimizer", "adamx"], "adamw"),
        (["trian", "x"], "train"),
        (["train"], "quickstep train --help"),
    ],
)
def test_a_misspelled_command_line_is_answered_in_one_line(typed: list[str], answer: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = call(capsys, *typed)
    assert (status, out) == (1, "")
    assert len(err.splitlines()) == 1
    assert answer in err


@pytest.mark.parametrize(
    ("typed", "printed"), [(["help"], "Core"), (["help", "train"], "--learning-rate"), (["-v"], "0.1."), (["--version"], "0.1.")]
)
def test_help_and_version(typed: list[str], printed: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = call(capsys, *typed)
    assert status == 0
    assert printed in out


def test_a_model_is_overwritten_only_when_it_is_asked_for(
    model: Path, dances: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (model / "model.json").read_bytes()
    status, _, err = call(capsys, "train", dances, "-o", model, "--backbone", "motion")
    assert status == 1
    assert "--overwrite" in err
    assert (model / "model.json").read_bytes() == before
    copy = shutil.copytree(model, tmp_path / "copy")
    status, _, err = call(capsys, "train", dances / "dancers.csv", "-o", copy, "--backbone", "motion", "--epochs", "1", "--overwrite")
    assert status == 0, err
    assert (copy / "model.json").read_bytes() != before


def test_finetune_replaces_a_finished_model_only_when_it_is_asked_for(
    model: Path, dances: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "model"
    shutil.copytree(model, copy)
    command = ("finetune", dances / "nothing.csv", "-o", copy)
    assert "--overwrite" in call(capsys, *command)[2]
    assert "nothing.csv" in call(capsys, *command, "--overwrite")[2]
    (copy / TUNING_STATE).mkdir()  # an unfinished run is resumed
    assert "nothing.csv" in call(capsys, *command)[2]


def test_quiet_and_verbose(model: Path, dances: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = call(capsys, "predict", model, dances / "windmill", "--quiet", "--cache", tmp_path / "cache")
    assert (status, err) == (0, "")
    assert out
    status, _, err = call(capsys, "predict", model, dances / "windmill", "--cache", tmp_path / "cache")
    assert status == 0
    assert "features" in err or err == ""
    assert not logging.getLogger("quickstep").isEnabledFor(logging.DEBUG)


def test_progress_for_programs_is_lines_of_json(model: Path, dances: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUICKSTEP_PROGRESS", "json")
    done = run("predict", model, dances / "windmill", "--json", "--cache", tmp_path / "cache")
    assert done.returncode == 0
    json.loads(done.stdout)
    updates = [ProgressUpdate.from_line(line) for line in done.stderr.splitlines()]
    assert updates
    assert all(update is not None for update in updates)
    last = updates[-1]
    assert last is not None
    assert (last.done, last.share) == (last.total, 1.0)


def test_predict_prints_data_on_stdout_and_messages_on_stderr(model: Path, dances: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = call(capsys, "predict", model, dances / "windmill", "--json")
    assert status == 0
    answers = json.loads(out)
    assert len(answers["predictions"]) == 7
    assert answers["failures"] == []
    assert "quickstep:" not in err
    status, out, _ = call(capsys, "predict", model, dances / "windmill", "--format", "csv")
    assert out.splitlines()[0].startswith("path,start,end,label,score")
    assert len(out.splitlines()) == 8
    status, out, _ = call(capsys, "predict", model, dances / "windmill", "--top", "9")
    assert status == 0
    assert "toprock" in out


def test_evaluate_gives_the_scores_that_predict_gives(model: Path, dances: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = call(capsys, "evaluate", model, "--json")
    assert status == 0, err
    tested = json.loads(out)["tested"]
    assert (model / "report.html").exists()
    status, out, _ = call(capsys, "predict", model, *(row["path"] for row in tested), "--json")
    predicted = {row["path"]: row["scores"] for row in json.loads(out)["predictions"]}
    labels = json.loads((model / "model.json").read_text())["labels"]
    for row in tested:
        assert [predicted[row["path"]][label] for label in labels] == pytest.approx(row["scores"], abs=1e-6)


def test_a_video_that_cannot_be_read_is_listed_and_the_others_named(
    model: Path, dances: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "notes.mp4"
    bad.write_text("not a video")
    good = next((dances / "windmill").glob("*.mp4"))
    status, out, err = call(capsys, "predict", model, bad, good)
    assert status == 0
    assert good.name in out
    assert "notes.mp4" in err
    status, out, err = call(capsys, "predict", model, bad)
    assert status == 1
    status, _, err = call(capsys, "predict", model, bad, good, "--strict")
    assert status == 1
    assert err.splitlines()[-1].startswith("quickstep: ")


def wrong_commands(tmp: Path, model: Path, dances: Path) -> dict[str, list[str | Path]]:
    (tmp / "empty").mkdir()
    (tmp / "one" / "halo").mkdir(parents=True)
    for video in (dances / "windmill").glob("*.mp4"):
        (tmp / "one" / "halo" / video.name).write_bytes(video.read_bytes())
    (tmp / "nan.csv").write_text("path,label,start\na.mp4,halo,NaN\n")
    (tmp / "back.csv").write_text("path,label,start,end\na.mp4,halo,3,1\n")
    (tmp / "file").write_text("in the way")
    return {
        "an empty folder": ["train", tmp / "empty", "-o", tmp / "out", "--backbone", "flow-hist"],
        "no folder": ["train", tmp / "nowhere", "-o", tmp / "out", "--backbone", "flow-hist"],
        "one class": ["train", tmp / "one", "-o", tmp / "out", "--backbone", "flow-hist"],
        "NaN in a csv": ["check", tmp / "nan.csv"],
        "an end before its start": ["train", tmp / "back.csv", "-o", tmp / "out", "--backbone", "flow-hist"],
        "a backbone that is none": ["train", dances, "-o", tmp / "out", "--backbone", "motoin"],
        "a head that is none": ["train", dances, "-o", tmp / "out", "--backbone", "flow-hist", "--head", "linaer"],
        "a setting out of range": ["train", dances, "-o", tmp / "out", "--backbone", "flow-hist", "--epochs", "0"],
        "weights that are nowhere": ["train", dances, "-o", tmp / "out", "--backbone", "clip-vit-b32", "--weights", tmp / "nowhere"],
        "a model that is none": ["predict", tmp / "empty", dances],
        "no model": ["evaluate", tmp / "nowhere"],
        "top of nothing": ["predict", model, dances, "--top", "0"],
        "one model to compare": ["compare", model],
        "an output that is a file": ["train", dances, "-o", tmp / "file", "--backbone", "flow-hist"],
        "a cache that is a file": ["check", dances, "--cache", tmp / "file"],
    }


def test_a_mistake_of_the_user_is_one_line(model: Path, dances: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, words in wrong_commands(tmp_path, model, dances).items():
        status, out, err = call(capsys, *words)
        last = err.strip().splitlines()[-1]
        assert status == 1, name
        assert last.startswith("quickstep: "), (name, err)
        assert "Traceback" not in err, name
        assert len(last) < 400, (name, last)
        assert out == "", name


@pytest.mark.parametrize(("sign", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_ends_in_one_line_and_keeps_what_was_computed(
    tmp_path: Path, own_cache: Path, sign: signal.Signals, status: int
) -> None:
    data = tmp_path / "DANCES"
    draw_dancers(data, DemoConfig(moves=("windmill", "toprock"), videos=8, dancers=8, seconds=2, width=96, height=72))
    command = [
        sys.executable,
        "-m",
        "quickstep",
        "train",
        str(data / "dancers.csv"),
        "-o",
        str(tmp_path / "out"),
        "--backbone",
        "flow-hist",
    ]
    # A shell starts its background jobs with SIGINT ignored, and children inherit that.
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=os.environ, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    )
    deadline = time.monotonic() + 60
    while process.poll() is None and not list(own_cache.glob("arrays/*/*.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(sign)
    _, err = process.communicate(timeout=60)
    assert process.returncode == status, err
    assert err.strip().splitlines()[-1].startswith("quickstep: stopped")
    assert "Traceback" not in err
    assert not (tmp_path / "out" / "model.json").exists()
    assert list(own_cache.glob("arrays/*/*.safetensors"))
    assert not list(own_cache.glob("arrays/*/.*.part"))


def test_doctor_and_cache_speak_json(capsys: pytest.CaptureFixture[str], model: Path) -> None:
    status, out, _ = call(capsys, "doctor", "--json")
    assert status == any(finding["state"] == "bad" for finding in json.loads(out))
    assert {"python", "ffmpeg", "device", "cache", "CLIP weights"} <= {finding["what"] for finding in json.loads(out)}
    status, out, _ = call(capsys, "cache", "--json")
    assert status == 0
    assert json.loads(out) == []


@pytest.fixture(scope="module")
def small_demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("demo") / "demo"
    small = ("--videos", "8", "--dancers", "8", "--seconds", "1.2", "--width", "96", "--height", "72", "--fps", "15")
    return folder, run("demo", folder, *small, "--moves", "halo", "--moves", "groove-fast")


@pytest.mark.slow
def test_the_demo_runs_every_main_command_and_names_what_to_open(small_demo: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, done = small_demo
    assert done.returncode == 0, done.stderr
    typed = [line.split()[2] for line in done.stderr.splitlines() if line.startswith("$ quickstep ")]
    assert typed == ["check", "split", "train", "evaluate", "predict", "timeline", "index", "search"]
    assert "0 errors, 0 warnings" in done.stdout
    named = [folder / "model" / "report.html", folder / "class.png", folder / "search.png", folder / "class.mp4"]
    assert all(path.stat().st_size > 5000 and str(path) in done.stderr for path in named)


@pytest.mark.slow
def test_the_demos_samples_say_whether_the_model_knows_them(small_demo: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder = small_demo[0]
    demo = make_demo(folder)
    assert Library.open(str(demo.library)).count() > 16
    listed = folder / "new" / "dancers.csv"
    predicted = [answer.label for answer in load_model(demo.model).predict(listed).predictions]
    for label in ("halo", "groove-fast"):  # one of the two is wrong for at least one of the samples
        rewritten = re.sub(r"(mp4),[^,]+", rf"\1,{label}", listed.read_text().partition("\n")[2])
        listed.write_text("path,label,group,stage,joints\n" + rewritten)
        names = [sample.name for sample in make_demo(folder).samples]
        assert names == [f"{'new' if answer == label else 'hard'}: {label}" for answer in predicted]


def test_the_hard_demo_draws_confusable_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[DemoConfig] = []

    def note(_folder: Path, config: DemoConfig, **_: object) -> None:
        drawn.append(config)
        raise KeyboardInterrupt

    monkeypatch.setattr("quickstep.datasets.synthetic.draw_demo", note)
    for hard in (True, False):
        with pytest.raises(KeyboardInterrupt):
            demo_command(tmp_path, hard=hard)
    assert {"walk", "moonwalk", "spin-left", "spin-right"} <= set(drawn[0].moves)
    assert not {"walk", "moonwalk", "spin-left", "spin-right", "windmill"} & set(drawn[1].moves)
    assert drawn[0].clutter > drawn[1].clutter
    for config in drawn:  # what other checks rely on
        assert {"halo", "toprock"} <= set(config.moves)
        assert min(config.videos, config.dancers) >= 20
    with pytest.raises(ConfigError, match="moves"):
        demo_command(tmp_path, hard=True, config=DemoConfig(moves=("halo", "walk")))
