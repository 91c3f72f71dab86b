"""The audit: every ill is found by name and told in one line, a healthy set has none."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from footage_videos import mirrored, scaled, stage, take, written

from quickstep.datasets.audit import Audit, check
from quickstep.datasets.manifest import Manifest, read_manifest
from quickstep.storage.cache import Cache
from quickstep.types.segment import Segment


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of twelve, each take on a stage of its own, all made alike."""
    folder = tmp_path_factory.mktemp("healthy")
    for index in range(24):
        written(folder / "set" / ("halo" if index % 2 else "swipe") / f"{index:02d}.mp4", take(index, index, seconds=1.2))
    check(read_manifest(folder / "set"), cache=Cache(folder / "cache"))
    return folder


@pytest.fixture
def videos(healthy: Path, tmp_path: Path) -> Path:
    """A copy of the healthy set, to be spoilt."""
    shutil.copytree(healthy / "set", tmp_path / "set")
    return tmp_path / "set"


def look(data: Path | Manifest, healthy: Path) -> Audit:
    return check(data if isinstance(data, Manifest) else read_manifest(data), cache=Cache(healthy / "cache"))


def kinds(audit: Audit) -> set[str]:
    return {finding.kind for finding in audit.findings}


def test_a_healthy_set_has_no_findings(healthy: Path) -> None:
    audit = look(healthy / "set", healthy)
    assert audit.findings == ()
    assert audit.clean
    assert (audit.segments, audit.videos, audit.readable, audit.labels) == (24, 24, 24, {"halo": 12, "swipe": 12})
    assert audit.seconds == pytest.approx(24 * 1.2, rel=0.05)
    assert audit.shortcut is not None
    assert not audit.shortcut.suspicious
    assert audit.text.startswith("24 segments of 2 classes in 24 videos (0.5 minutes), 24 readable: 0 errors, 0 warnings, 0 notes")


def test_what_cannot_be_read(videos: Path, healthy: Path) -> None:
    (videos / "halo/text.mp4").write_text("these are words")
    (videos / "halo/nothing.mp4").write_bytes(b"")
    (videos / "halo/folder.mp4").mkdir()
    (videos / "halo/gone.mp4").symlink_to(videos / "nowhere.mp4")
    audit = look(videos, healthy)
    found = audit.of("unreadable")
    assert {segment.path.name for finding in found for segment in finding.segments} == {"text.mp4", "nothing.mp4", "folder.mp4", "gone.mp4"}
    assert all(finding.severity == "error" for finding in found)
    assert all(finding.segments[0].path.name in finding.sentence for finding in found)
    assert (audit.videos, audit.readable) == (28, 24)
    assert not audit.clean


