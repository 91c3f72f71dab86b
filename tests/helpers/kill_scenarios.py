"""Kill commands at random changes of files, run them again, and compare the end with that of an undisturbed run."""

from __future__ import annotations

import errno
import json
import os
import random
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from checkpoints import save
from faults import FAIL, FAIL_FROM, KILLS, Ended, Faults

from quickstep.datasets.manifest import read_manifest, write_manifest
from quickstep.datasets.synthetic import DemoConfig, draw_dancers
from quickstep.inference.prediction_files import write_predictions
from quickstep.storage.cache import Cache
from quickstep.storage.files import is_temporary
from quickstep.training.label_review import Journal
from quickstep.training.train import TrainConfig, train

MOVES = ("halo", "windmill")
Words = Sequence[str | Path]
Run = Callable[[Words], Ended]

DECIDE = """
from quickstep.training.label_review import Journal
journal = Journal.open("reviewed.csv")
for number, row in enumerate(Journal.open("listed.csv").manifest.segments):
    span = journal.span_of(row)
    if span in journal.latest():
        continue
    here = next(one for one in journal.manifest.segments if journal.span_of(one) == span)
    journal.decide(here, *(("reject",) if number == 0 else ("correct", "toprock") if number % 2 else ("confirm",)))
"""
ROWS = """
import json
from quickstep.library import Library
table = Library.open("library")
rows = table.table.to_arrow().to_pylist()
print(json.dumps(sorted((str(row["path"]), row["start"], row["end"], [round(x, 6) for x in row["vector"]]) for row in rows)))
"""


@dataclass(frozen=True)
class Scenario:
    """A command, and what to compare at its end."""

    words: Words
    outcome: Callable[[Path, Run], Any]  # of the folder after the command came to its end
    intact: Callable[[Path, Run], Any] | None = None  # of the folder at any moment; the outcome before or after the command
    before: Callable[[Path], None] = lambda _folder: None
    done: str = "cannot happen"  # in the error of a repeated command that had come to its end already
    is_slow: bool = False


def stage(folder: Path) -> Path:
    """Make what all scenarios start from: drawn videos, a list, a model."""
    drawn = DemoConfig(moves=MOVES, videos=4, dancers=4, seconds=1.0, width=96, height=72, clutter=0)
    draw_dancers(folder / "DANCES", drawn)
    cache = Cache(folder / "cache")
    manifest = read_manifest(folder / "DANCES")
    write_manifest(manifest, folder / "listed.csv")
    shutil.copy(folder / "listed.csv", folder / "reviewed.csv")
    train(manifest, TrainConfig(backbone="flow-hist"), cache=cache).model.save(folder / "model")
    write_predictions(folder / "model", folder / "DANCES", folder / "warm.jsonl", cache=cache)
    save("clip", folder / "clip")
    videos = sorted((folder / "DANCES").rglob("*.mp4"))
    lines = [f"{path.relative_to(folder).as_posix()} {MOVES.index(path.parent.name)}\n" for path in videos]
    (folder / "list.txt").write_text("".join(lines))
    (folder / "classes.txt").write_text("\n".join(MOVES) + "\n")
    return folder


# -- outcomes ----------------------------------------------------------------------------------------------------------------


def answers(model: str) -> Callable[[Path, Run], Any]:
    """Compare what a model predicts."""

    def outcome(_folder: Path, run: Run) -> Any:
        ended = run(["predict", model, "DANCES", "--json"])
        if ended.status:
            return ended.err.strip().splitlines()[-1:]
        return [(one["path"], one["label"], one["scores"]) for one in json.loads(ended.out)["predictions"]]

    return outcome


def content(*names: str) -> Callable[[Path, Run], Any]:
    """Compare the bytes of files."""
    return lambda folder, _run: {name: (folder / name).read_bytes() if (folder / name).exists() else None for name in names}


def rows(name: str) -> Callable[[Path, Run], Any]:
    """Compare the lines of a file that grows: what failed before stands at its end."""
    return lambda folder, _run: sorted((folder / name).read_bytes().splitlines()) if (folder / name).exists() else None


