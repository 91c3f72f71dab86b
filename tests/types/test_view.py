"""Properties of a view's timestamps and picture sizes that hold for every span and every shape."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quickstep.types.errors import ConfigError
from quickstep.types.view import View

spans = st.tuples(st.floats(0, 1e5), st.floats(1e-3, 1e5)).map(lambda pair: (pair[0], pair[0] + pair[1]))
views = st.one_of(
    st.builds(View, frames=st.integers(1, 64), windows=st.integers(1, 20)),
    st.builds(View, frames=st.integers(1, 64), fps=st.floats(0.5, 120), windows=st.integers(1, 20)),
)


@given(view=views, span=spans)
def test_timestamps_are_inside_the_span_and_ascend(view: View, span: tuple[float, float]) -> None:
    timestamps = view.timestamps(*span)
    assert timestamps.shape == (view.windows, view.frames)
    assert (timestamps >= span[0]).all()
    assert (timestamps < span[1]).all()
    assert (np.diff(timestamps, axis=1) >= 0).all()
    assert (np.diff(timestamps[:, 0]) >= 0).all()


@given(frames=st.integers(1, 64), fps=st.floats(1, 60), span=st.tuples(st.floats(0, 100), st.floats(0.1, 300)))
def test_covering_windows_leave_no_gap(frames: int, fps: float, span: tuple[float, float]) -> None:
    start, end = span[0], span[0] + span[1]
    timestamps = View(frames=frames, fps=fps, windows=None).timestamps(start, end)
    assert np.diff([start, *np.unique(timestamps), end]).max() <= 1 / fps + 1e-6


@given(stride=st.floats(0.1, 5), span=st.tuples(st.floats(0, 100), st.floats(0.5, 60)))
def test_windows_with_a_stride_start_so_far_apart_and_end_with_the_segment(stride: float, span: tuple[float, float]) -> None:
    start, end = span[0], span[0] + span[1]
    timestamps = View(frames=4, fps=2, windows=None, stride=stride).timestamps(start, end)
    starts = timestamps[:, 0] - 0.25
    assert np.allclose(np.diff(starts)[:-1], stride)
    assert (np.diff(starts) <= stride + 1e-9).all()
    assert abs(starts[0] - start) < 1e-9
    if span[1] >= 2:
        assert abs(starts[-1] + 2 - end) < 1e-5
    else:
        assert len(timestamps) == 1


def test_without_a_frame_rate_timestamps_are_the_middles_of_equal_parts() -> None:
    assert View(frames=4).timestamps(10.0, 12.0).tolist() == [[10.25, 10.75, 11.25, 11.75]]


def test_windows_keep_their_frame_rate_and_a_short_segment_repeats_its_end() -> None:
    timestamps = View(frames=8, fps=4).timestamps(0.0, 1.0)[0]
    assert timestamps[:4].tolist() == [0.125, 0.375, 0.625, 0.875]
    assert (timestamps[4:] > 0.99).all()


def test_one_window_with_a_frame_rate_is_in_the_middle() -> None:
    assert View(frames=2, fps=1).timestamps(0.0, 10.0).tolist() == [[4.5, 5.5]]


@given(width=st.integers(1, 9000), height=st.integers(1, 9000), size=st.integers(8, 512), more=st.integers(0, 64))
def test_the_cropped_picture_has_the_size_of_the_view(width: int, height: int, size: int, more: int) -> None:
    (w, h), (left, top, kept_w, kept_h) = View(size=size, edge=size + more).picture(width, height)
    assert (kept_w, kept_h) == (size, size)
    assert min(w, h) == size + more
    assert 0 <= left <= w - kept_w
    assert 0 <= top <= h - kept_h
    assert View(size=size, fit="stretch").picture(width, height) == ((size, size), (0, 0, size, size))
    (w, h), crop = View(size=size, fit="whole").picture(width, height)
    assert crop == (0, 0, w, h)
    assert min(w, h) == min(size, width, height)


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("frames", {"frames": 0}),
        ("fps", {"fps": 0.0}),
        ("fps", {"fps": float("nan")}),
        ("size", {"size": 4}),
        ("windows", {"windows": None}),
        ("windows", {"windows": 0}),
        ("stride", {"stride": 1.0}),
        ("stride", {"stride": 0.0, "fps": 2.0, "windows": None}),
        ("stride", {"stride": 1.0, "fps": 2.0, "windows": 3}),
        ("edge", {"size": 224, "edge": 200}),
    ],
)
def test_an_invalid_setting_is_named(field: str, wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as caught:
        View(**wrong)
    assert caught.value.field == field