def test_a_cut_off_video(videos: Path, healthy: Path) -> None:
    path = written(videos / "halo/cut.mp4", take(50, 50, seconds=4.0))
    os.truncate(path, path.stat().st_size * 6 // 10)
    (finding,) = look(videos, healthy).of("truncated")
    assert [segment.path.name for segment in finding.segments] == ["cut.mp4"]


def test_copies_of_bytes_and_of_footage(videos: Path, healthy: Path) -> None:
    shutil.copy(videos / "halo/01.mp4", videos / "halo/01 again.mp4")
    shutil.copy(videos / "halo/03.mp4", videos / "swipe/03.mp4")
    written(videos / "swipe/small.mp4", scaled(take(4, 4, seconds=1.2)))
    written(videos / "halo/mirror.mp4", mirrored(take(5, 5, seconds=1.2)))
    audit = look(videos, healthy)
    same = {frozenset(segment.path.name for segment in finding.segments): finding.severity for finding in audit.of("duplicate")}
    assert same == {frozenset({"01.mp4", "01 again.mp4"}): "warning", frozenset({"03.mp4"}): "error"}
    near = {frozenset(segment.path.name for segment in finding.segments) for finding in audit.of("near-duplicate")}
    assert near == {frozenset({"04.mp4", "small.mp4"}), frozenset({"05.mp4", "mirror.mp4"})}
    assert any("mirrored" in finding.sentence for finding in audit.of("near-duplicate"))
    assert not audit.of("one-source")


def test_one_span_under_two_labels(healthy: Path) -> None:
    manifest = read_manifest(healthy / "set")
    twice = manifest.with_segments([*manifest.segments, replace(manifest.segments[0], label="swipe")])
    (finding,) = look(twice, healthy).of("duplicate")
    assert finding.severity == "error"
    assert "halo, swipe" in finding.sentence


def test_spans_beyond_the_video_and_too_short(healthy: Path) -> None:
    manifest = read_manifest(healthy / "set")
    first, second, third, *rest = manifest.segments
    spans = [
        replace(first, start=60.0),
        replace(first, start=0.5, end=9.0),
        replace(second, start=0.2, end=0.4),
        replace(third, start=0.0, end=2.0),
    ]
    audit = look(manifest.with_segments([*spans, *rest]), healthy)
    told = {(finding.severity, finding.segments[0].start, finding.segments[0].end) for finding in audit.of("beyond")}
    assert told == {("error", 60.0, None), ("error", 0.5, 9.0), ("warning", 0.0, 2.0)}
    assert [finding.segments[0].end for finding in audit.of("too-short")] == [0.4]


def test_nothing_moves(videos: Path, healthy: Path) -> None:
    written(videos / "halo/still.mp4", [stage(70).astype(np.uint8)] * 30)
    written(videos / "halo/black.mp4", [np.zeros((120, 160, 3), np.uint8)] * 30)
    half = written(videos / "halo/half.mp4", [*([stage(71).astype(np.uint8)] * 40), *take(71, 71, seconds=1.6)])
    manifest = read_manifest(videos)
    others = [segment for segment in manifest.segments if segment.path != half]
    audit = look(manifest.with_segments([*others, Segment(half, "halo", 0.0, 1.4), Segment(half, "halo", 1.7, 3.2)]), healthy)
    found = {(finding.segments[0].path.name, finding.segments[0].start) for finding in audit.of("no-motion")}
    assert found == {("still.mp4", 0.0), ("black.mp4", 0.0), ("half.mp4", 0.0)}


def test_classes_that_are_few_alone_or_empty(healthy: Path, videos: Path) -> None:
    manifest = read_manifest(healthy / "set")
    halo = [segment for segment in manifest.segments if segment.label == "halo"]
    only = look(manifest.with_segments(halo), healthy)
    assert [finding.severity for finding in only.of("one-class")] == ["error"]
    swipe = [replace(segment, group="ana") for segment in manifest.segments if segment.label == "swipe"]
    one_group = look(manifest.with_segments([*halo, *swipe]), healthy)
    assert "class 'swipe' comes from only 1 group" in one_group.of("few")[0].sentence
    for path in sorted((videos / "swipe").iterdir())[3:]:
        path.unlink()
    (videos / "windmill").mkdir()
    audit = look(videos, healthy)
    assert {"imbalance", "empty-class", "few"} <= kinds(audit)
    assert "4.0 times as many segments as 'swipe' (12 to 3)" in audit.of("imbalance")[0].sentence
    assert "'windmill' has no video" in audit.of("empty-class")[0].sentence


def test_a_label_that_no_readable_video_has(healthy: Path, tmp_path: Path) -> None:
    manifest = read_manifest(healthy / "set")
    ghost = Segment(tmp_path / "gone.mp4", "windmill")
    audit = look(manifest.with_segments([*manifest.segments, ghost]), healthy)
    assert "class 'windmill' has no video that can be read" in audit.of("empty-class")[0].sentence


def test_two_videos_are_not_too_few_to_look_at(healthy: Path) -> None:
    manifest = read_manifest(healthy / "set")
    audit = look(manifest.with_segments([manifest.segments[0], manifest.segments[-1]]), healthy)
    assert kinds(audit) == {"few"}
    assert audit.shortcut is None


def test_groups_that_look_like_one_source(healthy: Path, videos: Path) -> None:
    for number in range(2):
        written(videos / f"halo/stage{number}.mp4", take(90, 90 + number, seconds=1.2))
    ungrouped = look(videos, healthy)
    (finding,) = ungrouped.of("one-source")
    assert {segment.path.name for segment in finding.segments} == {"stage0.mp4", "stage1.mp4"}
    manifest = read_manifest(videos)
    grouped = manifest.with_segments(replace(s, group="one" if s.path.name.startswith("stage") else s.path.name) for s in manifest.segments)
    assert not look(grouped, healthy).of("one-source")


def test_given_splits_that_leak(videos: Path, healthy: Path) -> None:
    written(videos / "halo/small.mp4", scaled(take(1, 1, seconds=1.2)))
    manifest = read_manifest(videos)
    split = manifest.with_splits(["test" if segment.path.name == "small.mp4" else "train" for segment in manifest.segments])
    (finding,) = look(split, healthy).of("leak")
    assert finding.severity == "error"
    assert {segment.path.name for segment in finding.segments} == {"small.mp4", "01.mp4"}
    assert next(iter(look(split, healthy).findings)) == finding  # the gravest first


def test_a_shortcut(healthy: Path, tmp_path: Path) -> None:
    for index in range(12):
        frames = take(index, index, seconds=1.2)
        written(tmp_path / ("halo" if index % 2 else "swipe") / f"{index:02d}.mp4", scaled(frames) if index % 2 else frames)
    audit = look(tmp_path, healthy)
    (finding,) = audit.of("shortcut")
    assert finding.severity == "warning"
    assert "picture size" in finding.sentence


def test_what_a_folder_left_out(videos: Path, healthy: Path) -> None:
    (videos / "index.csv").write_text("path,label\n")
    (videos / ".hidden").write_text("")
    shutil.copy(videos / "halo/01.mp4", videos / "loose.mp4")
    told = " ".join(finding.sentence for finding in look(videos, healthy).of("skipped"))
    assert "1 video lies in no class folder" in told
    assert "index.csv beside the class folders was not read" in told


def test_json_says_everything(videos: Path, healthy: Path) -> None:
    (videos / "halo/text.mp4").write_text("these are words")
    audit = look(videos, healthy)
    told = json.loads(audit.to_json())
    assert told["findings"][0]["kind"] == "unreadable"
    assert told["findings"][0]["segments"][0]["path"].endswith("text.mp4")
    assert told["shortcut"]["suspicious"] is False
    assert told["clean"] is False
    assert all("\n" not in finding.sentence for finding in audit.findings)


def test_progress_and_no_second_look(healthy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> Iterator[None]:
        raise AssertionError("a video was opened")

    monkeypatch.setattr("quickstep.datasets.duplicates.same_footage.VideoReader", refuse)
    monkeypatch.setattr("quickstep.datasets.audit.metadata_shortcuts.probe", refuse)
    told: list[tuple[str, int, int]] = []
    check(read_manifest(healthy / "set"), cache=Cache(healthy / "cache"), progress=lambda *now: told.append(now), workers=2)
    for stage_name in ("headers", "looking"):
        assert [done for name, done, _ in told if name == stage_name] == list(range(25))


@pytest.mark.slow
def test_real_sets(shared_data: Path, tmp_path: Path) -> None:
    tricks = check(read_manifest(shared_data / "skateboard/index.csv"), cache=Cache(tmp_path))
    assert tricks.of("shortcut")
    assert tricks.shortcut is not None
    assert tricks.shortcut.accuracy > 0.7
    assert tricks.of("near-duplicate")
    assert tricks.of("leak")
