"""The commands about a library of videos: index, search, duplicates, evaluate-retrieval and export-tags."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Literal, cast

from quickstep.apps.commands.options import DEFAULT_RUN, Flag, Flat, Inputs, Out, Run, print_failures, print_notes
from quickstep.apps.terminal import TerminalProgress, print_json, say, show_table
from quickstep.library.config import IndexConfig, SearchConfig

DEFAULT_INDEX = IndexConfig()
DEFAULT_SEARCH = SearchConfig()
TagFormat = Literal["csv", "json", "sidecar"]


def index_command(
    library: str,
    videos: Annotated[tuple[str, ...], Inputs] = (),
    /,
    *,
    prune: Annotated[bool, Flag] = False,
    strict: Annotated[bool, Flag] = False,
    config: Annotated[IndexConfig, Flat] = DEFAULT_INDEX,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> int:
    """Add videos to a library, or create one; only new and changed videos are processed.

    Parameters
    ----------
    library
        the library's folder, or its address in object storage (s3://...)
    videos
        videos, folders, globs, csv lists, or - for paths on standard input
    prune
        remove the videos whose files are gone; without it they are only marked
    strict
        stop at the first video that cannot be used, instead of skipping it
    """
    from quickstep.library import index

    with TerminalProgress() as progress:
        done = index(library, videos, config, prune=prune, strict=strict, cache=run.cache, progress=progress)
    print_failures(done.failures)
    print_notes(done.notes)
    if run.json:
        print_json(done.to_json())
    say(str(done), style="bold")
    return int(bool(done.failures) and not done.usable)


def search_command(
    library: str,
    query: str | None = None,
    /,
    *,
    draw: Path | None = None,
    weights: Path | None = None,
    config: Annotated[SearchConfig, Flat] = DEFAULT_SEARCH,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> None:
    """Search a library by text, by an example video, by label and by metadata.

    Parameters
    ----------
    library
        the library's folder, or its address in object storage
    query
        the text to search for
    draw
        a picture (.png) of the moments to write
    weights
        the folder of the backbone's weights, if they were moved
    """
    from quickstep.library import search, write_sheet

    result = search(library, query, config, weights=weights, cache=run.cache)
    if draw is not None:
        threshold = result.threshold
        write_sheet(result.moments, draw, title=result.query, note=str(threshold or ""), threshold=threshold.score if threshold else None)
        say(f"written: {draw}")
    if run.json:
        print_json(result.to_json())
    elif result.moments:
        rows = [(f"{moment.score:.3f}", f"{moment.start:.1f}", f"{moment.end:.1f}", moment.path) for moment in result.moments]
        show_table(("score", "start (s)", "end (s)", "path"), rows)
    for sentence in result.sentences:
        say(sentence)


def duplicates_command(library: str, /, *, run: Annotated[Run, Flat] = DEFAULT_RUN) -> None:
    """Find the same footage in several videos, also re-encoded, scaled, cropped or cut, with the spans that match.

    Parameters
    ----------
    library
        the library's folder, or its address in object storage
    """
    from quickstep.library import duplicates

    with TerminalProgress() as progress:
        result = duplicates(library, cache=run.cache, progress=progress)
    print_failures(result.failures)
    if run.json:
        print_json(result.to_json())
    else:
        for group in result.groups:
            show_table(("first", "its span", "second", "its span", "likeness", "how"), [match.row for match in group.matches])
            print()
    say(result.summary, style="bold")


def evaluate_retrieval_command(
    library: str, queries: Path, /, *, weights: Path | None = None, run: Annotated[Run, Flat] = DEFAULT_RUN
) -> None:
    """Measure the search: recall at 1, 5 and 10, median rank and mean average precision, with intervals.

    Parameters
    ----------
    library
        the library's folder, or its address in object storage
    queries
        a csv of queries and right answers, with the columns query (or like) and path[,start,end] (or label)
    weights
        the folder of the backbone's weights, if they were moved
    """
    from quickstep.library import evaluate_retrieval

    with TerminalProgress() as progress:
        measured = evaluate_retrieval(library, queries, weights=weights, cache=run.cache, progress=progress)
    if run.json:
        print_json(measured.to_json())
    else:
        show_table(("metric", "value", "95 % interval"), measured.rows)
    print_notes(measured.notes)


def export_tags_command(
    library: str,
    /,
    *,
    format: TagFormat | None = None,
    out: Annotated[Path | None, Out] = None,
    min_share: float = 0.05,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> None:
    """Write the labels of each video as tags for other programs, with the share of its time and the spans of each label.

    Parameters
    ----------
    library
        the library's folder, or its address in object storage
    format
        csv, json, or sidecar: an XMP file a video, for media managers (default: by the ending of --out, or json with --json, else csv)
    out
        the file to write, or the folder for the sidecars (default: standard output; sidecars lie beside their videos)
    min_share
        the smallest share of a video's time for which a label becomes a tag
    """
    from quickstep.library import export_tags

    ending = out.suffix.lower().removeprefix(".") if out is not None else ""
    default: TagFormat = "json" if run.json and out is None else "csv"
    chosen = format or (cast(TagFormat, ending) if ending in ("csv", "json") else default)
    written = export_tags(library, format=chosen, out=out, min_share=min_share)
    if written.text is not None and run.json and chosen == "json":
        print_json(written.text)
    elif written.text is not None:
        print(written.text, end="")
    print_notes(written.notes)
    if run.json and written.text is None:
        print_json({"written": [str(path) for path in written.files], "notes": list(written.notes)})
    say(f"{written.videos} videos, {written.tags} tags" + (f", in {shlex.quote(str(out))}" if out else ""), style="bold")
