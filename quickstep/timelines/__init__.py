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

from quickstep.timelines.making import respanned, timeline, timelines
from quickstep.timelines.settings import TimelineConfig
from quickstep.timelines.spans import UNSURE, Moments, Span, Timeline
from quickstep.timelines.truth import TimelineReport, evaluate_timeline, read_spans
from quickstep.timelines.writing import FORMATS, write_timeline

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
