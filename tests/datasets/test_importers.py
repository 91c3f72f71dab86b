"""Importers: files are result under their usual names, and merged manifests have no duplicates by id, bytes or footage."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import videos
from PIL import Image

from quickstep.apps.cli import main
from quickstep.datasets.class_prompts import read_class_prompts
from quickstep.datasets.importers import (
    ExportConfig,
    KineticsConfig,
    LetsDanceConfig,
    MergeConfig,
    MmactionConfig,
    export_list,
    import_kinetics,
    import_lets_dance,
    import_mmaction,
    merge,
)
from quickstep.datasets.importers.frame_folders import FramesConfig
from quickstep.datasets.importers.lets_dance import fps_of, parse_name, read_mapping
from quickstep.datasets.label_matching import loose_label_key, match_labels
from quickstep.datasets.manifest import Manifest, read_manifest, write_manifest
from quickstep.datasets.splits import SplitConfig, split
from quickstep.signals.video import probe, read_frames, write_video
from quickstep.types.errors import ConfigError, ManifestError, QuickstepError
from quickstep.types.segment import Segment

DANCES = ("dancing ballet", "breakdancing", "krumping")


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    return int(end.value.code or 0), printed.out, printed.err


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"video")
    return path


def write_list(path: Path, header: str, *lines: str) -> Path:
    path.write_text("\n".join((header, *lines)) + "\n")
    return path


K700 = "label,youtube_id,time_start,time_end,split"


# -- Kinetics ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "line"),
    [
        ("label,youtube_id,time_start,time_end,split,is_cc", "tap dancing,-abc_DEF_12,10,20,train,0"),  # 400
        ('"label","youtube_id","time_start","time_end","split"', '"tap dancing","-abc_DEF_12","10","20","train"'),  # 600, quoted
        (K700, "tap dancing,-abc_DEF_12,10.0,20.0,validate"),
        ("\ufeffyoutube_id,label,split,time_start,time_end", "-abc_DEF_12,tap dancing,test,10,20\r"),
    ],
)
@pytest.mark.parametrize(
    "file",
    [
        "tap dancing/-abc_DEF_12_000010_000020.mp4",
        "tap_dancing/-abc_DEF_12_000010_000020.mkv",
        "-abc_DEF_12_000010_000020.webm",
        "train/tap dancing/-abc_DEF_12_10_20.AVI",
        "-abc_DEF_12.mp4",
    ],
)
def test_files_are_found_under_their_usual_names(tmp_path: Path, header: str, line: str, file: str) -> None:
    video = touch(tmp_path / "videos" / file)
    result = import_kinetics([write_list(tmp_path / "list.csv", header, line)], tmp_path / "videos")
    (segment,) = result.manifest.segments
    assert (segment.path, segment.label, segment.group, segment.split) == (video, "tap dancing", "-abc_DEF_12", None)
    assert (segment.start, segment.end) == ((10.0, 20.0) if video.stem == "-abc_DEF_12" else (0.0, None))


def test_an_id_that_looks_like_times_is_an_id(tmp_path: Path) -> None:
    rows = write_list(tmp_path / "l.csv", K700, "a,xx_12_34567,0,10,train", "a,x_y,1,11,train", "a,x_y,5,15,train")
    for name in ("xx_12_34567", "x_y_000005_000015", "x_y_000077_000087"):
        touch(tmp_path / "v" / f"{name}.mp4")
    result = import_kinetics([rows], tmp_path / "v")
    assert [(s.path.stem, s.group, s.start, s.end) for s in result.manifest.segments] == [
        ("xx_12_34567", "xx_12_34567", 0.0, 10.0),
        ("x_y_000005_000015", "x_y", 0.0, None),
    ]
    assert result.missing == (("a", "x_y", "1", "11", "train"),)


def test_a_trimmed_file_in_its_class_folder_is_preferred(tmp_path: Path) -> None:
    rows = write_list(tmp_path / "l.csv", K700, "tap dancing,abcdefghijk,10,20,train")
    for name in ("abcdefghijk.mp4", "other/abcdefghijk_000010_000020.mp4", "tap_dancing/abcdefghijk_000010_000020.mp4"):
        touch(tmp_path / "v" / name)
    touch(tmp_path / "v" / "zero" / "abcdefghijk_000010_000020.mp4").write_bytes(b"")
    (segment,) = import_kinetics([rows], tmp_path / "v").manifest.segments
    assert segment.path.parent.name == "tap_dancing"


def test_labels_match_in_any_spelling_and_others_name_the_nearest_class(tmp_path: Path) -> None:
    rows = write_list(
        tmp_path / "l.csv",
        K700,
        "Dancing_Ballet,aaaaaaaaaaa,0,10,train",
        "break dancing,bbbbbbbbbbb,0,10,train",
        "yoga,cc,0,10,val",
    )
    for name in "abc":
        touch(tmp_path / "v" / f"{name * 11}_000000_000010.mp4")
    result = import_kinetics([rows], tmp_path / "v", KineticsConfig(labels="dance19"))
    assert result.manifest.labels == ("dancing ballet",)
    assert any("'breakdancing'" in text and "nearest class is 'break dancing'" in text for text in result.unmatched)
    assert len(result.unmatched) == 18
    assert import_kinetics([rows], tmp_path / "v", KineticsConfig(labels="break_dancing")).manifest.labels == ("break_dancing",)
    assert loose_label_key("Tai-Chi!") == loose_label_key("tai_chi")
    assert match_labels(["a b"], ["A_B"])[0] == {"A_B": "a b"}


def test_every_label_of_dance19_is_a_class_of_kinetics_700(tmp_path: Path, shared_data: Path) -> None:
    names = (shared_data / "annotations" / "label_map_k700.txt").read_text().split("\n")[:700]
    rows = [f'"{name}",id{number:09d},3,13,train' for number, name in enumerate(names)]
    touch(tmp_path / "v" / f"id{names.index('zumba'):09d}_000003_000013.mp4")
    result = import_kinetics([write_list(tmp_path / "l.csv", K700, *rows)], tmp_path / "v", KineticsConfig(labels="dance19"))
    assert not result.unmatched
    assert [count.label for count in result.table] == sorted(read_class_prompts("dance19").labels)
    assert (len(result.manifest), len(result.missing)) == (1, 18)


def test_missing_files_are_counted_by_class_and_written_as_a_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"{label},{number:011d},5,15,validate" for number, label in enumerate(DANCES * 2)]
    write_list(tmp_path / "l.csv", K700, *rows, "krumping,zzzzzzzzzzz,5,15,validate")
    write_list(tmp_path / "test.csv", "youtube_id,time_start,time_end,split", "yyyyyyyyyyy,1,11,test")
    for number in (0, 1, 3):
        touch(tmp_path / "v" / f"{number:011d}_000005_000015.mp4")
    touch(tmp_path / "v" / "stranger.mp4")
    out, lists = tmp_path / "set.csv", ("--list", tmp_path / "l.csv", "--list", tmp_path / "test.csv")
    status, printed, errors = run(
        capsys, "import-dataset", "kinetics", *lists, "--videos", tmp_path / "v", "-o", out, "--official-splits", "--json"
    )
    assert status == 0
    summary = json.loads(printed)
    assert summary["classes"]["krumping"] == {"found": 0, "missing": 3}
    assert summary["classes"]["dancing ballet"] == {"found": 2, "missing": 0}
    assert "1 rows have no label" in errors
    assert "1 videos in" in errors
    with (tmp_path / "set-missing.csv").open() as file:
        missing = list(csv.DictReader(file))
    assert [row["youtube_id"] for row in missing] == ["00000000002", "00000000004", "00000000005", "zzzzzzzzzzz"]
    assert read_manifest(out).splits == ("val",)
    again = import_kinetics([tmp_path / "l.csv"], tmp_path / "v")
    assert import_kinetics([tmp_path / "set-missing.csv", tmp_path / "l.csv"], tmp_path / "v").missing == (*again.missing,)


def test_rows_listed_twice_are_imported_once(tmp_path: Path) -> None:
    rows = write_list(tmp_path / "l.csv", K700, "a,aaaaaaaaaaa,0,10,train", "a,aaaaaaaaaaa,0,10,train", "b,aaaaaaaaaaa,0,10,train")
    touch(tmp_path / "v" / "aaaaaaaaaaa_000000_000010.mp4")
    result = import_kinetics([rows], tmp_path / "v")
    assert [segment.label for segment in result.manifest.segments] == ["a"]
    assert any("another label" in note for note in result.notes)


def test_the_published_json_is_read(tmp_path: Path) -> None:
    entry = {"annotations": {"label": "zumba", "segment": [7.0, 17.0]}, "duration": 10.0, "subset": "train"}
    (tmp_path / "train.json").write_text(json.dumps({"-0123456789": {**entry, "url": "https://www.youtube.com/watch?v=-0123456789"}}))
    touch(tmp_path / "v" / "-0123456789_000007_000017.mp4")
    assert import_kinetics([tmp_path / "train.json"], tmp_path / "v").manifest.labels == ("zumba",)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("name,when\na,b", "not a Kinetics list.*youtube_id"),
        (f"{K700}\na,b,x,20,train", "line 2.*not a span in seconds"),
        (f"{K700}\na,b,20,10,train", "line 2.*after its start"),
        (f"{K700}\na,b", "line 2.*2 values"),
        (f"{K700}\na,bbbbbbbbbbb,0,10,train", r"none of the 1 videos.*bbbbbbbbbbb_000000_000010\.mp4"),
        ("youtube_id,time_start,time_end,split\nbbbbbbbbbbb,0,10,test", "no row has a label"),
        ('label,youtube_id,time_start,time_end\n"a,b,0,10', "not csv"),
        ("", "not a Kinetics list"),
    ],
)
def test_a_wrong_list_is_named_with_its_line(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "l.csv").write_text(text)
    (tmp_path / "v").mkdir()
    with pytest.raises(ManifestError, match=problem):
        import_kinetics([tmp_path / "l.csv"], tmp_path / "v")


def test_missing_files_and_unknown_labels_are_refused(tmp_path: Path) -> None:
    rows = write_list(tmp_path / "l.csv", K700, "yoga,bbbbbbbbbbb,0,10,train")
    with pytest.raises(ManifestError, match="does not exist"):
        import_kinetics([rows], tmp_path / "none")
    with pytest.raises(ManifestError, match="none of its 1 classes was requested"):
        import_kinetics([rows], tmp_path, KineticsConfig(labels="dance19"))
    with pytest.raises(ManifestError, match=r"none\.csv"):
        import_kinetics([tmp_path / "none.csv"], tmp_path)


# -- Let's Dance ---------------------------------------------------------------------------------------------------------------


def write_images(folder: Path, name: str, count: int, *, first: int = 1, size: tuple[int, int] = (96, 64)) -> None:
    """Write images that show their own number, named as the frames of the dataset."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        Image.fromarray(videos.number_picture(number, *size)).save(folder / f"{name}{number:04d}.jpg", quality=95)


