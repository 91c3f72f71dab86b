"""Manifests: read from every form of list, refused with a clear error where the list is wrong, and written to csv."""

from __future__ import annotations

import contextlib
import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quickstep.datasets.manifest import Manifest, read_manifest, write_manifest
from quickstep.types.errors import ManifestError
from quickstep.types.escaping import is_plain
from quickstep.types.segment import Segment


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"never opened")


def listing(folder: Path, text: str | bytes, name: str = "set.csv") -> Path:
    touch(folder, "a.mp4", "b c.mp4", "deep/d.mp4")
    (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return folder / name


def paths_and_labels(manifest: Manifest, folder: Path) -> list[tuple[str, str | None]]:
    return [(segment.path.relative_to(folder).as_posix(), segment.label) for segment in manifest.segments]


# -- folders -----------------------------------------------------------------------------------------------------------------


def test_each_folder_is_a_class(tmp_path: Path) -> None:
    touch(tmp_path, "windmill/a.mp4", "windmill/sub/b.MOV", "halo/c.webm", "halo/notes.txt", "halo/.hidden.mp4", "index.csv", "loose.mp4")
    (tmp_path / "swipe").mkdir()
    manifest = read_manifest(tmp_path)
    assert paths_and_labels(manifest, tmp_path) == [
        ("halo/c.webm", "halo"),
        ("windmill/a.mp4", "windmill"),
        ("windmill/sub/b.MOV", "windmill"),
    ]
    assert manifest.labels == ("halo", "windmill")
    assert manifest.counts == {"halo": 1, "windmill": 2}
    assert manifest.empty == {"swipe"}
    assert (manifest.skipped.hidden, manifest.skipped.other, manifest.skipped.loose) == (1, 2, 1)
    assert manifest.skipped.tables == ("index.csv",)
    assert len(set(manifest.groups)) == 3  # each video is a group of its own


@pytest.mark.parametrize(
    ("split", "part"),
    [("train", "train"), ("val", "val"), ("valid", "val"), ("Validation", "val"), ("dev", "val"), ("testing", "test"), ("", None)],
)
def test_a_split_may_have_its_usual_names(tmp_path: Path, split: str, part: str | None) -> None:
    (segment,) = read_manifest(listing(tmp_path, f"path,label,split\na.mp4,halo,{split}\n")).segments
    assert segment.split == part


def test_a_video_outside_the_chosen_official_split_is_left_out(tmp_path: Path) -> None:
    rows = ("a.mp4,halo,1:train|2:test", "b c.mp4,halo,1:test", "deep/d.mp4,halo,2:train")
    file = listing(tmp_path, "\n".join(("path,label,split", *rows)))
    for name, expected in (("1", {"a.mp4": "train", "b c.mp4": "test"}), ("2", {"a.mp4": "test", "d.mp4": "train"})):
        assert {segment.path.name: segment.split for segment in read_manifest(file, official_split=name).segments} == expected
    with pytest.raises(ManifestError, match="official_split"):
        read_manifest(file)
    with pytest.raises(ManifestError, match="'3'"):
        read_manifest(file, official_split="3")


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Training", "validation", "testing"), ("train", "valid", "test")])
def test_split_folders(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        touch(tmp_path, f"{name}/halo/{name}.mp4", f"{name}/swipe/{name}.mp4")
    manifest = read_manifest(tmp_path)
    assert manifest.splits == ("train", "val", "test")
    assert manifest.labels == ("halo", "swipe")
    assert [len(manifest.part(part)) for part in ("train", "val", "test")] == [2, 2, 2]


def test_a_class_called_train_is_a_class(tmp_path: Path) -> None:
    touch(tmp_path, "train/a.mp4", "car/b.mp4")
    assert read_manifest(tmp_path).labels == ("car", "train")


def test_links_are_followed_once_and_not_upwards(tmp_path: Path) -> None:
    touch(tmp_path, "set/halo/a.mp4", "elsewhere/b.mp4")
    (tmp_path / "set/halo/up").symlink_to(tmp_path / "set", target_is_directory=True)
    (tmp_path / "set/halo/again").symlink_to(tmp_path / "set/halo", target_is_directory=True)
    (tmp_path / "set/swipe").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "set/swipe/dangling.mp4").symlink_to(tmp_path / "nowhere.mp4")
    manifest = read_manifest(tmp_path / "set")
    assert {segment.path.name for segment in manifest.segments if segment.label == "swipe"} == {"b.mp4", "dangling.mp4"}
    assert [segment.path.name for segment in manifest.missing] == ["dangling.mp4"]
    assert [segment.path.name for segment in manifest.segments if segment.label == "halo"] == ["a.mp4"]


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ((), "contains no videos"),
        (("a.mp4", "b.mp4"), "not in class folders"),
        (("halo/readme.txt",), "contains no videos"),
        (("train/a.mp4", "test/b.mp4"), "no class folders"),
        (("train/x/a.mp4", "test/x/b.mp4", "halo/c.mp4"), "both splits and other folders"),
        (("nan/a.mp4", "halo/b.mp4"), "missing value"),
    ],
)
def test_folders_without_classes_are_refused(tmp_path: Path, files: tuple[str, ...], problem: str) -> None:
    touch(tmp_path, *files)
    with pytest.raises(ManifestError, match=problem):
        read_manifest(tmp_path)


