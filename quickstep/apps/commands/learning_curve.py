"""The commands for those with few labels: what more of them are worth, and a class added to a finished model."""

from __future__ import annotations

import json as jsons
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from quickstep.apps.commands.options import DEFAULT_RUN, Flag, Flat, Out, Run, open_one
from quickstep.apps.terminal import TerminalProgress, say, show_table
from quickstep.training.learning_curve import CurveConfig

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
        the folder for curve.png and curve.json (default: NAME-curve, here)
    classes
        a file that names the class numbers of the list
    strict
        stop at the first video that cannot be used, instead of listing it
    """
    from quickstep.datasets.manifest import read_manifest
    from quickstep.training.learning_curve import learning_curve as draw
    from quickstep.training.learning_curve.rendering import write_curve

    with TerminalProgress() as progress:
        curve = draw(read_manifest(data, classes=classes), config, cache=run.cache, progress=progress, strict=strict)
    picture = write_curve(curve, out or Path(f"{data.absolute().stem}-curve"))
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


def add_class(
    model: Path,
    name: str,
    videos: Annotated[tuple[str, ...], Parameter(allow_leading_hyphen=True)] = (),
    /,
    *,
    out: Annotated[Path | None, Out] = None,
    strict: Annotated[bool, Flag] = False,
    weights: Path | None = None,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> None:
    """Add a class to a finished model in seconds, and say what that did to the others.

    Parameters
    ----------
    model
        the folder of the model
    name
        the new class; for a model that reads words also 'name: a sentence; another'
    videos
        videos of it, folders, globs or csv lists; a model made of words alone needs none
    out
        where the new model goes (default: in place of the old one, when all of it is written)
    strict
        stop at the first video that cannot be used, instead of listing it
    weights
        where the backbone's weights are now, if they moved
    """
    from quickstep.evaluation.rendering import write_card
    from quickstep.models.model_files import check_target
    from quickstep.training.add_class import add_class as add
    from quickstep.training.add_class import set_reports_aside

    target = check_target(out or model)
    opened = open_one(model, weights, run)
    with TerminalProgress() as progress:
        added = add(opened, name, videos, cache=run.cache, progress=progress, strict=strict)
    grown = replace(added.model, folder=target)
    grown.save(target)
    aside = set_reports_aside(target)
    write_card(grown, target)
    if run.json:
        print(jsons.dumps({"model": str(target), **added.to_json()}, ensure_ascii=False, indent=1))
    else:
        rows = [(one.label, one.count, f"{one.before:.2f}", f"{one.after:.2f}", one.taken) for one in added.effects.recalls]
        if rows:
            show_table(("class", "held out", "recall before", "after", f"now called {added.name}"), rows)
        for sentence in added.sentences:
            print(sentence)
    for failure in added.failures:
        say(f"left out: {failure}", style="yellow")
    for note in (*added.notes, *aside):
        say(f"note: {note}", style="yellow")
    say(f"{grown} is in {target}; measure it: quickstep evaluate {shlex.quote(str(target))}", style="bold")
