"""save_figure: a figure as a picture file, whole or not at all; what cannot be written is said in one line."""

from __future__ import annotations

import os
from pathlib import Path

from matplotlib.figure import Figure

from quickstep.types.errors import MediaError


def save_figure(figure: Figure, target: Path) -> None:
    """Written aside and renamed; the same figure gives the same bytes."""
    kind = target.suffix.lower().lstrip(".") or "png"
    aside = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(aside, dpi=140, format=kind, metadata={"Software": None} if kind == "png" else None)
        aside.replace(target)
    except ValueError as error:
        raise MediaError(target, f"is no picture that can be written: {error}") from error
    except OSError as error:
        raise MediaError(target, f"cannot be written: {error.strerror or error}") from error
    finally:
        aside.unlink(missing_ok=True)