def printed(code: str) -> Callable[[Path, Run], Any]:
    """Compare what Python code prints."""

    def outcome(_folder: Path, run: Run) -> Any:
        ended = run(["-c", code])
        assert ended.status == 0, ended.message()
        return ended.out

    return outcome


def reviewed(folder: Path, _run: Run) -> Any:
    """Compare the list and the decisions of a review, without their times."""
    journal = Journal.open(folder / "reviewed.csv")
    decisions = [(one.number, one.action, one.path, one.before, one.after) for one in journal.decisions]
    return (folder / "reviewed.csv").read_bytes(), decisions


def trials(folder: Path, run: Run) -> Any:
    """Compare the number of completed trials, the one with the default settings, and whether the best one gave a model.

    The settings of the others may differ: a repeated trial draws new settings.
    """
    board = json.loads((folder / "study" / "leaderboard.json").read_text())
    done = [entry for entry in board["entries"] if entry["state"] == "done"]
    default = [(entry["config"], entry["value"]) for entry in done if entry["usual"]]
    return len(done), default, run(["predict", "study", "DANCES", "--json"]).status


def train_old(folder: Path) -> None:
    """Put an older model where the command writes its own."""
    shutil.copytree(folder / "model", folder / "trained")


TRAIN = ("--backbone", "flow-hist", "--head", "prototypes")
SCENARIOS = {
    "train": Scenario(["train", "listed.csv", "-o", "trained", *TRAIN], answers("trained"), done="already holds a model"),
    "train --overwrite": Scenario(
        ["train", "listed.csv", "-o", "trained", *TRAIN, "--overwrite"], answers("trained"), intact=answers("trained"), before=train_old
    ),
    "predict -o": Scenario(["predict", "model", "DANCES", "-o", "out.jsonl"], rows("out.jsonl")),
    "predict -o csv": Scenario(["predict", "model", "DANCES", "-o", "out.csv"], rows("out.csv")),
    "timeline": Scenario(["timeline", "model", "DANCES/halo", "-o", "spans.csv", "--overwrite"], content("spans.csv")),
    "pose": Scenario(["pose", "DANCES", "-o", "poses", "--estimator", "pose_double:Corner"], lambda folder, _: pose_arrays(folder)),
    "import-dataset": Scenario(
        ["import-dataset", "mmaction", "list.txt", "--classes", "classes.txt", "-o", "imported.csv", "--overwrite"], content("imported.csv")
    ),
    "review": Scenario(["-c", DECIDE], reviewed),
    "index": Scenario(
        ["index", "library", "DANCES", "--backbone", "flow-hist", "--window", "0.5"], printed(ROWS), is_slow=True
    ),
    "finetune": Scenario(
        ["finetune", "listed.csv", "-o", "tuned", "--weights", "clip", "--epochs", "2", "--frames", "2", "--step-epochs", "1"],
        answers("tuned"), done="already holds a model", is_slow=True,
    ),
    "tune": Scenario(
        ["tune", "listed.csv", "-o", "study", "--trials", "2", "--backbones", "flow-hist", "--heads", "prototypes", "--folds", "0"],
        trials, is_slow=True,
    ),
}  # fmt: skip


def pose_arrays(folder: Path) -> Any:
    """Compare the joints of all pose files."""
    import numpy as np

    found = {}
    for path in sorted((folder / "poses").rglob("*.npz")):
        with np.load(path) as arrays:
            found[path.relative_to(folder).as_posix()] = {name: arrays[name].tobytes() for name in arrays.files}
    return found


# -- kills -------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kill:
    """One kill."""

    at: int
    how: str
    call: str  # the change that was hit


