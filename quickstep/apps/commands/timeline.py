"""The command that names what is danced when in long videos."""

from __future__ import annotations

import json as jsons
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from quickstep.apps.commands.options import DEFAULT_RUN, Flag, Flat, Run, open_model
from quickstep.apps.terminal import TerminalProgress, say, show_table
from quickstep.datasets.inputs import gather
from quickstep.inference.timelines import (
    FORMATS,
    Span,
    Timeline,
    TimelineConfig,
    TimelineReport,
    evaluate_timeline,
    read_spans,
    timelines,
    write_timeline,
)
from quickstep.types.errors import ConfigError
from quickstep.types.segment import Failure

DEFAULT_TIMELINE = TimelineConfig()
PICTURES = (".png", ".svg", ".pdf")
TABLES = (".csv", ".json")  # the forms in which several videos are one file


def timeline(
    model: Path,
    inputs: Annotated[tuple[str, ...], Parameter(allow_leading_hyphen=True, required=True)],
    /,
    *,
    out: Annotated[tuple[Path, ...], Parameter(name=("--out", "-o"))] = (),
    draw: Path | None = None,
    person: str | None = None,
    truth: Path | None = None,
    weights: Path | None = None,
    strict: Annotated[bool, Flag] = False,
    config: Annotated[TimelineConfig, Flat] = DEFAULT_TIMELINE,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> int:
    """Say what is danced when in long videos: spans with labels.

    Parameters
    ----------
    model
        the folder of the model
    inputs
        long videos (or files of poses), folders, globs, lists, or - for paths on standard input
    out
        a file to write, its form told by its name: .csv .json .srt .vtt .eaf (ELAN) .txt (Audacity) .png; may be said several times. For
        several videos {name} in it stands for each one's name
    draw
        the same for a picture: coloured spans and the scores over time
    person
        for models that look at people: auto (the dancer), a number, or all (spans a person)
    truth
        a csv of true spans (start,end,label[,video][,person]) to hold the timeline against
    weights
        where the backbone's weights are now, if they moved
    strict
        stop at the first video that cannot be read
    """
    files = _files(out, draw)
    opened = open_model(model, weights, run)
    segments, failures = gather(inputs)
    _check_many(files, len({segment.path for segment in segments}))
    made: list[Timeline] = []
    with TerminalProgress() as progress:
        if strict and failures:
            raise failures[0].error
        for found in timelines(opened, segments, config, person=person, cache=run.cache, progress=progress) if segments else ():
            if isinstance(found, Failure):
                if strict:
                    raise found.error
                failures.append(found)
            else:
                made.append(found)
                _write_each(found, files, truth)
    _write_together(made, files)
    reports = [(each, evaluate_timeline(each, read_spans(truth, video=each.video))) for each in made] if truth else []
    _show(made, reports, as_json=run.json)
    for path in _written(made, files):
        say(f"written: {path}", style="bold")
    for failure in (*failures, *(failure for each in made for failure in each.failures)):
        say(f"not looked at: {failure}", style="yellow")
    return 0 if made else 1


@dataclass(frozen=True)
class _Files:
    """What is to be written: files that all videos share, and patterns with a file for each."""

    together: tuple[Path, ...]
    each: tuple[Path, ...]


def _files(out: tuple[Path, ...], draw: Path | None) -> _Files:
    """Sorted, and refused before any work is done where nobody can write so."""
    if draw is not None and draw.suffix.lower() not in PICTURES:
        raise ConfigError("draw", f"a picture is {', '.join(PICTURES)}, not {draw.name!r}")
    wanted = (*out, *([draw] if draw is not None else []))
    for path in wanted:
        if path.suffix.lower() not in (*FORMATS, *PICTURES):
            raise ConfigError("out", f"a timeline is written as {', '.join((*FORMATS, *PICTURES))}, not as {path.name!r}")
    together = tuple(path for path in wanted if path.suffix.lower() in TABLES and "{name}" not in str(path))
    return _Files(together, tuple(path for path in wanted if path not in together))


def _check_many(files: _Files, videos: int) -> None:
    """Refuse one file for what is many."""
    for path in files.each:
        if videos > 1 and "{name}" not in str(path):
            named = path.with_name(f"{{name}}{path.suffix}")
            raise ConfigError("out", f"{path.name} has room for one video, and there are {videos}: say {named}, and each gets its own")


def _place(pattern: Path, found: Timeline) -> Path:
    return Path(str(pattern).replace("{name}", found.video.stem))


def _write_each(found: Timeline, files: _Files, truth: Path | None) -> None:
    """One video's own files, as soon as it is ready."""
    for pattern in files.each:
        if pattern.suffix.lower() in PICTURES:
            from quickstep.inference.timelines.plot import draw_timeline

            spans: tuple[Span, ...] = read_spans(truth, video=found.video) if truth else ()
            draw_timeline(found, _place(pattern, found), truth=spans)
        else:
            write_timeline(found, _place(pattern, found))


def _write_together(made: list[Timeline], files: _Files) -> None:
    for path in files.together if made else ():
        write_timeline(made, path)


def _written(made: list[Timeline], files: _Files) -> list[Path]:
    return [*(files.together if made else ()), *dict.fromkeys(_place(pattern, each) for each in made for pattern in files.each)]


def _show(made: list[Timeline], reports: list[tuple[Timeline, TimelineReport]], *, as_json: bool) -> None:
    if as_json:
        told = [each.to_json() for each in made]
        for plain, (_, report) in zip(told, reports, strict=False):
            plain["evaluation"] = report.to_json()
        print(jsons.dumps(told, ensure_ascii=False, allow_nan=False))
        return
    for each in made:
        people = any(span.person is not None for span in each.spans)
        rows = [
            (*([str(span.person)] if people else []), _clock(span.start), _clock(span.end), span.name, f"{span.score:.3f}", span.confidence)
            for span in each.spans
        ]
        columns = (*(["person"] if people else []), "from", "to", "label", "score", "reading")
        show_table(columns, rows, title=str(each.video) if len(made) > 1 else None)
    for each, report in reports:
        title = f"{each.video.name}: against the truth" if len(made) > 1 else "against the truth"
        show_table(("", "timeline", f"always {report.commonest}"), report.rows, title=title)
        for sentence in report.sentences:
            print(sentence)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(seconds + 5e-4, 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02d}:{rest:06.3f}" if hours else f"{minutes}:{rest:06.3f}"
