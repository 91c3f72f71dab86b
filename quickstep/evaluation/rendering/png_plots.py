"""write_plots: the report's charts as PNG files for slides and cards; matplotlib without a screen and without global state."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from numpy.typing import NDArray

from quickstep.evaluation.rendering.sentences import NAMES
from quickstep.evaluation.rendering.svg_charts import shorten
from quickstep.evaluation.report import Report
from quickstep.types.confidence_intervals import percent

RIGHT, WRONG, GREY, PALE = "#1f6f78", "#c2562d", "#b3ada0", "#f3f1eb"
# Names are people's own: no dollar sign in them may start a formula, and a letter no font has is drawn as a box, without a word.
STYLE = {
    "text.parse_math": False,
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "white",
}


def write_plots(report: Report, folder: Path) -> tuple[Path, ...]:
    """Write baselines.png, confusion.png, reliability.png, risk-coverage.png, roc.png, pr.png and, where known, learning.png."""
    drawings: dict[str, Callable[[Report, Any], None]] = {
        "baselines": _baselines,
        "confusion": _confusion,
        "reliability": _reliability,
        "risk-coverage": _risk,
        "roc": _roc,
        "pr": _pr,
    }
    if report.learning is not None:
        drawings["learning"] = _learning
    written = []
    with rc_context(STYLE):
        for name, draw in drawings.items():
            figure = Figure(figsize=(5.4, 4.2), layout="constrained")
            FigureCanvasAgg(figure)
            draw(report, figure)
            path = folder / f"{name}.png"
            figure.savefig(path, dpi=160, metadata={"Software": None})
            written.append(path)
    return tuple(written)


def _baselines(report: Report, figure: Any) -> None:
    rows = [(report.model.name, report.figures.accuracy)]
    rows += [(NAMES.get(b.name, b.name), b.accuracy) for b in report.baselines if b.accuracy is not None]
    figure.set_size_inches(6.4, 0.9 + 0.55 * len(rows))
    axes = figure.subplots()
    for place, (_, interval) in enumerate(reversed(rows)):
        axes.barh(place, interval.value, color=RIGHT if place == len(rows) - 1 else GREY, height=0.5)
        reach = [[interval.value - interval.low], [interval.high - interval.value]]
        axes.errorbar([interval.value], [place], xerr=reach, color="black", linewidth=1.2, capsize=3)
        axes.text(1.03, place, percent(interval.value), va="center")
    axes.set_yticks(range(len(rows)), [_plain(shorten(name, most=26)) for name, _ in reversed(rows)])
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, 1.13)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
    axes.set_xlabel("right, with 95 % intervals")


def _confusion(report: Report, figure: Any) -> None:
    counts = np.array(report.confusion, dtype=float)
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    size = len(report.labels)
    side = min(14.0, max(4.2, 1.6 + 0.42 * size))
    figure.set_size_inches(side + 0.4, side)
    axes = figure.subplots()
    axes.imshow(_shades(shares))
    if size <= 25:
        for row, column in np.argwhere(counts > 0):
            ink = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, f"{counts[row, column]:.0f}", ha="center", va="center", color=ink)
    names = [_plain(shorten(label)) for label in report.labels]
    if size <= 60:
        axes.set_xticks(range(size), names, rotation=40, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(size), names)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("said")
    axes.set_ylabel("truth")


def _shades(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Colours (C, C, 3): what is right in one, what is wrong in another, the paler the rarer."""
    full = np.where(np.eye(len(shares), dtype=bool)[..., None], to_rgb(RIGHT), to_rgb(WRONG))
    strength = np.where(shares > 0, 0.12 + 0.88 * shares, 0.0)[..., None]
    blended: NDArray[np.float64] = strength * full + (1 - strength) * np.array(to_rgb(PALE))
    return blended


def _reliability(report: Report, figure: Any) -> None:
    axes = figure.subplots()
    before, after = report.curves.uncalibrated, report.curves.calibrated
    axes.plot([0, 1], [0, 1], "--", color=GREY, label="ideal")
    axes.plot(before.sure, before.right, "--", color=WRONG, label=f"before scaling, ECE {percent(before.ece)}")
    axes.plot(after.sure, after.right, "o-", color=RIGHT, label=f"as it is, ECE {percent(after.ece)}")
    _label(axes, "how sure it is", "how often right")


def _risk(report: Report, figure: Any) -> None:
    axes = figure.subplots()
    curve, worst = report.curves.risk_coverage, 1 - report.figures.accuracy.value
    axes.plot([0, 1], [worst, worst], "--", color=GREY, label="whatever its certainty")
    axes.plot(curve.coverage, curve.risk, color=RIGHT, label=f"the surest first, AURC {curve.area:.3f}")
    _label(axes, "share answered", "share of those wrong")


def _roc(report: Report, figure: Any) -> None:
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], "--", color=GREY)
    _curves(axes, report.curves.roc)
    _label(axes, "said though it is not", "found")


def _pr(report: Report, figure: Any) -> None:
    axes = figure.subplots()
    _curves(axes, report.curves.pr)
    _label(axes, "found (recall)", "right when said (precision)")


def _curves(axes: Any, curves: Any) -> None:
    drawn = sorted((curve for curve in curves if curve.area is not None), key=lambda curve: curve.area)
    for index, curve in enumerate(drawn):
        named = index < 8
        label = _plain(f"{shorten(curve.label)} {curve.area:.2f}") if named else None
        axes.plot(curve.x, curve.y, linewidth=1.5 if named else 0.7, color=None if named else GREY, label=label)


def _learning(report: Report, figure: Any) -> None:
    assert report.learning is not None
    figure.set_size_inches(9.2, 3.8)
    for axes, kind in zip(figure.subplots(1, 2), ("loss", "accuracy")):
        for part, name, colour in (("train", "training", RIGHT), ("val", "validation", WRONG)):
            values = report.learning.curves.get(f"{part}_{kind}") or ()
            if values:
                axes.plot(range(1, len(values) + 1), values, color=colour, label=name)
        axes.axvline(report.learning.best_epoch, color=GREY, linestyle="--", label=f"kept: epoch {report.learning.best_epoch}")
        _label(axes, "epoch", kind)


def _label(axes: Any, x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False, fontsize=8)


def _plain(text: str) -> str:
    """The text in letters that the font has, because a missing one would be a warning for each of them."""
    return "".join(letter if ord(letter) in _letters() else "□" for letter in text) or "□"


@cache
def _letters() -> frozenset[int]:
    return frozenset(get_font(findfont("DejaVu Sans")).get_charmap())
