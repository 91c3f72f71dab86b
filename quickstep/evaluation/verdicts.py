"""Verdicts: what the figures mean, in plain sentences.

A warning says that the accuracy may not mean what it seems to; a caution that it is uncertain; a note adds a fact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from quickstep.datasets.audit.metadata_shortcuts import Shortcut
from quickstep.evaluation.metrics import ClassFigures, Reliability
from quickstep.evaluation.report import Baseline, Figures, Proof, Verdict
from quickstep.types.confidence_intervals import Difference, Interval, between, percent, points

LEVELS = ("warning", "caution", "note", "good")
NEAR = 0.02  # accuracies this close count as equal
LARGE = 0.5  # where the interval reaches this lead, the test set is too small to deny it
FEW = 30  # with fewer tested segments no claim is made


def by_severity(verdicts: Sequence[Verdict]) -> tuple[Verdict, ...]:
    """Sort the verdicts, warnings first."""
    return tuple(sorted(verdicts, key=lambda verdict: LEVELS.index(verdict.level)))


def consistent(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Drop what a warning contradicts: praise beside any warning, and reasons for a lead over chance that does not exist."""
    warned = {verdict.about for verdict in verdicts if verdict.level == "warning"}
    kept = [verdict for verdict in verdicts if not (warned and verdict.level == "good")]
    if warned & {"chance", "size"}:
        kept = [verdict for verdict in kept if verdict.about not in ("frame", "pose") or verdict.level == "warning"]
    return kept


def on_size(accuracy: Interval, tested: int) -> list[Verdict]:
    """Judge whether the test set is large enough."""
    count = f"{tested} test segment{'' if tested == 1 else 's'}"
    if accuracy.over == "groups":
        count += f" in {accuracy.units} groups"
    width = accuracy.high - accuracy.low
    if tested < 10 or width > 0.5:
        text = f"The test set is too small to conclude anything: with {count} the true accuracy may be anywhere in {between(accuracy)}."
        return [Verdict("warning", "size", text)]
    if tested < FEW or width > 0.25:
        return [Verdict("caution", "size", f"There are only {count}: the true accuracy may be anywhere in {between(accuracy)}.")]
    return []


def on_interval(accuracy: Interval, *, grouped: bool) -> list[Verdict]:
    """State what makes the interval itself less certain."""
    verdicts = []
    if accuracy.note:
        verdicts.append(Verdict("note", "interval", f"About the interval: {accuracy.note}."))
    if not grouped:
        text = (
            "The manifest has no groups, so every video counts as independent. If several videos show the same dancer or session, add a "
            "group column: without it the figures are too optimistic."
        )
        verdicts.append(Verdict("caution", "groups", text))
    return verdicts


def on_chance(figures: Figures, majority: Baseline, classes: int) -> list[Verdict]:
    """Judge whether the model beats the majority class."""
    if majority.accuracy is None or majority.difference is None:
        return []
    lead, score = _lead_over_chance(figures, majority), percent(figures.accuracy.value)
    baseline, best = majority.accuracy.value, max(majority.accuracy.value, figures.chance)
    if figures.accuracy.value - best <= NEAR:
        constant = majority.about if baseline == best else "the same label for every video"
        text = f"The model is not better than chance: {constant} is {percent(best)} accurate, the model {score}."
        if figures.balanced_accuracy.low > 1 / classes:
            text += f" It does separate the classes to some degree (balanced accuracy {percent(figures.balanced_accuracy.value)})."
        return [Verdict("warning", "chance", text)]
    if lead.low <= 0:
        text = f"The test set is too small to show that the model beats the majority class ({score} against {percent(best)}; "
        return [Verdict("warning", "chance", f"{text}{points(lead)}).")]
    return []


