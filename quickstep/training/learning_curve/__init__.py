"""What labels are worth: accuracy against the number of labelled segments a class, and for which class eight more would help most.

settings   CurveConfig
curve      LearningCurve: all of it as frozen data, and what it says in sentences
drawing    which segments are learnt from: nested, spread over groups
trials     heads fitted on them, and who was right on the held-out part
measuring  shares with intervals over groups and draws
helping    which class more labels would help
learning   learning_curve: a manifest -> a LearningCurve
"""

from quickstep.training.learning_curve.computation import learning_curve
from quickstep.training.learning_curve.config import CurveConfig
from quickstep.training.learning_curve.curve import LearningCurve

__all__ = ["CurveConfig", "LearningCurve", "learning_curve"]
