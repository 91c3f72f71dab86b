"""The command that finds which move happens when in long videos: timeline."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from quickstep.apps.commands.options import DEFAULT_RUN, Flag, Flat, Inputs, Run, open_model, print_failures
from quickstep.apps.terminal import TerminalProgress, print_json, say, show_table
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
from quickstep.storage.output_locks import reserve
from quickstep.types.errors import ConfigError
from quickstep.types.segment import Failure

DEFAULT_TIMELINE = TimelineConfig()
PICTURES = (".png", ".svg", ".pdf")
TABLES = (".csv", ".json")  # formats that hold several videos in one file


def timeline_command(
    model: Path,
    inputs: Annotated[tuple[str, ...], Inputs, Parameter(required=True)],
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
    """Find which move happens when in long videos: spans with labels.

    Parameters
    ----------
    model
        the folder of the model
    inputs
        long videos (or pose files), folders, globs, lists, or - for paths on standard input
    out
        a file to write, in the format of its ending: .csv .json .srt .vtt .eaf (ELAN) .txt (Audacity) .png; may be given several times.
        For several videos, {name} in it stands for the name of each
    draw
        a picture of the spans and of the scores over time to write
    person
        for models that read poses: auto (the dancer), a number, or all (spans a person)
    truth
        a csv of true spans (start,end,label[,video][,person]) to evaluate the timeline with
    weights
        the folder of the backbone's weights, if they were moved
    strict
        stop at the first video that cannot be read
    """
    files = _files(out, draw)
    for path in (*files.together, *files.single):
        reserve(path)
    opened = open_model(model, weights, run)
    segments, failures = gather(inputs)
    _check_many(files, len({segment.path for segment in segments}))
    results: list[Timeline] = []
    with TerminalProgress() as progress:
        if strict and failures:
            raise failures[0].error
        for result in timelines(opened, segments, config, person=person, cache=run.cache, progress=progress) if segments else ():
            if isinstance(result, Failure):
                if strict:
                    raise result.error
                failures.append(result)
            else:
                results.append(result)
                _write_single(result, files, truth)
    _write_together(results, files)
    reports = [(one, evaluate_timeline(one, read_spans(truth, video=one.video))) for one in results] if truth else []
    if run.json:
        _print_json(results, reports)
    else:
        _show(results, reports)
    for path in _written(results, files):
        say(f"written: {path}", style="bold")
    print_failures((*failures, *(failure for one in results for failure in one.failures)))
    return 0 if results else 1


@dataclass(frozen=True)
class _Files:
    """The files to write: one for all videos together, and patterns that give one a video."""

    together: tuple[Path, ...]
    single: tuple[Path, ...]


def _files(out: tuple[Path, ...], draw: Path | None) -> _Files:
    """Sort the files to write; refuse an unknown format before any work is done."""
    if draw is not None and draw.suffix.lower() not in PICTURES:
        raise ConfigError("draw", f"a picture is {', '.join(PICTURES)}, not {draw.name!r}")
    paths = (*out, *([draw] if draw is not None else []))
    for path in paths:
        if path.suffix.lower() not in (*FORMATS, *PICTURES):
            raise ConfigError("out", f"a timeline is written as {', '.join((*FORMATS, *PICTURES))}, not as {path.name!r}")
    together = tuple(path for path in paths if path.suffix.lower() in TABLES and "{name}" not in str(path))
    return _Files(together, tuple(path for path in paths if path not in together))


def _check_many(files: _Files, videos: int) -> None:
    """Refuse a file that holds one video, where there are several."""
    for path in files.single:
        if videos > 1 and "{name}" not in str(path):
            pattern = path.with_name(f"{{name}}{path.suffix}")
            raise ConfigError("out", f"{path.name} holds one video, and there are {videos}: give {pattern} for one file a video")


def _path_for(made: Timeline, pattern: Path) -> Path:
    return Path(str(pattern).replace("{name}", made.video.stem))


def _write_single(made: Timeline, files: _Files, truth: Path | None) -> None:
    """Write one video's own files, as soon as its timeline is made."""
    for pattern in files.single:
        if pattern.suffix.lower() in PICTURES:
            from quickstep.inference.timelines.plot import draw_timeline

            spans: tuple[Span, ...] = read_spans(truth, video=made.video) if truth else ()
            draw_timeline(made, _path_for(made, pattern), truth=spans)
        else:
            write_timeline(made, _path_for(made, pattern))


def _write_together(made: list[Timeline], files: _Files) -> None:
    for path in files.together if made else ():
        write_timeline(made, path)


def _written(made: list[Timeline], files: _Files) -> list[Path]:
    return [*(files.together if made else ()), *dict.fromkeys(_path_for(one, pattern) for one in made for pattern in files.single)]


def _print_json(made: list[Timeline], reports: list[tuple[Timeline, TimelineReport]]) -> None:
    plain = [one.to_json() for one in made]
    for timeline, (_, report) in zip(plain, reports, strict=False):
        timeline["evaluation"] = report.to_json()
    print_json(plain)


def _show(made: list[Timeline], reports: list[tuple[Timeline, TimelineReport]]) -> None:
    for one in made:
        people = any(span.person is not None for span in one.spans)
        rows = [
            (*([str(span.person)] if people else []), _clock(span.start), _clock(span.end), span.name, f"{span.score:.3f}", span.confidence)
            for span in one.spans
        ]
        columns = (*(["person"] if people else []), "from", "to", "label", "score", "confidence")
        show_table(columns, rows, title=str(one.video) if len(made) > 1 else None)
    for one, report in reports:
        title = f"{one.video.name}: compared with the truth" if len(made) > 1 else "compared with the truth"
        show_table(("", "timeline", f"always {report.majority_class}"), report.rows, title=title)
        for sentence in report.sentences:
            print(sentence)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(seconds + 5e-4, 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02d}:{rest:06.3f}" if hours else f"{minutes}:{rest:06.3f}"
