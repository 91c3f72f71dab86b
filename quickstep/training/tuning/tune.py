"""tune: begins or goes on with a study, has workers try, then fits the best anew and lets it look at the test part once."""

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

from quickstep.datasets.manifest import Manifest, group_of
from quickstep.datasets.splits import SplitConfig, split
from quickstep.evaluation import evaluate
from quickstep.models.model import Model
from quickstep.storage.cache import Cache
from quickstep.storage.serialization import from_plain
from quickstep.training.train import TrainConfig
from quickstep.training.tuning.config import TuneConfig
from quickstep.training.tuning.leaderboard import Entry, Leaderboard, gain_over_usual
from quickstep.training.tuning.search_space import Space
from quickstep.training.tuning.trial import Recipe, Trier
from quickstep.types.confidence_intervals import between, percent
from quickstep.types.errors import ConfigError, MissingExtra
from quickstep.types.progress import Progress, silent

if TYPE_CHECKING:
    from quickstep.training.tuning.study import Plan, Study
    from quickstep.training.tuning.worker import Limits

BEST, CHOSEN, TEST, BOARD = "best", "chosen.json", "test.json", "leaderboard.json"
STATES = {"COMPLETE": "done", "PRUNED": "stopped", "FAIL": "failed", "RUNNING": "running"}
KILLED = "its process ended in the midst of it: killed, or out of memory; it was tried again"


@dataclass(frozen=True, eq=False)
class Tuned:
    """What came of a search so far."""

    folder: Path
    board: Leaderboard
    model: Model | None = None  # the best, fitted anew; None while others are still at work
    notes: tuple[str, ...] = ()


def tune(
    manifest: Manifest,
    folder: str | Path,
    config: TuneConfig | None = None,
    base: TrainConfig | None = None,
    *,
    cache: Cache | None = None,
    progress: Progress = silent,
) -> Tuned:
    """Search for settings of `train`; `base` says what is fixed. A folder with a study of the same videos is gone on with."""
    folder, config, base, cache = Path(folder), config or TuneConfig(), base or TrainConfig(), cache or Cache()
    config.check_end()
    try:
        from quickstep.training.tuning import study as room
        from quickstep.training.tuning.worker import Limits, work
    except ImportError as error:
        raise MissingExtra("tune", "quickstep tune") from error
    plan = _planned(manifest, folder, config, base, cache=cache, progress=progress)
    whole = room.Study.manifest(folder)
    trier = Trier.of(whole, metric=plan.tune.metric, folds=plan.tune.folds, seed=plan.base.seed, cache=cache)
    limits = Limits(None if config.seconds is None else time.time() + config.seconds, config.trials)
    study = room.Study(folder, plan, seed=_made(folder))
    helpers = [_helper(folder, number, limits, config.workers) for number in range(1, config.workers)]
    try:
        work(study, trier, limits, progress)
        for helper in helpers:
            helper.wait()
        return _finished(study, trier, whole, config, cache=cache, progress=progress)
    finally:
        for helper in helpers:
            helper.terminate()
            with suppress(subprocess.TimeoutExpired):
                helper.wait(timeout=10)
        study.close()


def _planned(manifest: Manifest, folder: Path, config: TuneConfig, base: TrainConfig, *, cache: Cache, progress: Progress) -> Plan:
    """What the study is about: as it was begun, or as it begins now."""
    from quickstep.training.tuning.study import Plan, Study, check_folder, check_same, locked, settled

    check_folder(folder)
    with locked(folder):
        plan = Study.read(folder)
        if plan is not None:
            check_same(folder, plan, manifest, config, base)
            return settled(plan, config)
        space = Space.of(manifest, config, base, cache=cache)
        divided = manifest
        if not {"train", "val"} <= set(manifest.splits) or any(segment.split is None for segment in manifest.segments):
            divided = split(manifest, SplitConfig(seed=base.seed), cache=cache, progress=progress).manifest
        Trier.of(divided, metric=config.metric, folds=config.folds, seed=base.seed, cache=cache)  # what cannot be judged is said now
        plan = Plan(manifest.fingerprint, str(manifest.source or "segments"), base, config, space, str(cache.folder))
        Study.begin(folder, plan, divided)
        return plan


def _made(folder: Path) -> int:
    """Another number each time a study is opened: the first draws of a search that goes on are not those of its beginning."""
    return (folder / "study.db").stat().st_size % 65_521 if (folder / "study.db").exists() else 0


def _helper(folder: Path, number: int, limits: Limits, workers: int) -> subprocess.Popen[bytes]:
    """A worker in a process of its own; cores are shared out."""
    told = asdict(limits) | {"seed": 7919 * number, "parent": os.getpid()}
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    places = os.pathsep.join(place for place in sys.path if place)
    env = {**os.environ, "PYTHONPATH": places, "OMP_NUM_THREADS": threads}
    return subprocess.Popen([sys.executable, "-m", "quickstep.training.tuning.worker", str(folder), json.dumps(told)], env=env)


