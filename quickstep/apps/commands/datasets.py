"""The commands about a set of videos: what is wrong with it, and how it is divided."""

from __future__ import annotations

import json as jsons
from pathlib import Path
from typing import Annotated, Any

from quickstep.apps.commands.options import DEFAULT_RUN, Flat, Out, Run
from quickstep.apps.terminal import TerminalProgress, say, show_table
from quickstep.datasets.splits import SplitConfig, SplitResult

DEFAULT_SPLIT = SplitConfig()


def check_command(
    data: Path, /, *, classes: Path | None = None, official_split: str | None = None, run: Annotated[Run, Flat] = DEFAULT_RUN
) -> None:
    """Look for what is wrong with a set of videos before training on it.

    Parameters
    ----------
    data
        a folder or csv of labelled videos
    classes
        a file that names the class numbers of the list
    official_split
        which of several official splits, where the list names them (1:train|2:test)
    """
    from quickstep.datasets.audit import check
    from quickstep.datasets.manifest import read_manifest

    with TerminalProgress() as progress:
        audit = check(read_manifest(data, classes=classes, official_split=official_split), cache=run.cache, progress=progress)
    print(audit.to_json() if run.json else audit.text)


def split(
    data: Path,
    /,
    *,
    out: Annotated[Path, Out],
    classes: Path | None = None,
    official_split: str | None = None,
    config: Annotated[SplitConfig, Flat] = DEFAULT_SPLIT,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> None:
    """Divide a set into train, val and test (or folds) so that nothing leaks; writes a csv and prints the proof.

    Parameters
    ----------
    data
        a folder or csv of labelled videos
    out
        the csv to write; with folds, one csv for each is written beside it
    classes
        a file that names the class numbers of the list
    official_split
        which of several official splits to begin from, where the list names them (1:train|2:test)
    """
    from quickstep.datasets.manifest import read_manifest, write_manifest
    from quickstep.datasets.splits import split as divide

    with TerminalProgress() as progress:
        result = divide(read_manifest(data, classes=classes, official_split=official_split), config, cache=run.cache, progress=progress)
    write_manifest(result.manifest, out)
    for number, drawn in enumerate(result.folds):
        write_manifest(drawn, out.with_stem(f"{out.stem}-{number}"))
    _show_split(result, as_json=run.json)
    for warning in result.warnings:
        say(f"note: {warning}", style="yellow")


def _show_split(result: SplitResult, *, as_json: bool) -> None:
    table = [(share.label, *share.segments) for share in result.table]
    if as_json:
        told: dict[str, Any] = {"parts": result.parts, "table": table, "proof": result.leakage.sentences, "clean": result.leakage.clean}
        told["leaks"] = [str(leak) for leak in result.leakage.leaks]
        print(jsons.dumps({**told, "warnings": result.warnings}, ensure_ascii=False))
        return
    show_table(("class", *result.parts), table)
    for sentence in result.leakage.sentences:
        print(sentence)
