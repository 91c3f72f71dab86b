"""set_reports_aside: what tells of the model that stood in a folder before must not be read as if it told of the new one."""

from __future__ import annotations

from pathlib import Path

OLDER = "-of-an-earlier-model"


def set_reports_aside(folder: Path) -> tuple[str, ...]:
    """Rename the folders of reports on other videos that `evaluate` has put into a model's folder; a note for each."""
    notes = []
    for report in sorted(folder.glob("on-*/report.json")):
        place = report.parent
        if OLDER in place.name:
            continue
        number, aside = 1, place.with_name(place.name + OLDER)
        while aside.exists():
            number, aside = number + 1, place.with_name(f"{place.name}{OLDER}-{number + 1}")
        place.rename(aside)
        notes.append(f"the report in {place.name} was about the model as it was before; it is now in {aside.name}")
    return tuple(notes)
