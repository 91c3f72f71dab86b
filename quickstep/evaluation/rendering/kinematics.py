"""Kinematics as a chart over time, and as csv with every quantity and its unit."""

from __future__ import annotations

import math
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
from quickstep.storage.files import write_csv
from quickstep.types.errors import MediaError

MOST_PEOPLE = 4  # drawn beside each other; more would be too small to read
PARTS = {
    "hands": (("left_hand", "right_hand"), RIGHT),
    "feet": (("left_foot", "right_foot"), WRONG),
    "head": (("head",), "#7a5c99"),
    "centre": (("centre",), "#3d3a36"),
}
BLUE, GOLD = "#3b6ea5", "#c9962b"
SHADES = {"standing": "#d9e8e4", "crouched": "#f3e0bd", "floor": "#eec9ba"}
Axes = Any


def draw_kinematics(result: KinematicsResult, path: str | Path) -> tuple[Path, ...]:
    """Write one chart a measured file, its people side by side; of several files each chart has the file's name in its own."""
    path = Path(path)
    files = list(dict.fromkeys(person.path for person in result.people))
    written = []
    for number, file in enumerate(files, 1):
        target = path if len(files) == 1 else path.with_name(f"{path.stem}-{number}-{file.stem}{path.suffix}")
        _draw(target, [person for person in result.people if person.path == file])
        written.append(target)
    return tuple(written)


