"""Timelines: from a long video to spans with labels, the scores over time behind them, and files for other programs."""

from quickstep.inference.timelines.construction import resmooth, timeline, timelines
from quickstep.inference.timelines.evaluation import TimelineReport, evaluate_timeline, read_spans
from quickstep.inference.timelines.formats import FORMATS, write_timeline
from quickstep.inference.timelines.spans import UNSURE, Span, Timeline, WindowScores
from quickstep.inference.timelines.windows import TimelineConfig

__all__ = [
    "FORMATS",
    "UNSURE",
    "Span",
    "Timeline",
    "TimelineConfig",
    "TimelineReport",
    "WindowScores",
    "evaluate_timeline",
    "read_spans",
    "resmooth",
    "timeline",
    "timelines",
    "write_timeline",
]
