"""How sure a score may sound: the honest reading of a prediction in plain words; knows no page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from quickstep.models.predictions import Prediction

FLAT = 0.15  # of the way from chance to certainty: a likeliest label below this stands out from nothing
LIKELY = 0.75  # without a threshold of its own, a model's answers are called likely from here on

Tone = Literal["good", "care", "note", "warn"]


@dataclass(frozen=True)
class Reading:
    """A prediction in words: short, and why."""

    short: str
    why: str
    tone: Tone
    named: bool = True  # whether the likeliest label is the answer at all


def read(prediction: Prediction) -> Reading:
    """What one may conclude from the scores, by the model's calibration and its threshold."""
    count, score = len(prediction.labels), prediction.score
    if score < 1 / count + FLAT * (1 - 1 / count):
        why = (
            f"No label stands out: the likeliest has {100 * score:.0f} %, where mere guessing among {count} would give {100 / count:.0f} %."
        )
        return Reading("none of these", why, "note", named=False)
    if prediction.sure is True:
        return Reading("fairly sure", "On validation videos, answers this sure were right at least 95 times in 100.", "good")
    if prediction.sure is False:
        return Reading("not sure", "On validation videos, answers no surer than this were wrong too often to be relied on.", "care")
    if score >= LIKELY:
        return Reading("likely", "How far this model's certainty can be trusted is not known: too few validation videos to say.", "note")
    return Reading("not sure", "The likeliest label is not far ahead, and how far to trust this model's certainty is not known.", "care")


def share(value: float) -> str:
    """A probability as people read it: 100 % only where it is all."""
    percent = 100 * value
    if 99.5 <= percent < 100:
        return "> 99 %"
    if 0 < percent < 0.5:
        return "< 1 %"
    return f"{percent:.0f} %"


def clock(seconds: float) -> str:
    """A moment of a video: 1:04.5."""
    minutes, rest = divmod(round(max(0.0, seconds), 1), 60)
    return f"{int(minutes)}:{rest:04.1f}"


def some(count: int, one: str, many: str | None = None) -> str:
    """A number of things: 1 video, 2 videos."""
    return f"{count} {one if count == 1 else many or f'{one}s'}"
