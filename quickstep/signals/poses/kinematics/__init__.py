"""Kinematics: how fast, far, smoothly, evenly and often somebody moves, turns, jumps and gets down, in body lengths and seconds.

quantities    their names, units and meanings; the values of one span of time
smoothing     resampling at even times and a zero-phase filter, so that frame rates agree
body          one person as named points, with the second axis upwards
limbs         speed, acceleration, reach, fluidity, symmetry
rhythm        tempo and its regularity
turns         turns about the vertical, spins in the image plane
posture       airtime, height, level
measurement   measure and kinematics: all quantities, for spans of time
description   the same as a table and a paragraph of text
"""

from quickstep.signals.poses.kinematics.measurement import (
    MEASURES_VERSION,
    KinematicsConfig,
    KinematicsFailure,
    KinematicsResult,
    PersonKinematics,
    kinematics,
    measure,
)
from quickstep.signals.poses.kinematics.quantities import NAMES, QUANTITIES, Measurement, Quantity

__all__ = [
    "MEASURES_VERSION",
    "NAMES",
    "QUANTITIES",
    "KinematicsConfig",
    "KinematicsFailure",
    "KinematicsResult",
    "Measurement",
    "PersonKinematics",
    "Quantity",
    "kinematics",
    "measure",
]
