"""How good a model is, and whether that can be believed; from predictions to a Report, and from Reports to a verdict.

testing      evaluate: a model and segments it has not learnt from -> Report
baselines    what must be beaten: majority, metadata alone, one frame alone
metrics      numbers from labels and probabilities
measuring    every figure and curve of a report
verdicts     what the figures mean, in plain sentences
deciding     which numbers made the difference, where they have names
provenance   where model and segments come from, and the proof that nothing leaks
thumbnails   some moments of a segment as a small picture
report       Report: all of it as frozen data
comparison   compare: is one model really better than another?
"""

from quickstep.evaluation.comparison import Comparison, compare
from quickstep.evaluation.evaluate import evaluate
from quickstep.evaluation.report import Report

__all__ = ["Comparison", "Report", "compare", "evaluate"]
