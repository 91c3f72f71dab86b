"""work: one worker of a study: takes trials, tries them, writes down what came of them, until the time or the number is up.

Started as `python -m quickstep.training.tuning.worker STUDY LIMITS` it is a worker in a process of its own.
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
from quickstep.training.tuning.study import Study, settled
from quickstep.training.tuning.trial import Hopeless, Trier
from quickstep.types.errors import QuickstepError
from quickstep.types.progress import Progress, silent

EXHAUSTED = 30  # times in a row that what is drawn was tried before: there is little else


@dataclass(frozen=True)
class Limits:
    """Until when a worker goes on."""

    until: float | None = None  # seconds since 1970
    trials: int | None = None  # in the whole study
    seed: int = 0
    parent: int | None = None  # the process without which it has no reason to go on

    @property
    def over(self) -> bool:
        """Whether the time is up, or nobody waits any more."""
        return (self.until is not None and time.time() >= self.until) or (self.parent is not None and os.getppid() != self.parent)


def work(study: Study, trier: Trier, limits: Limits, progress: Progress = silent) -> int:
    """Try until the end; how many trials were made here."""
    made = again = 0
    while not limits.over and not study.fruitless and again < EXHAUSTED:
        trial = study.take(limits.trials)
        if trial is None:
            break
        again = 0 if _try(study, trier, trial, limits) else again + 1
        made += 1
        total = limits.trials or 0
        count = len(study.trials)
        progress("trials", min(count, total) if total else count, max(total, count + (not total)))
    return made


def _try(study: Study, trier: Trier, trial: Trial, limits: Limits) -> bool:
    """One trial; whatever goes wrong in it is its own affair. False where the same was tried before."""

    def report(step: int, value: float) -> None:
        trial.report(value, step)
        if step + 1 >= len(trier.steps):
            return
        if limits.over:
            raise Hopeless("the time was up in the midst of it")
        if trial.should_prune():
            raise Hopeless(f"stopped after step {step + 1} of {len(trier.steps)}: others did better by then")

    try:
        recipe = study.plan.space.draw(trial, study.plan.base, usual=trial.user_attrs.get("usual"))
        before = study.tried(recipe.to_json())
        trial.set_user_attr("recipe", recipe.to_json())
        if before is not None:
            study.pruned(trial, f"the same as trial {before}")
            return False
        outcome = trier.run(recipe, report)
    except Hopeless as stop:
        study.pruned(trial, str(stop))
    except QuickstepError as error:
        study.failed(trial, str(error))
    except Exception as error:  # the study goes on, and says so
        study.failed(trial, f"{type(error).__name__}: {error}"[:500] or type(error).__name__)
    else:
        study.done(trial, outcome.value, outcome.to_json())
    return True


def main(arguments: list[str]) -> int:
    """A worker in a process of its own."""
    folder, limits = Path(arguments[0]), Limits(**json.loads(arguments[1]))
    plan = Study.read(folder)
    if plan is None:
        print(f"quickstep: {folder} holds no study", file=sys.stderr)
        return 1
    manifest, cache = Study.manifest(folder), Cache(plan.cache)
    study = Study(folder, settled(plan, plan.tune), seed=limits.seed)
    try:
        tune = plan.tune
        work(study, Trier.of(manifest, metric=tune.metric, folds=tune.folds, seed=plan.base.seed, cache=cache), limits)
    finally:
        study.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
