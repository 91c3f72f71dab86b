"""Report -> a folder one can read, send and print: report.html, report.json, report.md, pictures and, beside a model, its card."""

from __future__ import annotations

import os
from pathlib import Path

from quickstep.evaluation.rendering.html import page
from quickstep.evaluation.rendering.markdown import markdown
from quickstep.evaluation.rendering.model_card import model_card
from quickstep.evaluation.rendering.png_plots import write_plots
from quickstep.evaluation.report import Report
from quickstep.models.ensemble import AnyModel
from quickstep.types.errors import ModelError

__all__ = ["markdown", "model_card", "page", "write_card", "write_report"]


def write_report(report: Report, folder: str | Path) -> Path:
    """Write everything into a folder and say which page to open; beside a model, README.md becomes its card with all metrics."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _put(folder / "report.json", report.to_json())
        html = _put(folder / "report.html", page(report))
        _put(folder / "report.md", markdown(report))
        write_plots(report, folder)
        if (folder / "model.json").is_file():
            _put(folder / "README.md", model_card(report))
    except OSError as error:
        raise ModelError(folder, f"the report cannot be written: {error.strerror or error}") from error
    return html


def write_card(model: AnyModel, folder: str | Path, *, report: Report | None = None) -> Path:
    """Write the card of a model that was not evaluated yet, or with its report."""
    try:
        return _put(Path(folder) / "README.md", model_card(model, report))
    except OSError as error:
        raise ModelError(folder, f"the card cannot be written: {error.strerror or error}") from error


def _put(path: Path, text: str) -> Path:
    """Written aside and renamed, so that there is never half a file."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        aside.write_text(text, encoding="utf-8", newline="\n", errors="replace")
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    return path
