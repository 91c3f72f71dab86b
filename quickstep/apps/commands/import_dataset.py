"""The command that makes one manifest of public datasets on this disk: import-dataset, with a subcommand a kind of list."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from quickstep.apps.commands.options import (
    DEFAULT_LISTING,
    DEFAULT_RUN,
    Flag,
    Flat,
    Listing,
    Out,
    Run,
    check_file_target,
    print_failures,
    print_notes,
)
from quickstep.apps.terminal import TerminalProgress, print_json, say, show_table
from quickstep.datasets.importers import ImportResult, KineticsConfig, LetsDanceConfig, MergeConfig, MmactionConfig
from quickstep.datasets.importers.frame_folders import FramesConfig

DEFAULT_KINETICS = KineticsConfig()
DEFAULT_LETS_DANCE = LetsDanceConfig()
DEFAULT_MMACTION = MmactionConfig()
DEFAULT_MERGE = MergeConfig()
DEFAULT_FRAMES = FramesConfig()
MAX_PRINTED = 12  # failures that are printed; the JSON has all

import_dataset_command = App(
    name="import-dataset",
    group_commands="Commands",
    default_parameter=Parameter(negative_iterable=()),
    help="Import public datasets on this disk as one manifest: Kinetics, Let's Dance, MMAction2 lists. Nothing is downloaded.",
    help_epilogue="Examples:\n    quickstep import-dataset kinetics --list train.csv --videos FILES -o kinetics.csv\n"
    "    quickstep import-dataset merge kinetics.csv DANCES -o all.csv",
    version_flags=(),
)


@import_dataset_command.command(name="kinetics")
def kinetics_command(
    *,
    videos: Path,
    list: Annotated[tuple[Path, ...], Parameter(name=("--list", "--lists"))],
    out: Annotated[Path, Out],
    missing: Path | None = None,
    overwrite: Annotated[bool, Flag] = False,
    config: Annotated[KineticsConfig, Flat] = DEFAULT_KINETICS,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> None:
    """Import Kinetics lists (400, 600, 700, 700-2020) and a folder of downloaded files under their usual names.

    Parameters
    ----------
    videos
        the folder of files: ID_000010_000020.mp4 (trimmed) or ID.mp4, in class folders or flat
    list
        a list as published, csv or json; several: --list train.csv --list val.csv
    out
        the manifest to write
    missing
        a csv for the rows without a file (default: NAME-missing.csv beside the manifest)
    overwrite
        replace the manifest
    """
    from quickstep.datasets.importers import import_kinetics

    check_file_target(out, overwrite=overwrite)
    with TerminalProgress() as progress:
        result = import_kinetics(list, videos, config, progress=progress)
    _finish(result, out, missing, run)


@import_dataset_command.command(name="lets-dance")
def lets_dance_command(
    folder: Path,
    /,
    *,
    out: Annotated[Path, Out],
    overwrite: Annotated[bool, Flag] = False,
    config: Annotated[LetsDanceConfig, Flat] = DEFAULT_LETS_DANCE,
    frames: Annotated[FramesConfig, Flat] = DEFAULT_FRAMES,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> None:
    """Import the folders of Let's Dance, videos or frames, with the labels of dance19 or of your own table.

    Parameters
    ----------
    folder
        the folder of class folders (ballet, break, ...), or of rgb/ with them
    out
        the manifest to write
    overwrite
        replace the manifest
    """
    from quickstep.datasets.importers import import_lets_dance

    check_file_target(out, overwrite=overwrite)
    with TerminalProgress() as progress:
        result = import_lets_dance(folder, config, frames=frames, videos=_video_folder(out), progress=progress)
    _finish(result, out, None, run)


@import_dataset_command.command(name="mmaction")
def mmaction_command(
    listing: Path,
    /,
    *,
    out: Annotated[Path, Out],
    missing: Path | None = None,
    overwrite: Annotated[bool, Flag] = False,
    config: Annotated[MmactionConfig, Flat] = DEFAULT_MMACTION,
    frames: Annotated[FramesConfig, Flat] = DEFAULT_FRAMES,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> None:
    """Import an annotation list of MMAction2, of videos or of frame folders.

    Parameters
    ----------
    listing
        the list: path number, or folder frames number, or folder first frames number
    out
        the manifest to write
    missing
        a csv for the lines without a video (default: NAME-missing.csv beside the manifest)
    overwrite
        replace the manifest
    """
    from quickstep.datasets.importers import import_mmaction

    check_file_target(out, overwrite=overwrite)
    with TerminalProgress() as progress:
        result = import_mmaction(listing, config, frames=frames, videos=_video_folder(out), progress=progress)
    _finish(result, out, missing, run)


@import_dataset_command.command(name="merge")
def merge_command(
    manifests: tuple[Path, ...],
    /,
    *,
    out: Annotated[Path, Out],
    overwrite: Annotated[bool, Flag] = False,
    listing: Annotated[Listing, Flat] = DEFAULT_LISTING,
    config: Annotated[MergeConfig, Flat] = DEFAULT_MERGE,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> None:
    """Merge several manifests: duplicates are kept once, and segments of the same footage share a group.

    Parameters
    ----------
    manifests
        csv lists or folders of labelled videos
    out
        the manifest to write
    overwrite
        replace the manifest
    """
    from quickstep.datasets.importers import merge
    from quickstep.datasets.manifest import write_manifest

    check_file_target(out, overwrite=overwrite)
    with TerminalProgress() as progress:
        merged = merge([listing.read(path) for path in manifests], config, cache=run.cache, progress=progress)
    write_manifest(merged.manifest, out)
    if run.json:
        print_json({"manifest": str(out), **merged.to_json()})
    else:
        show_table(("class", "segments"), [*merged.manifest.counts.items()])
        _print_some(merged.duplicates, "duplicate")
    print_notes((*merged.notes, *(f"this leaks: {leak}; split again with `drop_splits=True`" for leak in merged.leaks)))
    print_failures(merged.failures, "listed, but cannot be read")
    grouped = Counter(duplicate.kept for duplicate in merged.duplicates)
    duplicates = f"{grouped[False]} duplicates removed, {grouped[True]} put into one group"
    say(f"{len(merged.manifest)} segments are in {out}; {duplicates}; {merged.joined_groups} groups joined", style="bold")
    say(f"split them 90/5/5: quickstep split {shlex.quote(str(out))} -o splits.csv --val 0.05 --test 0.05")


def _finish(result: ImportResult, out: Path, missing: Path | None, run: Run) -> None:
    """Write the manifest and the list of missing files, and print a summary."""
    from quickstep.datasets.manifest import write_manifest

    write_manifest(result.manifest, out)
    if result.missing:
        missing = missing or out.with_name(f"{out.stem}-missing.csv")
        result.write_missing(missing)
    if run.json:
        print_json({"manifest": str(out), **result.to_json()})
    else:
        show_table(("class", "found", "missing"), [(count.label, count.found, count.missing) for count in result.table])
    print_notes((*result.unmatched, *result.notes))
    _print_some(result.failures, "skipped")
    if result.missing:
        say(f"{len(result.missing)} rows have no file here; they are listed in {missing}", style="yellow")
    groups = len(set(result.manifest.groups))
    say(f"{len(result.manifest)} segments of {groups} source videos are in {out}", style="bold")


def _video_folder(out: Path) -> Path:
    """Return the default folder for videos that are made from frames."""
    return out.with_name(f"{out.stem}-videos")


def _print_some(items: Sequence[object], what: str) -> None:
    print_failures(items[:MAX_PRINTED], what)
    if len(items) > MAX_PRINTED:
        say(f"... and {len(items) - MAX_PRINTED} more; --json prints all", style="yellow")