def test_without_labels_every_video_of_a_folder_is_listed(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "deep/er/b.mkv", "c.txt")
    assert paths_and_labels(read_manifest(tmp_path, labelled=False), tmp_path) == [("a.mp4", None), ("deep/er/b.mkv", None)]


# -- csv ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "path,label\na.mp4,halo\nb c.mp4,swipe\n",
        "\ufeffpath,label\r\na.mp4,halo\r\nb c.mp4,swipe\r\n",
        "path;label\n\na.mp4;halo\nb c.mp4;swipe",
        "path\tlabel\na.mp4\thalo\nb c.mp4\tswipe\n",
        'Path, Label \n"a.mp4","halo"\n"b c.mp4" , swipe \n'.replace('" ,', '",'),
        "label,path\nhalo,a.mp4\nswipe, b c.mp4\n",
        "path,label,,\na.mp4,halo,,\nb c.mp4,swipe,,\n",
        "path,label\ra.mp4,halo\rb c.mp4,swipe\r",
        "path,label\na.mp4,halo\nb c.mp4,swipe\n".encode("utf-16"),
        "a.mp4,halo\nb c.mp4,swipe\n",
        "path,label\n./deep/../a.mp4,halo\nb c.mp4,swipe\n",
    ],
)
def test_a_csv_is_read_in_all_its_dialects(tmp_path: Path, text: str | bytes) -> None:
    assert paths_and_labels(read_manifest(listing(tmp_path, text)), tmp_path) == [("a.mp4", "halo"), ("b c.mp4", "swipe")]


def test_columns_give_spans_groups_splits_and_extras(tmp_path: Path) -> None:
    text = "path,label,start,end,group,split,stage\na.mp4,halo,0.5,2,ana,Training,red\na.mp4,swipe,2,,ana,,\n"
    first, second = read_manifest(listing(tmp_path, text)).segments
    assert (first.start, first.end, first.group, first.split, first.extra) == (0.5, 2.0, "ana", "train", {"stage": "red"})
    assert (second.start, second.end, second.group, second.split) == (2.0, None, "ana", None)


def test_decimal_commas_where_semicolons_separate(tmp_path: Path) -> None:
    segment = read_manifest(listing(tmp_path, "path;label;start;end\na.mp4;halo;0,5;1,25\n")).segments[0]
    assert (segment.start, segment.end) == (0.5, 1.25)


def test_backslashes_and_unicode_forms_find_their_file(tmp_path: Path) -> None:
    touch(tmp_path, unicodedata.normalize("NFD", "tänze/größe.mp4"))
    text = "path,label\n" + unicodedata.normalize("NFC", "tänze/größe.mp4") + ",Größe\ndeep\\d.mp4,halo\n"
    manifest = read_manifest(listing(tmp_path, text))
    assert not manifest.missing
    assert manifest.labels == (unicodedata.normalize("NFC", "Größe"), "halo")


