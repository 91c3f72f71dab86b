"""compare: is one model really better than another on the same segments? Works on reports alone; opens no video.

Two answers are asked for each pair: a bootstrap interval over groups, and tests (exact McNemar over segments, sign flips over
groups). Only where both agree is a model called better.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from quickstep.evaluation.report import Report, Tested
from quickstep.evaluation.report_figures import clusters
from quickstep.storage.serialization import to_plain
from quickstep.types.confidence_intervals import Difference, Interval, between, difference, holm, percent, points, share
from quickstep.types.errors import ConfigError

if TYPE_CHECKING:
    from quickstep.models.model import Model
    from quickstep.storage.cache import Cache

Key = tuple[Any, ...]
SURE = 0.05


@dataclass(frozen=True)
class Standing:
    """One model on the shared segments."""

    name: str
    trained_on: str
    tested_on: str
    accuracy: Interval


@dataclass(frozen=True)
class Duel:
    """One model against the reference; differences above 0 speak for the challenger."""

    challenger: str
    reference: str
    difference: Difference
    p: float  # the larger of both tests' p, corrected (Holm) for the number of duels
    better: str  # the name of the better one; empty where neither can be called so
    verdict: str


@dataclass(frozen=True)
class Comparison:
    """How the models stand, which is better, and on what that rests."""

    segments: int
    groups: int
    standings: tuple[Standing, ...]
    duels: tuple[Duel, ...]
    notes: tuple[str, ...]

    @property
    def text(self) -> str:
        """For the terminal: verdicts first, then the figures."""
        width = max(len(standing.name) for standing in self.standings)
        lines = [duel.verdict for duel in self.duels] + [""]
        for standing in self.standings:
            accuracy = standing.accuracy
            lines.append(f"{standing.name:<{width}}  {percent(accuracy.value):>6}  ({between(accuracy)})  {_where(standing)}")
        lines += ["", *self._rests_on]
        return "\n".join(lines)

    @property
    def markdown(self) -> str:
        """The same as a small page."""
        rows = [
            f"| {_cell(s.name)} | {percent(s.accuracy.value)} | {between(s.accuracy)} | {_cell(s.trained_on)} | {_cell(s.tested_on)} |"
            for s in self.standings
        ]
        head = ["| model | right | 95 % interval | trained on | tested on |", "|---|---:|---:|---|---|"]
        verdicts = [f"- {_cell(duel.verdict)}" for duel in self.duels]
        return "\n".join(["# Comparison", "", *verdicts, "", *head, *rows, "", *self._rests_on]) + "\n"

    @property
    def _rests_on(self) -> list[str]:
        over = f", {self.groups} groups" if self.groups < self.segments else ""
        return [
            f"On the same {self.segments} segments{over}. Paired bootstrap over groups; exact McNemar and sign-flip tests.",
            *self.notes,
        ]

    def to_json(self) -> str:
        """Everything, for programs."""
        return json.dumps(to_plain(self), ensure_ascii=False, allow_nan=False)


def compare(
    reports: Sequence[Report | Model | str | Path],
    *,
    against: Literal["first", "best"] = "first",
    cache: Cache | None = None,
    seed: int = 0,
) -> Comparison:
    """Hold the reports (or report.json files, or model folders that have one) against the first, or against the best.

    A Model is evaluated on its own test part first.
    """
    if len(reports) < 2:
        raise ConfigError("reports", f"comparing takes two or more, not {len(reports)}")
    opened = [_opened(report, cache) for report in reports]
    names = _names([report.model.name for report in opened])
    keyed, notes = _keyed(opened)
    shared, more = _shared(keyed, names)
    groups = clusters([keyed[0][key] for key in shared])
    right = [np.array([table[key].right for key in shared]) for table in keyed]
    standings = tuple(
        Standing(name, report.trained_on.name, report.tested_on.name, share(hits, groups, seed=seed))
        for name, report, hits in zip(names, opened, right)
    )
    chosen = max(range(len(right)), key=lambda index: right[index].mean()) if against == "best" else 0
    others = [index for index in range(len(right)) if index != chosen]
    differences = [difference(right[index], right[chosen], groups, seed=seed) for index in others]
    ps = holm([max(found.p, found.p_mcnemar) for found in differences])
    duels = tuple(_duel(names[index], names[chosen], found, p) for index, found, p in zip(others, differences, ps))
    if len(duels) > 1:
        more.append(f"The p values are corrected (Holm) for {len(duels)} comparisons at once.")
    return Comparison(len(shared), len(set(groups)), standings, duels, (*notes, *more))


def _opened(given: Report | Model | str | Path, cache: Cache | None) -> Report:
    if isinstance(given, Report):
        return given
    if isinstance(given, (str, Path)):
        return Report.load(given)
    from quickstep.evaluation.evaluate import evaluate

    return evaluate(given, cache=cache, baselines=False)


def _duel(challenger: str, reference: str, found: Difference, p: float) -> Duel:
    interval, tests = found.interval, f"p = {p:.2g}"
    gain, better = points(interval), challenger if interval.value > 0 else reference
    worse = reference if better == challenger else challenger
    apart = interval.low > 0 or interval.high < 0
    alone = f"{found.only_a} right by {challenger} alone, {found.only_b} by {reference} alone"
    if found.only_a + found.only_b == 0:
        return Duel(challenger, reference, found, p, "", f"{challenger} and {reference} are right on exactly the same segments.")
    if apart and p < SURE:
        verdict = f"{better} is better than {worse}: {challenger} is ahead by {gain}; {alone}; {tests}."
        return Duel(challenger, reference, found, p, better, verdict)
    if apart or p < SURE:
        verdict = f"{better} may be better than {worse}, but not surely: {challenger} is ahead by {gain}; {alone}; {tests}."
        return Duel(challenger, reference, found, p, "", verdict)
    unseen = 100 * (interval.high - interval.low) / 2
    verdict = (
        f"No difference between {challenger} and {reference} can be shown: {gain}; {alone}; {tests}. "
        f"One of less than about {unseen:.0f} points could not be seen with these segments."
    )
    return Duel(challenger, reference, found, p, "", verdict)


def _keyed(reports: Sequence[Report]) -> tuple[list[dict[Key, Tested]], list[str]]:
    """Each report's segments under what identifies them: the path, or where folders differ, the path's end."""
    whole = [{(one.path, one.start, one.end, one.person): one for one in report.tested} for report in reports]
    if set.intersection(*(set(table) for table in whole)):
        return whole, []
    ends = [_by_end(report.tested) for report in reports]
    if set.intersection(*(set(table) for table in ends)):
        return ends, ["The reports name videos in different folders; they were paired by folder and file name."]
    return whole, []


def _by_end(tested: Sequence[Tested]) -> dict[Key, Tested]:
    found: dict[Key, list[Tested]] = {}
    for one in tested:
        found.setdefault((PurePath(one.path).parts[-2:], one.start, one.end, one.person), []).append(one)
    return {key: ones[0] for key, ones in found.items() if len(ones) == 1}


def _shared(keyed: Sequence[Mapping[Key, Tested]], names: Sequence[str]) -> tuple[list[Key], list[str]]:
    """The segments that all reports tested under the same label, and what had to be left out."""
    common = [key for key in keyed[0] if all(key in table for table in keyed)]
    if not common:
        raise ConfigError("reports", f"{' and '.join(names)} have no tested segment in common; evaluate them on one manifest")
    agreed = [key for key in common if len({table[key].label for table in keyed}) == 1]
    if not agreed:
        raise ConfigError("reports", f"{' and '.join(names)} were tested under different labels; evaluate them on one manifest")
    notes = []
    left = [f"{len(table) - len(common)} of {len(table)} of {name}" for name, table in zip(names, keyed) if len(table) > len(common)]
    if left:
        notes.append(f"Only the segments that all have tested count; left out: {', '.join(left)}.")
    if len(agreed) < len(common):
        notes.append(f"{len(common) - len(agreed)} segments with a different label in some report are left out.")
    return agreed, notes


def _names(names: Sequence[str]) -> list[str]:
    """The models' names, numbered where two are alike."""
    return [f"{name} ({names[: index + 1].count(name)})" if names.count(name) > 1 else name for index, name in enumerate(names)]


def _where(standing: Standing) -> str:
    if standing.trained_on == standing.tested_on:
        return f"on {standing.tested_on}"
    return f"trained on {standing.trained_on}, tested on {standing.tested_on}"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())