def on_frame(figures: Figures, frame: Baseline, majority: Baseline | None = None) -> list[Verdict]:
    """Judge whether a single frame is as good as the model; a frame worse than chance is replaced by chance."""
    if frame.accuracy is None or frame.difference is None or frame.over_majority is None:
        return []
    lead, pair = frame.difference.interval, _pair(frame.accuracy, figures.accuracy)
    if lead.low > 0:
        only_chance, smallest = _smallest_lead(figures, lead, majority)
        opponent = "chance (a single frame is worse)" if only_chance else "a single frame"
        return [Verdict("good", "frame", f"The model is ahead of {opponent} by {points(smallest)}: it uses the movement.")]
    if not _beats_majority(frame.over_majority):
        return []
    background = "it may recognize the background, not the move"
    if lead.value <= NEAR and lead.high > LARGE:
        text = f"The test set is too small to show whether the model beats a single frame ({pair}; {points(lead)})."
        return [Verdict("caution", "frame", text)]
    if lead.value <= NEAR:
        text = f"A single frame is {_compared(lead)} the model ({pair}): {background}."
        return [Verdict("warning", "frame", text)]
    text = f"The model is ahead of a single frame, but not significantly ({pair}; {points(lead)}): {background}."
    return [Verdict("caution", "frame", text)]


def on_pose(figures: Figures, pose: Baseline, majority: Baseline | None = None) -> list[Verdict]:
    """Judge whether a single pose is as good as the model; a pose worse than chance is replaced by chance."""
    if pose.accuracy is None or pose.difference is None or pose.over_majority is None:
        return []
    lead, pair = pose.difference.interval, _pair(pose.accuracy, figures.accuracy)
    if lead.low > 0:
        only_chance, smallest = _smallest_lead(figures, lead, majority)
        opponent = "chance (a single pose is worse)" if only_chance else "a single pose"
        return [Verdict("good", "pose", f"The model is ahead of {opponent} by {points(smallest)}: it uses the movement.")]
    if not _beats_majority(pose.over_majority):
        return []
    if lead.value <= NEAR and lead.high > LARGE:
        text = f"The test set is too small to show whether the model beats a single pose ({pair}; {points(lead)})."
        return [Verdict("caution", "pose", text)]
    if lead.value <= NEAR:
        text = f"A single pose is {_compared(lead)} the model ({pair}): the posture gives the class away, or movement is ignored."
        return [Verdict("caution", "pose", text)]
    return [Verdict("note", "pose", f"The model is ahead of a single pose, but not significantly ({pair}; {points(lead)}).")]


def on_metadata(figures: Figures, metadata: Baseline, shortcut: Shortcut | None = None) -> list[Verdict]:
    """Judge whether file metadata gives the labels away; `shortcut` was measured on all segments, so it is more certain."""
    if metadata.accuracy is None or metadata.difference is None or metadata.over_majority is None:
        return []
    lead, over = metadata.difference.interval, metadata.over_majority.interval
    pair = _pair(metadata.accuracy, figures.accuracy)
    name = f"File metadata alone ({metadata.about.split(';')[0] or 'size, length, frame rate, codec'})"
    if lead.value <= NEAR and over.value > NEAR:
        text = f"{name} is {_compared(lead)} the model ({pair}): the files give the classes away without their content."
        return [Verdict("warning", "metadata", text)]
    if shortcut is not None and shortcut.suspicious:
        return [Verdict("warning", "metadata", f"Part of the accuracy may be a shortcut: {shortcut.sentence}.")]
    if over.low > 0:
        chance, score = percent(metadata.accuracy.value - over.value), percent(metadata.accuracy.value)
        text = f"{name} is {score} accurate where chance is {chance}: part of the accuracy may be a shortcut."
        return [Verdict("warning", "metadata", text)]
    if lead.low <= 0 and over.value > NEAR:
        text = f"{name} may be a shortcut: the model is not significantly ahead of it ({pair}; {points(lead)})."
        return [Verdict("caution", "metadata", text)]
    return []


