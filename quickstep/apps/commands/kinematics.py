"""The command that says how somebody moves, in numbers."""

from __future__ import annotations

import json as jsons
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from quickstep.apps.commands.options import DEFAULT_RUN, Flag, Flat, Out, Run
from quickstep.apps.terminal import TerminalProgress, say, show_table
from quickstep.signals.poses.config import PoseConfig
from quickstep.signals.poses.kinematics import KinematicsConfig

DEFAULT_KINEMATICS = KinematicsConfig()
DEFAULT_POSES = PoseConfig()


def kinematics(
    inputs: Annotated[tuple[str, ...], Parameter(allow_leading_hyphen=True, required=True)],
    /,
    *,
    out: Annotated[Path | None, Out] = None,
    draw: Path | None = None,
    strict: Annotated[bool, Flag] = False,
    config: Annotated[KinematicsConfig, Flat] = DEFAULT_KINEMATICS,
    poses: Annotated[PoseConfig, Flat] = DEFAULT_POSES,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> int:
    """Say how somebody moves, in body lengths and seconds: speed, reach, fluidity, symmetry, tempo, turns, airtime, level.

    Parameters
    ----------
    inputs
        videos, or files of poses
    out
        a csv to write every number of every window to
    draw
        a picture to write: the numbers over time
    strict
        stop at the first video that cannot be measured, instead of listing it
    """
    from quickstep.evaluation.rendering.kinematics import draw_motion, write_numbers
    from quickstep.signals.poses.kinematics import kinematics as measure
    from quickstep.signals.poses.kinematics.description import HEADINGS, LEGEND, describe, table

    with TerminalProgress() as progress:
        found = measure(inputs, config, poses=poses, cache=run.cache, progress=progress, strict=strict)
    if run.json:
        print(jsons.dumps([person.to_json() for person in found.people], ensure_ascii=False, indent=1))
    else:
        for person in found.people:
            show_table(HEADINGS, table(person), title=str(person.path) if len(inputs) > 1 else None)
            print(f"\n{describe(person)}\n")
    if found.people and not run.json:
        say(LEGEND)
    if found.people and out is not None:
        say(f"the numbers: {write_numbers(found, out)}", style="bold")
    if found.people and draw is not None:
        for picture in draw_motion(found, draw):
            say(f"the picture: {picture}", style="bold")
    for failure in found.failures:
        say(f"not measured: {failure}", style="yellow")
    return 0 if found.people else 1
