"""Begin or resume a study, run trials in one or several processes, fit the best settings and test them once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quickstep.datasets.inputs import ManifestSource, as_manifest
from quickstep.datasets.manifest import Manifest, group_of
from quickstep.datasets.splits import SplitConfig, split
from quickstep.evaluation import evaluate
from quickstep.models.model import Model
from quickstep.storage.cache import Cache
from quickstep.storage.files import write_text
from quickstep.storage.serialization import from_plain, to_plain
from quickstep.training.train import TrainConfig
from quickstep.training.tuning.config import TuneConfig
from quickstep.training.tuning.leaderboard import Entry, Leaderboard, gain_over_default
from quickstep.training.tuning.search_space import SearchSpace
from quickstep.training.tuning.trial import Candidate, TrialRunner
from quickstep.types.confidence_intervals import Interval, between, percent
from quickstep.types.errors import ConfigError, MissingExtra
from quickstep.types.progress import Progress, silent
from quickstep.types.registry import trust_typed, trusted_modules

if TYPE_CHECKING:
    from quickstep.training.tuning.study import Study, StudyPlan
    from quickstep.training.tuning.worker import Limits

BEST, CHOSEN, TEST, BOARD = "best", "chosen.json", "test.json", "leaderboard.json"
STATES = {"COMPLETE": "done", "PRUNED": "stopped", "FAIL": "failed", "RUNNING": "running"}
KILLED = "its process ended during the trial (killed, or out of memory); the trial was repeated"


@dataclass(frozen=True, eq=False)
class TuneResult:
    """The leaderboard of a search and its best model."""

    folder: Path
    board: Leaderboard
    model: Model | None = None  # the best settings, fitted again; None while other workers are running
    notes: tuple[str, ...] = ()


def tune(
    manifest: ManifestSource,
    folder: str | Path,
    config: TuneConfig | None = None,
    base: TrainConfig | None = None,
    *,
    cache: Cache | None = None,
    progress: Progress = silent,
) -> TuneResult:
    """Search for the settings of `train` that are best on validation; a study in `folder` is resumed.

    Settings that `base` changes are fixed. The test part is used once, at the end.
    """
    folder, config, base, cache = Path(folder), config or TuneConfig(), base or TrainConfig(), cache or Cache()
    config.check_end()
    trust_typed(*config.backbones, *config.heads, base.backbone, base.head)
    manifest = as_manifest(manifest)
    try:
        from quickstep.training.tuning.study import Study
        from quickstep.training.tuning.worker import Limits, run_trials
    except ImportError as error:
        raise MissingExtra("tune", "quickstep tune") from error
    plan = _begin_or_resume(manifest, folder, config, base, cache=cache, progress=progress)
    split_manifest = plan.manifest(folder)
    runner = TrialRunner.of(split_manifest, metric=plan.tune.metric, folds=plan.tune.folds, seed=plan.base.seed, cache=cache)
    limits = Limits(None if config.seconds is None else time.time() + config.seconds, config.trials)
    study = Study(folder, plan, seed=_seed_offset(folder))
    workers = [_start_worker(folder, number, limits, config.workers) for number in range(1, config.workers)]
    try:
        run_trials(study, runner, limits, progress)
        for worker in workers:
            worker.wait()
        return _finish(study, runner, split_manifest, config, cache=cache, progress=progress)
    finally:
        for worker in workers:
            worker.terminate()
            with suppress(subprocess.TimeoutExpired):
                worker.wait(timeout=10)
        study.close()


def _begin_or_resume(
    manifest: Manifest, folder: Path, config: TuneConfig, base: TrainConfig, *, cache: Cache, progress: Progress
) -> StudyPlan:
    """Return the plan of the study in the folder, or begin one."""
    from quickstep.training.tuning.study import StudyPlan, check_folder, lock_study

    check_folder(folder)
    with lock_study(folder):
        plan = StudyPlan.read(folder)
        if plan is not None:
            plan.check_same(folder, manifest, config, base)
            return plan.resumed(config)
        space = SearchSpace.of(manifest, config, base, cache=cache)
        split_manifest = manifest
        if not {"train", "val"} <= set(manifest.splits) or any(segment.split is None for segment in manifest.segments):
            split_manifest = split(manifest, SplitConfig(seed=base.seed), cache=cache, progress=progress).manifest
        TrialRunner.of(split_manifest, metric=config.metric, folds=config.folds, seed=base.seed, cache=cache)  # raises if it cannot score
        plan = StudyPlan(manifest.fingerprint, str(manifest.source or "segments"), base, config, space, str(cache.folder))
        plan.write(folder, split_manifest)
        return plan


def _seed_offset(folder: Path) -> int:
    """Return another number for each resumption, so that a resumed search does not repeat its first draws."""
    return (folder / "study.db").stat().st_size % 65_521 if (folder / "study.db").exists() else 0


def _start_worker(folder: Path, number: int, limits: Limits, workers: int) -> subprocess.Popen[bytes]:
    """Start a worker in a process of its own, with its share of the cores."""
    settings = asdict(limits) | {"seed": 7919 * number, "parent": os.getpid(), "trust": trusted_modules()}
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": threads}
    command = [sys.executable, "-P", "-m", "quickstep.training.tuning.worker", str(folder), json.dumps(settings)]
    return subprocess.Popen(command, env=env)


def _leaderboard(study: Study, runner: TrialRunner) -> Leaderboard:
    """Collect all trials so far, best first."""
    entries = tuple(sorted((_entry(trial) for trial in study.trials), key=lambda entry: (entry.state != "done", entry.rank, entry.trial)))
    groups = [group_of(segment) for segment in runner.scored]
    gain = gain_over_default(entries, groups)
    test = _read_json(study.folder / TEST) or None
    return Leaderboard(entries, runner.metric, runner.folds, len(groups), study.importance(), gain, test)


def _entry(trial: Any) -> Entry:
    score, settings = trial.user_attrs.get("outcome", {}), trial.user_attrs.get("recipe", {})
    state = STATES[trial.state.name]
    spent = (trial.datetime_complete - trial.datetime_start).total_seconds() if trial.datetime_complete and trial.datetime_start else 0.0
    return Entry(
        trial=trial.number,
        state=state,
        settings=Candidate.from_json(settings).settings if settings else {},
        config=settings,
        drawn=dict(trial.params),
        default="usual" in trial.user_attrs,
        value=trial.value if state == "done" else None,
        accuracy=from_plain(Interval, score["accuracy"], where="accuracy") if "accuracy" in score else None,
        log_loss=score.get("log_loss"),
        seconds=score.get("seconds", spent),
        parameters=score.get("numbers", 0),
        right=score.get("right", ""),
        cause=trial.user_attrs.get("cause", KILLED if state == "failed" else ""),
    )


def _finish(study: Study, runner: TrialRunner, manifest: Manifest, config: TuneConfig, *, cache: Cache, progress: Progress) -> TuneResult:
    """Fit the best settings again and test them once, unless other workers are still running."""
    from quickstep.training.tuning.study import lock_study

    folder, others = study.folder, study.others()
    board = _leaderboard(study, runner)
    if others:
        note = f"{others} trials of other workers are still running: the last worker to end fits the best settings again"
        return TuneResult(folder, board, None, (note,))
    best = board.best
    if best is None:
        raise _nothing_done(folder, board)
    with lock_study(folder):
        model, notes = _fit_best(folder, best, board, manifest, cache=cache, progress=progress)
        if not config.keep_test:
            notes += _test_once(folder, best, model, manifest, cache=cache, progress=progress)
    board = replace(board, test=_read_json(folder / TEST) or None)
    write_text(folder / BOARD, board.to_json())
    return TuneResult(folder, board, model, notes)


def _nothing_done(folder: Path, board: Leaderboard) -> ConfigError:
    failed = [entry for entry in board.entries if entry.state == "failed"]
    if not failed:
        return ConfigError("budget", f"no trial in {folder} was completed in that time: give more time, or use fewer folds")
    return ConfigError(
        "out", f"none of the {len(board.entries)} trials in {folder} was completed, {len(failed)} failed; the first: {failed[0].cause}"
    )


def _fit_best(
    folder: Path, best: Entry, board: Leaderboard, manifest: Manifest, *, cache: Cache, progress: Progress
) -> tuple[Model, tuple[str, ...]]:
    """Fit the best settings to the whole train part and save the model, unless that was done before."""
    if _read_json(folder / CHOSEN).get("trial") == best.trial:
        with suppress(ConfigError, ValueError):
            return Model.load(folder / BEST, cache=cache), ()
    fitted = Candidate.from_json(best.config).fit(manifest, cache=cache, progress=progress)
    note = f"chosen by validation out of {board.count('done')} trials ({folder.name}), so its validation score is too high"
    facts = replace(fitted.model.facts, notes=(*fitted.model.facts.notes, note))
    replace(fitted.model, facts=facts).save(folder / BEST)
    write_text(folder / CHOSEN, json.dumps({"trial": best.trial}))
    return Model.load(folder / BEST, cache=cache), fitted.warnings


def _test_once(folder: Path, best: Entry, model: Model, manifest: Manifest, *, cache: Cache, progress: Progress) -> tuple[str, ...]:
    """Evaluate on the test part, once per study: testing a second choice too would be choosing by the test part."""
    from quickstep.evaluation.rendering import write_report

    before = _read_json(folder / TEST)
    if before:
        if before["trial"] == best.trial:
            return ()
        return (
            f"the test part was already used for trial {before['trial']}, so trial {best.trial} was not tested on it: that would be "
            "choosing by the test part; evaluate it on other videos (quickstep evaluate FOLDER --data OTHERS)",
        )
    if not manifest.part("test").segments:
        return ("there is no test part, so the accuracy of the best settings is unknown: evaluate them on other videos",)
    report = evaluate(model, manifest, cache=cache, progress=progress)
    write_report(report, folder / BEST)
    accuracy = report.figures.accuracy
    sentence = (
        f"Accuracy on the test part, which was used once: {percent(accuracy.value)} ({report.correct} of {len(report.tested)} "
        f"{report.unit}, 95 % interval {between(accuracy)})."
    )
    result = {"trial": best.trial, "accuracy": to_plain(accuracy), "tested": len(report.tested), "sentence": sentence}
    write_text(folder / TEST, json.dumps(result, ensure_ascii=False))
    return ()


def _read_json(path: Path) -> dict[str, Any]:
    """Read an object from a JSON file; empty where there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