def on_classes(classes: Sequence[ClassFigures]) -> list[Verdict]:
    """State which classes are never recognized, and which were not tested."""
    verdicts = []
    never = [f"{figures.label} (0 of {figures.count})" for figures in classes if figures.count >= 3 and figures.correct == 0]
    if never:
        verdicts.append(Verdict("caution", "classes", f"Never recognized: {_listed(never)}."))
    absent = [figures.label for figures in classes if figures.count == 0]
    if absent:
        verdicts.append(Verdict("caution", "classes", f"Not tested, because no test segment has the label: {_listed(absent)}."))
    return verdicts


def on_calibration(calibrated: Reliability, figures: Figures, tested: int) -> list[Verdict]:
    """Judge whether a confidence of 80 % means four correct of five."""
    if tested < FEW or calibrated.ece < 0.15:
        return []
    confidence = sum(value * count for value, count in zip(calibrated.confidence, calibrated.counts)) / sum(calibrated.counts)
    kind = "overconfident" if confidence > figures.accuracy.value else "underconfident"
    text = f"The model is {kind}: its mean confidence is {percent(confidence)}, its accuracy {percent(figures.accuracy.value)}."
    return [Verdict("caution", "certainty", text)]


def on_proof(proof: Proof) -> list[Verdict]:
    """State whether the model was trained on tested segments."""
    if proof.leaks:
        return [Verdict("warning", "proof", f"The test set is not clean, so the figures are too optimistic: {proof.leaks[0]}.")]
    if not proof.known:
        return [Verdict("caution", "proof", f"Whether the test set is clean is unknown: {proof.lines[0]}.")]
    return []


def on_left_out(left_out: Mapping[str, int], tested: int) -> list[Verdict]:
    """State which segments were left out, because the model was not trained on their labels."""
    if not left_out:
        return []
    count = sum(left_out.values())
    listed = _listed([f"{label} ({number})" for label, number in left_out.items()])
    text = f"{count} of {count + tested} segments have labels that the model was not trained on, and are left out of the figures: {listed}."
    return [Verdict("caution", "labels", text)]


def on_failures(failed: int, tested: int) -> list[Verdict]:
    """State how many segments could not be read."""
    if not failed:
        return []
    return [Verdict("caution", "failures", f"{failed} of {failed + tested} test segments could not be read; they are listed below.")]


def on_problem(baseline: Baseline) -> list[Verdict]:
    """State why a baseline is missing."""
    if not baseline.problem:
        return []
    return [Verdict("caution", baseline.name, f"The {baseline.name} baseline could not be computed: {baseline.problem}")]


def _lead_over_chance(figures: Figures, majority: Baseline) -> Interval:
    """Return the lead over the stronger of the majority class of the training part and that of the test part."""
    assert majority.accuracy is not None
    assert majority.difference is not None
    if figures.chance <= majority.accuracy.value:
        return majority.difference.interval
    accuracy = figures.accuracy
    value, low, high = (share - figures.chance for share in (accuracy.value, accuracy.low, accuracy.high))
    return replace(accuracy, value=value, low=low, high=high)


def _smallest_lead(figures: Figures, baseline: Interval, majority: Baseline | None) -> tuple[bool, Interval]:
    """Return whether chance is a stronger opponent than the baseline, and the model's lead over the stronger one."""
    if majority is None or majority.difference is None:
        return False, baseline
    chance = _lead_over_chance(figures, majority)
    return (True, chance) if chance.value < baseline.value else (False, baseline)


def _beats_majority(over_majority: Difference) -> bool:
    return over_majority.interval.value > NEAR


def _compared(lead: Interval) -> str:
    """Compare a baseline with a model that is not ahead of it."""
    return "better than" if lead.high < 0 else "at least as good as" if lead.value < -NEAR else "as good as"


def _pair(baseline: Interval, model: Interval) -> str:
    return f"{percent(baseline.value)} against {percent(model.value)}"


def _listed(names: Sequence[str], *, most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
