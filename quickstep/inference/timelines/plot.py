"""draw_timeline: a timeline as a picture: coloured spans of each person, true spans above where they are known, the scores below."""

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
from quickstep.inference.timelines import UNSURE, Moments, Span, Timeline

SHADES = tuple(to_hex(colormaps["tab20"](place)) for place in (0, 2, 4, 6, 8, 10, 12, 16, 18, 1, 3, 5, 7, 9, 11, 13, 17, 19))
HATCHES = ("", "///", "...", "xxx")  # where there are more labels than shades
MOST_PEOPLE = 8
MOST_LABELS = len(SHADES) * len(HATCHES)
WIDTH = 12.0  # inches
LETTER = 0.085  # inches that a letter of a span's label takes
Axes = Any


def draw_timeline(found: Timeline, path: str | Path, *, truth: Sequence[Span] = ()) -> Path:
    """Write the picture; png, svg, pdf by the file's name."""
    path = Path(path)
    people = found.people[:MOST_PEOPLE]
    looks = _looks(found, truth)
    strips = len(people) + bool(truth)
    with rc_context(STYLE):
        rows = [0.42 * strips, 1.6]
        figure = Figure(figsize=(WIDTH, 1.25 + sum(rows) + 0.24 * ((len(looks) + 7) // 7)), layout="constrained")
        FigureCanvasAgg(figure)
        top, below = figure.subplots(2, 1, sharex=True, height_ratios=rows)
        _strips(top, found, people, looks, truth)
        _scores(below, found.moments[0], found, looks)
        below.set_xlim(0, max(found.duration, 1e-3))
        below.xaxis.set_major_locator(MaxNLocator(12, steps=[1, 1.5, 2, 3, 6, 10]))
        below.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: _clock(seconds)))
        left = f", {len(people)} of {len(found.people)} people" if len(people) < len(found.people) else ""
        figure.suptitle(f"{shorten(found.video.name, most=70)}{left}", fontsize=11)
        figure.legend(handles=_legend(looks), loc="outside lower center", ncols=min(7, len(looks)), frameon=False, fontsize=8)
        save_figure(figure, path)
    return path


Looks = dict[str | None, tuple[str, str]]  # label -> shade and hatch


def _looks(found: Timeline, truth: Sequence[Span]) -> Looks:
    """A shade for each label that occurs, in the order of the model's labels, so that two pictures of one model have the same ones."""
    order = [*found.labels, *sorted({str(span.label) for span in truth} - set(found.labels))]
    occurring = {span.label for span in (*found.spans, *truth)}
    own = {label: (SHADES[n % len(SHADES)], HATCHES[n // len(SHADES) % len(HATCHES)]) for n, label in enumerate(order)}
    looks: Looks = {label: look for label, look in own.items() if label in occurring}
    return looks | ({None: ("#f3f1eb", "////")} if None in occurring else {})


def _strips(axes: Axes, found: Timeline, people: Sequence[int | None], looks: Looks, truth: Sequence[Span]) -> None:
    """One strip of spans a person, the true ones on top."""
    named = [("truth", tuple(truth))] if truth else []
    named += [("" if person is None else f"person {person}", found.of(person)) for person in people]
    if truth and len(named) == 2 and not named[1][0]:
        named[1] = ("found", named[1][1])
    for row, (_, spans) in enumerate(named):
        for span in spans:
            shade, hatch = looks[span.label]
            axes.barh(-row, span.length, left=span.start, height=0.84, color=shade, hatch=hatch, edgecolor="white", linewidth=0.8)
            room = int(span.length / max(found.duration, 1e-3) * WIDTH * 0.93 / LETTER)
            name = shorten(span.name, most=max(room, 1))
            if text_width(span.name) <= room or room >= 5:
                axes.text(span.start + span.length / 2, -row, name, ha="center", va="center", fontsize=7.5, color=_ink(shade))
    axes.set_yticks([-row for row in range(len(named))], [name for name, _ in named])
    axes.tick_params(left=False, bottom=False)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.set_ylim(-len(named) + 0.5, 0.5)


def _scores(axes: Axes, moments: Moments, found: Timeline, looks: Looks) -> None:
    """The probability of each label that occurs, of the first person."""
    for label, (shade, _) in looks.items():
        if label in found.labels:
            axes.plot(moments.times, moments.scores[:, found.labels.index(label)], color=shade, linewidth=1.3)
    axes.set_ylim(0, 1.02)
    whose = "" if moments.person is None else f" (person {moments.person})"
    axes.set_ylabel(f"probability{whose}")
    axes.grid(axis="x", color="#e6e2d8", linewidth=0.7)
    axes.set_axisbelow(True)


def _legend(looks: Looks) -> list[Patch]:
    patches = []
    for label, (shade, hatch) in list(looks.items())[:MOST_LABELS]:
        edge = GREY if label is None else "white"
        patches.append(Patch(facecolor=shade, hatch=hatch, edgecolor=edge, label=UNSURE if label is None else shorten(label)))
    return patches or [Patch(facecolor="white", edgecolor=GREY, label="nothing is named")]


def _ink(shade: str) -> str:
    """Black or white, whichever is read better."""
    red, green, blue = (int(shade[at : at + 2], 16) for at in (1, 3, 5))
    return "#1d1b18" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "white"


def _clock(seconds: float) -> str:
    if np.isclose(seconds % 1, 0):
        minutes, rest = divmod(round(seconds), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
    return f"{seconds:g} s"
