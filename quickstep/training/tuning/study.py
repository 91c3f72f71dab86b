"""The folder of a study: its plan, its trials (SQLite, through Optuna) and its workers.

Each worker holds the lock of a file of its own. A running trial whose worker's lock is free belongs to a process that ended: it is
marked as failed and tried again.
"""

from __future__ import annotations

import contextlib
import json
import uuid
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.importance import get_param_importances
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from quickstep.datasets.manifest import Manifest, read_manifest, write_manifest
from quickstep.storage.files import write_text
from quickstep.storage.serialization import from_plain, to_plain
from quickstep.training.train import TrainConfig
from quickstep.training.tuning.config import TuneConfig
from quickstep.training.tuning.search_space import SearchSpace
from quickstep.training.tuning.trial import changed_fields
from quickstep.types.errors import ConfigError, ManifestError
from quickstep.types.registry import refuse_code_in

FORMAT = 1
RECORD, TRIALS, MANIFEST, WORKERS, LOCK = "study.json", "study.db", "manifest.csv", "workers", ".lock"
NAME = "study"
RANDOM_TRIALS = 8  # before the sampler learns from the trials
MAX_FAILURES = 10  # if the first trials all fail, the search ends after this many
MAX_RETRIES = 2  # of a trial whose process died: the trial itself may be the cause
# The settings that must stay the same when a study is resumed; its duration and its number of workers may change.
FIXED = ("over", "backbones", "heads", "finetune", "metric", "folds")
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True)
class StudyPlan:
    """What a study searches, and on which data."""

    fingerprint: str  # of the manifest before missing splits were drawn
    source: str
    base: TrainConfig
    tune: TuneConfig
    space: SearchSpace
    cache: str = field(metadata={"was": "store"})  # version 0.1 wrote store
    format: int = FORMAT

    def write(self, folder: Path, manifest: Manifest) -> None:
        """Begin a study; study.json is written last, so where it exists the rest does too."""
        write_manifest(manifest, folder / MANIFEST)
        write_text(folder / RECORD, json.dumps(to_plain(self), ensure_ascii=False, indent=1))

    @classmethod
    def read(cls, folder: Path) -> StudyPlan | None:
        """Read the plan of a folder; None where there is no study."""
        try:
            content = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            if content.get("format", 0) > FORMAT:
                raise ConfigError("out", f"the study in {folder} was made by a newer quickstep: update quickstep, or name a new folder")
            refuse_code_in(content)
            return from_plain(cls, content, where=RECORD)
        except FileNotFoundError:
            return None
        except ConfigError:
            raise
        except (OSError, ValueError, AttributeError) as error:
            raise ConfigError("out", f"{folder}: its {RECORD} cannot be read ({error}); name a new folder") from error

    @staticmethod
    def manifest(folder: Path) -> Manifest:
        """Read the segments and splits of a study."""
        return read_manifest(folder / MANIFEST)

    def resumed(self, config: TuneConfig) -> StudyPlan:
        """Return the plan with the duration and the number of workers of a new call."""
        ends = {field.name: getattr(config, field.name) for field in fields(TuneConfig) if field.name not in FIXED}
        return replace(self, tune=replace(self.tune, **ends))

    def check_same(self, folder: Path, manifest: Manifest, config: TuneConfig, base: TrainConfig) -> None:
        """Refuse to resume a study of other videos, or one that searches something else."""
        if self.fingerprint != manifest.fingerprint:
            raise ConfigError(
                "out", f"the study in {folder} has other videos, labels or splits ({self.source}): name a new folder, or give that list"
            )
        changed = {name: value for name, value in changed_fields(config).items() if name in FIXED and value != getattr(self.tune, name)}
        changed |= {name: value for name, value in changed_fields(base).items() if value != getattr(self.base, name)}
        if changed:
            name = next(iter(changed))
            raise ConfigError(name, f"the study in {folder} has another value: leave it out to resume that study, or name a new folder")


