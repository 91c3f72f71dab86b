"""Draw a learning curve as a PNG file and write its numbers as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from quickstep.evaluation.rendering.charts import shorten
from quickstep.evaluation.rendering.png_plots import GREY, RIGHT, STYLE, WRONG
from quickstep.storage.files import replacing, write_text
from quickstep.training.learning_curve.curve import LearningCurve
from quickstep.types.errors import ModelError

PICTURE, DATA = "curve.png", "curve.json"
BASELINE_COLOURS = {"majority": "#8a8478", "words": WRONG}


def write_curve(curve: LearningCurve, folder: str | Path) -> Path:
    """Write curve.png and curve.json into a folder; return the path of the picture."""
    folder = Path(folder)
    try:
        with rc_context(STYLE):
            figure = Figure(figsize=(7.6, 4.6), layout="constrained")
            FigureCanvasAgg(figure)
            _draw(curve, figure)
            with replacing(folder / PICTURE) as temporary:
                figure.savefig(temporary, dpi=160, format="png", metadata={"Software": None})
        write_text(folder / DATA, curve.to_json())
    except OSError as error:
        raise ModelError(folder, f"the learning curve cannot be written: {error.strerror or error}") from error
    return folder / PICTURE


def _draw(curve: LearningCurve, figure: Any) -> None:
    axes = figure.subplots()
    shots = [point.shots for point in curve.points]
    ends = (shots[0] / 1.12, shots[-1] * 1.12)
    for baseline in curve.baselines:
        colour = BASELINE_COLOURS.get(baseline.name, GREY)
        axes.fill_between(ends, baseline.accuracy.low, baseline.accuracy.high, color=colour, alpha=0.10, linewidth=0)
        dash = ":" if baseline.name == "majority" else "--"
        axes.plot(ends, [baseline.accuracy.value] * 2, dash, color=colour, linewidth=1.4, label=shorten(baseline.about, most=32))
    intervals = [point.accuracy for point in curve.points]
    low, value, high = zip(*((interval.low, interval.value, interval.high) for interval in intervals))
    axes.fill_between(shots, low, high, color=RIGHT, alpha=0.18, linewidth=0, label="95 % interval over groups and draws")
    for point in curve.points:
        axes.plot([point.shots] * len(point.draws), point.draws, ".", color=RIGHT, alpha=0.45, markersize=4)
    axes.plot(shots, value, "o-", color=RIGHT, linewidth=2, label=f"{curve.head} on {shorten(curve.backbone, most=28)}; dots: draws")
    for x, y in zip(shots, value):
        background = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1.0}
        place = {"textcoords": "offset points", "xytext": (0, 9), "ha": "center", "weight": "bold"}
        axes.annotate(f"{100 * y:.0f} %", (x, y), color=RIGHT, bbox=background, **place)
    _label_axes(curve, axes, ends)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False, fontsize=8)


def _label_axes(curve: LearningCurve, axes: Any, ends: tuple[float, float]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xlim(*ends)
    axes.set_xticks(
        [point.shots for point in curve.points], [f"{point.shots}*" if point.fewer else str(point.shots) for point in curve.points]
    )
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylim(0, 1.03)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
    axes.grid(axis="y", color="#e6e2d8", linewidth=0.7)
    axes.set_axisbelow(True)
    starred = "   (* some classes have fewer)" if any(point.fewer for point in curve.points) else ""
    axes.set_xlabel(f"labelled segments a class{starred}")
    axes.set_ylabel(f"accuracy on {curve.tested} held-out segments")
