"""check: every problem of a dataset has its kind of finding and one sentence; a good dataset has none."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from costly_videos import KINDS
from footage_videos import mirrored, scaled, stage, take, written

from quickstep.datasets.audit import Audit, check
from quickstep.datasets.audit.checks import check_classes, check_complete, check_spans
from quickstep.datasets.manifest import Manifest, read_manifest
from quickstep.storage.cache import Cache
from quickstep.types.segment import Segment


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of twelve videos, each on a stage of its own, all encoded alike."""
    folder = tmp_path_factory.mktemp("healthy")
    for index in range(24):
        written(folder / "set" / ("halo" if index % 2 else "swipe") / f"{index:02d}.mp4", take(index, index, seconds=1.2))
    check(read_manifest(folder / "set"), cache=Cache(folder / "cache"))
    return folder


@pytest.fixture
def videos(healthy: Path, tmp_path: Path) -> Path:
    """Copy the healthy dataset, so that a test can change it."""
    shutil.copytree(healthy / "set", tmp_path / "set")
    return tmp_path / "set"


def audit_of(data: Path | Manifest, healthy: Path) -> Audit:
    return check(data if isinstance(data, Manifest) else read_manifest(data), cache=Cache(healthy / "cache"))


def kinds(audit: Audit) -> set[str]:
    return {finding.kind for finding in audit.findings}


def test_a_healthy_set_has_no_findings(healthy: Path) -> None:
    audit = audit_of(healthy / "set", healthy)
    assert audit.findings == ()
    assert audit.clean
    assert (audit.segments, audit.videos, audit.readable, audit.labels) == (24, 24, 24, {"halo": 12, "swipe": 12})
    assert audit.seconds == pytest.approx(24 * 1.2, rel=0.05)
    assert audit.shortcut is not None
    assert not audit.shortcut.suspicious
    assert audit.text.startswith("24 segments of 2 classes in 24 videos (0.5 minutes), 24 readable: no problems found")


def test_unreadable_videos_are_errors(videos: Path, healthy: Path) -> None:
    (videos / "halo/text.mp4").write_text("these are words")
    (videos / "halo/nothing.mp4").write_bytes(b"")
    (videos / "halo/folder.mp4").mkdir()
    (videos / "halo/gone.mp4").symlink_to(videos / "nowhere.mp4")
    audit = audit_of(videos, healthy)
    findings = audit.of("unreadable")
    assert {segment.path.name for finding in findings for segment in finding.segments} == {
        "text.mp4",
        "nothing.mp4",
        "folder.mp4",
        "gone.mp4",
    }
    assert all(finding.severity == "error" for finding in findings)
    assert all(finding.segments[0].path.name in finding.sentence for finding in findings)
    assert (audit.videos, audit.readable) == (28, 24)
    assert not audit.clean


