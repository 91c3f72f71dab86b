"""Study: the folder of a search and the trials in it (SQLite, through Optuna); who works on it, and what the dead left behind.

The only file that knows how trials are stored and suggested. A worker holds a lock on a file of its own as long as it lives: a trial whose
worker's lock is free was left by a dead one, becomes failed and is repeated.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import uuid
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import IO, Any

import optuna
from optuna.importance import get_param_importances
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from quickstep.datasets.manifest import Manifest, read_manifest, write_manifest
from quickstep.storage.serialization import from_plain, to_plain
from quickstep.training.train import TrainConfig
from quickstep.training.tuning.config import TuneConfig
from quickstep.training.tuning.search_space import Space, plain
from quickstep.types.errors import ConfigError, ManifestError

FORMAT = 1
RECORD, TRIALS, MANIFEST, WORKERS, LOCK = "study.json", "study.db", "manifest.csv", "workers", ".lock"
NAME = "study"
STARTUP = 8  # trials drawn at random before the drawn ones are learnt from
FRUITLESS = 10  # failures in a row from the beginning on
REPEATS = 2  # a trial whose process died is tried again so often: it may be the trial that kills it
# What a study is about: the same when it is gone on with. How long, and by how many, may change.
ABOUT = ("over", "backbones", "heads", "finetune", "metric", "folds")
SETTLED = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True)
class Plan:
    """What a study is about."""

    fingerprint: str  # of the list as it was given, before splits were drawn
    source: str
    base: TrainConfig
    tune: TuneConfig
    space: Space
    cache: str
    format: int = FORMAT


class Study:
    """A study's folder, opened by one worker."""

    def __init__(self, folder: Path, plan: Plan, *, seed: int = 0) -> None:
        self.folder, self.plan = folder, plan
        self.token = uuid.uuid4().hex[:12]
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with self.locked():
            storage = RDBStorage(f"sqlite:///{folder / TRIALS}", engine_kwargs={"connect_args": {"timeout": 120}})
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                sampler = optuna.samplers.TPESampler(
                    multivariate=True, group=True, seed=(plan.base.seed + seed) % 2**32, n_startup_trials=STARTUP
                )
                self._study = optuna.create_study(
                    storage=storage,
                    sampler=sampler,
                    pruner=_pruner(plan.tune.pruning),
                    study_name=NAME,
                    direction="maximize",
                    load_if_exists=True,
                )
            self._begin()
        (folder / WORKERS).mkdir(exist_ok=True)
        self._held: IO[str] | None = (folder / WORKERS / self.token).open("w")
        fcntl.flock(self._held, fcntl.LOCK_EX)

    # -- the folder ----------------------------------------------------------------------------------------------------------

    @classmethod
    def begin(cls, folder: Path, plan: Plan, manifest: Manifest) -> None:
        """Writes what a new study is about; the record last, so that its presence means complete."""
        write_manifest(manifest, folder / MANIFEST)
        aside = folder / f".{RECORD}.{os.getpid()}"
        aside.write_text(json.dumps({**to_plain(plan), "space": plain(plan.space)}, ensure_ascii=False, indent=1), encoding="utf-8")
        aside.replace(folder / RECORD)

    @classmethod
    def read(cls, folder: Path) -> Plan | None:
        """What the folder's study is about; None where there is none."""
        try:
            content = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            if content.get("format", 0) > FORMAT:
                raise ConfigError("out", f"{folder} holds a study of a newer quickstep: update quickstep, or name a new folder")
            plan: Plan = from_plain(Plan, content, where=RECORD)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, AttributeError) as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError("out", f"{folder}: its {RECORD} cannot be read ({error}); name a new folder") from error
        return plan

    @classmethod
    def manifest(cls, folder: Path) -> Manifest:
        """The segments and splits that the study is about."""
        return read_manifest(folder / MANIFEST)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One worker at a time."""
        with locked(self.folder):
            yield

    def close(self) -> None:
        """Leaves the study."""
        if self._held is not None:
            self._held.close()
            (self.folder / WORKERS / self.token).unlink(missing_ok=True)
            self._held = None

    # -- trials --------------------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """The first trials are what `train` would do by itself, once with each backbone."""
        known = {trial.user_attrs.get("usual") for trial in self._study.get_trials(deepcopy=False)}
        for place in self.plan.space.places:
            if place.backbone not in known:
                self._study.enqueue_trial({}, user_attrs={"usual": place.backbone})

    def take(self, most: int | None) -> Trial | None:
        """The next trial for this worker; None where the study has as many as it is to have."""
        with self.locked():
            self._bury()
            trials = self._study.get_trials(deepcopy=False)
            counted = [trial for trial in trials if trial.state in (*SETTLED, TrialState.RUNNING) or _cause(trial)]
            if most is not None and len(counted) >= most:
                return None
            trial = self._study.ask()
            trial.set_user_attr("worker", self.token)
            return trial

    def tried(self, recipe: Mapping[str, Any]) -> int | None:
        """The trial that has tried exactly this to its end."""
        complete = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return next((trial.number for trial in complete if trial.user_attrs.get("recipe") == recipe), None)

    @property
    def fruitless(self) -> bool:
        """Whether so many trials failed, and none did not, that the next will fail too."""
        states = [trial.state for trial in self._study.get_trials(deepcopy=False) if trial.state in (*SETTLED, TrialState.FAIL)]
        return len(states) >= FRUITLESS and all(state == TrialState.FAIL for state in states)

    def done(self, trial: Trial, value: float, facts: Mapping[str, Any]) -> None:
        trial.set_user_attr("outcome", dict(facts))
        self._study.tell(trial, value)

    def pruned(self, trial: Trial, why: str) -> None:
        trial.set_user_attr("cause", why)
        self._study.tell(trial, state=TrialState.PRUNED)

    def failed(self, trial: Trial, cause: str) -> None:
        trial.set_user_attr("cause", cause)
        self._study.tell(trial, state=TrialState.FAIL)

    def _bury(self) -> None:
        """What the dead left running becomes failed, and is put in line again."""
        living = self._living()
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if trial.user_attrs.get("worker") in living:
                continue
            self._study.tell(trial.number, state=TrialState.FAIL)
            again = int(trial.user_attrs.get("again", 0))
            if again < REPEATS:
                kept = {name: trial.user_attrs[name] for name in ("usual",) if name in trial.user_attrs}
                self._study.enqueue_trial(trial.params, user_attrs={**kept, "again": again + 1})

    def _living(self) -> set[str]:
        """The tokens of workers whose lock is held."""
        living = {self.token}
        for file in (self.folder / WORKERS).glob("*"):
            with contextlib.suppress(OSError), file.open("r+") as handle:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    living.add(file.name)
                else:
                    if file.name != self.token:
                        file.unlink(missing_ok=True)
        return living

    def others(self) -> int:
        """How many trials others are at work on."""
        with self.locked():
            self._bury()
            return len(self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))

    @property
    def trials(self) -> list[FrozenTrial]:
        """All of them but those that wait, in their order."""
        return [trial for trial in self._study.get_trials(deepcopy=False) if trial.state != TrialState.WAITING]

    def importance(self, *, fewest: int = 6) -> dict[str, float]:
        """How much of the scores' spread each drawn setting explains; nothing where there is too little to tell."""
        complete = [trial for trial in self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)) if trial.params]
        names = {name for trial in complete for name in trial.params}
        shared = sorted(name for name in names if sum(name in trial.params for trial in complete) >= max(fewest, 0.8 * len(complete)))
        if len(complete) < fewest or not shared or len({trial.value for trial in complete}) < 2:
            return {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about its own experimental parts
            evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
            try:
                found = get_param_importances(self._study, evaluator=evaluator, params=shared)
            except (ValueError, RuntimeError):  # every trial that has them all has the same score
                return {}
        return {name: float(value) for name, value in found.items()}


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One process at a time in a study's folder."""
    with (folder / LOCK).open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def check_same(folder: Path, plan: Plan, manifest: Manifest, config: TuneConfig, base: TrainConfig) -> None:
    """Refuses to go on with a study of other videos, or that searches something else."""
    if plan.fingerprint != manifest.fingerprint:
        raise ConfigError(
            "out",
            f"{folder} holds a study of other videos, labels or splits ({plan.source}): name a new folder, or give that list",
        )
    usual = TuneConfig()
    differing = [name for name in ABOUT if getattr(config, name) not in (getattr(usual, name), getattr(plan.tune, name))]
    differing += [
        field.name
        for field in fields(TrainConfig)
        if getattr(base, field.name) != getattr(TrainConfig(), field.name) and getattr(base, field.name) != getattr(plan.base, field.name)
    ]
    if differing:
        option = f"--{differing[0].replace('_', '-')}"
        raise ConfigError("out", f"{folder} holds a study begun with another {option}: leave it out to go on, or name a new folder")


def settled(plan: Plan, config: TuneConfig) -> Plan:
    """The plan with how long and by how many as they are said now."""
    ends = {field.name: getattr(config, field.name) for field in fields(TuneConfig) if field.name not in ABOUT}
    return replace(plan, tune=replace(plan.tune, **ends))


def check_folder(folder: Path) -> None:
    """A study may begin in a new or an empty folder, or where one is."""
    if folder.is_dir():
        names = {entry.name for entry in folder.iterdir()} - {LOCK}
        if RECORD not in names and names - {MANIFEST}:
            raise ConfigError("out", f"{folder} holds other things and no study: name a new folder")
        return
    if folder.exists():
        raise ConfigError("out", f"{folder} is a file: name a folder")
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise ManifestError(folder, f"cannot be made: {error.strerror or error}") from error


def _cause(trial: FrozenTrial) -> str:
    return str(trial.user_attrs.get("cause", ""))


def _pruner(name: str) -> optuna.pruners.BasePruner:
    if name == "none":
        return optuna.pruners.NopPruner()
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=9, reduction_factor=3)
    return optuna.pruners.MedianPruner(n_startup_trials=5, n_min_trials=3)
