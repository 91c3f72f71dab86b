"""The commands that measure models: evaluate, compare and learning-curve."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Literal

from quickstep.apps.commands.options import (
    DEFAULT_LISTING,
    DEFAULT_RUN,
    DEFAULT_VIEW,
    Flag,
    Flat,
    Listing,
    Out,
    Run,
    TrialView,
    open_model,
    print_failures,
    print_notes,
)
from quickstep.apps.terminal import TerminalProgress, print_json, say, show_table
from quickstep.models.ensemble import AnyModel
from quickstep.storage.hub import is_hub_name
from quickstep.training.learning_curve import CurveConfig
from quickstep.types.errors import ConfigError

DEFAULT_CURVE = CurveConfig()


def evaluate_command(
    model: Path,
    /,
    *,
    data: Path | None = None,
    split: Literal["train", "val", "test", "all"] = "test",
    listing: Annotated[Listing, Flat] = DEFAULT_LISTING,
    out: Annotated[Path | None, Out] = None,
    weights: Path | None = None,
    view: Annotated[TrialView, Flat] = DEFAULT_VIEW,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> None:
    """Measure a model on videos it was not trained on, compared with baselines; write report.html, report.json, report.md and charts.

    Parameters
    ----------
    model
        the folder of the model
    data
        other labelled videos to test on (default: the test part of the videos it was trained on)
    split
        the part to test on
    out
        the folder for the report (default: the folder of the model)
    weights
        the folder of the backbone's weights, if they were moved
    """
    from quickstep.evaluation import evaluate
    from quickstep.evaluation.rendering import write_report

    opened = open_model(model, weights, run, view)
    folder = out or _report_folder(model, data, opened)
    with TerminalProgress() as progress:
        manifest = listing.read(data) if data else None
        report = evaluate(opened, manifest, split=split, cache=run.cache, progress=progress)
    page = write_report(report, folder)
    for sentence in report.summary:
        say(sentence)
    if run.json:
        print_json(report.to_json())
    say(f"the report: {page}", style="bold")


def _report_folder(model: Path, data: Path | None, opened: AnyModel) -> Path:
    """Return the model's folder, or a folder inside it for a report of other videos or through another view."""
    if is_hub_name(model):
        raise ConfigError("out", f"{model} comes from the hub: name a folder for its report")
    folder = model / f"on-{data.stem}" if data else model
    if not opened.view_note:
        return folder
    view = opened.members[0].view
    return folder / f"view-{'all' if view.windows is None else view.windows}x{view.crops}"


def compare_command(
    models: tuple[Path, ...],
    /,
    *,
    against: Literal["first", "best"] = "first",
    out: Annotated[Path | None, Out] = None,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> None:
    """Test whether one model is better than another on the same videos.

    Parameters
    ----------
    models
        folders of evaluated models, or their report.json files
    against
        compare the others with the first or the best
    out
        a markdown file to write the comparison to as well
    """
    from quickstep.evaluation import compare

    comparison = compare(models, against=against)
    if run.json:
        print_json(comparison.to_json())
    else:
        print(comparison.text)
    if out:
        out.write_text(comparison.markdown, encoding="utf-8")


def learning_curve_command(
    data: Path,
    /,
    *,
    out: Annotated[Path | None, Out] = None,
    listing: Annotated[Listing, Flat] = DEFAULT_LISTING,
    strict: Annotated[bool, Flag] = False,
    config: Annotated[CurveConfig, Flat] = DEFAULT_CURVE,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> None:
    """Draw how accuracy grows with the number of labels, and estimate which class would gain most from more labels.

    Parameters
    ----------
    data
        a folder or csv of labelled videos
    out
        the folder for curve.png and curve.json (default: NAME-curve in the current folder)
    strict
        stop at the first video that cannot be used, instead of skipping it
    """
    from quickstep.training.learning_curve import learning_curve
    from quickstep.training.learning_curve.rendering import write_curve

    with TerminalProgress() as progress:
        curve = learning_curve(listing.read(data), config, cache=run.cache, progress=progress, strict=strict)
    picture = write_curve(curve, out or Path(f"{data.absolute().stem}-curve"))
    if run.json:
        print_json(curve.to_json())
    else:
        show_table(curve.columns, curve.rows)
        for sentence in curve.sentences:
            print(sentence)
    print_failures(curve.failures)
    print_notes(curve.notes)
    say(f"the curve: {shlex.quote(str(picture))}", style="bold")