def test_a_truncated_video_is_found(videos: Path, healthy: Path) -> None:
    path = written(videos / "halo/cut.mp4", take(50, 50, seconds=4.0))
    os.truncate(path, path.stat().st_size * 6 // 10)
    (finding,) = audit_of(videos, healthy).of("truncated")
    assert [segment.path.name for segment in finding.segments] == ["cut.mp4"]


def test_a_duration_that_the_file_cannot_hold_is_an_error(videos: Path, healthy: Path) -> None:
    for name in ("fragment", "flipped", "cut"):
        path = KINDS[name](videos)
        path.rename(videos / "halo" / path.name)
    audit = audit_of(videos, healthy)
    named = {finding.segments[0].path.stem: finding.severity for finding in audit.of("claimed-duration")}
    assert named == {"fragment": "error", "flipped": "error", "cut": "error"}
    assert not audit.clean
    assert audit.seconds < 24 * 10


def test_copies_of_files_and_of_footage_are_found(videos: Path, healthy: Path) -> None:
    shutil.copy(videos / "halo/01.mp4", videos / "halo/01 again.mp4")
    shutil.copy(videos / "halo/03.mp4", videos / "swipe/03.mp4")
    written(videos / "swipe/small.mp4", scaled(take(4, 4, seconds=1.2)))
    written(videos / "halo/mirror.mp4", mirrored(take(5, 5, seconds=1.2)))
    audit = audit_of(videos, healthy)
    same = {frozenset(segment.path.name for segment in finding.segments): finding.severity for finding in audit.of("duplicate")}
    assert same == {frozenset({"01.mp4", "01 again.mp4"}): "warning", frozenset({"03.mp4"}): "error"}
    near = {frozenset(segment.path.name for segment in finding.segments) for finding in audit.of("near-duplicate")}
    assert near == {frozenset({"04.mp4", "small.mp4"}), frozenset({"05.mp4", "mirror.mp4"})}
    assert any("mirrored" in finding.sentence for finding in audit.of("near-duplicate"))
    assert not audit.of("one-source")


def test_one_span_with_two_labels_is_an_error(healthy: Path) -> None:
    manifest = read_manifest(healthy / "set")
    twice = manifest.with_segments([*manifest.segments, replace(manifest.segments[0], label="swipe")])
    (finding,) = audit_of(twice, healthy).of("duplicate")
    assert finding.severity == "error"
    assert "halo, swipe" in finding.sentence


def test_spans_beyond_the_video_and_short_ones_are_found(healthy: Path) -> None:
    manifest = read_manifest(healthy / "set")
    first, second, third, *rest = manifest.segments
    spans = [
        replace(first, start=60.0),
        replace(first, start=0.5, end=9.0),
        replace(second, start=0.2, end=0.4),
        replace(third, start=0.0, end=2.0),
    ]
    audit = audit_of(manifest.with_segments([*spans, *rest]), healthy)
    spans_found = {(finding.severity, finding.segments[0].start, finding.segments[0].end) for finding in audit.of("beyond")}
    assert spans_found == {("error", 60.0, None), ("error", 0.5, 9.0), ("warning", 0.0, 2.0)}
    assert [finding.segments[0].end for finding in audit.of("too-short")] == [0.4]


def test_segments_without_motion_are_found(videos: Path, healthy: Path) -> None:
    written(videos / "halo/still.mp4", [stage(70).astype(np.uint8)] * 30)
    written(videos / "halo/black.mp4", [np.zeros((120, 160, 3), np.uint8)] * 30)
    half = written(videos / "halo/half.mp4", [*([stage(71).astype(np.uint8)] * 40), *take(71, 71, seconds=1.6)])
    manifest = read_manifest(videos)
    others = [segment for segment in manifest.segments if segment.path != half]
    audit = audit_of(manifest.with_segments([*others, Segment(half, "halo", 0.0, 1.4), Segment(half, "halo", 1.7, 3.2)]), healthy)
    still = {(finding.segments[0].path.name, finding.segments[0].start) for finding in audit.of("no-motion")}
    assert still == {("still.mp4", 0.0), ("black.mp4", 0.0), ("half.mp4", 0.0)}


def test_single_small_and_empty_classes_are_found(healthy: Path, videos: Path) -> None:
    manifest = read_manifest(healthy / "set")
    halo = [segment for segment in manifest.segments if segment.label == "halo"]
    only = audit_of(manifest.with_segments(halo), healthy)
    assert [finding.severity for finding in only.of("one-class")] == ["error"]
    swipe = [replace(segment, group="ana") for segment in manifest.segments if segment.label == "swipe"]
    one_group = audit_of(manifest.with_segments([*halo, *swipe]), healthy)
    assert "class 'swipe' has only 1 group" in one_group.of("few")[0].sentence
    for path in sorted((videos / "swipe").iterdir())[3:]:
        path.unlink()
    (videos / "windmill").mkdir()
    audit = audit_of(videos, healthy)
    assert {"imbalance", "empty-class", "few"} <= kinds(audit)
    assert "4.0 times as many segments as 'swipe' (12 to 3)" in audit.of("imbalance")[0].sentence
    assert "'windmill' has no video" in audit.of("empty-class")[0].sentence


def test_a_class_without_a_readable_video_is_an_error(healthy: Path, tmp_path: Path) -> None:
    manifest = read_manifest(healthy / "set")
    missing = Segment(tmp_path / "gone.mp4", "windmill")
    audit = audit_of(manifest.with_segments([*manifest.segments, missing]), healthy)
    assert "class 'windmill' has no video that can be read" in audit.of("empty-class")[0].sentence


def test_two_videos_are_not_too_few_to_look_at(healthy: Path) -> None:
    manifest = read_manifest(healthy / "set")
    audit = audit_of(manifest.with_segments([manifest.segments[0], manifest.segments[-1]]), healthy)
    assert kinds(audit) == {"few"}
    assert audit.shortcut is None


def test_groups_that_look_like_one_source(healthy: Path, videos: Path) -> None:
    for number in range(2):
        written(videos / f"halo/stage{number}.mp4", take(90, 90 + number, seconds=1.2))
    ungrouped = audit_of(videos, healthy)
    (finding,) = ungrouped.of("one-source")
    assert {segment.path.name for segment in finding.segments} == {"stage0.mp4", "stage1.mp4"}
    manifest = read_manifest(videos)
    grouped = manifest.with_segments(replace(s, group="one" if s.path.name.startswith("stage") else s.path.name) for s in manifest.segments)
    assert not audit_of(grouped, healthy).of("one-source")


def test_leaks_between_splits_are_errors(videos: Path, healthy: Path) -> None:
    written(videos / "halo/small.mp4", scaled(take(1, 1, seconds=1.2)))
    manifest = read_manifest(videos)
    split = manifest.with_splits(["test" if segment.path.name == "small.mp4" else "train" for segment in manifest.segments])
    (finding,) = audit_of(split, healthy).of("leak")
    assert finding.severity == "error"
    assert {segment.path.name for segment in finding.segments} == {"small.mp4", "01.mp4"}
    assert next(iter(audit_of(split, healthy).findings)) == finding  # errors first


def facts_of(*segments: Segment, **more: object) -> Any:
    """Return what checks look at, for videos that do not exist."""
    facts = {"manifest": Manifest(segments), "failures": {}, "infos": {}, "name": str, "segments_of": lambda _paths: ()}
    return SimpleNamespace(**(facts | more))


@pytest.mark.parametrize(
    ("duration", "last", "expected"), [(20, 18.5, []), (20, 17.5, ["truncated"]), (2, 1.6, []), (2, 1.3, ["truncated"])]
)
def test_a_video_may_end_half_a_second_or_a_tenth_too_early(duration: float, last: float, expected: list[str]) -> None:
    sketch = SimpleNamespace(duration=float(duration), last_time=last, fps=15.0, lost=0)
    facts = facts_of(footage=SimpleNamespace(sketches={Path("a.mp4"): sketch}))
    assert [finding.kind for finding in check_complete(facts)] == expected


@pytest.mark.parametrize(("groups", "severities"), [(2, ["warning"]), (3, [])])
def test_three_groups_are_enough_for_train_val_and_test(groups: int, severities: list[str]) -> None:
    segments = [Segment(Path(f"{number}.mp4"), "halo", group=str(number % groups)) for number in range(60)]
    found = check_classes(facts_of(*segments))
    assert [finding.severity for finding in found if finding.kind == "few"] == severities


@pytest.mark.parametrize(("start", "expected"), [(3.0, []), (4.0, ["beyond"]), (5.0, ["beyond"])])
def test_a_segment_that_starts_where_its_video_ends_is_an_error(start: float, expected: list[str]) -> None:
    segment = Segment(Path("a.mp4"), "halo", start=start)
    facts = facts_of(segment, infos={segment.path: SimpleNamespace(duration=4.0, fps=25.0)})
    assert [finding.kind for finding in check_spans(facts)] == expected


def test_a_shortcut_is_a_warning(healthy: Path, tmp_path: Path) -> None:
    for index in range(12):
        frames = take(index, index, seconds=1.2)
        written(tmp_path / ("halo" if index % 2 else "swipe") / f"{index:02d}.mp4", scaled(frames) if index % 2 else frames)
    audit = audit_of(tmp_path, healthy)
    (finding,) = audit.of("shortcut")
    assert finding.severity == "warning"
    assert "frame size" in finding.sentence


def test_files_that_were_left_out_are_reported(videos: Path, healthy: Path) -> None:
    (videos / "index.csv").write_text("path,label\n")
    (videos / ".hidden").write_text("")
    shutil.copy(videos / "halo/01.mp4", videos / "loose.mp4")
    sentences = " ".join(finding.sentence for finding in audit_of(videos, healthy).of("skipped"))
    assert "1 video is outside the class folders" in sentences
    assert "index.csv beside the class folders is not read" in sentences


def test_the_json_has_every_finding(videos: Path, healthy: Path) -> None:
    (videos / "halo/text.mp4").write_text("these are words")
    audit = audit_of(videos, healthy)
    content = json.loads(audit.to_json())
    assert content["findings"][0]["kind"] == "unreadable"
    assert content["findings"][0]["segments"][0]["path"].endswith("text.mp4")
    assert content["shortcut"]["suspicious"] is False
    assert content["clean"] is False
    assert all("\n" not in finding.sentence for finding in audit.findings)


def test_a_second_check_reports_progress_and_opens_no_video(healthy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> Iterator[None]:
        raise AssertionError("a video was opened")

    monkeypatch.setattr("quickstep.datasets.duplicates.frame_similarity.VideoReader", refuse)
    monkeypatch.setattr("quickstep.datasets.audit.metadata_shortcuts.probe", refuse)
    steps: list[tuple[str, int, int]] = []
    check(read_manifest(healthy / "set"), cache=Cache(healthy / "cache"), progress=lambda *now: steps.append(now), workers=2)
    for stage_name in ("headers", "decoding"):
        assert [done for name, done, _ in steps if name == stage_name] == list(range(25))


@pytest.mark.slow
def test_problems_of_a_real_dataset_are_found(shared_data: Path, tmp_path: Path) -> None:
    tricks = check(read_manifest(shared_data / "skateboard/index.csv"), cache=Cache(tmp_path))
    assert tricks.of("shortcut")
    assert tricks.shortcut is not None
    assert tricks.shortcut.accuracy > 0.7
    assert tricks.of("near-duplicate")
    assert tricks.of("leak")
