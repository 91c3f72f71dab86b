"""The commands that bring public sets and other people's lists under one roof; and that write lists for others."""

from __future__ import annotations

import json as jsons
import shlex
from collections import Counter
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from quickstep.apps.commands.options import DEFAULT_RUN, Flat, Out, Run
from quickstep.apps.terminal import TerminalProgress, say, show_table
from quickstep.datasets.importers import ExportConfig, ImportResult, KineticsConfig, LetsDanceConfig, MergeConfig, MmactionConfig
from quickstep.datasets.importers.frame_folders import FramesConfig

DEFAULT_KINETICS = KineticsConfig()
DEFAULT_LETS_DANCE = LetsDanceConfig()
DEFAULT_MMACTION = MmactionConfig()
DEFAULT_MERGE = MergeConfig()
DEFAULT_FRAMES = FramesConfig()
DEFAULT_EXPORT = ExportConfig()
SHOWN = 12  # lines of an account that are printed; the files have all

import_dataset = App(
    name="import-dataset",
    default_parameter=Parameter(negative_iterable=()),
    help="Make one manifest of public sets that are on this disk: Kinetics, Let's Dance, MMAction2 lists. Downloads nothing.",
)


@import_dataset.command
def kinetics(
    *,
    videos: Path,
    list: Annotated[tuple[Path, ...], Parameter(name=("--list", "--lists"))],
    out: Annotated[Path, Out],
    missing: Path | None = None,
    config: Annotated[KineticsConfig, Flat] = DEFAULT_KINETICS,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> None:
    """Kinetics lists (400, 600, 700, 700-2020) and a folder of downloaded files under their usual names.

    Parameters
    ----------
    videos
        the folder of files: ID_000010_000020.mp4 (trimmed) or ID.mp4, in class folders or flat
    list
        a list as published, csv or json; several: --list train.csv --list val.csv
    out
        the manifest to write
    missing
        where the rows without a file go (default: NAME-missing.csv beside the manifest)
    """
    from quickstep.datasets.importers import import_kinetics

    with TerminalProgress() as progress:
        found = import_kinetics(list, videos, config, progress=progress)
    _finish(found, out, missing, run)


@import_dataset.command
def lets_dance(
    folder: Path,
    /,
    *,
    out: Annotated[Path, Out],
    config: Annotated[LetsDanceConfig, Flat] = DEFAULT_LETS_DANCE,
    frames: Annotated[FramesConfig, Flat] = DEFAULT_FRAMES,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> None:
    """The folders of Let's Dance, videos or frames, under the labels of dance19 or of your own table.

    Parameters
    ----------
    folder
        the folder that holds the class folders (ballet, break, ...), or rgb/ with them
    out
        the manifest to write
    """
    from quickstep.datasets.importers import import_lets_dance

    with TerminalProgress() as progress:
        found = import_lets_dance(folder, config, frames=frames, videos=_beside(out), progress=progress)
    _finish(found, out, None, run)


@import_dataset.command
def mmaction(
    listing: Path,
    /,
    *,
    out: Annotated[Path, Out],
    missing: Path | None = None,
    config: Annotated[MmactionConfig, Flat] = DEFAULT_MMACTION,
    frames: Annotated[FramesConfig, Flat] = DEFAULT_FRAMES,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> None:
    """An annotation list of MMAction2, of videos or of frame folders.

    Parameters
    ----------
    listing
        the list: path number, or folder frames number, or folder first frames number
    out
        the manifest to write
    missing
        where the lines without a video go (default: NAME-missing.csv beside the manifest)
    """
    from quickstep.datasets.importers import import_mmaction

    with TerminalProgress() as progress:
        found = import_mmaction(listing, config, frames=frames, videos=_beside(out), progress=progress)
    _finish(found, out, missing, run)


@import_dataset.command
def merge(
    manifests: tuple[Path, ...],
    /,
    *,
    out: Annotated[Path, Out],
    config: Annotated[MergeConfig, Flat] = DEFAULT_MERGE,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> None:
    """Several manifests as one; what is double is kept once, and what shows the same shares a group.

    Parameters
    ----------
    manifests
        csv lists or folders of labelled videos
    out
        the manifest to write
    """
    from quickstep.datasets.importers import merge as join
    from quickstep.datasets.manifest import read_manifest, write_manifest

    with TerminalProgress() as progress:
        merged = join([read_manifest(path) for path in manifests], config, cache=run.cache, progress=progress)
    write_manifest(merged.manifest, out)
    if run.json:
        print(jsons.dumps({"manifest": str(out), **merged.to_json()}, ensure_ascii=False, indent=1))
    else:
        show_table(("class", "segments"), [*merged.manifest.counts.items()])
        _some([str(duplicate) for duplicate in merged.duplicates], "duplicates")
    for note in (*merged.notes, *(f"leak: {leak}; draw new splits with --drop-splits" for leak in merged.leaks)):
        say(f"note: {note}", style="yellow")
    for failure in merged.failures:
        say(f"cannot be read, but is listed: {failure}", style="yellow")
    kinds = Counter("kept in one group" if duplicate.kept else "left out" for duplicate in merged.duplicates)
    say(
        f"{len(merged.manifest)} segments are in {out}; duplicates: {dict(kinds) or 'none'}; {merged.joined_groups} groups joined",
        style="bold",
    )
    say(f"divide them 90/5/5: quickstep split {shlex.quote(str(out))} -o splits.csv --val 0.05 --test 0.05")


def export_list(
    data: Path,
    /,
    *,
    out: Annotated[Path, Out],
    classes: Path | None = None,
    config: Annotated[ExportConfig, Flat] = DEFAULT_EXPORT,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> None:
    """Write a set as MMAction2's annotation lists: train.txt, val.txt, test.txt and classes.txt.

    Parameters
    ----------
    data
        a folder or csv of labelled videos
    out
        the folder for the lists
    classes
        a file that names the class numbers of the list
    """
    from quickstep.datasets.importers import export_list as export
    from quickstep.datasets.manifest import read_manifest

    with TerminalProgress() as progress:
        written = export(read_manifest(data, classes=classes), out, config, progress=progress)
    if run.json:
        print(jsons.dumps({"lists": written.counts, "classes": str(written.classes)}, ensure_ascii=False))
    else:
        show_table(("list", "lines"), [*written.counts.items()])
    for note in written.notes:
        say(f"note: {note}", style="yellow")
    for failure in written.failures:
        say(f"left out: {failure}", style="yellow")


def import_model(
    folder: Path,
    /,
    *,
    out: Annotated[Path, Out],
    labels: str | None = None,
    weights: Path | None = None,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> None:
    """Make a model folder of a published CLIP classifier (weights.ckpt + config.json), complete in itself.

    Parameters
    ----------
    folder
        the published folder; `quickstep predict FOLDER VIDEO` takes it as it is, too
    out
        the folder of the model
    labels
        the names of its classes in their order, a,b,c or a file, where its config.json has none
    weights
        the folder of the CLIP it was made of, where its config.json names none that is known
    """
    from quickstep.datasets.class_prompts import read_class_prompts
    from quickstep.evaluation.rendering import write_card
    from quickstep.models.third_party_import import import_model as bring

    named = read_class_prompts(labels).labels if labels else None
    model = bring(folder, out, labels=named, weights=weights, cache=run.cache)
    write_card(model, out)
    if run.json:
        print(jsons.dumps({"model": str(out), "labels": model.labels}, ensure_ascii=False))
    say(f"{model} is in {out}; use it: quickstep predict {shlex.quote(str(out))} VIDEO", style="bold")


def _finish(found: ImportResult, out: Path, missing: Path | None, run: Run) -> None:
    """Write what was found and what was not, and say both."""
    from quickstep.datasets.manifest import write_manifest

    write_manifest(found.manifest, out)
    if found.missing:
        missing = missing or out.with_name(f"{out.stem}-missing.csv")
        found.write_missing(missing)
    if run.json:
        print(jsons.dumps({"manifest": str(out), **found.to_json()}, ensure_ascii=False, indent=1))
    else:
        show_table(("class", "found", "missing"), [(tally.label, tally.found, tally.missing) for tally in found.table])
    for sentence in (*found.unmatched, *found.notes):
        say(f"note: {sentence}", style="yellow")
    _some([f"left out: {failure}" for failure in found.failures], "left out")
    if found.missing:
        say(f"{len(found.missing)} rows have no file here; they are listed in {missing}", style="yellow")
    groups = len(set(found.manifest.groups))
    say(f"{len(found.manifest)} segments of {groups} source videos are in {out}", style="bold")


def _beside(out: Path) -> Path:
    """Where videos made of frames go, unless a place is named."""
    return out.with_name(f"{out.stem}-videos")


def _some(lines: list[str], what: str) -> None:
    for line in lines[:SHOWN]:
        say(line, style="yellow")
    if len(lines) > SHOWN:
        say(f"... and {len(lines) - SHOWN} more are {what}; --json has all", style="yellow")
