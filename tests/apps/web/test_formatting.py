"""Numbers and predictions as text: nothing is rounded to certainty, and no label is named at chance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from quickstep.apps.web.formatting import clock, share, verdict_on
from quickstep.models.classifier import Prediction
from quickstep.types.segment import Segment


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0 %"), (0.004, "< 1 %"), (0.006, "1 %"), (0.5, "50 %"), (0.994, "99 %"), (0.996, "> 99 %"), (1.0, "100 %")],
)
def test_only_certainty_is_100_percent_and_only_nothing_is_0(value: float, text: str) -> None:
    assert share(value) == text


@pytest.mark.parametrize(("seconds", "text"), [(-1.0, "0:00.0"), (4.04, "0:04.0"), (59.96, "1:00.0"), (64.5, "1:04.5")])
def test_a_time_has_minutes_and_tenths_of_a_second(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def verdict_of(scores: list[float], threshold: float | None = None) -> tuple[str, bool]:
    labels = tuple("abcdefgh"[: len(scores)])
    judged = verdict_on(Prediction(Segment(Path("a.mp4")), np.array(scores), labels, threshold))
    return judged.short, judged.named


def test_a_label_is_named_only_well_above_chance() -> None:
    assert verdict_of([0.55, 0.45]) == ("not sure", False)
    assert verdict_of([0.3, 0.25, 0.25, 0.2], threshold=0.1) == ("not sure", False)
    assert verdict_of([0.6, 0.4]) == ("not sure", False)
    assert verdict_of([0.8, 0.2]) == ("likely", True)
    assert verdict_of([0.8, 0.2], threshold=0.7) == ("fairly sure", True)
    assert verdict_of([0.8, 0.2], threshold=0.9) == ("not sure", False)