def test_labels_are_the_same_from_a_folder_and_from_a_csv(tmp_path: Path) -> None:
    name = "pas de deux é"
    touch(tmp_path, f"{unicodedata.normalize('NFD', name)}/a.mp4")
    assert read_manifest(tmp_path).labels == (unicodedata.normalize("NFC", name),)


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("", None, "is empty"),
        ("path,label\n", None, "no rows"),
        ("file,class\na.mp4,halo\n", 1, "must name the columns"),
        ("path,class\na.mp4,halo\n", 1, "column 'label' is missing; the columns are: path, class"),
        ("path,label\na.mp4,halo\n,swipe\n", 3, "the path is missing"),
        ("path,label\na.mp4,\n", 2, "the label is missing"),
        ("path,label\na.mp4,nan\n", 2, "missing value"),
        ("path,label,start\na.mp4,halo,NaN\n", 2, "not at nan"),
        ("path,label,start,end\na.mp4,halo,2,1\n", 2, "must be after its start"),
        ("path,label,start,end\na.mp4,halo,1,1\n", 2, "must be after its start"),
        ("path,label,end\na.mp4,halo,inf\n", 2, "not inf"),
        ("path,label,start\na.mp4,halo,-1\n", 2, "0 seconds or later"),
        ("path,label,start\na.mp4,halo,0:30\n", 2, "not a number of seconds"),
        ("path,label,split\na.mp4,halo,holdout\n", 2, "must be train, val or test"),
        ("path,label\na.mp4,halo,3\n", 2, "3 values, but the header names 2"),
        ("path,label,group\na.mp4,halo\n", 2, "2 values, but the header names 3"),
        ("path,label,label\na.mp4,halo,x\n", 1, "two columns are called 'label'"),
        ('path,label\na.mp4,halo\n"b c.mp4,swipe\n', 3, "never closed"),
        (b"path,label\na.mp4,halo\nb.mp4,gr\xf6\xdfe\n", 3, "not UTF-8"),
        ("path,label\nno.mp4,halo\nnone.mp4,swipe\n", 2, "none of its 2 videos exist"),
        ("just some words\n", 1, "must name the columns"),
    ],
)
def test_errors_name_the_file_and_the_line(tmp_path: Path, text: str | bytes, line: int | None, problem: str) -> None:
    path = listing(tmp_path, text)
    with pytest.raises(ManifestError, match=problem) as caught:
        read_manifest(path)
    assert caught.value.line == line
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_video_stays_in_the_manifest_and_is_listed(tmp_path: Path) -> None:
    manifest = read_manifest(listing(tmp_path, "path,label\na.mp4,halo\ngone.mp4,swipe\n"))
    assert [segment.path.name for segment in manifest.missing] == ["gone.mp4"]


def test_a_single_video_or_a_missing_file_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4")
    with pytest.raises(ManifestError, match="is a single video"):
        read_manifest(tmp_path / "a.mp4")
    with pytest.raises(ManifestError, match="does not exist"):
        read_manifest(tmp_path / "nothing.csv")
    with pytest.raises(ManifestError):
        read_manifest("bad\0name")


# -- numbers and class lists -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "classes",
    ["halo\nswipe\n", "0 halo\n1 swipe\n", "index,label\n0,halo\n1,swipe\n", "\ufeffhalo\r\n\r\nswipe\r\n", "1\tswipe\n0\thalo\n"],
)
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("set.csv", "a.mp4,0\nb c.mp4,1\n"),
        ("set.csv", "path,label\na.mp4,0\nb c.mp4,swipe\n"),
        ("set.txt", "a.mp4 0\nb c.mp4 1\n"),
        ("set.list", "a.mp4\t0\r\nb c.mp4  1\r\n"),
    ],
)
def test_class_numbers_become_names(tmp_path: Path, classes: str, name: str, text: str) -> None:
    (tmp_path / "names.txt").write_bytes(classes.encode())
    manifest = read_manifest(listing(tmp_path, text, name), classes=tmp_path / "names.txt")
    assert paths_and_labels(manifest, tmp_path) == [("a.mp4", "halo"), ("b c.mp4", "swipe")]


