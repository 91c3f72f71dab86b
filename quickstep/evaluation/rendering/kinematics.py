"""draw_motion and write_numbers: motion in numbers as a picture over time, and as csv with every number and its unit."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from quickstep.evaluation.rendering.charts import shorten
from quickstep.evaluation.rendering.png_plots import GREY, PALE, RIGHT, STYLE, WRONG, save_figure
from quickstep.signals.poses.kinematics import QUANTITIES, KinematicsResult, PersonKinematics
from quickstep.signals.poses.kinematics.quantities import LEVELS
from quickstep.signals.poses.kinematics.smoothing import derivative
from quickstep.types.errors import MediaError

MOST = 4  # people drawn beside each other; more would be too small to read
PARTS = {
    "hands": (("left_hand", "right_hand"), RIGHT),
    "feet": (("left_foot", "right_foot"), WRONG),
    "head": (("head",), "#7a5c99"),
    "centre": (("centre",), "#3d3a36"),
}
BLUE, GOLD = "#3b6ea5", "#c9962b"
SHADES = {"standing": "#d9e8e4", "crouched": "#f3e0bd", "floor": "#eec9ba"}
Axes = Any


def draw_motion(motions: KinematicsResult, path: str | Path) -> tuple[Path, ...]:
    """Write one picture a file that was measured, its people side by side; where there are several, each under the file's name."""
    path = Path(path)
    files = list(dict.fromkeys(person.path for person in motions.people))
    written = []
    for place, file in enumerate(files):
        target = path if len(files) == 1 else path.with_name(f"{path.stem}-{place + 1}-{file.stem}{path.suffix}")
        _write(target, [person for person in motions.people if person.path == file])
        written.append(target)
    return tuple(written)


