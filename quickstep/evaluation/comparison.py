"""compare: is one model better than another on the same segments? It needs their reports alone and opens no video.

Each pair gets a bootstrap interval over groups and two tests (exact McNemar over segments, sign flips over groups). A model is called
better only where both agree.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from quickstep.evaluation.report import Report, TestedSegment
from quickstep.evaluation.report_figures import groups_of
from quickstep.storage.serialization import to_plain
from quickstep.types.confidence_intervals import Difference, Interval, between, difference, holm, percent, points, share
from quickstep.types.errors import ConfigError

if TYPE_CHECKING:
    from quickstep.models.model import Model
    from quickstep.storage.cache import Cache

Key = tuple[Any, ...]
SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class ComparedModel:
    """One model's accuracy on the shared segments."""

    name: str
    trained_on: str
    tested_on: str
    accuracy: Interval


@dataclass(frozen=True)
class Pair:
    """One model against the reference; differences above 0 favour the challenger."""

    challenger: str
    reference: str
    difference: Difference
    p: float  # the larger p value of both tests, with Holm's correction for the number of pairs
    better: str  # the name of the better model; empty where neither is significantly better
    verdict: str


@dataclass(frozen=True)
class Comparison:
    """The accuracies of several models on the same segments, and the differences between them."""

    segments: int
    groups: int
    models: tuple[ComparedModel, ...]
    pairs: tuple[Pair, ...]
    notes: tuple[str, ...]

    @property
    def text(self) -> str:
        """The result for the terminal: verdicts first, then the figures."""
        width = max(len(model.name) for model in self.models)
        lines = [pair.verdict for pair in self.pairs] + [""]
        for model in self.models:
            accuracy = model.accuracy
            lines.append(f"{model.name:<{width}}  {percent(accuracy.value):>6}  ({between(accuracy)})  {_sources(model)}")
        lines += ["", *self._method]
        return "\n".join(lines)

    @property
    def markdown(self) -> str:
        """The result as a small page."""
        rows = []
        for model in self.models:
            name, trained_on, tested_on = map(_escape, (model.name, model.trained_on, model.tested_on))
            rows.append(f"| {name} | {percent(model.accuracy.value)} | {between(model.accuracy)} | {trained_on} | {tested_on} |")
        head = ["| model | accuracy | 95 % interval | trained on | tested on |", "|---|---:|---:|---|---|"]
        verdicts = [f"- {_escape(pair.verdict)}" for pair in self.pairs]
        return "\n".join(["# Comparison", "", *verdicts, "", *head, *rows, "", *self._method]) + "\n"

    @property
    def _method(self) -> list[str]:
        over = f", {self.groups} groups" if self.groups < self.segments else ""
        return [
            f"On the same {self.segments} segments{over}. Paired bootstrap over groups; exact McNemar and sign-flip tests.",
            *self.notes,
        ]

    def to_json(self) -> str:
        """Return the whole comparison as JSON."""
        return json.dumps(to_plain(self), ensure_ascii=False, allow_nan=False)


def compare(
    reports: Sequence[Report | Model | str | Path],
    *,
    against: Literal["first", "best"] = "first",
    cache: Cache | None = None,
    seed: int = 0,
) -> Comparison:
    """Compare reports (or report.json files, or model folders that have one) with the first of them, or with the best.

    A Model is evaluated on its own test part first.
    """
    if len(reports) < 2:
        raise ConfigError("models", f"a comparison needs at least two models (or reports), not {len(reports)}")
    opened = [_opened(report, cache) for report in reports]
    names = _numbered([report.model.name for report in opened])
    keyed, notes = _by_segment(opened)
    shared, more = _shared(keyed, names)
    groups = groups_of([keyed[0][key] for key in shared])
    correct = [np.array([table[key].correct for key in shared]) for table in keyed]
    models = tuple(
        ComparedModel(name, report.trained_on.name, report.tested_on.name, share(hits, groups, seed=seed))
        for name, report, hits in zip(names, opened, correct)
    )
    reference = max(range(len(correct)), key=lambda index: correct[index].mean()) if against == "best" else 0
    others = [index for index in range(len(correct)) if index != reference]
    differences = [difference(correct[index], correct[reference], groups, seed=seed) for index in others]
    p_values = holm([max(paired.p, paired.p_mcnemar) for paired in differences])
    pairs = tuple(_pair(names[index], names[reference], paired, p) for index, paired, p in zip(others, differences, p_values))
    if len(pairs) > 1:
        more.append(f"The p values are corrected (Holm) for {len(pairs)} comparisons at once.")
    return Comparison(len(shared), len(set(groups)), models, pairs, (*notes, *more))