def test_a_class_without_a_video_is_listed_as_empty(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("halo\nswipe\nwindmill\n")
    manifest = read_manifest(listing(tmp_path, "a.mp4,0\nb c.mp4,1\n"), classes=tmp_path / "names.txt")
    assert manifest.empty == {"windmill"}


def test_without_a_class_list_numbers_are_the_labels(tmp_path: Path) -> None:
    assert read_manifest(listing(tmp_path, "a.mp4 3\nb c.mp4 11\n", "set.txt")).labels == ("11", "3")


def test_paths_of_a_list_can_start_at_another_folder(tmp_path: Path) -> None:
    touch(tmp_path, "lists/set.txt")
    (tmp_path / "lists/set.txt").write_text("a.mp4 0\n")
    touch(tmp_path, "a.mp4")
    assert read_manifest(tmp_path / "lists/set.txt", root=tmp_path).segments[0].path == tmp_path / "a.mp4"


@pytest.mark.parametrize(
    ("classes", "text", "line", "problem"),
    [
        ("halo\n", "a.mp4,0\nb c.mp4,1\n", 2, "class number 1 is not in the class list"),
        ("halo\n", "a.mp4 0\nb c.mp4 7\n", 2, "class number 7 is not in the class list"),
        ("halo\n", "a.mp4 0 1\n", 1, "several numbers"),
        ("halo\n", "a.mp4 0\nb c.mp4 x\n", 2, "expected `path number`"),
        ("halo\nhalo\n", "a.mp4 0\n", 2, "listed twice"),
        ("", "a.mp4 0\n", None, "class list is empty"),
    ],
)
def test_wrong_class_numbers_are_refused(tmp_path: Path, classes: str, text: str, line: int | None, problem: str) -> None:
    (tmp_path / "names.txt").write_text(classes)
    with pytest.raises(ManifestError, match=problem) as caught:
        read_manifest(listing(tmp_path, text, "set.txt"), classes=tmp_path / "names.txt")
    assert caught.value.line == line


# -- fingerprint, writing ----------------------------------------------------------------------------------------------------


def test_the_fingerprint_depends_on_the_content_alone(tmp_path: Path) -> None:
    for place in ("here", "there"):
        touch(tmp_path / place, "halo/a.mp4", "swipe/b.mp4")
    here, there = read_manifest(tmp_path / "here"), read_manifest(tmp_path / "there")
    assert here.fingerprint == there.fingerprint == here.with_segments(reversed(here.segments)).fingerprint
    changed = here.with_splits(["train", "test"])
    assert changed.fingerprint != here.fingerprint
    write_manifest(changed, tmp_path / "elsewhere/splits.csv")
    assert read_manifest(tmp_path / "elsewhere/splits.csv").fingerprint == changed.fingerprint


def test_paths_are_written_relative_to_the_list(tmp_path: Path) -> None:
    touch(tmp_path, "videos/halo/a.mp4")
    write_manifest(read_manifest(tmp_path / "videos"), tmp_path / "models/set.csv")
    assert (tmp_path / "models/set.csv").read_text() == "path,label\n../videos/halo/a.mp4,halo\n"
    assert read_manifest(tmp_path / "models/set.csv").segments[0].path == tmp_path / "videos/halo/a.mp4"
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["set.csv"]
    write_manifest(tmp_path / "videos", tmp_path / "models/from-path.csv")
    assert (tmp_path / "models/from-path.csv").read_text() == (tmp_path / "models/set.csv").read_text()


def test_a_csv_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    touch(tmp_path, "halo/a.mp4", "file")
    manifest = read_manifest(tmp_path)
    with pytest.raises(ManifestError, match="cannot be written"):
        write_manifest(manifest, tmp_path / "file" / "set.csv")
    with pytest.raises(ManifestError, match="is reserved"):
        write_manifest(Manifest((Segment(tmp_path / "a.mp4", "x", extra={"Path": "1"}),)), tmp_path / "set.csv")


words = (
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12)
    .filter(is_plain)
    .filter(lambda word: word.strip() and word.strip() not in {"nan", "NaN", "NAN"})
)
names = words.map(lambda word: word.replace("/", "_").replace("\\", "_")).filter(lambda word: word not in {".", ".."})
columns = words.filter(lambda word: word.strip().casefold() not in {"path", "label", "start", "end", "group", "split"})
seconds = st.floats(0, 1e6, allow_nan=False)


@st.composite
def segments(draw: st.DrawFn, folder: Path) -> Segment:
    start = draw(seconds)
    return Segment(
        folder / (draw(names) + ".mp4"),
        draw(words),
        start,
        draw(st.none() | seconds.map(lambda more: start + more + 0.5)),
        draw(st.none() | words),
        draw(st.sampled_from([None, "train", "val", "test"])),
        draw(st.dictionaries(columns, st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8), max_size=2)),
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_a_written_manifest_is_read_back(tmp_path: Path, data: st.DataObject) -> None:
    folder = tmp_path / "set"
    touch(folder, "anchor.mp4")
    anchor = Segment(folder / "anchor.mp4", "x")
    manifest = Manifest((anchor, *data.draw(st.lists(segments(folder), max_size=4))))
    write_manifest(manifest, folder / "list.csv")
    back = read_manifest(folder / "list.csv")
    assert [(s.path, s.label, s.start, s.end, s.group, s.split) for s in back.segments] == [
        (s.path, s.label, s.start, s.end, s.group, s.split) for s in manifest.segments
    ]
    assert [{k: v for k, v in s.extra.items() if v} for s in back.segments] == [
        {k: v for k, v in s.extra.items() if v} for s in manifest.segments
    ]
    assert back.fingerprint == manifest.fingerprint


pieces = st.sampled_from(["path", "label", ",", ";", "\t", "\n", "\r\n", '"', "a.mp4", "0", "1", " ", "nan", "\0", "é", "start", "9" * 30])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200) | st.lists(pieces, max_size=30).map(lambda parts: "".join(parts).encode()))
def test_any_bytes_are_a_manifest_or_a_manifest_error(tmp_path: Path, content: bytes) -> None:
    touch(tmp_path, "a.mp4")
    for name in ("fuzz.csv", "fuzz.txt"):
        (tmp_path / name).write_bytes(content)
        (tmp_path / "names").write_bytes(content)
        for classes in (None, tmp_path / "names"):
            with contextlib.suppress(ManifestError):
                assert len(read_manifest(tmp_path / name, classes=classes)) > 0
