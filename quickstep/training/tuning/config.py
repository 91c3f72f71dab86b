"""TuneConfig: what is searched, by what it is judged, and how long."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from quickstep.heads import HEADS
from quickstep.types.config_fields import at_least, between, one_of, setting
from quickstep.types.errors import ConfigError

DIMENSIONS = ("backbone", "head", "head-settings", "learning-rate", "dropout", "optimizer", "class-weights", "view")
OF_TUNING = ("unfreeze", "layer-decay", "augment")  # of trials that fine-tune
MEASURES = ("accuracy", "balanced-accuracy", "log-loss")
PRUNINGS = ("median", "hyperband", "none")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True)
class TuneConfig:
    """How long is searched, over what, and by what trials are judged."""

    trials: int | None = setting(None, "stop when the study has so many trials")
    budget: str | None = setting(None, "stop after so long: 90s, 30m, 2h30m; the last fit and the test come on top")
    over: tuple[str, ...] = setting((), f"search over these alone (head,view ...), of {', '.join((*DIMENSIONS, *OF_TUNING))}")
    backbones: tuple[str, ...] = setting((), "the backbones to choose from; by default all whose weights are on this machine")
    heads: tuple[str, ...] = setting((), f"the heads to choose from, of {', '.join(HEADS)}; by default those that suit the backbone")
    finetune: bool = setting(False, "open the networks too: trials fine-tune, and also search unfreeze, layer-decay and augment")
    metric: Literal["accuracy", "balanced-accuracy", "log-loss"] = setting(
        "accuracy", f"what counts on validation: {', '.join(MEASURES)}", was="measure"
    )
    folds: int | None = setting(None, "judge by the mean over so many folds of train and val; by default 5 where data are few, else 0")
    pruning: Literal["median", "hyperband", "none"] = setting("median", f"how hopeless trials are stopped early: {', '.join(PRUNINGS)}")
    workers: int = setting(1, "trials at the same time; the same command started again on one folder works along too")
    keep_test: bool = setting(False, "leave the test part locked at the end too")

    def __post_init__(self) -> None:
        for name in ("over", "backbones", "heads"):  # --over head,view says the same as --over head --over view
            named = tuple(part.strip() for item in getattr(self, name) for part in item.split(",") if part.strip())
            object.__setattr__(self, name, named)
        if self.trials is not None:
            between("trials", self.trials, 1, 100_000)
        for name in self.over:
            one_of("over", name, (*DIMENSIONS, *OF_TUNING))
            if name in OF_TUNING and not self.finetune:
                raise ConfigError("over", f"{name} belongs to trials that fine-tune: say --finetune")
        one_of("metric", self.metric, MEASURES)
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
        """A search has an end."""
        if self.trials is None and self.budget is None:
            raise ConfigError("budget", "say how long to search (--budget 30m) or how many trials to make (--trials 40), or both")

    def wants(self, dimension: str) -> bool:
        """Whether it is searched over."""
        return not self.over or dimension in self.over
