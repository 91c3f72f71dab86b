"""The commands about a library of videos: fill it, search it, find copies in it, measure it, write its tags out."""

from __future__ import annotations

import json as jsons
import shlex
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from quickstep.apps.commands.options import DEFAULT_RUN, Flag, Flat, Out, Run
from quickstep.apps.terminal import TerminalProgress, say, show_table
from quickstep.library.config import IndexConfig, SearchConfig

DEFAULT_INDEX = IndexConfig()
DEFAULT_SEARCH = SearchConfig()


def index(
    library: str,
    videos: Annotated[tuple[str, ...], Parameter(allow_leading_hyphen=True)] = (),
    /,
    *,
    prune: Annotated[bool, Flag] = False,
    strict: Annotated[bool, Flag] = False,
    config: Annotated[IndexConfig, Flat] = DEFAULT_INDEX,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> int:
    """Bring a library up to date with videos, and make it where there is none; only what is new or changed is looked at.

    Parameters
    ----------
    library
        the library's folder, or its place in object storage (s3://...)
    videos
        videos, folders, globs, csv lists, or - for paths on standard input
    prune
        drop the videos whose files are there no more; without it they are only marked
    strict
        stop at the first video that cannot be used, instead of listing it
    """
    from quickstep.library import index as bring

    with TerminalProgress() as progress:
        done = bring(library, videos, config, prune=prune, strict=strict, cache=run.cache, progress=progress)
    for failure in done.failures:
        say(f"left out: {failure}", style="yellow")
    for note in done.notes:
        say(f"note: {note}", style="yellow")
    if run.json:
        print(jsons.dumps(done.to_json(), ensure_ascii=False))
    say(str(done), style="bold")
    return int(bool(done.failures) and not done.usable)


def search(
    library: str,
    words: str | None = None,
    /,
    *,
    draw: Path | None = None,
    weights: Path | None = None,
    config: Annotated[SearchConfig, Flat] = DEFAULT_SEARCH,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> None:
    """Find moments by words, by example, by name, and by what is known of the videos.

    Parameters
    ----------
    library
        the library's folder, or its place in object storage
    words
        what to find, in words
    draw
        a picture (PNG) of the moments to write
    weights
        where the backbone's weights are now, if they moved
    """
    from quickstep.library import search as find
    from quickstep.library import write_sheet

    found = find(library, words, config, weights=weights, cache=run.cache)
    if draw is not None:
        note = str(found.threshold or "")
        write_sheet(found.moments, draw, title=found.query, note=note, threshold=found.threshold.score if found.threshold else None)
        say(f"the picture: {draw}")
    if run.json:
        print(jsons.dumps(found.to_json(), ensure_ascii=False, indent=1))
    elif found.moments:
        rows = [(f"{moment.score:.3f}", f"{moment.start:.1f}", f"{moment.end:.1f}", moment.path) for moment in found.moments]
        show_table(("score", "start", "end", "path"), rows)
    for sentence in found.sentences:
        say(sentence)


def duplicates(
    library: str,
    /,
    *,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> None:
    """Find the same footage in several videos, also coded again, scaled, cropped or cut, with the spans that match.

    Parameters
    ----------
    library
        the library's folder, or its place in object storage
    """
    from quickstep.library import duplicates as find

    with TerminalProgress() as progress:
        found = find(library, cache=run.cache, progress=progress)
    for failure in found.failures:
        say(f"left out: {failure}", style="yellow")
    if run.json:
        print(jsons.dumps(found.to_json(), ensure_ascii=False, indent=1))
    else:
        for group in found.groups:
            show_table(("first", "its span", "second", "its span", "likeness", "how"), [match.row for match in group.matches])
            print()
    say(found.summary, style="bold")


def evaluate_retrieval(
    library: str,
    queries: Path,
    /,
    *,
    weights: Path | None = None,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> None:
    """Measure how well a library is searched: recall at 1, 5 and 10, median rank and mean average precision, with intervals.

    Parameters
    ----------
    library
        the library's folder, or its place in object storage
    queries
        a csv with the columns query (or like) and path[,start,end] (or label): what is asked, and what is right
    weights
        where the backbone's weights are now, if they moved
    """
    from quickstep.library import evaluate_retrieval as measure

    with TerminalProgress() as progress:
        measured = measure(library, queries, weights=weights, cache=run.cache, progress=progress)
    if run.json:
        print(jsons.dumps(measured.to_json(), ensure_ascii=False, indent=1))
    else:
        show_table(("measure", "value", "95 % interval"), measured.rows)
    for note in measured.notes:
        say(f"note: {note}", style="yellow")


def export_tags(
    library: str,
    /,
    *,
    format: Literal["csv", "json", "sidecar"] = "csv",
    out: Annotated[Path | None, Out] = None,
    min_share: float = 0.05,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> None:
    """Write what the model named in each video as tags for other programs: the share of its time and the spans of each name.

    Parameters
    ----------
    library
        the library's folder, or its place in object storage
    format
        csv, json, or sidecar: an XMP file for each video, which media managers read
    out
        the file to write, or the folder of the sidecars (default: standard output; sidecars lie beside their videos)
    min_share
        the smallest share of a video's time for which a name becomes a tag
    """
    from quickstep.library import export_tags as write

    written = write(library, format=format, out=out, min_share=min_share)
    if written.text is not None:
        print(written.text, end="")
    for note in written.notes:
        say(f"note: {note}", style="yellow")
    if run.json and written.text is None:
        print(jsons.dumps({"written": [str(path) for path in written.files], "notes": list(written.notes)}, ensure_ascii=False))
    say(f"{written.videos} videos, {written.tags} tags" + (f", in {shlex.quote(str(out))}" if out else ""), style="bold")
