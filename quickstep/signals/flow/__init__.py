"""Optical flow: how far each point of a picture moves until the next one, as 8-bit Flow. The rooms that make it:

    settings   FlowConfig, FlowLook; the table of methods
    methods    one class a method (DIS, TV-L1, Farneback)
    camera     the camera's own motion, found and taken away
    fields     Frames -> Flow
    reading    a segment through a view -> Flow, window by window, through the cache
    packing    levels <-> few bytes
    drawing    flow as colours, a video of it

Knows no network: backbones that read flow are shown what `reading` gives.
"""

from quickstep.signals.flow.config import METHODS, PRESETS, FlowConfig, FlowLook

__all__ = ["FLOW_VERSION", "METHODS", "PRESETS", "FlowConfig", "FlowLook"]

# A part of every key: raise it whenever the same pictures give another flow than before.
FLOW_VERSION = 1
