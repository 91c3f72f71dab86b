"""Render a report: report.html, report.json, report.md and charts as PNG; and beside a model its card."""

from __future__ import annotations

from pathlib import Path

from quickstep.evaluation.rendering.html import page
from quickstep.evaluation.rendering.markdown import markdown
from quickstep.evaluation.rendering.model_card import model_card
from quickstep.evaluation.rendering.png_plots import write_plots
from quickstep.evaluation.report import Report
from quickstep.models.ensemble import AnyModel
from quickstep.storage.files import write_text
from quickstep.types.errors import ModelError

__all__ = ["markdown", "model_card", "page", "write_card", "write_report"]


def write_report(report: Report, folder: str | Path) -> Path:
    """Write everything into a folder and return the page to open; in a model's folder, README.md becomes its card with all metrics."""
    folder = Path(folder)
    try:
        write_text(folder / "report.json", report.to_json(), errors="replace")
        write_text(folder / "report.html", page(report), errors="replace")
        write_text(folder / "report.md", markdown(report), errors="replace")
        write_plots(report, folder)
        if (folder / "model.json").is_file():
            write_text(folder / "README.md", model_card(report), errors="replace")
    except OSError as error:
        raise ModelError(folder, f"the report cannot be written: {error.strerror or error}") from error
    return folder / "report.html"


def write_card(model: AnyModel, folder: str | Path, *, report: Report | None = None) -> Path:
    """Write the card of a model, with its report where it was evaluated."""
    path = Path(folder) / "README.md"
    try:
        write_text(path, model_card(model, report), errors="replace")
    except OSError as error:
        raise ModelError(folder, f"the card cannot be written: {error.strerror or error}") from error
    return path
