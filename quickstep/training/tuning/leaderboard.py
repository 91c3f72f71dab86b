"""Entry and Leaderboard: what every trial of a study came to, best first, as plain data; knows no Optuna."""

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
    settings: dict[str, Any]  # what it tried that train would not do by itself
    config: dict[str, Any]  # all settings of train
    drawn: dict[str, Any] = field(default_factory=dict)  # what the search drew, under the names of the search
    usual: bool = False  # whether it is what train does by itself
    value: float | None = None
    accuracy: Interval | None = None
    log_loss: float | None = None
    seconds: float = 0.0
    numbers: int = 0  # that were fitted
    right: str = ""
    cause: str = ""  # why it was stopped or failed

    @property
    def rank(self) -> tuple[float, float, float]:
        """Best first; of equal ones the less surprised, then the quicker."""
        return (-(self.value if self.value is not None else -np.inf), self.log_loss or 0.0, self.seconds)


@dataclass(frozen=True)
class Leaderboard:
    """All trials, best first, and what decided their scores."""

    entries: tuple[Entry, ...]
    measure: str
    folds: int  # 0: one split
    judged: int  # segments
    importance: dict[str, float]
    gain: Difference | None = None  # of the best over what train does by itself with the best of the backbones
    test: dict[str, Any] | None = None  # the one look at the test part

    @property
    def best(self) -> Entry | None:
        """The first that was finished."""
        return self.entries[0] if self.entries and self.entries[0].state == "done" else None

    def count(self, state: str) -> int:
        return sum(entry.state == state for entry in self.entries)

    @property
    def verb(self) -> str:
        """What does by itself what the first trials did."""
        return "finetune" if any(entry.settings.get("fine-tuned") for entry in self.entries) else "train"

    @property
    def where(self) -> str:
        """What was judged."""
        how = f"{self.folds} folds of train and val" if self.folds else "the validation part"
        return f"{self.judged} segments of {how}"

    @property
    def sentences(self) -> tuple[str, ...]:
        """What came of it, in words."""
        counts = [f"{self.count(state)} {state}" for state in ("done", "stopped", "failed", "running") if self.count(state)]
        lines = [f"{len(self.entries)} trials: {', '.join(counts) or 'none'}."]
        best = self.best
        if best is None or best.accuracy is None:
            return tuple(lines)
        lines.append(
            f"The best, trial {best.trial}, is right on {percent(best.accuracy.value)} ({between(best.accuracy)}) of {self.where}. It was "
            f"chosen by that score out of {self.count('done')}, so the score is too good: what it is worth is what a test says."
        )
        if best.usual:
            lines.append(f"It is what {self.verb} does by itself: the search found nothing better.")
        elif self.gain is not None:
            apart = self.gain.interval.low > 0 and self.gain.p < 0.05
            verdict = "It is ahead of" if apart else "It cannot be told from"
            lines.append(
                f"{verdict} what {self.verb} does by itself: {points(self.gain.interval)} on the same segments, by which it was chosen."
            )
        if self.test is not None:
            lines.append(str(self.test["sentence"]))
        return tuple(lines)

    columns = ("trial", "state", "right", "95 %", "log-loss", "seconds", "numbers fitted", "settings")

    def rows(self, most: int | None = None) -> list[tuple[str, ...]]:
        """The table of trials, best first."""
        return [_row(entry) for entry in self.entries[:most]]

    def to_json(self) -> str:
        """As JSON, with sentences."""
        entries = [{name: value for name, value in to_plain(entry).items() if name != "right"} for entry in self.entries]
        data = {**to_plain(self), "entries": entries, "sentences": list(self.sentences)}
        return json.dumps(data, ensure_ascii=False, indent=1)


def _row(entry: Entry) -> tuple[str, ...]:
    accuracy = entry.accuracy
    settings = ", ".join(f"{name.replace('_', ' ')} {_short(value)}" for name, value in entry.settings.items())
    settings = f"(by itself) {settings}" if entry.usual else settings
    return (
        str(entry.trial),
        entry.state,
        percent(accuracy.value) if accuracy else "",
        between(accuracy) if accuracy else "",
        f"{entry.log_loss:.3f}" if entry.log_loss is not None else "",
        f"{entry.seconds:.1f}",
        str(entry.numbers) if entry.numbers else "",
        f"{settings}: {entry.cause}" if entry.cause else settings,
    )


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name} {_short(inner)}" for name, inner in value.items())
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def gain_over_usual(entries: tuple[Entry, ...], groups: list[str]) -> Difference | None:
    """How much the first is ahead of the best of those that train does by itself."""
    best = entries[0] if entries else None
    usual = next((entry for entry in entries if entry.usual and entry.state == "done"), None)
    if best is None or usual is None or best.usual or len(best.right) != len(groups) or len(usual.right) != len(groups):
        return None
    a, b = (np.array([bit == "1" for bit in entry.right]) for entry in (best, usual))
    return difference(a, b, groups)
