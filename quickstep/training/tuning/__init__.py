"""Hyperparameter search: try settings in a resumable study, choose the best by validation, and use the test part once.

tune           tune: a labelled set -> the best model and a leaderboard
config         TuneConfig
search_space   the settings that can be drawn
trial          one set of settings: fit and score it without the test part
study          the folder of a study, its trials and its workers
worker         run trials until time or their number is up
leaderboard    the results of all trials
rendering      report.html
"""

from quickstep.training.tuning.config import TuneConfig
from quickstep.training.tuning.tune import TuneResult, tune

__all__ = ["TuneConfig", "TuneResult", "tune"]
