"""The commands that show what is read from videos: pose, kinematics and flow."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from quickstep.apps.commands.options import (
    DEFAULT_PRINTING,
    DEFAULT_RUN,
    Flag,
    Flat,
    Inputs,
    Out,
    Printing,
    Run,
    print_failures,
)
from quickstep.apps.terminal import TerminalProgress, print_json, say, show_table
from quickstep.signals.flow import FlowConfig, FlowLook
from quickstep.signals.poses.config import PoseConfig
from quickstep.signals.poses.kinematics import KinematicsConfig
from quickstep.storage.output_locks import reserve
from quickstep.types.config_fields import setting

MUCH = 0.02  # the share of flow beyond the bound that is worth a note


@dataclass(frozen=True)
class AllPeople(PoseConfig):
    """Pose settings where all people are kept by default."""

    person: str = setting("all", "whose poses are kept: all, auto (the dancer), or a number")


DEFAULT_PEOPLE = AllPeople()
DEFAULT_POSES = PoseConfig()
DEFAULT_KINEMATICS = KinematicsConfig()
DEFAULT_FLOW = FlowConfig()
DEFAULT_LOOK = FlowLook()


def pose_command(
    inputs: Annotated[tuple[str, ...], Inputs],
    /,
    *,
    out: Annotated[Path | None, Out] = None,
    draw: Path | None = None,
    stick_figures: Annotated[bool, Flag] = False,
    world: Annotated[bool, Flag] = False,
    people: Annotated[AllPeople, Flat] = DEFAULT_PEOPLE,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> int:
    """Find the keypoints of people in videos; write them to files and draw them.

    Parameters
    ----------
    inputs
        videos, pose files, folders, globs, csv lists, or - for paths on standard input
    out
        the pose file (.npz) to write; for several videos, a folder
    draw
        a video (.mp4) with drawn skeletons to write; for several videos, a folder
    stick_figures
        draw the skeletons alone, without the video
    world
        write the keypoints in metres around the hips instead of in pixels
    """
    from quickstep.datasets.inputs import gather
    from quickstep.signals.poses.extraction import PoseOutput, extract_poses

    segments, unread = gather(inputs)
    for target in filter(None, (out, draw)):
        reserve(target)
    with TerminalProgress() as progress:
        results, failures = extract_poses(
            segments, people, PoseOutput(out, draw, stick_figures), world=world, cache=run.cache, progress=progress
        )
    if run.json:
        print_json([asdict(result) for result in results])
    else:
        rows = [
            (result.path, person.number, f"{person.seen:.0%}", f"{person.start:.2f}", f"{person.end:.2f}", f"{person.score:.2f}")
            for result in results
            for person in result.people
        ]
        if rows:
            show_table(("video", "person", "visible", "from (s)", "to (s)", "score"), rows)
    for result in results:
        say(str(result), style="" if result.people else "yellow")
        for file in (result.poses, result.drawn):
            if file is not None:
                say(f"  {file}")
    print_failures((*unread, *failures))
    return 0 if any(result.people for result in results) else 1


def kinematics_command(
    inputs: Annotated[tuple[str, ...], Inputs],
    /,
    *,
    out: Annotated[Path | None, Out] = None,
    draw: Path | None = None,
    strict: Annotated[bool, Flag] = False,
    config: Annotated[KinematicsConfig, Flat] = DEFAULT_KINEMATICS,
    poses: Annotated[PoseConfig, Flat] = DEFAULT_POSES,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> int:
    """Measure how people move, in body lengths and seconds: speed, reach, fluidity, symmetry, tempo, turns, airtime, level.

    Parameters
    ----------
    inputs
        videos, or pose files
    out
        a csv with all measures of all windows to write
    draw
        a chart of the measures over time to write
    strict
        stop at the first video that cannot be measured, instead of skipping it
    """
    from quickstep.evaluation.rendering.kinematics import draw_kinematics, write_kinematics_csv
    from quickstep.signals.poses.kinematics import kinematics
    from quickstep.signals.poses.kinematics.description import HEADINGS, LEGEND, describe, table

    with TerminalProgress() as progress:
        measured = kinematics(inputs, config, poses=poses, cache=run.cache, progress=progress, strict=strict)
    if run.json:
        print_json([person.to_json() for person in measured.people])
    else:
        for person in measured.people:
            show_table(HEADINGS, table(person), title=str(person.path) if len(inputs) > 1 else None)
            print(f"\n{describe(person)}\n")
        if measured.people:
            say(LEGEND)
    if measured.people and out is not None:
        say(f"written: {write_kinematics_csv(measured, out)}", style="bold")
    if measured.people and draw is not None:
        for picture in draw_kinematics(measured, draw):
            say(f"written: {picture}", style="bold")
    print_failures(measured.failures)
    return 0 if measured.people else 1


def flow_command(
    video: Annotated[Path, Inputs],
    /,
    *,
    out: Annotated[Path, Out],
    config: Annotated[FlowConfig, Flat] = DEFAULT_FLOW,
    look: Annotated[FlowLook, Flat] = DEFAULT_LOOK,
    printing: Annotated[Printing, Flat] = DEFAULT_PRINTING,
) -> None:
    """Draw the optical flow of a video: colour is direction, brightness is speed.

    Parameters
    ----------
    video
        the video
    out
        the video (.mp4) to write, or a picture (.png) of twelve frames
    """
    from quickstep.signals.flow.drawing import draw_flow

    with TerminalProgress() as progress:
        drawn = draw_flow(video, out, config=config, look=look, progress=progress)
    if printing.json:
        print_json(asdict(drawn))
    say(str(drawn))
    if drawn.over > MUCH:
        say(f"{drawn.over:.0%} of the flow reaches the bound: draw more of it with `bound={2 * drawn.bound:g}`", style="yellow")
