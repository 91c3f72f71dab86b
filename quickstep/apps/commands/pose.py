"""The commands about bodies: where the joints of people are."""

from __future__ import annotations

import json as jsons
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from quickstep.apps.commands.options import DEFAULT_RUN, Flag, Flat, Out, Run
from quickstep.apps.terminal import TerminalProgress, say, show_table
from quickstep.signals.poses.config import PoseConfig
from quickstep.types.config_fields import setting

if TYPE_CHECKING:
    from quickstep.signals.poses.extraction import PersonSummary


@dataclass(frozen=True)
class Bodies(PoseConfig):
    """The settings of poses; here everybody counts unless one is asked for."""

    person: str = setting("all", "who is kept where several are seen: all, auto (the dancer), or a number")


DEFAULT_BODIES = Bodies()


def pose(
    inputs: Annotated[tuple[str, ...], Parameter(allow_leading_hyphen=True)],
    /,
    *,
    out: Annotated[Path | None, Out] = None,
    draw: Path | None = None,
    stick_figures: Annotated[bool, Flag] = False,
    world: Annotated[bool, Flag] = False,
    bodies: Annotated[Bodies, Flat] = DEFAULT_BODIES,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> int:
    """Find people's joints in videos; keep them as files, draw them.

    Parameters
    ----------
    inputs
        videos, files of poses, folders, globs, csv lists, or - for paths on standard input
    out
        the file of poses (.npz) to write; for several videos, a folder
    draw
        the video (.mp4) to draw skeletons on; for several videos, a folder
    stick_figures
        draw the skeletons alone, without any pixel of the video
    world
        write the joints in metres around the hips instead of in pixels of the picture
    """
    from quickstep.datasets.inputs import gather
    from quickstep.signals.poses.extraction import PoseOutput, extract_poses

    segments, absent = gather(inputs)
    with TerminalProgress() as progress:
        shown, failures = extract_poses(
            segments, bodies, PoseOutput(out, draw, stick_figures), world=world, cache=run.cache, progress=progress
        )
    if run.json:
        print(jsons.dumps([asdict(each) for each in shown], default=str, ensure_ascii=False, indent=1))
    elif rows := [(each.path, *_row(person)) for each in shown for person in each.people]:
        show_table(("video", "person", "seen", "from", "to", "score"), rows)
    for each in shown:
        say(str(each), style="" if each.people else "yellow")
        for file in (each.poses, each.drawn):
            if file is not None:
                say(f"  {file}")
    for failure in (*absent, *failures):
        say(f"not looked at: {failure}", style="yellow")
    return 0 if any(each.people for each in shown) else 1


def _row(person: PersonSummary) -> tuple[str, ...]:
    return (str(person.number), f"{person.seen:.0%}", f"{person.start:.2f}", f"{person.end:.2f}", f"{person.score:.2f}")