def board_of(study: Study, trier: Trier) -> Leaderboard:
    """All trials so far, best first."""
    entries = tuple(sorted((_entry(trial) for trial in study.trials), key=lambda entry: (entry.state != "done", entry.rank, entry.trial)))
    groups = [group_of(segment) for segment in trier.judged]
    test = _read(study.folder / TEST)
    return Leaderboard(
        entries, trier.metric, trier.folds, len(groups), study.importance(), gain_over_usual(entries, groups), test if test else None
    )


def _entry(trial: Any) -> Entry:
    facts, config = trial.user_attrs.get("outcome", {}), trial.user_attrs.get("recipe", {})
    state = STATES[trial.state.name]
    spent = (trial.datetime_complete - trial.datetime_start).total_seconds() if trial.datetime_complete and trial.datetime_start else 0.0
    return Entry(
        trial=trial.number,
        state=state,
        settings=Recipe.of(config).told if config else {},
        config=config,
        drawn=dict(trial.params),
        usual="usual" in trial.user_attrs,
        value=trial.value if state == "done" else None,
        accuracy=_interval(facts.get("accuracy")),
        log_loss=facts.get("log_loss"),
        seconds=facts.get("seconds", spent),
        numbers=facts.get("numbers", 0),
        right=facts.get("right", ""),
        cause=trial.user_attrs.get("cause", KILLED if state == "failed" else ""),
    )


def _interval(facts: Any) -> Any:
    from quickstep.types.confidence_intervals import Interval

    return from_plain(Interval, facts, where="accuracy") if facts else None


def _finished(study: Study, trier: Trier, whole: Manifest, config: TuneConfig, *, cache: Cache, progress: Progress) -> Tuned:
    """The best one fitted anew and tested once, where nobody is at work any more; and all of it written down."""
    from quickstep.training.tuning.study import locked

    others = study.others()
    board = board_of(study, trier)
    if others:
        return Tuned(
            study.folder, board, None, (f"{others} trials of other workers are still running: the last to end fits the best anew",)
        )
    best = board.best
    if best is None:
        raise _none_done(study.folder, board)
    with locked(study.folder):
        model, notes = _best(study.folder, best, board, whole, cache=cache, progress=progress)
        if not config.keep_test:
            notes += _tested(study.folder, best, model, whole, cache=cache, progress=progress)
    board = replace(board, test=_read(study.folder / TEST) or None)
    _write(study.folder / BOARD, board.to_json())
    return Tuned(study.folder, board, model, notes)


def _none_done(folder: Path, board: Leaderboard) -> ConfigError:
    failed = [entry for entry in board.entries if entry.state == "failed"]
    if not failed:
        return ConfigError("budget", f"no trial of {folder} came to its end in that time: give more, or take fewer --folds")
    return ConfigError(
        "out", f"none of the {len(board.entries)} trials of {folder} came to its end, {len(failed)} failed; the first: {failed[0].cause}"
    )


def _best(
    folder: Path, best: Entry, board: Leaderboard, whole: Manifest, *, cache: Cache, progress: Progress
) -> tuple[Model, tuple[str, ...]]:
    """The best settings fitted to the whole train part, stopped by val: a model folder like any other."""
    chosen = _read(folder / CHOSEN)
    if chosen.get("trial") == best.trial:
        with suppress(ConfigError, ValueError):
            return Model.load(folder / BEST, cache=cache), ()
    fitted = Recipe.of(best.config).fit(whole, cache=cache, progress=progress)
    note = f"chosen by validation out of {board.count('done')} trials ({folder.name}), so its validation score is too good"
    facts = replace(fitted.model.facts, notes=(*fitted.model.facts.notes, note))
    model = replace(fitted.model, facts=facts)
    model.save(folder / BEST)
    _write(folder / CHOSEN, json.dumps({"trial": best.trial}))
    return Model.load(folder / BEST, cache=cache), fitted.warnings


def _tested(folder: Path, best: Entry, model: Model, whole: Manifest, *, cache: Cache, progress: Progress) -> tuple[str, ...]:
    """The one look at the test part; a second choice is not tested on what the first one was told by."""
    from quickstep.evaluation.rendering import write_report

    before = _read(folder / TEST)
    if before:
        if before["trial"] == best.trial:
            return ()
        return (
            f"the test part was used for trial {before['trial']} already; to test trial {best.trial} on it too is to choose by the test: "
            "measure it on other videos (quickstep evaluate FOLDER --data OTHERS)",
        )
    if not whole.part("test").segments:
        return ("there is no test part, so what the best is worth is not known: measure it on other videos",)
    report = evaluate(model, whole, cache=cache, progress=progress)
    write_report(report, folder / BEST)
    accuracy = report.figures.accuracy
    sentence = (
        f"On the test part, looked at once: right on {report.right} of {len(report.tested)} {report.things}, {percent(accuracy.value)} "
        f"(95 % interval {between(accuracy)})."
    )
    seen = {"trial": best.trial, "accuracy": asdict(accuracy), "tested": len(report.tested), "sentence": sentence}
    _write(folder / TEST, json.dumps(seen, ensure_ascii=False))
    return ()


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write(path: Path, text: str) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)
