"""Indexing: correct windows, no video decoded twice, and moved, copied, changed and deleted files told apart."""

from __future__ import annotations

import io
import os
import shutil
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from library_sets import RefusingBackbone, draw, draw_some, index_videos, rows_of
from PIL import Image
from toys import COLOURS, Colours, Words, draw_colours

from quickstep.backbones.flow_histograms.backbone import FlowHistograms
from quickstep.library import IndexConfig, Library, SearchConfig, index, search
from quickstep.library.table import vectors_of
from quickstep.library.windows import WindowGrid, unit, window_grid
from quickstep.models.model import Model
from quickstep.signals.video import VideoReader
from quickstep.storage.cache import Cache
from quickstep.training.train import TrainConfig, train
from quickstep.types.errors import ConfigError, LibraryError, ManifestError, MediaError, UnknownName
from quickstep.types.segment import Segment
from quickstep.types.signals import Features, Frames
from quickstep.types.view import View


@pytest.fixture
def videos(tmp_path: Path) -> dict[str, Path]:
    return draw_some(tmp_path / "videos")


def spans(library: Library, path: Path) -> list[tuple[float, float]]:
    rows = library.rows(["path", "start", "end"], f"path = '{path}'").to_pylist()
    return sorted((row["start"], row["end"]) for row in rows)


def test_every_video_is_cut_into_overlapping_windows(tmp_path: Path, videos: dict[str, Path]) -> None:
    library, result = index_videos(tmp_path / "library", [tmp_path / "videos"])
    assert set(result.added) == {str(path) for path in videos.values()}
    assert spans(library, videos["long"]) == [(2.0 * i, 2.0 * i + 4) for i in range(8)]
    assert spans(library, videos["red"]) == [(0.0, 1.0)]  # shorter than a window: one window
    assert spans(library, videos["red2"]) == [(0.0, 4.0), (1.0, 5.0)]  # the last one ends where the video ends
    assert result.windows == library.count() == 8 + 1 + 2 + 1 + 2


def test_vectors_and_thumbnails_are_those_of_the_frames(tmp_path: Path, videos: dict[str, Path]) -> None:
    library, _ = index_videos(tmp_path / "library", [videos["long"]])
    rows = library.rows(["vector", "start", "thumbnail"]).sort_by("start")
    with VideoReader(videos["long"]) as video:
        for row, vector, start in zip(rows.to_pylist(), vectors_of(rows), rows["start"].to_pylist(), strict=True):
            frames = video.frames(start + 0.25 + 0.5 * np.arange(8), view=Words.view)
            unit_frames = unit(frames.pixels.mean(axis=(1, 2), dtype=np.float32))
            assert vector == pytest.approx(unit(unit_frames.mean(axis=0, keepdims=True))[0], abs=1e-5)
            picture = np.asarray(Image.open(io.BytesIO(row["thumbnail"])))
            assert picture.mean(axis=(0, 1)) == pytest.approx(frames.pixels[3].mean(axis=(0, 1)), abs=6)
    assert np.linalg.norm(vectors_of(rows), axis=1) == pytest.approx(1.0, abs=1e-6)


def test_unchanged_videos_are_not_embedded_again(tmp_path: Path, videos: dict[str, Path]) -> None:
    library, _ = index_videos(tmp_path / "library", [tmp_path / "videos"])
    before, version = rows_of(library), library.table.version
    library, result = index_videos(
        tmp_path / "library", [tmp_path / "videos"], backbone=RefusingBackbone(), cache=Cache(tmp_path / "other-cache")
    )
    assert result.unchanged == len(videos)
    assert str(result).startswith("5 unchanged")
    assert rows_of(library) == before
    assert library.table.version == version  # not even a commit


def test_moved_copied_changed_and_deleted_files_are_recognized(tmp_path: Path, videos: dict[str, Path]) -> None:
    library, _ = index_videos(tmp_path / "library", [tmp_path / "videos"])
    moved = videos["long"].rename(tmp_path / "videos" / "renamed.mp4")
    copied = Path(shutil.copy(videos["red"], tmp_path / "videos" / "copy.mp4"))
    videos["blue"].unlink()
    # a moved or copied video is not embedded again, even with an empty cache
    library, result = index_videos(
        tmp_path / "library", [tmp_path / "videos"], backbone=RefusingBackbone(), cache=Cache(tmp_path / "empty")
    )
    assert result.moved == ((str(videos["long"]), str(moved)),)
    assert result.copied == ((str(videos["red"]), str(copied)),)
    assert result.gone == (str(videos["blue"]),)
    assert len(spans(library, moved)) == 8
    assert spans(library, videos["long"]) == []
    assert library.count("gone") == 1
    draw(videos["red"], ("green", 2), seed=9)
    library, result = index_videos(tmp_path / "library", [tmp_path / "videos"])
    assert result.changed == (str(videos["red"]),)
    assert spans(library, videos["red"]) == [(0.0, 2.0)]


