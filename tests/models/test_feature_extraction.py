"""Extraction: the same features whatever the batch, the workers and the cache; nothing decoded twice; failures listed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quickstep.backbones import Capabilities
from quickstep.models import feature_extraction
from quickstep.models.feature_extraction import extract
from quickstep.signals.video import write_video
from quickstep.storage.cache import Cache
from quickstep.types.errors import CacheError, MediaError
from quickstep.types.segment import Segment
from quickstep.types.signals import Features, Frames
from quickstep.types.view import View


class MeanColour:
    """The mean colour of every frame, with a record of how it was called."""

    name, revision, license, width = "mean-colour", "1", "Apache-2.0", 3
    view = View(frames=4, size=16)

    def __init__(self, *, batch: int = 8, parallel: bool = False) -> None:
        self.batch, self.capabilities = batch, Capabilities(parallel=parallel)
        self.calls: list[int] = []

    @property
    def identity(self) -> dict[str, str]:
        return {"name": self.name, "revision": self.revision}

    def embed(self, batch: list[Frames]) -> list[Features]:
        self.calls.append(len(batch))
        return [Features(frames.pixels.mean(axis=(1, 2)).astype(np.float32), frames.times) for frames in batch]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Videos of one second whose brightness tells which they are and how far they have come."""
    folder = tmp_path_factory.mktemp("videos")
    for number in range(7):
        write_video(folder / f"{number}.mp4", [np.full((32, 48, 3), 20 * number + 10 * t, np.uint8) for t in range(8)], fps=8)
    return sorted(folder.glob("*.mp4"))


def segments(videos: list[Path]) -> list[Segment]:
    return [Segment(path, "a") for path in videos]


@pytest.mark.parametrize("parallel", [False, True])
def test_each_segment_has_its_own_features_in_order(videos: list[Path], parallel: bool) -> None:
    extraction = extract(segments(videos), MeanColour(parallel=parallel))
    assert [segment.path for segment in extraction.features] == videos
    for number, features in enumerate(extraction.features.values()):
        assert features.values.shape == (4, 3)
        assert np.allclose(features.values.mean(axis=1), 20 * number + np.array([10, 30, 50, 70]), atol=4)
        assert np.allclose(features.times, [0.125, 0.375, 0.625, 0.875])


