"""TuneConfig: what a search varies, by which metric it chooses, and how long it runs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from quickstep.heads import HEADS
from quickstep.types.config_fields import at_least, between, one_of, setting
from quickstep.types.errors import ConfigError

DIMENSIONS = ("backbone", "head", "head-settings", "learning-rate", "dropout", "optimizer", "class-weights", "view")
FINETUNE_DIMENSIONS = ("unfreeze", "layer-decay", "augment")  # only for trials that fine-tune
METRICS = ("accuracy", "balanced-accuracy", "log-loss")
PRUNINGS = ("median", "hyperband", "none")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True)
class TuneConfig:
    """How long a search runs, what it varies, and how trials are scored."""

    trials: int | None = setting(None, "stop when the study has this many trials")
    budget: str | None = setting(None, "stop after this time, such as 90s, 30m or 2h30m; the final fit and the test are not included")
    over: tuple[str, ...] = setting((), f"search only over these: {', '.join((*DIMENSIONS, *FINETUNE_DIMENSIONS))}")
    backbones: tuple[str, ...] = setting((), "the backbones to choose from; by default all whose weights are on this machine")
    heads: tuple[str, ...] = setting((), f"the heads to choose from, of {', '.join(HEADS)}; by default those that suit the backbone")
    finetune: bool = setting(False, "fine-tune in each trial, and search over unfreeze, layer-decay and augment too")
    metric: Literal["accuracy", "balanced-accuracy", "log-loss"] = setting(
        "accuracy", f"how trials are scored on validation: {', '.join(METRICS)}", was="measure"
    )
    folds: int | None = setting(
        None, "score the mean over this many folds of train and val; 0: the val part alone; by default 5 for small sets, else 0"
    )
    pruning: Literal["median", "hyperband", "none"] = setting(
        "median", f"how trials with low scores are stopped early: {', '.join(PRUNINGS)}"
    )
    workers: int = setting(1, "trials at the same time; starting the same command again on the folder adds workers too")
    keep_test: bool = setting(False, "do not use the test part at the end either")

    def __post_init__(self) -> None:
        for name in ("over", "backbones", "heads"):  # one item may name several, separated by commas
            values = tuple(part.strip() for item in getattr(self, name) for part in item.split(",") if part.strip())
            object.__setattr__(self, name, values)
        object.__setattr__(self, "over", tuple({"blocks": "unfreeze"}.get(name, name) for name in self.over))  # its name in version 0.1
        if self.trials is not None:
            between("trials", self.trials, 1, 100_000)
        for name in self.over:
            one_of("over", name, (*DIMENSIONS, *FINETUNE_DIMENSIONS))
            if name in FINETUNE_DIMENSIONS and not self.finetune:
                raise ConfigError("over", f"{name} is only for trials that fine-tune: set finetune too")
        one_of("metric", self.metric, METRICS)
        one_of("pruning", self.pruning, PRUNINGS)
        if self.folds is not None and self.folds != 0:
            between("folds", self.folds, 2, 50)
        between("workers", self.workers, 1, 256)
        if self.budget is not None:
            at_least("budget", self.seconds or 0.0, 1)

    @property
    def seconds(self) -> float | None:
        """The budget in seconds."""
        if self.budget is None:
            return None
        parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", self.budget.strip().lower())
        if not parts or "".join(number + unit for number, unit in parts) != self.budget.strip().lower():
            raise ConfigError("budget", f"a time such as 90s, 30m or 2h30m, not {self.budget!r}")
        return sum(float(number) * _UNITS[unit] for number, unit in parts)

    def check_end(self) -> None:
        """Refuse a search without an end."""
        if self.trials is None and self.budget is None:
            raise ConfigError("budget", "set how long to search, such as 30m; or set `trials`, or both")

    def wants(self, dimension: str) -> bool:
        """Return whether a dimension is to be searched."""
        return not self.over or dimension in self.over
