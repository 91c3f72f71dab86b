"""Learning curves: accuracy against the number of labelled segments a class, and the class that more labels would help most.

computation   learning_curve: a labelled set -> a LearningCurve
config        CurveConfig
curve         LearningCurve and its parts as frozen data, and the sentences that describe it
trials        heads fitted on nested draws from the train part
intervals     accuracies with intervals over groups and draws
label_gain    the gain of more labels of one class
rendering     curve.png and curve.json
"""

from quickstep.training.learning_curve.computation import CurveConfig, learning_curve
from quickstep.training.learning_curve.curve import LearningCurve

__all__ = ["CurveConfig", "LearningCurve", "learning_curve"]
