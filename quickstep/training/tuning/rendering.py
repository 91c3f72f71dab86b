"""write_study: a search's leaderboard, its history, what mattered and how each setting went, as one html page that needs nothing else."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from quickstep.evaluation.rendering.sentences import duration
from quickstep.evaluation.rendering.svg_charts import Axes, Line, chart, interval_bar, shorten, small_bar, ticks
from quickstep.training.tuning.leaderboard import Entry, Leaderboard
from quickstep.types.confidence_intervals import between, percent
from quickstep.types.errors import ModelError

HERE = Path(__file__).parent
PAGE = "report.html"
LISTED = 200  # trials written out
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 400, 190, 56, 14, 10, 44
LOGARITHMIC = {"learning-rate"}


def write_study(board: Leaderboard, folder: str | Path) -> Path:
    """Write report.html into the study's folder."""
    path = Path(folder) / PAGE
    aside = path.with_name(f".{PAGE}.{os.getpid()}.part")
    try:
        aside.write_text(study_page(board, Path(folder).resolve().name), encoding="utf-8", newline="\n")
        aside.replace(path)
    except OSError as error:
        raise ModelError(folder, f"the report of the search cannot be written: {error.strerror or error}") from error
    finally:
        aside.unlink(missing_ok=True)
    return path


def study_page(board: Leaderboard, name: str) -> str:
    """The page as text."""
    rooms = Environment(loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    best = board.best
    return rooms.get_template("study.html.jinja").render(
        name=name,
        style=Markup((HERE.parents[1] / "evaluation" / "rendering" / "page.css").read_text(encoding="utf-8")),
        board=board,
        best=best,
        headline=_headline(board),
        rows=[_row(place, entry) for place, entry in enumerate(board.entries[:LISTED], 1)],
        left_out=len(board.entries) - LISTED,
        history=_history(board),
        importance=[(setting, percent(share), small_bar(share)) for setting, share in board.importance.items()],
        slices=_slices(board),
    )


def _headline(board: Leaderboard) -> str:
    best = board.best
    if best is None or best.accuracy is None:
        return "No trial has come to its end yet"
    return f"The best of {board.count('done')} trials is right on {percent(best.accuracy.value)} of {board.where}"


def _row(place: int, entry: Entry) -> dict[str, Any]:
    accuracy = entry.accuracy
    settings = [(name.replace("_", " "), _said(value)) for name, value in entry.settings.items()]
    return {
        "place": place if entry.state == "done" else "",
        "entry": entry,
        "right": percent(accuracy.value) if accuracy else "",
        "interval": between(accuracy) if accuracy else "",
        "bar": interval_bar(accuracy.value, accuracy.low, accuracy.high, strong=place == 1) if accuracy else "",
        "loss": f"{entry.log_loss:.3f}" if entry.log_loss is not None else "",
        "time": duration(entry.seconds),
        "settings": settings,
    }


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_said(inner)}" for name, inner in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _history(board: Leaderboard) -> Markup | None:
    """Every trial's score in the order of the trials, and the best so far."""
    done = sorted((entry for entry in board.entries if entry.value is not None), key=lambda entry: entry.trial)
    if len(done) < 2:
        return None
    x, y = [float(entry.trial) for entry in done], [float(entry.value or 0.0) for entry in done]
    best = [max(y[: place + 1]) for place in range(len(y))]
    low, high = _range(y)
    share = board.measure != "log-loss"
    axes = Axes("trial", _measure(board), (x[0], max(x[-1], x[0] + 1)), (low, high), x_share=False, y_share=share, width=640, height=260)
    lines = [Line(x, best, "best so far", hue=1), Line(x, y, "each trial", hue=0, dashed=True, dots=[3.0] * len(x))]
    return chart(lines, axes, title="Score of each trial")


def _measure(board: Leaderboard) -> str:
    return {"accuracy": "right on validation", "balanced-accuracy": "mean recall", "log-loss": "log-likelihood"}[board.measure]


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = max(0.02, 0.08 * (high - low))
    return low - room, high + room


