"""Leaderboard: the results of all trials of a study, best first, as plain data and in sentences."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from quickstep.storage.serialization import to_plain
from quickstep.types.confidence_intervals import Difference, Interval, between, difference, percent, points


@dataclass(frozen=True)
class Entry:
    """One trial."""

    trial: int
    state: str  # "done", "stopped", "failed" or "running"
    settings: dict[str, Any]  # those that differ from the defaults
    config: dict[str, Any]  # all settings
    drawn: dict[str, Any] = field(default_factory=dict)  # search dimension -> value
    default: bool = field(default=False, metadata={"written_as": "usual"})  # whether it has the default settings
    value: float | None = None
    accuracy: Interval | None = None
    log_loss: float | None = None
    seconds: float = 0.0
    parameters: int = field(default=0, metadata={"written_as": "numbers"})  # numbers that were fitted
    right: str = ""  # "1" or "0" for each scored segment
    cause: str = ""  # why it was stopped or failed

    @property
    def rank(self) -> tuple[float, float, float]:
        """The sort key, best first; equal values are ordered by log loss, then by time."""
        return (-(self.value if self.value is not None else -np.inf), self.log_loss or 0.0, self.seconds)


@dataclass(frozen=True)
class Leaderboard:
    """All trials, best first, and how they were scored."""

    entries: tuple[Entry, ...]
    metric: str = field(metadata={"written_as": "measure"})
    folds: int  # 0 for a single split
    scored: int = field(metadata={"written_as": "judged"})  # segments
    importance: dict[str, float]
    gain: Difference | None = None  # of the best settings over the defaults with the best backbone
    test: dict[str, Any] | None = None  # the result on the test part

    columns = ("trial", "state", "accuracy", "95 % interval", "log loss", "seconds", "parameters", "settings")

    @property
    def best(self) -> Entry | None:
        """The best trial that was completed."""
        return self.entries[0] if self.entries and self.entries[0].state == "done" else None

    def count(self, state: str) -> int:
        """Count the trials in a state."""
        return sum(entry.state == state for entry in self.entries)

    @property
    def verb(self) -> str:
        """The verb whose settings were searched."""
        return "finetune" if any(entry.settings.get("fine-tuned") for entry in self.entries) else "train"

    @property
    def data(self) -> str:
        """The data that trials were scored on."""
        parts = f"{self.folds} folds of train and val" if self.folds else "the validation part"
        return f"{self.scored} segments of {parts}"

    @property
    def sentences(self) -> tuple[str, ...]:
        """The result in sentences."""
        counts = [f"{self.count(state)} {state}" for state in ("done", "stopped", "failed", "running") if self.count(state)]
        lines = [f"{len(self.entries)} trials: {', '.join(counts) or 'none'}."]
        best = self.best
        if best is None or best.accuracy is None:
            return tuple(lines)
        lines.append(
            f"The best, trial {best.trial}, is {percent(best.accuracy.value)} accurate ({between(best.accuracy)}) on {self.data}. It was "
            f"chosen by that score out of {self.count('done')}, so the score is too high: rely on the test result."
        )
        if best.default:
            lines.append(f"It has the default settings of {self.verb}: the search found nothing better.")
        elif self.gain is not None:
            significant = self.gain.interval.low > 0 and self.gain.p < 0.05
            verdict = "significantly" if significant else "not significantly"
            lines.append(
                f"It is {verdict} better than the default settings of {self.verb}: {points(self.gain.interval)} on the same segments, "
                "by which it was chosen."
            )
        if self.test is not None:
            whose = "" if self.test["trial"] == best.trial else f"Of trial {self.test['trial']}, the best when the test part was used: "
            lines.append(f"{whose}{self.test['sentence']}")
        return tuple(lines)

    def rows(self, most: int | None = None) -> list[tuple[str, ...]]:
        """Return the table of trials for people, best first."""
        return [_row(entry) for entry in self.entries[:most]]

    def to_json(self) -> str:
        """Return everything as JSON, with the sentences."""
        entries = [{name: value for name, value in to_plain(entry).items() if name != "right"} for entry in self.entries]
        data = {**to_plain(self), "entries": entries, "sentences": list(self.sentences)}
        return json.dumps(data, ensure_ascii=False, indent=1)


def _row(entry: Entry) -> tuple[str, ...]:
    accuracy = entry.accuracy
    settings = ", ".join(f"{name.replace('_', ' ')} {format_value(value)}" for name, value in entry.settings.items())
    settings = f"(defaults) {settings}" if entry.default else settings
    return (
        str(entry.trial),
        entry.state,
        percent(accuracy.value) if accuracy else "",
        between(accuracy) if accuracy else "",
        f"{entry.log_loss:.3f}" if entry.log_loss is not None else "",
        f"{entry.seconds:.1f}",
        str(entry.parameters) if entry.parameters else "",
        f"{settings}: {entry.cause}" if entry.cause else settings,
    )


def format_value(value: Any) -> str:
    """Format the value of a setting for people."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {format_value(inner)}" for name, inner in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def gain_over_default(entries: tuple[Entry, ...], groups: list[str]) -> Difference | None:
    """Return how much the best trial is better than the best one with default settings."""
    best = entries[0] if entries else None
    default = next((entry for entry in entries if entry.default and entry.state == "done"), None)
    if best is None or default is None or best.default or len(best.right) != len(groups) or len(default.right) != len(groups):
        return None
    best_right, default_right = (np.array([bit == "1" for bit in entry.right]) for entry in (best, default))
    return difference(best_right, default_right, groups)