class Killer:
    """Kills one command again and again, each time in a fresh copy of the stage."""

    def __init__(self, name: str, stage: Path, folder: Path) -> None:
        self.scenario, self._stage, self._folder = SCENARIOS[name], stage, folder
        self.faults = Faults(folder / "faults")
        try:
            self.log, self.expected, self.first = self._undisturbed()
        except BaseException:
            self.faults.close()
            raise

    def fresh(self) -> Path:
        """Return a fresh copy of the stage."""
        root = self._folder / "root"
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(self._stage, root)
        self.scenario.before(root)
        return root

    def runner(self, root: Path) -> Run:
        """Return a function that runs commands in a folder."""
        return lambda words: self.faults.run(words, root)

    @property
    def calls(self) -> int:
        """How often the undisturbed command changed files."""
        return len(self.log)

    def close(self) -> None:
        """End the process that runs the commands."""
        self.faults.close()

    def _undisturbed(self) -> tuple[tuple[str, ...], Any, Any]:
        root = self.fresh()
        first = self.scenario.intact(root, self.runner(root)) if self.scenario.intact is not None else None
        ended = self.faults.run(self.scenario.words, root)
        assert ended.status == 0, ended.message()
        return ended.log, self.scenario.outcome(root, self.runner(root)), first

    def kill(self, at: int, how: str) -> Kill:
        """Kill the command at one change of files, run it again, and compare."""
        root = self.fresh()
        run = self.runner(root)
        ended = self.faults.run(self.scenario.words, root, mode=KILLS[how], at=at)
        call = ended.log[at - 1] if len(ended.log) >= at else "none: the run made fewer"
        what = f"killed {how} change {at} of about {self.calls} ({call})"
        assert ended.was_killed or len(ended.log) < at, f"{what}: {ended.message()}"
        if self.scenario.intact is not None:
            assert self.scenario.intact(root, run) in (self.first, self.expected), f"{what}: neither the old nor the new one is there"
        again = run(self.scenario.words)
        assert again.status == 0 or self.scenario.done in again.err, f"{what}; the same command again: {again.message()}"
        assert self.scenario.outcome(root, run) == self.expected, f"{what}: the end differs"
        files = (path.relative_to(root) for path in root.rglob("*") if is_temporary(path))
        left = [str(path) for path in files if "cache" not in path.parts]  # a cache removes them later, by their age
        assert left == [], f"{what}: temporary files are left: {left}"
        return Kill(at, how, re.sub(r"[0-9a-f]{12,}", "*", call))

    def random_kill(self, seed: int, number: int) -> Kill:
        """Kill the command at a moment that the seed and the number decide: half of them while it changes other files than the cache."""
        chosen = random.Random(f"{seed} {number}")
        moments = range(1, self.calls + 1)
        outside = [at for at in moments if " cache/" not in self.log[at - 1]]
        return self.kill(chosen.choice(outside if number % 2 and outside else moments), chosen.choice(sorted(KILLS)))

    # -- errors ----------------------------------------------------------------------------------------------------------

    def fail(self, at: int, error: int, *, lasting: bool) -> Kill:
        """Let one change of files (or every one from there on) fail with an error of the system; the command says so, and loses nothing."""
        root = self.fresh()
        run = self.runner(root)
        ended = self.faults.run(
            self.scenario.words, root, mode=FAIL_FROM if lasting else FAIL, at=at, error=error, only_opens=error == errno.EMFILE
        )
        call = ended.log[at - 1] if len(ended.log) >= at else "none: the run made fewer"
        what = f"{errno.errorcode[error]} at change {at} ({call}){' and all later ones' if lasting else ''}"
        assert 0 <= ended.status < 64, f"{what}: {ended.message()}"
        assert "Traceback" not in ended.err, f"{what}: {ended.message()}"
        if self.scenario.intact is not None:
            assert self.scenario.intact(root, run) in (self.first, self.expected), f"{what}: neither the old nor the new one is there"
        reported = os.strerror(error) in ended.err + ended.out
        if ended.status == 0 and not reported:
            assert self.scenario.outcome(root, run) == self.expected, f"{what}: it said nothing, and the end differs"
        again = run(self.scenario.words)
        assert again.status == 0 or self.scenario.done in again.err, f"{what}; the same command again: {again.message()}"
        assert self.scenario.outcome(root, run) == self.expected, f"{what}: the end differs"
        return Kill(at, errno.errorcode[error], call)