class Study:
    """A study's folder, opened by one worker."""

    def __init__(self, folder: Path, plan: StudyPlan, *, seed: int = 0) -> None:
        self.folder, self.plan = folder, plan
        self.token = uuid.uuid4().hex[:12]
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with lock_study(folder):
            storage = RDBStorage(f"sqlite:///{folder / TRIALS}", engine_kwargs={"connect_args": {"timeout": 120}})
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                sampler = optuna.samplers.TPESampler(
                    multivariate=True, group=True, seed=(plan.base.seed + seed) % 2**32, n_startup_trials=RANDOM_TRIALS
                )
                self._study = optuna.create_study(
                    storage=storage,
                    sampler=sampler,
                    pruner=_pruner(plan.tune.pruning),
                    study_name=NAME,
                    direction="maximize",
                    load_if_exists=True,
                )
            self._enqueue_defaults()
            (folder / WORKERS).mkdir(exist_ok=True)
            self._worker_lock = FileLock(folder / WORKERS / self.token)
            self._worker_lock.acquire()

    def close(self) -> None:
        """Leave the study."""
        if self._worker_lock.is_locked:
            self._worker_lock.release()
            (self.folder / WORKERS / self.token).unlink(missing_ok=True)

    def _enqueue_defaults(self) -> None:
        """Make the first trials the defaults of `train`, once for each backbone."""
        queued = {trial.user_attrs.get("usual") for trial in self._study.get_trials(deepcopy=False)}
        for choices in self.plan.space.choices:
            if choices.backbone not in queued:
                self._study.enqueue_trial({}, user_attrs={"usual": choices.backbone})

    def take(self, most: int | None) -> Trial | None:
        """Return the next trial for this worker; None where the study has `most` trials."""
        with lock_study(self.folder):
            self._retry_abandoned()
            trials = self._study.get_trials(deepcopy=False)
            counted = [trial for trial in trials if trial.state in (*FINISHED, TrialState.RUNNING) or trial.user_attrs.get("cause")]
            if most is not None and len(counted) >= most:
                return None
            trial = self._study.ask()
            trial.set_user_attr("worker", self.token)
            return trial

    def trial_with(self, settings: Mapping[str, Any]) -> int | None:
        """Return the number of the complete trial with exactly these settings."""
        complete = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return next((trial.number for trial in complete if trial.user_attrs.get("recipe") == settings), None)

    @property
    def only_failures(self) -> bool:
        """Whether the first trials all failed, so that the next one will fail too."""
        states = [trial.state for trial in self._study.get_trials(deepcopy=False) if trial.state in (*FINISHED, TrialState.FAIL)]
        return len(states) >= MAX_FAILURES and all(state == TrialState.FAIL for state in states)

    def done(self, trial: Trial, value: float, score: Mapping[str, Any]) -> None:
        """Save the score of a trial."""
        trial.set_user_attr("outcome", dict(score))
        self._study.tell(trial, value)

    def stopped(self, trial: Trial, cause: str) -> None:
        """Save that a trial was stopped early."""
        trial.set_user_attr("cause", cause)
        self._study.tell(trial, state=TrialState.PRUNED)

    def failed(self, trial: Trial, cause: str) -> None:
        """Save that a trial failed."""
        trial.set_user_attr("cause", cause)
        self._study.tell(trial, state=TrialState.FAIL)

    def _retry_abandoned(self) -> None:
        """Mark running trials of processes that ended as failed, and enqueue them again."""
        running_workers = self._running_workers()
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if trial.user_attrs.get("worker") in running_workers:
                continue
            self._study.tell(trial.number, state=TrialState.FAIL)
            retries = int(trial.user_attrs.get("again", 0))
            if retries < MAX_RETRIES:
                attributes = {name: trial.user_attrs[name] for name in ("usual",) if name in trial.user_attrs}
                self._study.enqueue_trial(trial.params, user_attrs={**attributes, "again": retries + 1})

    def _running_workers(self) -> set[str]:
        """Return the tokens of the workers whose lock is held; remove the files of the others."""
        running = {self.token}
        for file in (self.folder / WORKERS).glob("*"):
            if file.name == self.token:
                continue
            lock = FileLock(file)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                running.add(file.name)
            else:
                lock.release()
                file.unlink(missing_ok=True)
        return running

    def others(self) -> int:
        """Return the number of trials that other workers are running."""
        with lock_study(self.folder):
            self._retry_abandoned()
            return len(self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials that were begun, in order."""
        return [trial for trial in self._study.get_trials(deepcopy=False) if trial.state != TrialState.WAITING]

    def importance(self, *, min_trials: int = 6) -> dict[str, float]:
        """Return the share of the scores' variance that each setting explains; empty where there are too few trials."""
        complete = [trial for trial in self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)) if trial.params]
        names = {name for trial in complete for name in trial.params}
        shared = sorted(name for name in names if sum(name in trial.params for trial in complete) >= max(min_trials, 0.8 * len(complete)))
        if len(complete) < min_trials or not shared or len({trial.value for trial in complete}) < 2:
            return {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna warns about its own experimental parts
            evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
            try:
                importances = get_param_importances(self._study, evaluator=evaluator, params=shared)
            except (ValueError, RuntimeError):  # all trials that have these settings have the same score
                return {}
        return {name: float(value) for name, value in importances.items()}


@contextlib.contextmanager
def lock_study(folder: Path) -> Iterator[None]:
    """Hold the lock of a study's folder: one process at a time."""
    with FileLock(folder / LOCK):
        yield


def check_folder(folder: Path) -> None:
    """Refuse a folder that has other things and no study; create one that does not exist."""
    if folder.is_dir():
        names = {entry.name for entry in folder.iterdir()} - {LOCK}
        if RECORD not in names and names - {MANIFEST}:
            raise ConfigError("out", f"{folder} has other files and no study: name a new folder")
        return
    if folder.exists():
        raise ConfigError("out", f"{folder} is a file: name a folder")
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise ManifestError(folder, f"cannot be created: {error.strerror or error}") from error


def _pruner(name: str) -> optuna.pruners.BasePruner:
    if name == "none":
        return optuna.pruners.NopPruner()
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=9, reduction_factor=3)
    return optuna.pruners.MedianPruner(n_startup_trials=5, n_min_trials=3)
