"""Motion in numbers: how fast, far, smoothly, evenly and often somebody moves, turns, leaps and gets down, in body lengths and seconds.

numbers      the numbers there are: names, units, meaning
smoothing    even steps and a zero-phase filter, so that frame rates agree
body         one person as points that every skeleton has names for
upward       which way is up
limbs        speed, acceleration, reach, fluidity, symmetry
rhythm       tempo and its regularity
turning      turns about the vertical, spins in the picture
ground       airtime, height, level
measuring    measure and kinematics: all of them, for spans of time
telling      the same in a paragraph of words
"""

from quickstep.signals.poses.kinematics.measure import (
    MEASURES_VERSION,
    KinematicsConfig,
    Measured,
    Motions,
    Unmeasured,
    kinematics,
    measure,
)
from quickstep.signals.poses.kinematics.quantities import NAMES, NUMBERS, Number, Numbers

__all__ = [
    "MEASURES_VERSION",
    "NAMES",
    "NUMBERS",
    "KinematicsConfig",
    "Measured",
    "Motions",
    "Number",
    "Numbers",
    "Unmeasured",
    "kinematics",
    "measure",
]