def _draw(target: Path, people: Sequence[PersonKinematics]) -> None:
    panels: tuple[Callable[[Axes, PersonKinematics], None], ...] = (_speeds, _heights, _turns, _rhythms, _qualities)
    drawn = people[:MOST_PEOPLE]
    with rc_context(STYLE):
        figure = Figure(figsize=(2.6 + 5.6 * len(drawn), 2.0 + 1.75 * len(panels)), layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(len(panels), len(drawn), sharex="col", sharey="row", squeeze=False)
        for column, person in enumerate(drawn):
            for row, draw in enumerate(panels):
                axes = grid[row, column]
                draw(axes, person)
                axes.set_xlim(person.whole.start, person.whole.end)
                axes.grid(axis="x", color="#e6e2d8", linewidth=0.7)
                axes.set_axisbelow(True)
                if column == 0 and axes.get_legend_handles_labels()[0]:
                    legend = axes.legend(loc="upper left", frameon=False, fontsize=7, ncols=4, borderaxespad=0.1, handlelength=1.4)
                    for patch in legend.get_patches():  # pale colours would be invisible
                        patch.set(edgecolor=GREY, linewidth=0.6)
                if column:
                    axes.set_ylabel("")
            grid[0, column].set_title(f"person {person.person}", fontsize=9, loc="left")
            grid[-1, column].set_xlabel("seconds")
        note = f", {len(drawn)} of {len(people)} people" if len(people) > len(drawn) else ""
        figure.suptitle(f"{shorten(drawn[0].path.name, most=60)}{note}", fontsize=11)
        save_figure(figure, target)


def _speeds(axes: Axes, person: PersonKinematics) -> None:
    """Draw the speed of each part; of a body without named parts, of all joints."""
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
    """Draw the height of the centre, the level, and the jumps."""
    axes.set_ylabel("centre over floor\n(body lengths)")
    ground = person.ground
    if ground.height is None or ground.levels is None:
        return _write_reason(axes, ground.reason)
    times = person.body.times
    axes.plot(times, ground.height, color="#3d3a36", linewidth=1.3)
    axes.set_ylim(0, max(0.8, 1.2 * _highest(ground.height)))
    for number, level in enumerate(LEVELS):
        at_level = np.nan_to_num(ground.levels[:, number]) > 0
        if at_level.any():
            axes.fill_between(
                times, 0, 1, where=at_level, transform=axes.get_xaxis_transform(), color=SHADES[level], linewidth=0, label=level
            )
    for number, (start, end) in enumerate(ground.jumps or ()):
        until = times[min(end, len(times) - 1)]
        axes.axvspan(times[start], until, color=BLUE, alpha=0.35, linewidth=0, label="" if number else "in the air")
    return None


def _turns(axes: Axes, person: PersonKinematics) -> None:
    """Draw the angle that the body has turned by."""
    axes.set_ylabel("turned\n(turns)")
    drawn = False
    for turning, name, colour in ((person.vertical, "about the vertical", BLUE), (person.plane, "trunk in the image plane", GOLD)):
        angle = turning.signed if turning.signed is not None and np.isfinite(turning.signed).any() else turning.angle
        if angle is not None and np.isfinite(angle).any():
            measured = angle[np.isfinite(angle)]
            axes.plot(
                person.body.times, angle - (measured[0] if turning.signed is turning.angle else 0), color=colour, linewidth=1.2, label=name
            )
            drawn = True
    axes.axhline(0, color=GREY, linewidth=0.7)
    if not drawn:
        _write_reason(axes, person.vertical.reason)


def _rhythms(axes: Axes, person: PersonKinematics) -> None:
    """Draw the tempo of each window, darker where it is more regular."""
    axes.set_ylabel("tempo\n(beats/min)")
    middles, tempo, regular = (_over_windows(person, name) for name in ("", "tempo", "regularity"))
    measured = np.isfinite(tempo)
    whole = person.whole["tempo"]
    if not measured.any() and not math.isfinite(whole):
        return _write_reason(axes, "no repeated movement")
    if math.isfinite(whole):
        axes.axhline(whole, color=GREY, linewidth=1, linestyle="--", label="whole segment")
    shades = np.clip(regular[measured], 0.15, 1)
    axes.scatter(middles[measured], tempo[measured], s=18 + 50 * shades, color=RIGHT, alpha=shades, linewidths=0)
    axes.plot([], [], "o", color=RIGHT, label="darker: more regular")
    axes.set_ylim(0, max(130.0, 1.35 * float(np.nanmax([whole, *tempo]))))
    return None


def _qualities(axes: Axes, person: PersonKinematics) -> None:
    """Draw the quantities from 0 to 1 of each window."""
    axes.set_ylabel("windows\n(0-1)")
    drawn = False
    for name, colour in (("symmetry", RIGHT), ("evenness", WRONG), ("regularity", GREY)):
        values = _over_windows(person, name)
        if np.isfinite(values).any():
            axes.plot(_over_windows(person, ""), values, "o-", color=colour, linewidth=1.1, markersize=3, label=name)
            drawn = True
    axes.set_ylim(0, 1.3)
    axes.set_yticks([0, 0.5, 1])
    if not drawn:
        _write_reason(axes, "left and right are unknown")


def _over_windows(person: PersonKinematics, name: str) -> NDArray[np.float64]:
    """Return a quantity of each window; without a name, the middle of each window in seconds."""
    rows = person.windows or (person.whole,)
    return np.array([row[name] if name else (row.start + row.end) / 2 for row in rows])


def _highest(values: NDArray[np.float64]) -> float:
    measured = values[np.isfinite(values)]
    return float(measured.max()) if len(measured) else 0.0


def _write_reason(axes: Axes, reason: str) -> None:
    axes.text(0.5, 0.5, reason, transform=axes.transAxes, ha="center", va="center", color=GREY, fontsize=8)
    axes.set_facecolor(PALE)


def write_kinematics_csv(result: KinematicsResult, path: str | Path) -> Path:
    """Write a row for each person's whole segment and each window, and a column for each quantity, empty where it is unknown."""
    path = Path(path)
    header = ["path", "person", "part", "start (s)", "end (s)", "seen (0-1)", *(quantity.heading for quantity in QUANTITIES), "level"]
    rows = []
    for person in result.people:
        for row in (person.whole, *person.windows):
            values = ["" if math.isnan(value) else f"{value:.6g}" for value in row.values.tolist()]
            part = "all" if row is person.whole else "window"
            rows.append([person.path, row.person, part, f"{row.start:.3f}", f"{row.end:.3f}", f"{row.seen:.3f}", *values, row.level])
    try:
        write_csv(path, header, rows)
    except OSError as error:
        raise MediaError(path, f"cannot be written: {error.strerror or error}") from error
    return path
