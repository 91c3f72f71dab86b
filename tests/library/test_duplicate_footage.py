"""Duplicates: copies are result with their spans, however they were changed, and different takes are not."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from footage_videos import cropped, darker, everything, mirrored, scaled, take, trimmed, written
from library_sets import index_videos
from toys import Words

from quickstep.library import Duplicates, duplicates

FFMPEG = shutil.which("ffmpeg")


def spans(result: Duplicates) -> dict[frozenset[str], dict[str, tuple[float, float]]]:
    return {
        frozenset({Path(match.first).stem, Path(match.second).stem}): {
            Path(match.first).stem: match.first_span,
            Path(match.second).stem: match.second_span,
        }
        for group in result.groups
        for match in group.matches
    }


def test_copies_are_found_with_their_spans_and_takes_are_not(tmp_path: Path) -> None:
    frames = take(1, 1, seconds=4.0)
    one = written(tmp_path / "videos" / "one.mp4", frames)
    for change in (scaled, cropped, trimmed, mirrored, everything):
        written(tmp_path / "videos" / f"{change.__name__}.mp4", change(frames))
    shutil.copy(one, tmp_path / "videos" / "bytes.mp4")
    for number in range(2, 5):
        written(tmp_path / "videos" / f"take{number}.mp4", take(1, number, seconds=4.0))
    index_videos(tmp_path / "library", [tmp_path / "videos"])
    result = duplicates(tmp_path / "library")
    (group,) = result.groups
    assert {Path(path).stem for path in group.paths} == {"one", "bytes", "scaled", "cropped", "trimmed", "mirrored", "everything"}
    of = spans(result)
    for name in ("trimmed", "everything"):
        both = of[frozenset({"one", name})]
        assert both["one"] == pytest.approx((9 / 25, 4 - 12 / 25), abs=0.15)
        assert both[name] == pytest.approx((0.0, 4 - 21 / 25), abs=0.15)
    assert of[frozenset({"one", "scaled"})]["one"] == pytest.approx((0.0, 4.0), abs=0.1)
    (exact,) = [match for match in group.matches if match.exact]
    assert {Path(exact.first).stem, Path(exact.second).stem} == {"one", "bytes"}
    assert any(match.mirrored for match in group.matches)
    # what is true of a file is true of the file of the same bytes
    assert of[frozenset({"bytes", "trimmed"})]["bytes"] == of[frozenset({"one", "trimmed"})]["one"]


def test_what_a_video_shares_with_a_part_of_another_is_found(tmp_path: Path) -> None:
    ours, others = take(1, 1, seconds=12.0), take(2, 2, seconds=9.0)
    written(tmp_path / "videos" / "ours.mp4", ours)
    written(tmp_path / "videos" / "with-more.mp4", [*darker(others), *scaled_back(ours)])
    index_videos(tmp_path / "library", [tmp_path / "videos"])
    ((_, both),) = spans(duplicates(tmp_path / "library")).items()
    assert both["ours"] == pytest.approx((0.0, 12.0), abs=0.5)
    assert both["with-more"] == pytest.approx((9.0, 21.0), abs=0.5)


def scaled_back(frames: list[np.ndarray]) -> list[np.ndarray]:
    """As after a copy of smaller size."""
    return [np.repeat(np.repeat(frame[::2, ::2], 2, axis=0), 2, axis=1) for frame in frames]


def test_nothing_shared_is_no_group(tmp_path: Path) -> None:
    for number in range(3):
        written(tmp_path / "videos" / f"{number}.mp4", take(number, number))
    index_videos(tmp_path / "library", [tmp_path / "videos"])
    result = duplicates(tmp_path / "library")
    assert result.groups == ()
    assert "3 videos" in result.summary
    assert json.loads(json.dumps(result.to_json()))["videos"] == 3


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_real_videos_that_ffmpeg_changed_are_found(tmp_path: Path, shared_data: Path) -> None:
    if FFMPEG is None:
        pytest.skip("there is no ffmpeg here")
    changes = {
        "scaled": ["-vf", "scale=trunc(iw/4)*2:-2", "-crf", "28"],
        "cropped": ["-vf", "crop=trunc(iw*0.95/2)*2:trunc(ih*0.95/2)*2"],
        "coded": ["-crf", "36"],
        "trimmed": ["-ss", "2", "-t", "5"],
        "paced": ["-r", "15"],
    }
    videos = tmp_path / "videos"
    videos.mkdir()
    names = ["afro8.mp4", "clean_and_jerk.mp4", "demo.mp4", "skateboarding.mp4", "ta_chi.mp4", "exercise.avi"]
    for name in names:
        source = shared_data / "kinetics_smoke" / name
        shutil.copy(source, videos)
        for change, options in changes.items():
            copy = videos / f"{source.stem}-{change}.mp4"
            subprocess.run([FFMPEG, "-v", "error", "-i", str(source), "-an", *options, str(copy)], check=True)
    for video in sorted((shared_data / "skateboard" / "kickflip").glob("*.mp4"))[:40]:
        shutil.copy(video, videos)
    index_videos(tmp_path / "library", [videos], backbone=Words())
    result = duplicates(tmp_path / "library")
    of = spans(result)
    for name in names:
        stem = Path(name).stem
        for change in changes:
            both = of[frozenset({stem, f"{stem}-{change}"})]
            if change == "trimmed":
                assert both[stem] == pytest.approx((2.0, 7.0), abs=0.5)
                assert both[f"{stem}-trimmed"] == pytest.approx((0.0, 5.0), abs=0.5)
    assert all(len({stem.split("-")[0] for stem in pair}) == 1 for pair in of)
