"""Tuning: a search for the settings that do best on validation, in a folder that remembers every trial; the test part stays locked."""

from quickstep.training.tuning.config import TuneConfig
from quickstep.training.tuning.tune import Tuned, tune

__all__ = ["TuneConfig", "Tuned", "tune"]