def _opened(report: Report | Model | str | Path, cache: Cache | None) -> Report:
    if isinstance(report, Report):
        return report
    if isinstance(report, (str, Path)):
        return Report.load(report)
    from quickstep.evaluation.evaluator import evaluate

    return evaluate(report, cache=cache, baselines=False)


def _pair(challenger: str, reference: str, measured: Difference, p: float) -> Pair:
    """State in a sentence whether one of the two is better."""
    interval, test = measured.interval, f"p = {p:.2g}"
    lead, better = points(interval), challenger if interval.value > 0 else reference
    worse = reference if better == challenger else challenger
    separate = interval.low > 0 or interval.high < 0
    counts = f"{measured.only_a} correct by {challenger} alone, {measured.only_b} by {reference} alone"
    if measured.only_a + measured.only_b == 0:
        verdict = f"{challenger} and {reference} are correct on exactly the same segments."
        return Pair(challenger, reference, measured, p, "", verdict)
    if separate and p < SIGNIFICANCE:
        verdict = f"{better} is better than {worse}: {challenger} leads by {lead}; {counts}; {test}."
        return Pair(challenger, reference, measured, p, better, verdict)
    if separate or p < SIGNIFICANCE:
        verdict = f"{better} may be better than {worse}, but not significantly: {challenger} leads by {lead}; {counts}; {test}."
        return Pair(challenger, reference, measured, p, "", verdict)
    undetectable = 100 * (interval.high - interval.low) / 2
    verdict = (
        f"There is no significant difference between {challenger} and {reference}: {lead}; {counts}; {test}. "
        f"Differences below about {undetectable:.0f} points cannot be detected with these segments."
    )
    return Pair(challenger, reference, measured, p, "", verdict)


def _by_segment(reports: Sequence[Report]) -> tuple[list[dict[Key, TestedSegment]], list[str]]:
    """Return each report's segments by path and span; where the folders differ, by the last folder and the file name."""
    by_path = [{(segment.path, segment.start, segment.end, segment.person): segment for segment in report.tested} for report in reports]
    if set.intersection(*(set(table) for table in by_path)):
        return by_path, []
    by_name = [_by_file_name(report.tested) for report in reports]
    if set.intersection(*(set(table) for table in by_name)):
        return by_name, ["The reports have the videos in different folders; they were paired by folder and file name."]
    return by_path, []


def _by_file_name(tested: Sequence[TestedSegment]) -> dict[Key, TestedSegment]:
    """Return the segments that their last folder, file name and span identify."""
    by_name: dict[Key, list[TestedSegment]] = {}
    for segment in tested:
        by_name.setdefault((PurePath(segment.path).parts[-2:], segment.start, segment.end, segment.person), []).append(segment)
    return {key: segments[0] for key, segments in by_name.items() if len(segments) == 1}


def _shared(keyed: Sequence[Mapping[Key, TestedSegment]], names: Sequence[str]) -> tuple[list[Key], list[str]]:
    """Return the segments that all reports tested under the same label, and notes on what was left out."""
    common = [key for key in keyed[0] if all(key in table for table in keyed)]
    if not common:
        raise ConfigError("reports", f"{' and '.join(names)} have no tested segment in common; evaluate them on one manifest")
    agreed = [key for key in common if len({table[key].label for table in keyed}) == 1]
    if not agreed:
        raise ConfigError("reports", f"{' and '.join(names)} were tested under different labels; evaluate them on one manifest")
    notes = []
    unshared = [f"{len(table) - len(common)} of {len(table)} of {name}" for name, table in zip(names, keyed) if len(table) > len(common)]
    if unshared:
        notes.append(f"Only segments that all models were tested on count; left out: {', '.join(unshared)}.")
    if len(agreed) < len(common):
        notes.append(f"{len(common) - len(agreed)} segments with a different label in some report are left out.")
    return agreed, notes


def _numbered(names: Sequence[str]) -> list[str]:
    """Return the names, with a number after each that occurs more than once."""
    return [f"{name} ({names[: index + 1].count(name)})" if names.count(name) > 1 else name for index, name in enumerate(names)]


def _sources(model: ComparedModel) -> str:
    if model.trained_on == model.tested_on:
        return f"on {model.tested_on}"
    return f"trained on {model.trained_on}, tested on {model.tested_on}"


def _escape(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())
