"""Tuning: a search for the settings that do best on validation, in a folder that remembers every trial; the test part stays locked."""

from quickstep.tuning.making import Tuned, tune
from quickstep.tuning.settings import TuneConfig

__all__ = ["TuneConfig", "Tuned", "tune"]
