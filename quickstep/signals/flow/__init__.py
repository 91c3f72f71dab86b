"""Optical flow: how far each point of a frame moves until the next one, as 8-bit Flow.

config          FlowConfig, FlowLook; the table of methods
methods         DIS, TV-L1, Farneback
camera_motion   removes the camera's own motion
estimator       Frames -> Flow
reader          a segment through a view -> Flow, window by window, through the cache
drawing         flow as colours, as a video or an image
"""

from quickstep.signals.flow.config import METHODS, PRESETS, FlowConfig, FlowLook

__all__ = ["FLOW_VERSION", "METHODS", "PRESETS", "FlowConfig", "FlowLook"]

# A part of every cache key: raise it whenever the same frames give another flow than before.
FLOW_VERSION = 1