def test_a_deleted_video_is_not_searched_returns_and_can_be_pruned(tmp_path: Path, videos: dict[str, Path]) -> None:
    library, _ = index_videos(tmp_path / "library", [tmp_path / "videos"])
    aside = videos["blue"].rename(tmp_path / "blue.mp4")
    library, _ = index_videos(tmp_path / "library", [videos["red"]])  # the paths of all videos of the library are checked
    result = search(library, "blue", SearchConfig(per_video=0), backbone=Words())
    assert str(videos["blue"]) not in {moment.path for moment in result.moments}
    aside.rename(videos["blue"])
    library, result = index_videos(tmp_path / "library", [tmp_path / "videos"], backbone=RefusingBackbone())
    assert result.returned == (str(videos["blue"]),)
    videos["blue"].unlink()
    library, result = index_videos(tmp_path / "library", [], prune=True)
    assert (result.gone, result.pruned) == ((str(videos["blue"]),), 1)
    assert spans(library, videos["blue"]) == []


def test_two_videos_that_swap_names_are_both_correct(tmp_path: Path, videos: dict[str, Path]) -> None:
    library, _ = index_videos(tmp_path / "library", [tmp_path / "videos"])
    one, other = videos["red"], videos["long"]
    one.rename(tmp_path / "aside.mp4")
    other.rename(one)
    (tmp_path / "aside.mp4").rename(other)
    library, _ = index_videos(tmp_path / "library", [tmp_path / "videos"], backbone=RefusingBackbone())
    assert (len(spans(library, one)), len(spans(library, other))) == (8, 1)


def test_an_unreadable_video_is_a_failure_and_its_old_windows_are_gone(tmp_path: Path, videos: dict[str, Path]) -> None:
    library, _ = index_videos(tmp_path / "library", [tmp_path / "videos"])
    videos["blue"].write_bytes(b"no video at all")
    library, result = index_videos(tmp_path / "library", [tmp_path / "videos"])
    assert [str(failure.segment.path) for failure in result.failures] == [str(videos["blue"])]
    assert result.unchanged == 4
    assert library.count(f"path = '{videos['blue']}' AND NOT gone") == 0
    with pytest.raises(MediaError):
        index_videos(tmp_path / "library", [tmp_path / "videos"], strict=True)


def test_two_new_files_with_the_same_bytes_are_embedded_once(tmp_path: Path) -> None:
    one = draw(tmp_path / "one.mp4", ("red", 2))
    other = Path(shutil.copy(one, tmp_path / "other.mp4"))
    counts: list[int] = []

    class Counting(Words):
        def embed(self, batch: list[Frames]) -> list[Features]:  # type: ignore[override]
            counts.append(sum(len(frames) for frames in batch))
            return super().embed(batch)

    index_videos(tmp_path / "library", [one], backbone=Counting(), cache=Cache(tmp_path / "first"))
    once, counts[:] = sum(counts), []
    library, result = index_videos(tmp_path / "both", [one, other], backbone=Counting(), cache=Cache(tmp_path / "second"))
    assert sum(counts) == once
    assert result.copied == ((str(one), str(other)),)
    assert spans(library, one) == spans(library, other)


def test_metadata_is_typed_searchable_and_updated(tmp_path: Path, videos: dict[str, Path]) -> None:
    csv = tmp_path / "videos" / "known.csv"
    csv.write_text("path,year,venue,rating,shot,live,code\nred.mp4,1999,Gent,4.5,2020-01-31,yes,007\nblue.mp4,2021,O'Hara,3,,no,12\n")
    library, _ = index_videos(tmp_path / "library", [tmp_path / "videos"], config=IndexConfig(metadata=csv))
    row = library.rows(["year", "venue", "rating", "shot", "live", "code"], "path LIKE '%red.mp4'").to_pylist()[0]
    assert row == {"year": 1999, "venue": "Gent", "rating": 4.5, "shot": date(2020, 1, 31), "live": True, "code": "007"}
    assert library.count("year > 2000 AND venue = 'O''Hara' AND NOT live") == 1
    csv.write_text("path,year,director\nred.mp4,2005,Ann\n")
    library, _ = index_videos(tmp_path / "library", [], config=IndexConfig(metadata=csv), prune=True)
    row = library.rows(["year", "venue", "director"], "path LIKE '%red.mp4'").to_pylist()[0]
    assert row == {"year": 2005, "venue": "Gent", "director": "Ann"}
    csv.write_text("path,year\nred.mp4,soon\n")
    with pytest.raises(ConfigError, match="'year' is of type whole number, and 'soon'"):
        index_videos(tmp_path / "library", [], config=IndexConfig(metadata=csv), prune=True)
    csv.write_text("path,digest\nred.mp4,x\n")
    with pytest.raises(ConfigError, match="'digest'"):
        index_videos(tmp_path / "library", [], config=IndexConfig(metadata=csv), prune=True)


