"""Same footage: changed copies are found, and takes of one performance are told apart however similar they look."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from footage_videos import cornered, cropped, darker, everything, mirrored, scaled, stage, take, trimmed, written
from hypothesis import given, settings
from hypothesis import strategies as st

from quickstep.datasets.duplicates import frame_similarity
from quickstep.datasets.duplicates.frame_similarity import sketch_video, thumbnails_of
from quickstep.datasets.duplicates.same_footage import Footage, compare_footage
from quickstep.signals.video import VideoReader
from quickstep.storage.cache import Cache
from quickstep.types.errors import MediaError
from quickstep.types.parallel import run_parallel


def pairs(footage: Footage) -> set[frozenset[str]]:
    return {frozenset({match.first.stem, match.second.stem}) for match in footage.matches}


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.mark.parametrize("change", [scaled, cropped, cornered, trimmed, darker, mirrored, everything])
def test_a_changed_copy_is_found(tmp_path: Path, cache: Cache, change: Callable[..., list[np.ndarray]]) -> None:
    frames = take(1, 1)
    paths = [written(tmp_path / "one.mp4", frames), written(tmp_path / "copy.mp4", change(frames))]
    (match,) = compare_footage(paths, cache).matches
    assert (match.first, match.second) == (paths[0], paths[1])
    assert match.mirrored == (change is mirrored)
    assert match.lag == pytest.approx(9 / 25 if change in (trimmed, everything) else 0.0, abs=0.07)


def test_another_codec_is_a_copy(tmp_path: Path, cache: Cache) -> None:
    frames = take(2, 5)
    paths = [written(tmp_path / "one.mp4", frames), written(tmp_path / "copy.avi", frames, codec="mpeg4")]
    assert len(compare_footage(paths, cache).matches) == 1


def test_equal_bytes_are_a_copy_even_of_a_black_video(tmp_path: Path, cache: Cache) -> None:
    one = written(tmp_path / "one.mp4", [np.zeros((64, 64, 3), np.uint8)] * 20)
    two = tmp_path / "two.mp4"
    two.write_bytes(one.read_bytes())
    footage = compare_footage([one, two], cache)
    assert footage.copies == footage.groups == ((one, two),)
    assert footage.matches == ()
    assert compare_footage([one, two], cache, decode=False).copies == ((one, two),)


def test_takes_of_one_dancer_on_one_stage_are_not_copies(tmp_path: Path, cache: Cache) -> None:
    paths = [written(tmp_path / f"take{number}.mp4", take(1, number)) for number in range(8)]
    assert compare_footage(paths, cache).matches == ()


def test_one_performance_on_another_stage_is_not_a_copy(tmp_path: Path, cache: Cache) -> None:
    paths = [written(tmp_path / f"stage{number}.mp4", take(number, 3)) for number in range(4)]
    assert compare_footage(paths, cache).matches == ()


def test_still_videos_are_copies_only_if_they_show_the_same(tmp_path: Path, cache: Cache) -> None:
    still = [stage(3).astype(np.uint8)] * 40
    moved = [np.roll(stage(3).astype(np.uint8), 6, axis=1)] * 40
    black = [np.full((120, 160, 3), 2, np.uint8)] * 40
    paths = [
        written(tmp_path / "still.mp4", still),
        written(tmp_path / "still-scaled.mp4", scaled(still)),
        written(tmp_path / "moved.mp4", moved),
        written(tmp_path / "black.mp4", black),
        written(tmp_path / "black-shorter.mp4", scaled(black[:30])),
        written(tmp_path / "standing1.mp4", take(3, 1, move=0.0)),
        written(tmp_path / "standing2.mp4", take(3, 2, move=0.05)),
    ]
    assert pairs(compare_footage(paths, cache)) == {frozenset({"still", "still-scaled"})}


def test_mirrored_movement_on_a_plain_background_is_not_a_copy(tmp_path: Path, cache: Cache) -> None:
    def square(forward: bool) -> list[np.ndarray]:
        frames = np.full((50, 96, 128, 3), 90, np.uint8)
        for index in range(50):
            left = 2 * index if forward else 108 - 2 * index
            frames[index, 30:50, left : left + 20] = 220
        return list(frames)

    paths = [written(tmp_path / "right.mp4", square(True)), written(tmp_path / "left.mp4", square(False))]
    assert compare_footage(paths, cache).matches == ()


def test_a_second_comparison_opens_no_video(tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [written(tmp_path / f"{number}.mp4", take(1, number, seconds=1.5)) for number in range(3)]
    first = compare_footage(paths, cache)

    def refuse(*_: object, **__: object) -> VideoReader:
        raise AssertionError("a video was opened")

    monkeypatch.setattr("quickstep.datasets.duplicates.frame_similarity.VideoReader", refuse)
    again = compare_footage(paths, cache)
    assert list(again.sketches) == list(first.sketches) == paths
    assert all(np.array_equal(again.sketches[path].mean, first.sketches[path].mean) for path in paths)


def test_unreadable_videos_are_failures_and_the_others_are_compared(tmp_path: Path, cache: Cache) -> None:
    good = written(tmp_path / "good.mp4", take(1, 1, seconds=1))
    text, gone = tmp_path / "text.mp4", tmp_path / "gone.mp4"
    text.write_text("not a video")
    footage = compare_footage([gone, good, text, tmp_path], cache)
    assert list(footage.sketches) == [good]
    assert set(footage.failures) == {gone, text, tmp_path}
    assert all(isinstance(error, MediaError) for error in footage.failures.values())


def test_progress_and_order_do_not_depend_on_threads(tmp_path: Path, cache: Cache) -> None:
    frames = take(1, 1, seconds=1.5)
    paths = [written(tmp_path / f"{number}.mp4", darker(frames) if number % 2 else frames) for number in range(2)]
    steps: list[tuple[str, int, int]] = []
    footages = [compare_footage(paths, Cache(tmp_path / f"w{n}"), workers=n, progress=lambda *now: steps.append(now)) for n in (1, 4)]
    assert [match.second for match in footages[0].matches] == [match.second for match in footages[1].matches]
    assert ("decoding", 2, 2) in steps
    assert all(done <= total for _, done, total in steps)


def test_a_bug_in_a_thread_is_not_hidden() -> None:
    def broken(_: int) -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(run_parallel(broken, [1, 2], "x", workers=2, progress=lambda *_: None))


def test_thumbnails_missing_in_the_cache_are_decoded_again(tmp_path: Path, cache: Cache) -> None:
    path = written(tmp_path / "one.mp4", take(1, 1, seconds=1))
    sketch = sketch_video(path, cache)
    before = thumbnails_of(path, sketch, cache)
    assert np.array_equal(thumbnails_of(path, sketch, Cache(tmp_path / "empty")), before)
    assert len(before) == sketch.thumbnails == 15


# -- similarity of arrays -----------------------------------------------------------------------------------------------------


def walk(seed: int, length: int) -> np.ndarray:
    """Frames in which smooth blotches move."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(0, 30, (length, 4, 4)).astype(np.float32)
    smooth = np.apply_along_axis(lambda line: np.convolve(line, np.ones(5) / 5, mode="same"), 0, steps)
    return np.kron(smooth, np.ones((6, 6))).astype(np.float32) + 100


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(24, 90), st.integers(0, 8), st.integers(0, 8))
def test_a_trimmed_copy_is_aligned(seed: int, length: int, front: int, back: int) -> None:
    whole = walk(seed, length)
    cut = whole[front : length - back] * 0.9 + 4
    similarity = frame_similarity.compare(whole, cut)
    assert similarity.same
    assert (similarity.lag, similarity.common) == (front, length - front - back)
    assert frame_similarity.compare(cut, whole).lag == -front


def test_different_videos_are_not_the_same() -> None:
    for one, other in combinations(range(6), 2):
        assert not frame_similarity.compare(walk(one, 60), walk(other, 60)).same


def test_a_few_frames_are_never_the_same() -> None:
    assert not frame_similarity.compare(walk(1, 5), walk(1, 5)).same
    assert frame_similarity.is_still(np.zeros((0, 24, 24), np.float32))


# -- real videos -------------------------------------------------------------------------------------------------------------


def test_real_copies_and_real_takes(shared_data: Path, cache: Cache) -> None:
    wrong, tricks = shared_data / "pushup" / "wrong", shared_data / "skateboard"
    if not wrong.is_dir() or not tricks.is_dir():
        pytest.skip("the push-ups and the skateboard tricks of ../shared/data are not here")
    paths = [wrong / f"wrong{number}.mp4" for number in (43, 48, 46, 47, 60, 70)]
    paths += [tricks / "kickflip/Kickflip16.mp4", tricks / "ollie/Ollie98.mp4", tricks / "ollie/Ollie97.mp4"]
    assert pairs(compare_footage(paths, cache)) == {frozenset({"wrong43", "wrong48"}), frozenset({"Kickflip16", "Ollie98"})}
