"""Predictions, numbers and small tables as text and HTML for the pages; text from outside is escaped here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

from quickstep.models.classifier import Prediction
from quickstep.types.confidence_intervals import Interval

FLAT = 0.15  # of the way from chance to certainty: below this, no label stands out
LIKELY = 0.75  # the score from which a prediction is called likely, where the model has no threshold

Tone = Literal["good", "care", "note", "warn"]


@dataclass(frozen=True)
class Verdict:
    """How far a prediction can be trusted: in short, and why."""

    short: str
    why: str
    tone: Tone
    named: bool = True  # whether the most probable label is a prediction at all


def verdict_on(prediction: Prediction, min_confidence: float | None = None) -> Verdict:
    """Judge a prediction by its score: below `min_confidence` it is "not sure" before any label; None: by the model's own threshold."""
    count, score = len(prediction.labels), prediction.score
    if score < 1 / count + FLAT * (1 - 1 / count):
        why = f"No label stands out: the most probable has {100 * score:.0f} %, and chance among {count} is {100 / count:.0f} %."
        return Verdict("not sure", why, "care", named=False)
    if min_confidence is not None and score < min_confidence:
        why = f"The score is below {100 * min_confidence:.0f} %, the confidence that this app asks for."
        return Verdict("not sure", why, "care", named=False)
    if prediction.sure is True:
        return Verdict("fairly sure", "On validation videos, predictions this confident were right at least 95 times in 100.", "good")
    if min_confidence is None and prediction.sure is False:
        why = "On validation videos, predictions no more confident than this were wrong too often."
        return Verdict("not sure", why, "care", named=False)
    if min_confidence is not None or score >= LIKELY:
        known = "On validation videos, predictions no more confident than this were wrong too often."
        unknown = "The confidence is uncalibrated: there were too few validation videos."
        return Verdict("likely", unknown if prediction.sure is None else known, "note")
    return Verdict("not sure", "The most probable label is not far ahead, and the confidence is uncalibrated.", "care", named=False)


def share(value: float) -> str:
    """Return a probability in percent; 100 % only for exactly 1."""
    percent = 100 * value
    if 99.5 <= percent < 100:
        return "> 99 %"
    if 0 < percent < 0.5:
        return "< 1 %"
    return f"{percent:.0f} %"


def clock(seconds: float) -> str:
    """Return a time in a video: 1:04.5."""
    minutes, rest = divmod(round(max(0.0, seconds), 1), 60)
    return f"{int(minutes)}:{rest:04.1f}"


def counted(count: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun: 1 video, 2 videos."""
    return f"{count} {one if count == 1 else many or f'{one}s'}"


# -- HTML --------------------------------------------------------------------------------------------------------------------


def answer(prediction: Prediction, *, kicker: str = "", min_confidence: float | None = None) -> str:
    """Return the most probable label, large, with how far it can be trusted; "not sure" comes before the label."""
    judged = verdict_on(prediction, min_confidence)
    label = f"{escape(prediction.label)}"
    if judged.named:
        large, small = label, f'<span class="qs-reading {judged.tone}">{judged.short}</span>'
    else:
        large, small = judged.short, f'<span class="qs-second">perhaps {label}</span>'
    head = f'<p class="qs-kicker">{escape(kicker)}</p>' if kicker else ""
    return f'<div class="qs-answer" role="status">{head}<b>{large}</b>{small}<p class="qs-why">{escape(judged.why)}</p></div>'


def message(large: str, small: str, *, kicker: str = "") -> str:
    """Return a message in the place of a prediction."""
    return (
        f'<div class="qs-answer"><p class="qs-kicker">{escape(kicker)}</p><b>{escape(large)}</b><p class="qs-why">{escape(small)}</p></div>'
    )


def bars(scores: Sequence[tuple[str, float]], *, named: bool = True) -> str:
    """Return a bar a label with its score, the first one in colour."""
    rows = []
    for place, (label, score) in enumerate(scores):
        kind = ' class="first"' if place == 0 and named else ""
        number = ' class="n first"' if place == 0 and named else ' class="n"'
        rows.append(
            f'<span{kind}>{escape(label)}</span><i{kind}><u style="width:{100 * score:.2f}%"></u></i><span{number}>{share(score)}</span>'
        )
    return f'<div class="qs-bars">{"".join(rows)}</div>'


def counts(numbers: Mapping[str, int], most: int) -> str:
    """Return a bar a name with its count."""
    rows = (
        f'<span>{escape(name)}</span><i><u style="width:{100 * count / max(most, 1):.2f}%"></u></i><span class="n">{count}</span>'
        for name, count in numbers.items()
    )
    return f'<div class="qs-bars">{"".join(rows)}</div>'


def intervals(rows: Sequence[tuple[str, Interval]]) -> str:
    """Return measured shares with their 95 % intervals, the last one in colour."""
    parts = []
    for place, (name, interval) in enumerate(rows):
        now = " now" if place == len(rows) - 1 else ""
        low, high = 100 * interval.low, 100 * interval.high
        drawing = (
            f'<div class="qs-interval{now}"><i><u style="width:{100 * interval.value:.2f}%"></u></i>'
            f'<s style="left:{low:.2f}%;width:{max(0.5, high - low):.2f}%"></s></div>'
        )
        parts.append(f'<span>{escape(name)}</span>{drawing}<span class="n first">{share(interval.value)}</span>')
    return f'<div class="qs-bars">{"".join(parts)}</div>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Sequence[int] = ()) -> str:
    """Return a table; the columns in `numbers` are right-aligned."""

    def cell(tag: str, place: int, text: str) -> str:
        return f"<{tag}{' class=n' if place in numbers else ''}>{escape(text)}</{tag}>"

    top = "".join(cell("th", place, text) for place, text in enumerate(head))
    body = "".join(f"<tr>{''.join(cell('td', place, text) for place, text in enumerate(row))}</tr>" for row in rows)
    return f'<table class="qs-table"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>'


def verdict(text: str, tone: Tone = "note") -> str:
    """Return a sentence with a colour at its edge."""
    return f'<p class="qs-verdict {tone}">{escape(text)}</p>'
