"""The commands for those with few labels: what more of them are worth, and a class added to a finished model."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

from quickstep.commands.options import DEFAULT_RUN, Flag, Flat, Out, Run
from quickstep.shots import CurveConfig
from quickstep.terminal import TerminalProgress, say, show_table

DEFAULT_CURVE = CurveConfig()


def learning_curve(
    data: Path,
    /,
    *,
    out: Annotated[Path | None, Out] = None,
    classes: Path | None = None,
    strict: Annotated[bool, Flag] = False,
    config: Annotated[CurveConfig, Flat] = DEFAULT_CURVE,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> None:
    """Draw how accuracy grows with the number of labels, and say for which class more of them would help most.

    Parameters
    ----------
    data
        a folder or csv of labelled videos
    out
        the folder for curve.png and curve.json (default: NAME-curve beside the data's folder or csv)
    classes
        a file that names the class numbers of the list
    strict
        stop at the first video that cannot be used, instead of listing it
    """
    from quickstep.manifest import read_manifest
    from quickstep.reporting.curve import write_curve
    from quickstep.shots import learning_curve as draw

    with TerminalProgress() as progress:
        curve = draw(read_manifest(data, classes=classes), config, store=run.store, progress=progress, strict=strict)
    place = data.absolute()
    picture = write_curve(curve, out or place.parent / f"{place.stem}-curve")
    if run.json:
        print(curve.to_json())
    else:
        show_table(curve.columns, curve.rows)
        for sentence in curve.sentences:
            print(sentence)
    for failure in curve.failures:
        say(f"left out: {failure}", style="yellow")
    for note in curve.notes:
        say(f"note: {note}", style="yellow")
    say(f"the curve: {shlex.quote(str(picture))}", style="bold")
