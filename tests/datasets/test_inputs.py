"""Inputs: what people name becomes segments or a Manifest; each video once, and a wrong type is one sentence."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

import quickstep
from quickstep.datasets.inputs import as_manifest, gather
from quickstep.datasets.manifest import Manifest, write_manifest
from quickstep.types.errors import ConfigError, ManifestError
from quickstep.types.segment import Segment


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Make a folder of two classes with four (empty) videos each; no test here opens one."""
    for label in ("blue", "red"):
        for number in range(4):
            path = tmp_path / "videos" / label / f"{number}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
    return tmp_path / "videos"


def names(segments: list[Segment] | tuple[Segment, ...]) -> list[str]:
    return [f"{segment.path.parent.name}/{segment.path.name}" for segment in segments]


def test_gather_reads_files_folders_globs_lists_and_standard_input(videos: Path, tmp_path: Path) -> None:
    write_manifest(Manifest(tuple(Segment(videos / "blue" / f"{n}.mp4", "blue") for n in range(2))), tmp_path / "some.csv")
    every = [f"{label}/{number}.mp4" for label in ("blue", "red") for number in range(4)]
    assert names(gather([videos / "red" / "1.mp4"])[0]) == ["red/1.mp4"]
    assert sorted(names(gather([videos])[0])) == every
    assert names(gather([str(videos / "*" / "[01].mp4")])[0]) == ["blue/0.mp4", "blue/1.mp4", "red/0.mp4", "red/1.mp4"]
    assert names(gather([str(videos / "**" / "2.mp4")])[0]) == ["blue/2.mp4", "red/2.mp4"]
    assert names(gather([tmp_path / "some.csv"])[0]) == ["blue/0.mp4", "blue/1.mp4"]
    listed = io.StringIO(f"{videos}/red/0.mp4\r\n\n{videos}/blue/3.mp4\n")
    assert names(gather(["-"], stdin=listed)[0]) == ["red/0.mp4", "blue/3.mp4"]
    assert names(gather([Segment(videos / "red" / "1.mp4", start=0.5)])[0]) == ["red/1.mp4"]


def test_a_single_input_needs_no_list(videos: Path) -> None:
    path = videos / "red" / "1.mp4"
    for single in (path, str(path), Segment(path), Manifest((Segment(path),))):
        assert gather(single) == ([Segment(path)], [])


def test_gather_lists_a_video_once(videos: Path) -> None:
    path = videos / "red" / "1.mp4"
    assert len(gather([path, str(path), path])[0]) == 1


def test_a_file_whose_name_looks_like_a_glob_is_a_file(tmp_path: Path) -> None:
    odd = tmp_path / "[1] ümlaut 💃.mp4"
    odd.write_bytes(b"")
    assert gather([odd])[0] == [Segment(odd)]


def test_gather_expands_the_home_folder(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(videos.parent))
    assert names(gather(["~/videos/red/0.mp4"])[0]) == ["red/0.mp4"]


def test_an_input_that_names_no_video_is_a_failure(tmp_path: Path) -> None:
    segments, failures = gather([tmp_path / "*.avi", tmp_path])
    assert segments == []
    assert [failure.segment.path for failure in failures] == [tmp_path / "*.avi", tmp_path]
    with pytest.raises(ConfigError, match="at least one"):
        gather([])


def test_as_manifest_takes_a_manifest_or_its_path(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = quickstep.read_manifest(videos)
    assert as_manifest(manifest) is manifest
    write_manifest(manifest, tmp_path / "all.csv")
    monkeypatch.setenv("HOME", str(tmp_path))
    for path in (videos, str(videos), [videos], tmp_path / "all.csv", "~/videos"):
        assert as_manifest(path).segments == manifest.segments


def test_as_manifest_joins_several_inputs(videos: Path, tmp_path: Path) -> None:
    red = Manifest(tuple(Segment(videos / "red" / f"{n}.mp4", "red") for n in range(4)), empty=frozenset({"blue"}))
    more = Segment(videos / "blue" / "0.mp4", "blue", start=1.0)
    write_manifest(red, tmp_path / "red.csv")
    joined = as_manifest(item for item in (tmp_path / "red.csv", red, more))
    assert joined.segments == (*red.segments, *red.segments, more)
    assert joined.empty == frozenset()
    assert as_manifest([red, red]).empty == {"blue"}
    assert as_manifest([more]).segments == (more,)


def test_as_manifest_names_a_path_that_is_not_a_list(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="nowhere"):
        as_manifest(tmp_path / "nowhere")


@pytest.mark.parametrize("wrong", [3, None, b"videos", {"videos": 1}, [3], [None]])
def test_a_wrong_type_is_a_type_error_that_says_what_is_expected(wrong: object) -> None:
    for function in (as_manifest, gather):
        with pytest.raises(TypeError, match="expected a") as caught:
            function(wrong)  # type: ignore[operator]
        assert "\n" not in str(caught.value)
        assert type(wrong[0] if isinstance(wrong, list) else wrong).__name__ in str(caught.value)