@pytest.fixture(scope="module")
def lets_dance(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a small part of the dataset as published: the frames of a class in one folder, flow beside them."""
    root = tmp_path_factory.mktemp("letsdance")
    write_images(root / "rgb" / "ballet", "SmRrfm1ihGg_008_", 30)
    write_images(root / "rgb" / "ballet", "SmRrfm1ihGg_106_", 12)
    write_images(root / "rgb" / "break", "-rHO5g9KPyI_020_", 12, size=(95, 63))
    write_images(root / "rgb" / "waltz", "nUAQQvxSfXQ_048_", 3)
    write_images(root / "flow" / "ballet", "SmRrfm1ihGg_008_", 3)
    return root


def test_frames_become_videos_in_their_order(lets_dance: Path, tmp_path: Path) -> None:
    result = import_lets_dance(lets_dance, frames=FramesConfig(fps=10), videos=tmp_path / "made")
    by_name = {segment.path.stem: segment for segment in result.manifest.segments}
    assert set(by_name) == {"SmRrfm1ihGg_008", "SmRrfm1ihGg_106", "-rHO5g9KPyI_020"}
    assert {segment.label for segment in by_name.values()} == {"dancing ballet", "breakdancing"}
    assert [by_name[name].group for name in ("SmRrfm1ihGg_008", "SmRrfm1ihGg_106")] == ["SmRrfm1ihGg"] * 2
    assert by_name["SmRrfm1ihGg_106"].extra["time_start"] == "66"
    assert len(result.unmatched) == 1
    assert "'waltz' (1 videos)" in result.unmatched[0]
    video = by_name["SmRrfm1ihGg_008"].path
    info = probe(video)
    assert (info.frames, info.fps) == (30, 10.0)
    frames = read_frames(video, (np.arange(30) + 0.5) / 10).pixels
    assert [videos.read_number(frame) for frame in frames] == list(range(1, 31))
    before = video.stat().st_mtime_ns
    import_lets_dance(lets_dance, frames=FramesConfig(fps=10), videos=tmp_path / "made")
    assert video.stat().st_mtime_ns == before  # an existing video is not written again
    import_lets_dance(lets_dance, frames=FramesConfig(fps=20), videos=tmp_path / "made")
    assert probe(video).fps == 20.0


def test_videos_and_folders_of_frames_are_imported_together(tmp_path: Path) -> None:
    touch(tmp_path / "set" / "tap" / "cUrs9z5VcJE_051.mp4")
    write_images(tmp_path / "set" / "tango" / "gu43cNIDyDc_019", "", 5)
    write_images(tmp_path / "set" / "tango" / "other", "img_", 5)
    result = import_lets_dance(tmp_path / "set", frames=FramesConfig(edge=32), videos=tmp_path / "made")
    assert [(s.path.stem, s.group) for s in result.manifest.segments] == [
        ("gu43cNIDyDc_019", "gu43cNIDyDc"),
        ("other", "other"),
        ("cUrs9z5VcJE_051", "cUrs9z5VcJE"),
    ]
    assert (probe(result.manifest.segments[0].path).height, probe(result.manifest.segments[0].path).fps) == (32, 30.0)


def test_another_mapping_can_be_used(lets_dance: Path, tmp_path: Path) -> None:
    own = write_list(tmp_path / "own.csv", "folder,label", "Waltz,slow waltz", "ballet,", "# a remark")
    result = import_lets_dance(lets_dance, LetsDanceConfig(mapping=str(own)), videos=tmp_path / "made")
    assert result.manifest.labels == ("slow waltz",)
    assert len(result.unmatched) == 2
    everything = import_lets_dance(lets_dance, LetsDanceConfig(keep_unmapped=True), videos=tmp_path / "made")
    assert everything.manifest.labels == ("breakdancing", "dancing ballet", "waltz")
    write_list(own, "folder,label", "ballet,a", "Ballet,b")
    with pytest.raises(ManifestError, match="has two labels"):
        read_mapping(own)
    write_list(own, "folder,label", "nothing,x")
    with pytest.raises(ManifestError, match="none of its folders"):
        import_lets_dance(lets_dance, LetsDanceConfig(mapping=str(own)))


def test_the_shipped_mapping_uses_labels_of_dance19() -> None:
    assert set(read_mapping().values()) <= set(read_class_prompts("dance19").labels)


def test_a_broken_image_is_a_failure_and_not_a_black_frame(lets_dance: Path, tmp_path: Path) -> None:
    shutil.copytree(lets_dance, tmp_path / "set")
    broken = tmp_path / "set" / "rgb" / "ballet" / "SmRrfm1ihGg_106_0004.jpg"
    broken.write_bytes(broken.read_bytes()[:200])
    (tmp_path / "set" / "rgb" / "ballet" / "SmRrfm1ihGg_008_0010.jpg").unlink()
    result = import_lets_dance(tmp_path / "set", videos=tmp_path / "made")
    assert "SmRrfm1ihGg_106_0004.jpg" in str(result.failures[0])
    assert len(result.manifest) == 2
    assert any("lack images" in note for note in result.notes)


def test_frame_rate_and_start_are_derived_from_count_and_name() -> None:
    assert [fps_of(count) for count in (301, 251, 241, 151, 502, 176)] == [30.0, 25.0, 24.0, 15.0, 50.0, 30.0]
    assert parse_name("HknJUs3gPuE_804") == ("HknJUs3gPuE", 484.0)
    assert parse_name("Q_CIBonze5I_038") == ("Q_CIBonze5I", 38.0)
    assert parse_name("my_clip_3") == ("my_clip", None)


# -- MMAction2 -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Four videos of 20 frames at 10 a second, one of them in a folder with a space."""
    root = tmp_path_factory.mktemp("small")
    segments = []
    for number, (name, label, part) in enumerate(
        (("a/1", "halo", "train"), ("a/2", "windmill", "train"), ("b c/3", "halo", "val"), ("a/4", "windmill", "test"))
    ):
        path = root / f"{name}.mp4"
        path.parent.mkdir(exist_ok=True)
        write_video(path, [videos.number_picture(100 * number + index) for index in range(20)], fps=10)
        segments.append(Segment(path, label, split=part))
    return Manifest(tuple(segments), root)


def test_exported_lists_of_videos_are_imported_again(small: Manifest, tmp_path: Path) -> None:
    written = export_list(small, tmp_path / "lists")
    assert [file.name for file in written.lists] == ["train.txt", "val.txt", "test.txt"]
    assert written.classes.read_text() == "halo\nwindmill\n"
    assert (tmp_path / "lists" / "train.txt").read_text().splitlines()[1].endswith("a/2.mp4 1")
    back = [segment for file in written.lists for segment in read_manifest(file, classes=written.classes).segments]
    assert [(s.path.resolve(), s.label) for s in back] == [(s.path.resolve(), s.label) for s in small.segments]
    rooted = export_list(small, tmp_path / "rooted", ExportConfig(root=small.source))
    assert rooted.lists[1].read_text() == "b c/3.mp4 0\n"
    assert "spaces" in rooted.notes[0]
    result = import_mmaction(rooted.lists[1], MmactionConfig(classes=rooted.classes, root=small.source))
    assert [(s.path.name, s.label) for s in result.manifest.segments] == [("3.mp4", "halo")]


def test_exported_lists_of_frames_are_imported_again(small: Manifest, tmp_path: Path) -> None:
    spans = small.with_segments([*small.segments[:3], Segment(small.segments[3].path, "windmill", start=0.5, end=1.5, split="test")])
    with pytest.raises(ConfigError, match=r"1 segments are parts.*rawframes"):
        export_list(spans, tmp_path / "lists")
    written = export_list(spans, tmp_path / "lists", ExportConfig(format="rawframes", root=small.source))
    assert [file.read_text().splitlines()[0] for file in written.lists] == ["a/1 20 0", "b c/3 20 0", "a/4 5 10 1"]
    with pytest.raises(ManifestError, match="import-dataset mmaction"):
        read_manifest(written.lists[0], classes=written.classes)
    how = MmactionConfig(classes=written.classes, root=small.source)
    back = [s for f in written.lists for s in import_mmaction(f, how).manifest.segments]
    assert [(s.path, s.label, s.start, s.end) for s in back] == [(s.path, s.label, s.start, s.end) for s in spans.segments]


def test_folders_of_frames_become_videos(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_images(tmp_path / "frames" / "jump", "img_", 20)
    write_images(tmp_path / "frames" / "jump", "flow_x_", 20)
    (tmp_path / "names.txt").write_text("jump\nrun\n")
    (tmp_path / "list.txt").write_text("jump 20 0\njump 6 1\ngone 20 1\n")
    out = tmp_path / "set.csv"
    words = ("--classes", tmp_path / "names.txt", "--root", tmp_path / "frames", "--fps", 10)
    status, _, errors = run(capsys, "import-dataset", "mmaction", tmp_path / "list.txt", "-o", out, *words)
    assert status == 0, errors
    segments = read_manifest(out).segments
    assert [(s.path.name, s.label, s.start, s.end) for s in segments] == [("jump.mp4", "jump", 0, None), ("jump.mp4", "run", 0, 0.6)]
    assert (tmp_path / "set-missing.csv").read_text() == "path,label\ngone,run\n"
    assert [videos.read_number(frame) for frame in read_frames(segments[0].path, [0.05, 1.95]).pixels] == [1, 20]


def test_class_names_that_begin_with_numbers_are_kept(small: Manifest, tmp_path: Path) -> None:
    renamed = small.with_segments(Segment(s.path, {"halo": "2 halos", "windmill": "10 mills"}[str(s.label)]) for s in small.segments)
    written = export_list(renamed, tmp_path / "lists")
    assert [file.name for file in written.lists] == ["all.txt"]
    assert [s.label for s in read_manifest(written.lists[0], classes=written.classes).segments] == [s.label for s in renamed.segments]


def test_the_command_writes_lists(small: Manifest, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_manifest(small, tmp_path / "set.csv")
    status, printed, _ = run(capsys, "export-list", tmp_path / "set.csv", "-o", tmp_path / "lists", "--format", "rawframes", "--json")
    assert status == 0
    assert sorted(json.loads(printed)["lists"].values()) == [1, 1, 2]


# -- merging -------------------------------------------------------------------------------------------------------------------


NAMES = tuple(f"{letter * 11}_{times}" for letter, times in zip("abcd", ("000010_000020", *["000000_000010"] * 3), strict=True))


def moving(seed: int, *, seconds: float = 4.0) -> Iterator[np.ndarray]:  # type: ignore[type-arg]
    """Write a recording of squares that move over a background."""
    rng = np.random.default_rng(seed)
    ground = np.kron(rng.integers(20, 230, (6, 8, 3)), np.ones((16, 16, 1)))
    speed, place, colours = rng.uniform(-3, 3, (4, 2)), rng.uniform(10, 80, (4, 2)), rng.integers(0, 255, (4, 3))
    for index in range(int(seconds * 15)):
        picture = ground.copy()
        for (x, y), (dx, dy), colour in zip(place, speed, colours, strict=True):
            left, top = int(x + dx * index) % 112, int(y + dy * index) % 80
            picture[top : top + 24, left : left + 24] = colour
        yield picture.astype(np.uint8)


@pytest.fixture(scope="module")
def two_sets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Manifest, Manifest]:
    """Kinetics and Let's Dance with one web video in both, one copied file, and one recording encoded again at another size."""
    root = tmp_path_factory.mktemp("sets")
    for name in ("k", "l"):
        (root / name).mkdir()
    for seed, name in enumerate(NAMES):
        write_video(root / "k" / f"{name}.mp4", moving(seed), fps=15)
    write_video(root / "l" / "aaaaaaaaaaa_011.mp4", moving(100), fps=15)  # the same web video at the same time, by name
    shutil.copy(root / "k" / "bbbbbbbbbbb_000000_000010.mp4", root / "l" / "eeeeeeeeeee_000.mp4")
    small = (picture[::2, ::2] for picture in moving(2))
    write_video(root / "l" / "fffffffffff_000.mp4", small, fps=15, crf=28)  # the recording of ccc
    write_video(root / "l" / "aaaaaaaaaaa_300.mp4", moving(101), fps=15)  # the web video of aaa, three minutes in
    kinetics = [
        Segment(path, "tango dancing", group=path.stem[:11], extra={"source": "kinetics", "youtube_id": path.stem[:11]})
        for path in sorted((root / "k").iterdir())
    ]
    dances = [
        Segment(
            path,
            "Tango_Dancing",
            group=path.stem[:11],
            extra={
                "youtube_id": path.stem[:11],
                "time_start": str(parse_name(path.stem)[1]),
                "time_end": str((parse_name(path.stem)[1] or 0) + 10),
            },
        )
        for path in sorted((root / "l").iterdir())
    ]
    return Manifest(tuple(kinetics), root / "k"), Manifest(tuple(dances), root / "l")


def test_duplicates_are_kept_once_or_share_a_group(two_sets: tuple[Manifest, Manifest]) -> None:
    merged = merge(two_sets)
    duplicates = {(d.reason, d.first.path.stem[:3], d.second.path.stem[:3], d.kept) for d in merged.duplicates}
    assert duplicates == {("web video", "aaa", "aaa", False), ("bytes", "bbb", "eee", False), ("footage", "ccc", "fff", True)}
    groups = {segment.path.stem: segment.group for segment in merged.manifest.segments}
    assert len(groups) == 6
    assert groups["fffffffffff_000"] == groups["ccccccccccc_000000_000010"] == "ccccccccccc"
    assert groups["aaaaaaaaaaa_300"] == groups["aaaaaaaaaaa_000010_000020"]
    assert merged.manifest.labels == ("tango dancing",)
    assert any("'Tango_Dancing' of 4 segments became 'tango dancing'" in note for note in merged.notes)
    assert len(set(groups.values())) == 4
    manifest = merge(two_sets, MergeConfig(keep_copies=True)).manifest
    assert len(manifest) == 8
    assert split(manifest, SplitConfig(val=0.3, test=0.3)).leakage.clean
    assert len(set(manifest.groups)) == 4


def test_duplicates_with_different_labels_are_kept_and_reported(two_sets: tuple[Manifest, Manifest]) -> None:
    other = two_sets[1].with_segments(
        Segment(s.path, "waltz", group=s.group) for s in two_sets[1].segments if s.path.stem.startswith("eee")
    )
    merged = merge((two_sets[0], other), MergeConfig(compare=False))
    assert len(merged.manifest) == 5
    assert "labels: 'waltz' and 'tango dancing'" in str(merged.duplicates[0])


def test_splits_that_share_footage_are_leaks(two_sets: tuple[Manifest, Manifest]) -> None:
    first = two_sets[0].with_splits(["train"] * 4)
    second = two_sets[1].with_splits(["test"] * 4)
    assert merge((first, second)).leaks
    assert not merge((first, second), MergeConfig(drop_splits=True)).leaks


def test_a_merged_manifest_splits_90_5_5_without_leaks(
    two_sets: tuple[Manifest, Manifest], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, manifest in zip("kl", two_sets, strict=True):
        write_manifest(manifest, tmp_path / f"{name}.csv")
    out = tmp_path / "all.csv"
    status, printed, errors = run(capsys, "import-dataset", "merge", tmp_path / "k.csv", tmp_path / "l.csv", "-o", out)
    assert status == 0
    assert "shows the same as" in errors
    assert "left out" in errors
    assert len(read_manifest(out)) == 6
    status, printed, errors = run(capsys, "split", out, "-o", tmp_path / "splits.csv", "--val", "0.05", "--test", "0.05")
    assert status == 0, errors
    assert "groups in more than one split: 0 of 4" in printed


def test_a_manifest_merged_with_itself_stays_the_same(two_sets: tuple[Manifest, Manifest], tmp_path: Path) -> None:
    merged = merge([two_sets[0], two_sets[0]], MergeConfig(compare=False))
    assert merged.manifest.segments == two_sets[0].segments
    assert not merged.duplicates
    write_manifest(two_sets[0], tmp_path / "one.csv")
    for source in (str(tmp_path / "one.csv"), [tmp_path / "one.csv"]):
        assert len(merge(source, MergeConfig(compare=False)).manifest) == 4
    with pytest.raises(QuickstepError, match="no video to merge"):
        merge(())
