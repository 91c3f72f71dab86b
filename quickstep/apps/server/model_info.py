"""What a client may know of a served model: what it names, how it looks, how good it is; not where it lies or what it learnt from lies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from quickstep.evaluation import Report
from quickstep.models.ensemble import AnyModel, Ensemble
from quickstep.storage.serialization import to_plain
from quickstep.types.errors import QuickstepError

_TOLD = ("created", "quickstep", "fingerprint", "splits", "notes", "words", "versions")


def facts_of(name: str, model: AnyModel, names: Sequence[str]) -> dict[str, Any]:
    """Plain data, as `GET /model` answers it."""
    facts = to_plain(model.facts)
    return {
        "model": name,
        "models": list(names),
        "labels": list(model.labels),
        **_looks(model),
        "threshold": model.threshold,
        "facts": {each: facts[each] for each in _TOLD},
        "cautions": list(model.cautions),
        "report": None if model.folder is None else _report(model.folder),
    }


def _looks(model: AnyModel) -> dict[str, Any]:
    if isinstance(model, Ensemble):
        members = {
            name: {"weight": weight, **_looks(member)}
            for name, weight, member in zip(model.names, model.weights, model.members, strict=True)
        }
        return {"backbone": None, "head": None, "view": None, "members": members}
    backbone = {"name": model.backbone.name, "license": model.backbone.license}
    return {"backbone": backbone, "head": model.head.name, "view": to_plain(model.view)}


def _report(folder: Path) -> list[str] | None:
    """What its evaluation says in sentences, where it was evaluated."""
    try:
        return list(Report.from_json((folder / "report.json").read_bytes()).summary)
    except (OSError, QuickstepError):
        return None
