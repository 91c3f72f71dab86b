"""Progress as data: one line of JSON between processes, and the time left."""

from __future__ import annotations

import json

import pytest

from quickstep.types import progress
from quickstep.types.progress import ProgressUpdate, RemainingTime


def test_an_update_survives_a_line_of_json() -> None:
    update = ProgressUpdate("reading: “x”", 3, 8)
    assert json.loads(update.to_line()) == {"stage": "reading: “x”", "done": 3, "total": 8}
    assert ProgressUpdate.from_line(update.to_line()) == update
    assert (update.share, ProgressUpdate("x", 0, 0).share, ProgressUpdate("x", 9, 8).share) == (0.375, 0.0, 1.0)


@pytest.mark.parametrize("line", ["", "features: 3 of 8", '{"stage": 1}', '{"stage": "x", "done": "", "total": 2}', '{"stage": "x"'])
def test_other_lines_are_not_updates(line: str) -> None:
    assert ProgressUpdate.from_line(line) is None


def test_the_time_left_follows_the_pace_of_each_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    remaining = RemainingTime()
    assert remaining.seconds(ProgressUpdate("a", 0, 10)) is None
    now[0] = 104.0
    assert remaining.seconds(ProgressUpdate("a", 4, 10)) == pytest.approx(6.0)
    assert remaining.seconds(ProgressUpdate("b", 0, 10)) is None
    assert remaining.seconds(ProgressUpdate("a", 10, 10)) is None
    assert remaining.elapsed("a") == 0.0