def test_batch_size_workers_and_cache_do_not_change_a_bit(videos: list[Path], tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    first = extract(segments(videos), MeanColour(batch=1), workers=1, cache=cache)
    for other in (
        extract(segments(videos), MeanColour(batch=1000), workers=4, cache=Cache(tmp_path / "other")),
        extract(segments(videos)[::-1], MeanColour(batch=9), workers=2, cache=Cache(tmp_path / "third")),
        extract(segments(videos), MeanColour(), cache=cache),
    ):
        for segment, features in first.features.items():
            assert other.features[segment].values.tobytes() == features.values.tobytes()


def test_a_second_run_neither_decodes_nor_embeds(videos: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    assert extract(segments(videos), MeanColour()).computed == len(videos)

    def never(*_: object) -> Iterator[Frames]:
        raise AssertionError("decoded again")

    monkeypatch.setattr(feature_extraction, "read_windows", never)
    again = MeanColour()
    assert extract(segments(videos), again).computed == 0
    assert again.calls == []


def test_everything_that_decides_the_features_is_in_the_key(videos: list[Path]) -> None:
    extract(segments(videos), MeanColour())
    assert extract(segments(videos), MeanColour(), view=View(frames=5, size=16)).computed == len(videos)
    assert extract([Segment(path, start=0.5) for path in videos], MeanColour()).computed == len(videos)
    newer = MeanColour()
    newer.revision = "2"
    assert extract(segments(videos), newer).computed == len(videos)


COVERING = {"fps": 8.0, "windows": None}  # a stride needs both
VIEW_CHANGES: dict[str, tuple[dict[str, Any], Any]] = {  # setting -> the other settings, and its other value
    "frames": ({}, 5),
    "fps": ({}, 8.0),
    "size": ({}, 24),
    "windows": ({}, 2),
    "fit": ({}, "stretch"),
    "edge": ({}, 20),
    "resample": ({}, "bilinear"),
    "stride": (COVERING, 0.25),
    "crops": ({}, 3),
}


@pytest.mark.parametrize("name", [setting.name for setting in fields(View)])
def test_every_setting_of_the_view_is_in_the_cache_key(videos: list[Path], name: str) -> None:
    others, value = VIEW_CHANGES[name]
    before = replace(View(frames=4, size=16), **others)
    after = replace(before, **{name: value})
    assert extract(segments(videos[:1]), MeanColour(), view=before).computed == 1
    assert extract(segments(videos[:1]), MeanColour(), view=after).computed == 1
    assert extract(segments(videos[:1]), MeanColour(), view=after).computed == 0


def test_a_segment_that_ends_earlier_is_computed_again(videos: list[Path]) -> None:
    extract([Segment(videos[0])], MeanColour())
    assert extract([Segment(videos[0], end=0.5)], MeanColour()).computed == 1


def test_a_renamed_video_is_found_by_its_content(videos: list[Path], tmp_path: Path) -> None:
    extract(segments(videos[:1]), MeanColour())
    copy = tmp_path / "another name.mp4"
    copy.write_bytes(videos[0].read_bytes())
    assert extract([Segment(copy)], MeanColour()).computed == 0


def test_a_span_given_twice_is_read_once(videos: list[Path]) -> None:
    twice = [Segment(videos[0], "a"), Segment(videos[0], "b"), Segment(videos[1], "a")]
    extraction = extract(twice, MeanColour())
    assert extraction.computed == 2
    assert list(extraction.features) == twice


@pytest.mark.parametrize("parallel", [False, True])
def test_failures_are_listed_and_the_others_computed(videos: list[Path], tmp_path: Path, parallel: bool) -> None:
    (tmp_path / "text.mp4").write_text("this is no video")
    bad = [Segment(tmp_path / "text.mp4"), Segment(tmp_path / "missing.mp4"), Segment(videos[0], start=99.0)]
    extraction = extract([bad[0], *segments(videos), *bad[1:]], MeanColour(batch=1000, parallel=parallel))
    assert [failure.segment for failure in extraction.failures] == bad
    assert len(extraction.features) == len(videos)
    with pytest.raises(MediaError):
        extraction.check(strict=True)


def test_the_windows_of_a_long_segment_stay_in_order(videos: list[Path]) -> None:
    view = View(frames=1, fps=8, size=16, windows=None)
    (features,) = extract(segments(videos[:1]), MeanColour(batch=3), view=view).features.values()
    assert len(features) == 8
    assert (np.diff(features.values[:, 0]) > 5).all()
    assert (np.diff(features.times) > 0).all()


def test_a_bug_in_a_backbone_reaches_the_caller(videos: list[Path]) -> None:
    class Broken(MeanColour):
        def embed(self, batch: list[Frames]) -> list[Features]:
            raise ZeroDivisionError("a bug")

    for parallel in (False, True):
        with pytest.raises(ZeroDivisionError):
            extract(segments(videos), Broken(parallel=parallel))


def test_an_interrupt_keeps_finished_features(videos: list[Path]) -> None:
    class Stop(KeyboardInterrupt):
        pass

    def interrupt(stage: str, done: int, total: int) -> None:
        if done == 3:
            raise Stop

    with pytest.raises(Stop):
        extract(segments(videos), MeanColour(batch=1), workers=1, progress=interrupt)
    assert extract(segments(videos), MeanColour()).computed == len(videos) - 3


def test_a_cache_that_cannot_be_written_is_one_error(videos: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise CacheError("/cache", "No space left on device")

    monkeypatch.setattr(Cache, "put", full)
    with pytest.raises(CacheError, match="No space left"):
        extract(segments(videos), MeanColour(batch=1))


def test_progress_reaches_the_total(videos: list[Path]) -> None:
    steps: list[tuple[str, int, int]] = []
    extract(segments(videos), MeanColour(batch=1), progress=lambda *step: steps.append(step))
    assert steps[-1] == ("features", len(videos), len(videos))
    assert [done for _, done, _ in steps] == sorted(done for _, done, _ in steps)
