"""A long video -> what is danced when: spans with labels, the scores over time behind them, files for other programs.

settings    TimelineConfig
windows     how long windows are for a model, where they lie
looking     what the model says in each window
account     the scores as they come in
smoothing   scores over time -> spans
spans       Span, Moments, Timeline
making      timeline, timelines
writing     csv, json, srt, vtt, eaf, Audacity's labels
truth       evaluate_timeline: spans held against true ones
"""

from quickstep.inference.timelines.config import TimelineConfig
from quickstep.inference.timelines.construction import respanned, timeline, timelines
from quickstep.inference.timelines.evaluation import TimelineReport, evaluate_timeline, read_spans
from quickstep.inference.timelines.formats import FORMATS, write_timeline
from quickstep.inference.timelines.spans import UNSURE, Moments, Span, Timeline

__all__ = [
    "FORMATS",
    "UNSURE",
    "Moments",
    "Span",
    "Timeline",
    "TimelineConfig",
    "TimelineReport",
    "evaluate_timeline",
    "read_spans",
    "respanned",
    "timeline",
    "timelines",
    "write_timeline",
]