def _write(target: Path, people: Sequence[PersonKinematics]) -> None:
    panels: tuple[Callable[[Axes, PersonKinematics], None], ...] = (_speeds, _heights, _turns, _rhythms, _qualities)
    shown = people[:MOST]
    with rc_context(STYLE):
        figure = Figure(figsize=(2.6 + 5.6 * len(shown), 2.0 + 1.75 * len(panels)), layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(len(panels), len(shown), sharex="col", sharey="row", squeeze=False)
        for column, person in enumerate(shown):
            for row, draw in enumerate(panels):
                axes = grid[row, column]
                draw(axes, person)
                axes.set_xlim(person.whole.start, person.whole.end)
                axes.grid(axis="x", color="#e6e2d8", linewidth=0.7)
                axes.set_axisbelow(True)
                if column == 0 and axes.get_legend_handles_labels()[0]:
                    legend = axes.legend(loc="upper left", frameon=False, fontsize=7, ncols=4, borderaxespad=0.1, handlelength=1.4)
                    for patch in legend.get_patches():  # pale ones would not be seen
                        patch.set(edgecolor=GREY, linewidth=0.6)
                if column:
                    axes.set_ylabel("")
            grid[0, column].set_title(f"person {person.person}", fontsize=9, loc="left")
            grid[-1, column].set_xlabel("seconds")
        left = f", {len(shown)} of {len(people)} people" if len(people) > len(shown) else ""
        figure.suptitle(f"{shorten(shown[0].path.name, most=60)}{left}", fontsize=11)
        save_figure(figure, target)


def _speeds(axes: Axes, person: PersonKinematics) -> None:
    """How fast each part is; of a body without named parts, the whole."""
    body, top = person.body, 0.0
    for part, (points, colour) in PARTS.items():
        if not all(point in body.points for point in points) or (part == "centre" and body.rooted):
            continue
        speed = np.mean([np.linalg.norm(derivative(body.points[point]), axis=1) for point in points], axis=0)
        axes.plot(body.times, speed, color=colour, linewidth=1.2, label=part)
        top = max(top, _highest(speed))
    if top == 0.0:
        speed = np.linalg.norm(body.velocity, axis=2).mean(axis=1)
        axes.plot(body.times, speed, color=RIGHT, linewidth=1.2, label="all joints")
        top = _highest(speed)
    axes.set_ylim(0, 1.25 * max(top, axes.get_ylim()[1] / 1.25 if axes.get_shared_y_axes() else 0.1, 0.1))
    axes.set_ylabel("speed\n(body lengths/s)")


def _heights(axes: Axes, person: PersonKinematics) -> None:
    """How high the centre is, what level that is, and when nothing touches the floor."""
    axes.set_ylabel("centre over floor\n(body lengths)")
    found = person.ground
    if found.height is None or found.levels is None:
        return _say(axes, found.reason)
    times = person.body.times
    axes.plot(times, found.height, color="#3d3a36", linewidth=1.3)
    axes.set_ylim(0, max(0.8, 1.2 * _highest(found.height)))
    for number, level in enumerate(LEVELS):
        there = np.nan_to_num(found.levels[:, number]) > 0
        if there.any():
            axes.fill_between(times, 0, 1, where=there, transform=axes.get_xaxis_transform(), color=SHADES[level], linewidth=0, label=level)
    for number, (start, end) in enumerate(found.jumps or ()):
        until = times[min(end, len(times) - 1)]
        axes.axvspan(times[start], until, color=BLUE, alpha=0.35, linewidth=0, label="" if number else "in the air")
    return None


def _turns(axes: Axes, person: PersonKinematics) -> None:
    """How far the body has turned."""
    axes.set_ylabel("turned\n(turns)")
    drawn = False
    for found, name, colour in ((person.vertical, "about the vertical", BLUE), (person.plane, "trunk in the picture", GOLD)):
        angle = found.signed if found.signed is not None and np.isfinite(found.signed).any() else found.angle
        if angle is not None and np.isfinite(angle).any():
            known = angle[np.isfinite(angle)]
            axes.plot(person.body.times, angle - (known[0] if found.signed is found.angle else 0), color=colour, linewidth=1.2, label=name)
            drawn = True
    axes.axhline(0, color=GREY, linewidth=0.7)
    if not drawn:
        _say(axes, person.vertical.reason)


def _rhythms(axes: Axes, person: PersonKinematics) -> None:
    """The tempo of each window, the stronger the more regular."""
    axes.set_ylabel("tempo\n(beats/min)")
    middles, tempo, regular = (_over_windows(person, name) for name in ("", "tempo", "regularity"))
    known = np.isfinite(tempo)
    whole = person.whole["tempo"]
    if not known.any() and not math.isfinite(whole):
        return _say(axes, "nothing repeats itself")
    if math.isfinite(whole):
        axes.axhline(whole, color=GREY, linewidth=1, linestyle="--", label="of the whole")
    shades = np.clip(regular[known], 0.15, 1)
    axes.scatter(middles[known], tempo[known], s=18 + 50 * shades, color=RIGHT, alpha=shades, linewidths=0)
    axes.plot([], [], "o", color=RIGHT, label="the darker, the more regular")
    axes.set_ylim(0, max(130.0, 1.35 * float(np.nanmax([whole, *tempo]))))
    return None


def _qualities(axes: Axes, person: PersonKinematics) -> None:
    """What lies between 0 and 1, window by window."""
    axes.set_ylabel("of each window\n(0-1)")
    drawn = False
    for name, colour in (("symmetry", RIGHT), ("evenness", WRONG), ("regularity", GREY)):
        values = _over_windows(person, name)
        if np.isfinite(values).any():
            axes.plot(_over_windows(person, ""), values, "o-", color=colour, linewidth=1.1, markersize=3, label=name)
            drawn = True
    axes.set_ylim(0, 1.3)
    axes.set_yticks([0, 0.5, 1])
    if not drawn:
        _say(axes, "left and right are not known")


def _over_windows(person: PersonKinematics, name: str) -> NDArray[np.float64]:
    """A number of each window; with no name, the middle of each in seconds."""
    rows = person.windows or (person.whole,)
    return np.array([row[name] if name else (row.start + row.end) / 2 for row in rows])


def _highest(values: NDArray[np.float64]) -> float:
    known = values[np.isfinite(values)]
    return float(known.max()) if len(known) else 0.0


def _say(axes: Axes, why: str) -> None:
    axes.text(0.5, 0.5, why, transform=axes.transAxes, ha="center", va="center", color=GREY, fontsize=8)
    axes.set_facecolor(PALE)


def write_numbers(motions: KinematicsResult, path: str | Path) -> Path:
    """Write a csv: a row for the whole and each window of each person, a column a number, empty where it cannot be known."""
    path = Path(path)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["path", "person", "part", "start (s)", "end (s)", "seen (0-1)", *(number.heading for number in QUANTITIES), "level"])
    for person in motions.people:
        for row in (person.whole, *person.windows):
            values = ["" if math.isnan(value) else f"{value:.6g}" for value in row.values.tolist()]
            part = "all" if row is person.whole else "window"
            writer.writerow([person.path, row.person, part, f"{row.start:.3f}", f"{row.end:.3f}", f"{row.seen:.3f}", *values, row.level])
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_text(out.getvalue(), encoding="utf-8")
        aside.replace(path)
    except OSError as error:
        raise MediaError(path, f"cannot be written: {error.strerror or error}") from error
    finally:
        aside.unlink(missing_ok=True)
    return path
