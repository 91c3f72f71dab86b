"""One worker of a study: run trials and save their results until the time or the number of trials is up.

`python -m quickstep.training.tuning.worker STUDY LIMITS` runs a worker in a process of its own.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from optuna.trial import Trial

from quickstep.storage.cache import Cache
from quickstep.training.tuning.study import Study, StudyPlan
from quickstep.training.tuning.trial import TrialRunner, TrialStopped
from quickstep.types.errors import QuickstepError
from quickstep.types.progress import Progress, silent
from quickstep.types.registry import trust

MAX_REPEATS = 30  # repeated draws in a row; then the search space counts as exhausted


@dataclass(frozen=True)
class Limits:
    """When a worker stops."""

    until: float | None = None  # seconds since 1970
    trials: int | None = None  # in the whole study
    seed: int = 0
    parent: int | None = None  # stop when this process has ended
    trust: tuple[str, ...] = ()  # modules whose classes the study may name

    @property
    def reached(self) -> bool:
        """Whether the time is up or the parent process has ended."""
        return (self.until is not None and time.time() >= self.until) or (self.parent is not None and os.getppid() != self.parent)


def run_trials(study: Study, runner: TrialRunner, limits: Limits, progress: Progress = silent) -> None:
    """Run trials until a limit is reached or the search space is exhausted."""
    repeats = 0
    while not limits.reached and not study.only_failures and repeats < MAX_REPEATS:
        trial = study.take(limits.trials)
        if trial is None:
            break
        repeats = 0 if _run_trial(study, runner, trial, limits) else repeats + 1
        total = limits.trials or 0
        count = len(study.trials)
        progress("trials", min(count, total) if total else count, max(total, count + (not total)))


def _run_trial(study: Study, runner: TrialRunner, trial: Trial, limits: Limits) -> bool:
    """Run one trial and save its result or its error; return False where the same settings were tried before."""

    def report(step: int, value: float) -> None:
        trial.report(value, step)
        if step + 1 >= len(runner.steps):
            return
        if limits.reached:
            raise TrialStopped("the time was up before it ended")
        if trial.should_prune():
            raise TrialStopped(f"stopped after step {step + 1} of {len(runner.steps)}: other trials had better scores")

    try:
        candidate = study.plan.space.draw(trial, study.plan.base, default_of=trial.user_attrs.get("usual"))
        before = study.trial_with(candidate.to_json())
        trial.set_user_attr("recipe", candidate.to_json())
        if before is not None:
            study.stopped(trial, f"the same as trial {before}")
            return False
        score = runner.run(candidate, report)
    except TrialStopped as stop:
        study.stopped(trial, str(stop))
    except QuickstepError as error:
        study.failed(trial, str(error))
    except Exception as error:  # the study continues and keeps the cause
        study.failed(trial, f"{type(error).__name__}: {error}"[:500] or type(error).__name__)
    else:
        study.done(trial, score.value, score.to_json())
    return True


def main(arguments: list[str]) -> int:
    """Run a worker in a process of its own."""
    folder, limits = Path(arguments[0]), Limits(**json.loads(arguments[1]))
    trust(*limits.trust)
    plan = StudyPlan.read(folder)
    if plan is None:
        print(f"quickstep: there is no study in {folder}", file=sys.stderr)
        return 1
    cache = Cache(plan.cache)
    study = Study(folder, plan, seed=limits.seed)
    try:
        runner = TrialRunner.of(
            StudyPlan.manifest(folder), metric=plan.tune.metric, folds=plan.tune.folds, seed=plan.base.seed, cache=cache
        )
        run_trials(study, runner, limits)
    finally:
        study.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
