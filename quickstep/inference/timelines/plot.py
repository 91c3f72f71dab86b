"""Draw a timeline: the coloured spans of each person, true spans above them where they are known, and the scores below."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from quickstep.evaluation.rendering.charts import shorten, text_width
from quickstep.evaluation.rendering.png_plots import GREY, STYLE, save_figure
from quickstep.inference.timelines import UNSURE, Span, Timeline, WindowScores

COLOURS = tuple(to_hex(colormaps["tab20"](place)) for place in (0, 2, 4, 6, 8, 10, 12, 16, 18, 1, 3, 5, 7, 9, 11, 13, 17, 19))
HATCHES = ("", "///", "...", "xxx")  # for more labels than colours
MAX_PEOPLE = 8
MAX_LABELS = len(COLOURS) * len(HATCHES)
WIDTH = 12.0  # inches
LETTER_WIDTH = 0.085  # inches, in a span's label
Axes = Any


def draw_timeline(timeline: Timeline, path: str | Path, *, truth: Sequence[Span] = ()) -> Path:
    """Draw a timeline to a png, svg or pdf file."""
    path = Path(path)
    people = timeline.people[:MAX_PEOPLE]
    styles = _styles(timeline, truth)
    strips = len(people) + bool(truth)
    with rc_context(STYLE):
        rows = [0.42 * strips, 1.6]
        figure = Figure(figsize=(WIDTH, 1.25 + sum(rows) + 0.24 * ((len(styles) + 7) // 7)), layout="constrained")
        FigureCanvasAgg(figure)
        top, below = figure.subplots(2, 1, sharex=True, height_ratios=rows)
        _strips(top, timeline, people, styles, truth)
        _scores(below, timeline.scores[0], timeline, styles)
        below.set_xlim(0, max(timeline.duration, 1e-3))
        below.xaxis.set_major_locator(MaxNLocator(12, steps=[1, 1.5, 2, 3, 6, 10]))
        below.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: _clock(seconds)))
        left = f", {len(people)} of {len(timeline.people)} people" if len(people) < len(timeline.people) else ""
        figure.suptitle(f"{shorten(timeline.video.name, most=70)}{left}", fontsize=11)
        figure.legend(handles=_legend(styles), loc="outside lower center", ncols=min(7, len(styles)), frameon=False, fontsize=8)
        save_figure(figure, path)
    return path


Styles = dict[str | None, tuple[str, str]]  # label -> colour and hatch


def _styles(timeline: Timeline, truth: Sequence[Span]) -> Styles:
    """Return a style for each label that occurs; a label has the same style in all pictures of one model."""
    order = [*timeline.labels, *sorted({str(span.label) for span in truth} - set(timeline.labels))]
    occurring = {span.label for span in (*timeline.spans, *truth)}
    own = {label: (COLOURS[n % len(COLOURS)], HATCHES[n // len(COLOURS) % len(HATCHES)]) for n, label in enumerate(order)}
    styles: Styles = {label: style for label, style in own.items() if label in occurring}
    return styles | ({None: ("#f3f1eb", "////")} if None in occurring else {})


def _strips(axes: Axes, timeline: Timeline, people: Sequence[int | None], styles: Styles, truth: Sequence[Span]) -> None:
    """Draw one strip of spans for each person, the true spans on top."""
    named = [("truth", tuple(truth))] if truth else []
    named += [("" if person is None else f"person {person}", timeline.of(person)) for person in people]
    if truth and len(named) == 2 and not named[1][0]:
        named[1] = ("predicted", named[1][1])
    for row, (_, spans) in enumerate(named):
        for span in spans:
            colour, hatch = styles[span.label]
            axes.barh(-row, span.length, left=span.start, height=0.84, color=colour, hatch=hatch, edgecolor="white", linewidth=0.8)
            letters = int(span.length / max(timeline.duration, 1e-3) * WIDTH * 0.93 / LETTER_WIDTH)
            name = shorten(span.name, most=max(letters, 1))
            if text_width(span.name) <= letters or letters >= 5:
                axes.text(span.start + span.length / 2, -row, name, ha="center", va="center", fontsize=7.5, color=_ink(colour))
    axes.set_yticks([-row for row in range(len(named))], [name for name, _ in named])
    axes.tick_params(left=False, bottom=False)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.set_ylim(-len(named) + 0.5, 0.5)


def _scores(axes: Axes, scores: WindowScores, timeline: Timeline, styles: Styles) -> None:
    """Draw the probability of each label that occurs, for the first person."""
    for label, (colour, _) in styles.items():
        if label in timeline.labels:
            axes.plot(scores.times, scores.scores[:, timeline.labels.index(label)], color=colour, linewidth=1.3)
    axes.set_ylim(0, 1.02)
    whose = "" if scores.person is None else f" (person {scores.person})"
    axes.set_ylabel(f"probability{whose}")
    axes.grid(axis="x", color="#e6e2d8", linewidth=0.7)
    axes.set_axisbelow(True)


def _legend(styles: Styles) -> list[Patch]:
    patches = []
    for label, (colour, hatch) in list(styles.items())[:MAX_LABELS]:
        edge = GREY if label is None else "white"
        patches.append(Patch(facecolor=colour, hatch=hatch, edgecolor=edge, label=UNSURE if label is None else shorten(label)))
    return patches or [Patch(facecolor="white", edgecolor=GREY, label="no label")]


def _ink(colour: str) -> str:
    """Return black or white, whichever is easier to read on a colour."""
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return "#1d1b18" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "white"


def _clock(seconds: float) -> str:
    if np.isclose(seconds % 1, 0):
        minutes, rest = divmod(round(seconds), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
    return f"{seconds:g} s"
