"""The command that draws how the points of a video move."""

from __future__ import annotations

import json as jsons
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from quickstep.apps.commands.options import Flag, Flat, Out
from quickstep.apps.terminal import TerminalProgress, say
from quickstep.signals.flow import FlowConfig, FlowLook

DEFAULT_FLOW = FlowConfig()
DEFAULT_LOOK = FlowLook()


def flow(
    video: Annotated[Path, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    out: Annotated[Path, Out],
    config: Annotated[FlowConfig, Flat] = DEFAULT_FLOW,
    look: Annotated[FlowLook, Flat] = DEFAULT_LOOK,
    json: Annotated[bool, Flag] = False,
) -> None:
    """Draw how the points of a video move: colour is direction, brightness is speed.

    Parameters
    ----------
    video
        the video
    out
        the video (.mp4) to draw, or a sheet of twelve moments (.png)
    json
        print what was measured as JSON
    """
    from quickstep.signals.flow.drawing import draw_flow

    with TerminalProgress() as progress:
        drawn = draw_flow(video, out, config=config, look=look, progress=progress)
    if json:
        print(jsons.dumps(asdict(drawn), default=str, ensure_ascii=False))
    say(str(drawn))
    if drawn.over > 0.02:
        say(f"{drawn.over:.0%} moves as far as the bound or farther: --bound {2 * drawn.bound:g} would tell it apart", style="yellow")