def test_columns_of_a_list_are_metadata(tmp_path: Path, videos: dict[str, Path]) -> None:
    csv = tmp_path / "videos" / "list.csv"
    csv.write_text("path,label,start,end,group\nred.mp4,halo,0,0.5,ann\nblue.mp4,windmill,,,bob\n")
    library, result = index_videos(tmp_path / "library", [csv])
    assert library.rows(["label", "group"], "path LIKE '%red.mp4'").to_pylist() == [{"label": "halo", "group": "ann"}]
    assert any("whole videos" in note for note in result.notes)
    assert spans(library, videos["red"]) == [(0.0, 1.0)]


@pytest.fixture
def model(tmp_path: Path) -> Model:
    manifest = draw_colours(tmp_path / "learnt", each=8)
    return train(manifest, TrainConfig(epochs=60), backbone=Colours()).model


def test_a_model_labels_windows_as_it_labels_segments(tmp_path: Path, videos: dict[str, Path], model: Model) -> None:
    library, _ = index_videos(tmp_path / "library", [tmp_path / "videos"], model=model)
    rows = library.rows(["path", "start", "end", "names", "scores"]).to_pylist()
    for row in rows:
        (prediction,) = model.predict([Segment(row["path"], start=row["start"], end=row["end"])]).predictions
        assert row["names"][0] == prediction.label
        assert row["scores"][0] == pytest.approx(prediction.score, abs=1e-6)


def test_a_later_model_labels_the_existing_windows(tmp_path: Path, videos: dict[str, Path], model: Model) -> None:
    at_once, _ = index_videos(tmp_path / "at-once", [tmp_path / "videos"], model=model)
    index_videos(tmp_path / "later", [tmp_path / "videos"])
    later, result = index_videos(tmp_path / "later", [tmp_path / "videos"], model=model)
    assert result.named == len(videos)
    assert rows_of(later) == rows_of(at_once)
    _, result = index_videos(tmp_path / "later", [tmp_path / "videos"], model=model)
    assert result.named == 0


def test_a_model_with_the_librarys_frames_uses_its_features(tmp_path: Path, videos: dict[str, Path]) -> None:
    class Wide(Colours):  # reads the same eight frames of a window as the library
        view = View(frames=8, size=8, fit="stretch", resample="area")

        def __init__(self) -> None:
            self.identity = dict(Words().identity)

    wide_model = train(draw_colours(tmp_path / "learnt", each=8), TrainConfig(epochs=40), backbone=Wide()).model
    index_videos(tmp_path / "library", [videos["long"]])
    cache = Cache()
    before = len(list(cache.entries()))
    index_videos(tmp_path / "library", [videos["long"]], model=wide_model, cache=cache)
    assert len(list(cache.entries())) == before  # the labels needed no further features


def test_a_video_of_one_window_is_labelled_with_the_features_that_a_prediction_cached(tmp_path: Path) -> None:
    cache, manifest = Cache(tmp_path / "cache"), draw_colours(tmp_path / "learnt", each=8)
    model = train(manifest, TrainConfig(epochs=10), backbone=Colours(), cache=cache).model
    paths = [segment.path for segment in manifest.segments]
    model.predict(paths, cache=cache)
    index_videos(tmp_path / "library", paths, cache=cache)
    before = len(list(cache.entries()))
    library, _ = index_videos(tmp_path / "labelled", paths, model=model, cache=cache)
    assert library.count() == len(paths)  # one window each
    assert len(list(cache.entries())) == before


