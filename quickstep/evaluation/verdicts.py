"""What the figures mean, in plain sentences: chance, shortcuts, too few, unsure; measures nothing itself.

A warning says that the headline may not mean what it seems to; a caution that it is not certain; a note adds a fact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from quickstep.datasets.audit.metadata_shortcuts import Shortcut
from quickstep.evaluation.metrics import ClassFigures, Reliability
from quickstep.evaluation.report import Baseline, Figures, Proof, Verdict
from quickstep.types.confidence_intervals import Interval, between, percent, points

LEVELS = ("warning", "caution", "note", "good")
NEAR = 0.02  # two shares this close count as equal
VAGUE = 0.5  # a lead that may be this large cannot be denied
FEW = 30  # fewer tested segments than this cannot carry a claim


def in_order(verdicts: Sequence[Verdict]) -> tuple[Verdict, ...]:
    """The gravest first, otherwise as given."""
    return tuple(sorted(verdicts, key=lambda verdict: LEVELS.index(verdict.level)))


def on_size(accuracy: Interval, tested: int) -> list[Verdict]:
    """Whether there is enough to say anything."""
    many = f"{tested} test segment{'' if tested == 1 else 's'}"
    if accuracy.over == "groups":
        many += f" in {accuracy.units} groups"
    width = accuracy.high - accuracy.low
    if tested < 10 or width > 0.5:
        return [Verdict("warning", "size", f"Too few test segments to say: with {many} the truth may lie anywhere in {between(accuracy)}.")]
    if tested < FEW or width > 0.25:
        return [Verdict("caution", "size", f"Only {many}: the truth may lie anywhere in {between(accuracy)}.")]
    return []


def on_interval(accuracy: Interval, *, grouped: bool) -> list[Verdict]:
    """What makes the interval itself less certain."""
    verdicts = []
    if accuracy.note:
        verdicts.append(Verdict("note", "interval", f"About the interval: {accuracy.note}."))
    if not grouped:
        text = (
            "No groups are named, so every video counts as a source of its own. If several show one dancer or one session, name them in "
            "a group column: the figures are too good otherwise."
        )
        verdicts.append(Verdict("note", "groups", text))
    return verdicts


def on_chance(figures: Figures, majority: Baseline, classes: int) -> list[Verdict]:
    """Whether the model beats always saying the commonest label."""
    if majority.accuracy is None or majority.difference is None:
        return []
    lead, score = majority.difference.interval, percent(figures.accuracy.value)
    usual, best = majority.accuracy.value, max(majority.accuracy.value, figures.chance)
    if figures.accuracy.value - best <= NEAR:
        always = f"always {majority.about}" if usual == best else "one and the same answer for every video"
        text = f"This is not better than chance: {always} is right on {percent(best)}, your model on {score}."
        if figures.balanced_accuracy.low > 1 / classes:
            text += f" It does tell the classes apart somewhat (balanced accuracy {percent(figures.balanced_accuracy.value)})."
        return [Verdict("warning", "chance", text)]
    if lead.low <= 0:
        text = f"Too few test segments to say that this is better than chance: {score} against {percent(usual)}, {points(lead)}."
        return [Verdict("warning", "chance", text)]
    return []


def on_frame(figures: Figures, frame: Baseline) -> list[Verdict]:
    """Whether one still picture does what the model does."""
    if frame.accuracy is None or frame.difference is None or frame.over_majority is None:
        return []
    lead, pair = frame.difference.interval, _pair(frame.accuracy, figures.accuracy)
    if lead.low > 0:
        text = f"It is ahead of a single frame by {points(lead)}: it uses more than one picture shows."
        return [Verdict("good", "frame", text)]
    if frame.over_majority.interval.value <= NEAR:
        return []
    if lead.value <= NEAR and lead.high > VAGUE:
        text = f"Too few test segments to say whether it sees more than a single frame shows ({pair}; {points(lead)})."
        return [Verdict("caution", "frame", text)]
    if lead.value <= NEAR:
        text = f"A single frame scores {_how(lead)} your model ({pair}): it may be reading the stage, not the move."
        return [Verdict("warning", "frame", text)]
    text = f"It is ahead of a single frame, but not surely ({pair}; {points(lead)}): it may be reading the stage, not the move."
    return [Verdict("caution", "frame", text)]


def on_pose(figures: Figures, pose: Baseline) -> list[Verdict]:
    """Whether one pose does what the whole movement does."""
    if pose.accuracy is None or pose.difference is None or pose.over_majority is None:
        return []
    lead, pair = pose.difference.interval, _pair(pose.accuracy, figures.accuracy)
    if lead.low > 0:
        return [Verdict("good", "pose", f"It is ahead of a single pose by {points(lead)}: it uses the movement, not a posture alone.")]
    if pose.over_majority.interval.value <= NEAR:
        return []
    if lead.value <= NEAR and lead.high > VAGUE:
        text = f"Too few test segments to say whether it sees more than a single pose shows ({pair}; {points(lead)})."
        return [Verdict("caution", "pose", text)]
    if lead.value <= NEAR:
        text = f"A single pose scores {_how(lead)} your model ({pair}): the posture gives the class away, or the movement is not used."
        return [Verdict("caution", "pose", text)]
    return [Verdict("note", "pose", f"It is ahead of a single pose, but not surely ({pair}; {points(lead)}).")]


def on_metadata(figures: Figures, metadata: Baseline, shortcut: Shortcut | None = None) -> list[Verdict]:
    """Whether the files give the labels away without being looked at; `shortcut` was tried over all segments, so it is surer."""
    if metadata.accuracy is None or metadata.difference is None or metadata.over_majority is None:
        return []
    lead, over = metadata.difference.interval, metadata.over_majority.interval
    pair = _pair(metadata.accuracy, figures.accuracy)
    what = f"File metadata alone ({metadata.about.split(';')[0] or 'size, length, frame rate, codec'})"
    if lead.value <= NEAR and over.value > NEAR:
        text = f"{what} scores {_how(lead)} your model ({pair}): the files give the classes away, whatever moves in them."
        return [Verdict("warning", "metadata", text)]
    if shortcut is not None and shortcut.suspicious:
        text = f"Part of the score may be a shortcut: {shortcut.sentence}."
        return [Verdict("warning", "metadata", text)]
    if over.low > 0:
        chance = percent(metadata.accuracy.value - over.value)
        text = f"{what} is right on {percent(metadata.accuracy.value)} where chance is {chance}: part of the score may be a shortcut."
        return [Verdict("warning", "metadata", text)]
    if lead.low <= 0 and over.value > NEAR:
        text = f"{what} may be a shortcut: the model is not surely ahead of it ({pair}; {points(lead)})."
        return [Verdict("caution", "metadata", text)]
    return []


def on_classes(classes: Sequence[ClassFigures]) -> list[Verdict]:
    """Which classes are never recognised, and which were not tested."""
    verdicts = []
    never = [f"{figures.label} (0 of {figures.count})" for figures in classes if figures.count >= 3 and figures.right == 0]
    if never:
        verdicts.append(Verdict("caution", "classes", f"Never recognised: {_several(never)}."))
    absent = [figures.label for figures in classes if figures.count == 0]
    if absent:
        verdicts.append(Verdict("caution", "classes", f"Not tested, because no test segment has the label: {_several(absent)}."))
    return verdicts


def on_certainty(calibrated: Reliability, figures: Figures, tested: int) -> list[Verdict]:
    """Whether "80 % sure" means right in four of five."""
    if tested < FEW or calibrated.ece < 0.15:
        return []
    sure = sum(s * n for s, n in zip(calibrated.sure, calibrated.counts)) / sum(calibrated.counts)
    how = "surer than it is right" if sure > figures.accuracy.value else "right more often than it is sure"
    text = f"It is {how}: on average {percent(sure)} sure, right on {percent(figures.accuracy.value)}."
    return [Verdict("caution", "certainty", text)]


def on_proof(proof: Proof) -> list[Verdict]:
    """Whether something tested was learnt from."""
    if proof.leaks:
        return [Verdict("warning", "proof", f"The test is not clean, so its figures flatter: {proof.leaks[0]}.")]
    if not proof.known:
        return [Verdict("caution", "proof", f"Whether the test is clean is not known: {proof.lines[0]}.")]
    return []


def on_left_out(left_out: Mapping[str, int], tested: int) -> list[Verdict]:
    """Labels that the model never learnt cannot be right: they are not counted, but said."""
    if not left_out:
        return []
    count = sum(left_out.values())
    named = _several([f"{label} ({number})" for label, number in left_out.items()])
    text = f"{count} of {count + tested} segments have labels that the model never learnt and are left out of the figures: {named}."
    return [Verdict("caution", "labels", text)]


def on_failures(failed: int, tested: int) -> list[Verdict]:
    """Segments that could not be read are counted, not forgotten."""
    if not failed:
        return []
    return [Verdict("caution", "failures", f"{failed} of {failed + tested} test segments could not be read; they are listed below.")]


def on_problem(baseline: Baseline) -> list[Verdict]:
    """A baseline that could not be made leaves a question open."""
    if not baseline.problem:
        return []
    return [Verdict("caution", baseline.name, f"The {baseline.name} baseline could not be made: {baseline.problem}")]


def _how(lead: Interval) -> str:
    """How a baseline stands to a model that is not ahead of it."""
    return "better than" if lead.high < 0 else "at least as well as" if lead.value < -NEAR else "as well as"


def _pair(baseline: Interval, model: Interval) -> str:
    return f"{percent(baseline.value)} against {percent(model.value)}"


def _several(names: Sequence[str], *, most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
