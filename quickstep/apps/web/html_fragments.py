"""Answers, bars, intervals and small tables as HTML; every word that comes from outside is escaped here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from quickstep.apps.web.confidence_words import Tone, read, share
from quickstep.models.predictions import Prediction
from quickstep.types.confidence_intervals import Interval


def answer(prediction: Prediction, *, kicker: str = "") -> str:
    """The likeliest label, large, with its honest reading."""
    reading = read(prediction)
    label = prediction.label if reading.named else "none of these"
    short = "" if not reading.named else f'<span class="qs-reading {reading.tone}">{reading.short}</span>'
    head = f'<p class="qs-kicker">{escape(kicker)}</p>' if kicker else ""
    return f'<div class="qs-answer">{head}<b>{escape(label)}</b>{short}<p class="qs-why">{escape(reading.why)}</p></div>'


def message(large: str, small: str, *, kicker: str = "") -> str:
    """Words where an answer will stand."""
    return (
        f'<div class="qs-answer"><p class="qs-kicker">{escape(kicker)}</p><b>{escape(large)}</b><p class="qs-why">{escape(small)}</p></div>'
    )


def bars(scores: Sequence[tuple[str, float]], *, named: bool = True) -> str:
    """Labels with their scores, the first one in colour."""
    rows = []
    for place, (label, score) in enumerate(scores):
        kind = ' class="first"' if place == 0 and named else ""
        number = ' class="n first"' if place == 0 and named else ' class="n"'
        rows.append(
            f'<span{kind}>{escape(label)}</span><i{kind}><u style="width:{100 * score:.2f}%"></u></i><span{number}>{share(score)}</span>'
        )
    return f'<div class="qs-bars">{"".join(rows)}</div>'


def counts(numbers: Mapping[str, int], most: int) -> str:
    """How many there are of each."""
    rows = (
        f'<span>{escape(name)}</span><i><u style="width:{100 * count / max(most, 1):.2f}%"></u></i><span class="n">{count}</span>'
        for name, count in numbers.items()
    )
    return f'<div class="qs-bars">{"".join(rows)}</div>'


def intervals(rows: Sequence[tuple[str, Interval]]) -> str:
    """Measured shares with their 95 % intervals, one under the other; the last one in colour."""
    made = []
    for place, (name, interval) in enumerate(rows):
        now = " now" if place == len(rows) - 1 else ""
        low, high = 100 * interval.low, 100 * interval.high
        drawing = (
            f'<div class="qs-interval{now}"><i><u style="width:{100 * interval.value:.2f}%"></u></i>'
            f'<s style="left:{low:.2f}%;width:{max(0.5, high - low):.2f}%"></s></div>'
        )
        made.append(f'<span>{escape(name)}</span>{drawing}<span class="n first">{share(interval.value)}</span>')
    return f'<div class="qs-bars">{"".join(made)}</div>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Sequence[int] = ()) -> str:
    """A quiet table; the columns of `numbers` stand right."""

    def cell(tag: str, place: int, text: str) -> str:
        return f"<{tag}{' class=n' if place in numbers else ''}>{escape(text)}</{tag}>"

    top = "".join(cell("th", place, text) for place, text in enumerate(head))
    body = "".join(f"<tr>{''.join(cell('td', place, text) for place, text in enumerate(row))}</tr>" for row in rows)
    return f'<table class="qs-table"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>'


def verdict(text: str, tone: Tone = "note") -> str:
    """A sentence with a colour at its edge."""
    return f'<p class="qs-verdict {tone}">{escape(text)}</p>'