def _slices(board: Leaderboard) -> list[tuple[str, Markup]]:
    """For each setting that was drawn: every finished trial's score over its value."""
    done = [entry for entry in board.entries if entry.value is not None and entry.drawn]
    names = sorted({name for entry in done for name in entry.drawn}, key=lambda name: (-board.importance.get(name, 0.0), name))
    drawn = []
    for name in names:
        points = [(entry.drawn[name], float(entry.value or 0.0), entry is board.best) for entry in done if name in entry.drawn]
        if len({str(value) for value, _, _ in points}) > 1:
            drawn.append((name, _slice(name, points, board)))
    return drawn


def _slice(name: str, points: Sequence[tuple[Any, float, bool]], board: Leaderboard) -> Markup:
    low, high = _range([score for _, score, _ in points])
    place, marks = _across(name, [value for value, _, _ in points])
    down: Callable[[float], float] = lambda score: TOP + (HEIGHT - TOP - BOTTOM) * (high - score) / (high - low)  # noqa: E731
    parts = []
    for tick in ticks(low, high):
        y = down(tick)
        told = f"{100 * tick:.3g} %" if board.measure != "log-loss" else f"{tick:.3g}"
        parts.append(Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(LEFT, WIDTH - RIGHT, y, y))
        parts.append(Markup('<text class="tick" x="{}" y="{:.1f}" text-anchor="end">{}</text>').format(LEFT - 6, y + 4, told))
    tilted = len(marks) > 3 and any(len(told) > 6 for _, told in marks)
    for x, told in marks:
        turn = Markup(' transform="rotate(-24 {:.1f} {})"').format(x, HEIGHT - BOTTOM + 16) if tilted else Markup("")
        anchor = "end" if tilted else "middle"
        parts.append(
            Markup('<text class="tick" x="{:.1f}" y="{}" text-anchor="{}"{}>{}</text>').format(x, HEIGHT - BOTTOM + 16, anchor, turn, told)
        )
    for number, (value, score, best) in enumerate(points):
        x = place(value) + (0.0 if isinstance(value, float) else 7 * math.sin(2.4 * number))  # so that equal ones can be told apart
        hue, radius = ("h2", 5.5) if best else ("h1", 3.5)
        parts.append(
            Markup('<circle class="dot {}" cx="{:.1f}" cy="{:.1f}" r="{}"><title>{}: {:.3f}</title></circle>').format(
                hue, x, down(score), radius, _said(value), score
            )
        )
    svg = Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>')
    return svg.format(WIDTH, HEIGHT, escape(f"Score over {name}"), Markup("").join(parts))


def _across(name: str, values: Sequence[Any]) -> tuple[Callable[[Any], float], list[tuple[float, str]]]:
    """Where a value stands from left to right, and which places are named."""
    span = WIDTH - LEFT - RIGHT
    if all(isinstance(value, float) for value in values):
        scale: Callable[[float], float] = math.log10 if name in LOGARITHMIC else float
        low, high = scale(min(values)), scale(max(values))
        high = high if high > low else low + 1
        place: Callable[[Any], float] = lambda value: LEFT + 8 + (span - 16) * (scale(value) - low) / (high - low)  # noqa: E731
        if name in LOGARITHMIC:
            powers = [10.0**power for power in range(math.ceil(low), math.floor(high) + 1)]
            return place, [(place(power), f"{power:g}") for power in powers]
        return place, [(place(tick), f"{tick:g}") for tick in ticks(low, high) if low <= tick <= high]
    kinds = sorted({_said(value) for value in values}, key=lambda told: (not told.replace(".", "").isdigit(), len(told), told))
    centre = {told: LEFT + span * (number + 0.5) / len(kinds) for number, told in enumerate(kinds)}
    return lambda value: centre[_said(value)], [(x, shorten(told, most=18)) for told, x in centre.items()]