def test_a_backbone_for_whole_windows_gives_one_vector_per_window(tmp_path: Path, videos: dict[str, Path]) -> None:
    class Last(Words):
        """Gives one vector for each window: the colour of its last frame."""

        def embed(self, batch: list[Frames]) -> list[Features]:  # type: ignore[override]
            return [Features(frames.pixels[-1:].mean(axis=(1, 2), dtype=np.float32), frames.times[-1:]) for frames in batch]

    library, _ = index_videos(tmp_path / "library", [videos["long"]], backbone=Last())
    assert not library.card.single_frames
    rows = library.rows(["vector", "end"]).sort_by("end")
    for vector, end in zip(vectors_of(rows), rows["end"].to_pylist(), strict=True):
        colour = ["red", "blue", "green"][min(2, int((end - 0.1) // 6))]
        assert vector == pytest.approx(unit(np.array([COLOURS[colour]], np.float32))[0], abs=0.05)


def test_motion_can_be_searched_by_example_only(tmp_path: Path, videos: dict[str, Path]) -> None:
    index(tmp_path / "library", [videos["long"], videos["red2"]], IndexConfig(backbone="flow-hist"))
    library = Library.open(tmp_path / "library")
    assert not library.card.single_frames
    with pytest.raises(UnknownName, match="text encoder"):
        search(library, "red")
    assert search(library, config=SearchConfig(like=str(videos["green"]), all=True)).moments
    assert FlowHistograms().identity == library.card.identity


@pytest.mark.parametrize("duration", [0.04, 0.5, 3.99, 4.0, 4.01, 5.3, 18.0, 61.7])
def test_windows_cover_a_video_and_pool_all_frames(duration: float) -> None:
    grid = window_grid(Words(), window=4.0, stride=2.0, fps=2.0)
    cut = grid.spans(duration)
    assert cut[0, 0] == 0
    assert cut[-1, 1] == pytest.approx(duration)
    assert (cut[1:, 0] <= cut[:-1, 1]).all()
    moments = grid.timestamps(duration)
    colours = np.stack([moments, np.ones_like(moments), np.zeros_like(moments)], axis=1).astype(np.float32)
    pooled = grid.pool(Features(colours, moments), duration)
    assert pooled.shape == (len(cut), 3)
    assert np.isfinite(pooled).all()
    middles = moments[grid.middle_frames(duration)]
    assert (np.abs(middles - cut.mean(axis=1)) <= 0.5).all()


def test_long_videos_need_little_memory() -> None:
    grid = WindowGrid(4.0, 2.0, View(frames=4, fps=2.0, windows=None, stride=2.0), True)
    moments = grid.timestamps(36_000.0)
    pooled = grid.pool(Features(np.ones((len(moments), 2), np.float32), moments), 36_000.0)
    assert pooled.shape == (17_999, 2)


def test_another_backbone_or_window_is_refused(tmp_path: Path, videos: dict[str, Path]) -> None:
    index_videos(tmp_path / "library", [videos["red"]])
    with pytest.raises(LibraryError, match=r"another backbone.*weights is a, here it is b.*quickstep index NEW_LIBRARY"):
        index_videos(tmp_path / "library", [videos["red"]], backbone=Words(salt="b"))
    with pytest.raises(LibraryError, match="another backbone"):
        search(tmp_path / "library", "red", backbone=Words(salt="b"))
    with pytest.raises(ConfigError, match="created with 4"):
        index_videos(tmp_path / "library", [videos["red"]], config=IndexConfig(window=8.0))
    index_videos(tmp_path / "library", [videos["red"]], config=IndexConfig(window=4.0, stride=2.0))


def test_a_place_that_is_not_a_library_is_refused(tmp_path: Path, videos: dict[str, Path]) -> None:
    for name, match in (("nowhere", "does not exist"), ("videos", "not a library"), ("videos/red.mp4", "is a file")):
        with pytest.raises(LibraryError, match=match):
            Library.open(tmp_path / name)
    with pytest.raises(LibraryError, match="new folder"):
        index_videos(tmp_path / "videos", [videos["red"]])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ManifestError, match="contains no videos"):
        index_videos(tmp_path / "library", [tmp_path / "empty"])
    assert not (tmp_path / "library").exists()
    with pytest.raises(ConfigError):
        index_videos(tmp_path / "library", [])


def test_a_newer_format_is_refused(tmp_path: Path, videos: dict[str, Path]) -> None:
    library, _ = index_videos(tmp_path / "library", [videos["red"]])
    with pytest.raises(LibraryError, match=r"newer quickstep \(format 99"):
        Library.create(tmp_path / "newer", replace(library.card, format=99))
    with pytest.raises(LibraryError, match="upgrade quickstep"):
        index_videos(tmp_path / "newer", [videos["red"]])


def test_compacting_removes_old_versions(tmp_path: Path, videos: dict[str, Path]) -> None:
    library, _ = index_videos(tmp_path / "library", [tmp_path / "videos"])
    before = rows_of(library)
    for number in range(12):
        library.commit(lambda table, number=number: table.update(values={"gone": number % 2 == 0}))
    files = sum(1 for _, _, names in os.walk(tmp_path / "library") for _ in names)
    library.compact(before=timedelta(0))
    assert sum(1 for _, _, names in os.walk(tmp_path / "library") for _ in names) < files / 2
    assert rows_of(library) == before
