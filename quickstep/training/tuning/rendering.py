"""Draw the report of a study as one self-contained html page: leaderboard, history, importance and each setting's trials."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from quickstep.evaluation.rendering.charts import Axes, Line, LineChart, shorten, ticks
from quickstep.evaluation.rendering.sentences import duration
from quickstep.evaluation.rendering.svg_charts import interval_bar, line_chart, small_bar
from quickstep.storage.files import write_text
from quickstep.training.tuning.leaderboard import Entry, Leaderboard, format_value
from quickstep.types.confidence_intervals import between, percent
from quickstep.types.errors import ModelError

HERE = Path(__file__).parent
PAGE = "report.html"
MAX_LISTED = 200  # trials in the table
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 400, 190, 56, 14, 10, 44
LOGARITHMIC = {"learning-rate"}


def write_study(board: Leaderboard, folder: str | Path) -> Path:
    """Write report.html into the folder of a study; return its path."""
    path = Path(folder) / PAGE
    try:
        write_text(path, study_page(board, Path(folder).resolve().name))
    except OSError as error:
        raise ModelError(folder, f"the report of the study cannot be written: {error.strerror or error}") from error
    return path


def study_page(board: Leaderboard, name: str) -> str:
    """Return the page as html."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("study.html.jinja").render(
        name=name,
        style=Markup((HERE.parents[1] / "evaluation" / "rendering" / "page.css").read_text(encoding="utf-8")),
        board=board,
        tested=board.test["sentence"] if board.test else None,
        headline=_headline(board),
        rows=[_row(place, entry) for place, entry in enumerate(board.entries[:MAX_LISTED], 1)],
        left_out=len(board.entries) - MAX_LISTED,
        history=_history(board),
        importance=[(setting, percent(share), small_bar(share)) for setting, share in board.importance.items()],
        slices=_slices(board),
    )


def _headline(board: Leaderboard) -> str:
    best = board.best
    if best is None or best.accuracy is None:
        return "No trial is completed yet"
    return f"The best of {board.count('done')} trials is {percent(best.accuracy.value)} accurate on {board.data}"


def _row(place: int, entry: Entry) -> dict[str, Any]:
    accuracy = entry.accuracy
    settings = [(name.replace("_", " "), format_value(value)) for name, value in entry.settings.items()]
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


def _history(board: Leaderboard) -> Markup | None:
    """Draw the score of each trial in order, and the best so far."""
    done = sorted((entry for entry in board.entries if entry.value is not None), key=lambda entry: entry.trial)
    if len(done) < 2:
        return None
    x, y = [float(entry.trial) for entry in done], [float(entry.value or 0.0) for entry in done]
    best = [max(y[: place + 1]) for place in range(len(y))]
    low, high = _range(y)
    share = board.metric != "log-loss"
    axes = Axes(
        "trial", _metric_title(board), (x[0], max(x[-1], x[0] + 1)), (low, high), x_share=False, y_share=share, width=640, height=260
    )
    lines = [Line(x, best, "best so far", colour=1), Line(x, y, "each trial", colour=0, dashed=True, dots=[3.0] * len(x))]
    return line_chart(LineChart("Score of each trial", lines, axes))


def _metric_title(board: Leaderboard) -> str:
    return {"accuracy": "validation accuracy", "balanced-accuracy": "mean recall", "log-loss": "log likelihood"}[board.metric]


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = max(0.02, 0.08 * (high - low))
    return low - margin, high + margin


def _slices(board: Leaderboard) -> list[tuple[str, Markup]]:
    """Draw, for each searched setting, the score of every completed trial over its value."""
    done = [entry for entry in board.entries if entry.value is not None and entry.drawn]
    names = sorted({name for entry in done for name in entry.drawn}, key=lambda name: (-board.importance.get(name, 0.0), name))
    charts = []
    for name in names:
        points = [(entry.drawn[name], float(entry.value or 0.0), entry is board.best) for entry in done if name in entry.drawn]
        if len({str(value) for value, _, _ in points}) > 1:
            charts.append((name, _slice(name, points, board)))
    return charts


def _slice(name: str, points: Sequence[tuple[Any, float, bool]], board: Leaderboard) -> Markup:
    low, high = _range([score for _, score, _ in points])
    x_of, marks = _x_axis(name, [value for value, _, _ in points])
    y_of: Callable[[float], float] = lambda score: TOP + (HEIGHT - TOP - BOTTOM) * (high - score) / (high - low)  # noqa: E731
    parts = []
    for tick in ticks(low, high):
        y = y_of(tick)
        text = f"{100 * tick:.3g} %" if board.metric != "log-loss" else f"{tick:.3g}"
        parts.append(Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(LEFT, WIDTH - RIGHT, y, y))
        parts.append(Markup('<text class="tick" x="{}" y="{:.1f}" text-anchor="end">{}</text>').format(LEFT - 6, y + 4, text))
    tilted = len(marks) > 3 and any(len(text) > 6 for _, text in marks)
    for x, text in marks:
        turn = Markup(' transform="rotate(-24 {:.1f} {})"').format(x, HEIGHT - BOTTOM + 16) if tilted else Markup("")
        anchor = "end" if tilted else "middle"
        parts.append(
            Markup('<text class="tick" x="{:.1f}" y="{}" text-anchor="{}"{}>{}</text>').format(x, HEIGHT - BOTTOM + 16, anchor, turn, text)
        )
    for number, (value, score, best) in enumerate(points):
        x = x_of(value) + (0.0 if isinstance(value, float) else 7 * math.sin(2.4 * number))  # so that equal values do not cover each other
        hue, radius = ("h2", 5.5) if best else ("h1", 3.5)
        parts.append(
            Markup('<circle class="dot {}" cx="{:.1f}" cy="{:.1f}" r="{}"><title>{}: {:.3f}</title></circle>').format(
                hue, x, y_of(score), radius, format_value(value), score
            )
        )
    svg = Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>')
    return svg.format(WIDTH, HEIGHT, escape(f"Score over {name}"), Markup("").join(parts))


def _x_axis(name: str, values: Sequence[Any]) -> tuple[Callable[[Any], float], list[tuple[float, str]]]:
    """Return the function from a value to its x position, and the tick labels."""
    span = WIDTH - LEFT - RIGHT
    if all(isinstance(value, float) for value in values):
        scale: Callable[[float], float] = math.log10 if name in LOGARITHMIC else float
        low, high = scale(min(values)), scale(max(values))
        high = high if high > low else low + 1
        x_of: Callable[[Any], float] = lambda value: LEFT + 8 + (span - 16) * (scale(value) - low) / (high - low)  # noqa: E731
        if name in LOGARITHMIC:
            powers = [10.0**power for power in range(math.ceil(low), math.floor(high) + 1)]
            return x_of, [(x_of(power), f"{power:g}") for power in powers]
        return x_of, [(x_of(tick), f"{tick:g}") for tick in ticks(low, high) if low <= tick <= high]
    kinds = sorted({format_value(value) for value in values}, key=lambda text: (not text.replace(".", "").isdigit(), len(text), text))
    centre = {text: LEFT + span * (number + 0.5) / len(kinds) for number, text in enumerate(kinds)}
    return lambda value: centre[format_value(value)], [(x, shorten(text, most=18)) for text, x in centre.items()]
