"""Segments, signals and errors, and the values that they refuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from quickstep.types import errors
from quickstep.types.segment import Segment
from quickstep.types.signals import Features, Frames


def test_a_segment_is_its_path_and_span() -> None:
    segment = Segment("a/b.mp4", "halo", 1.0, 2.5, extra={"city": "Novi Sad"})
    assert segment.span == (Path("a/b.mp4"), 1.0, 2.5, None)
    assert str(segment) == "a/b.mp4 @ 1-2.5 s"
    assert hash(segment) == hash(Segment("a/b.mp4", "halo", 1.0, 2.5))


def test_segments_of_two_people_differ() -> None:
    both = Segment("a.mp4", person=0), Segment("a.mp4", person=2)
    assert both[0].span != both[1].span
    assert [str(one) for one in both] == ["a.mp4, person 0", "a.mp4, person 2"]
    with pytest.raises(ValueError, match="person"):
        Segment("a.mp4", person=-1)


@pytest.mark.parametrize("span", [(-1.0, None), (float("nan"), None), (2.0, 2.0), (2.0, 1.0), (0.0, float("nan")), (0.0, float("inf"))])
def test_an_impossible_span_is_refused(span: tuple[float, float | None]) -> None:
    with pytest.raises(ValueError, match="segment"):
        Segment("a.mp4", None, *span)


def test_signals_check_their_shapes_and_print_them() -> None:
    frames = Frames(np.zeros((2, 4, 6, 3), np.uint8), np.array([0.0, 0.5]))
    assert repr(frames) == "Frames(2x4x6x3, 0.000-0.500 s, lost=0)"
    with pytest.raises(ValueError, match="uint8"):
        Frames(np.zeros((2, 4, 6, 3)), np.array([0.0, 0.5]))
    with pytest.raises(ValueError, match="times"):
        Frames(np.zeros((2, 4, 6, 3), np.uint8), np.array([0.0]))
    with pytest.raises(ValueError, match="float32"):
        Features(np.zeros((2, 3)), np.array([0.0, 0.5]))
    with pytest.raises(ValueError, match="times"):
        Features(np.zeros((0, 3), np.float32), np.zeros(0))


def test_every_error_is_one_line_and_also_a_builtin_error() -> None:
    raised = [
        (errors.MediaError("a.mp4", "cut\nshort"), OSError),
        (errors.ManifestError("a.csv", "no label", line=3), ValueError),
        (errors.UnknownName("head", "linaer", ["linear"]), LookupError),
        (errors.MissingExtra("openvino", "this engine"), ImportError),
        (errors.WeightsError("half a checkpoint"), OSError),
        (errors.ModelError("models/a", "a byte was changed"), ValueError),
        (errors.ConfigError("learning_rate", "above 0"), ValueError),
        (errors.CacheError("/cache", "full"), OSError),
    ]
    for error, builtin in raised:
        assert isinstance(error, errors.QuickstepError)
        assert isinstance(error, builtin)
        assert "\n" not in str(error)
    assert str(raised[1][0]) == "a.csv, line 3: no label"
    assert str(raised[6][0]) == "learning_rate: above 0"
