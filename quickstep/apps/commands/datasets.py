"""The commands about a dataset: check, split and export-list."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

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
from quickstep.apps.terminal import TerminalProgress, print_json, show_table
from quickstep.datasets.importers import ExportConfig
from quickstep.datasets.splits import SplitConfig, SplitResult
from quickstep.types.errors import ConfigError

DEFAULT_SPLIT = SplitConfig()
DEFAULT_EXPORT = ExportConfig()


def check_command(data: Path, /, *, listing: Annotated[Listing, Flat] = DEFAULT_LISTING, run: Annotated[Run, Flat] = DEFAULT_RUN) -> None:
    """Find problems of a dataset before training: unreadable videos, duplicates, leaks between splits, shortcuts.

    Parameters
    ----------
    data
        a folder or csv of labelled videos
    """
    from quickstep.datasets.audit import check

    with TerminalProgress() as progress:
        audit = check(listing.read(data), cache=run.cache, progress=progress)
    if run.json:
        print_json(audit.to_json())
    else:
        print(audit.text)


def split_command(
    data: Path,
    /,
    *,
    out: Annotated[Path, Out],
    listing: Annotated[Listing, Flat] = DEFAULT_LISTING,
    overwrite: Annotated[bool, Flag] = False,
    config: Annotated[SplitConfig, Flat] = DEFAULT_SPLIT,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> None:
    """Split a dataset into train, val and test (or folds) without leaks; write a csv and print the proof.

    Parameters
    ----------
    data
        a folder or csv of labelled videos
    out
        the csv to write; with --folds, one csv a fold beside it
    overwrite
        replace the csv
    """
    from quickstep.datasets.manifest import write_manifest
    from quickstep.datasets.splits import split

    if out.suffix.lower() != ".csv":
        raise ConfigError("out", f"a split is written as .csv, not as {out.name!r}")
    check_file_target(out, overwrite=overwrite or out.resolve() == data.resolve())
    with TerminalProgress() as progress:
        result = split(listing.read(data), config, cache=run.cache, progress=progress)
    write_manifest(result.manifest, out)
    for number, fold in enumerate(result.folds):
        write_manifest(fold, out.with_stem(f"{out.stem}-{number}"))
    _show_split(result, as_json=run.json)
    print_notes(result.warnings)


def _show_split(result: SplitResult, *, as_json: bool) -> None:
    table = [(share.label, *share.segments) for share in result.table]
    if as_json:
        plain: dict[str, Any] = {"parts": result.parts, "table": table, "proof": result.leakage.sentences, "clean": result.leakage.clean}
        plain["leaks"] = [str(leak) for leak in result.leakage.leaks]
        print_json({**plain, "warnings": result.warnings})
        return
    show_table(("class", *result.parts), table)
    for sentence in result.leakage.sentences:
        print(sentence)


def export_list_command(
    data: Path,
    /,
    *,
    out: Annotated[Path, Out],
    listing: Annotated[Listing, Flat] = DEFAULT_LISTING,
    config: Annotated[ExportConfig, Flat] = DEFAULT_EXPORT,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> None:
    """Write a dataset as MMAction2's annotation lists: train.txt, val.txt, test.txt and classes.txt.

    Parameters
    ----------
    data
        a folder or csv of labelled videos
    out
        the folder for the lists
    """
    from quickstep.datasets.importers import export_list

    with TerminalProgress() as progress:
        written = export_list(listing.read(data), out, config, progress=progress)
    if run.json:
        print_json({"lists": written.counts, "classes": str(written.classes)})
    else:
        show_table(("list", "lines"), [*written.counts.items()])
    print_notes(written.notes)
    print_failures(written.failures)
