"""Tag export: shares as computed by hand, valid XML, and sidecars of other programs kept."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from library_sets import draw, index_videos
from toys import Words

from quickstep.library import Library, export_tags
from quickstep.library.tags import add_tags, tags_of
from quickstep.types.errors import ConfigError, LibraryError, MediaError

SPACES = {"rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#", "dc": "http://purl.org/dc/elements/1.1/"}
THEIRS = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4" xmlns:dc="http://purl.org/dc/elements/1.1/">
<dc:subject><rdf:Bag><rdf:li>holiday</rdf:li></rdf:Bag></dc:subject></rdf:Description></rdf:RDF></x:xmpmeta>"""


def subjects(content: bytes | str) -> list[str]:
    root = ElementTree.fromstring(content)
    return [item.text or "" for item in root.findall(".//dc:subject/rdf:Bag/rdf:li", SPACES)]


@pytest.fixture
def library(tmp_path: Path) -> Library:
    """Two videos with labels set by hand: windows [0, 4) and [2, 6) of one, [0, 1) of the other."""
    one = draw(tmp_path / "videos" / "one.mp4", ("red", 6))
    other = draw(tmp_path / "videos" / "deep" / "other.mp4", ("blue", 1))
    library, _ = index_videos(tmp_path / "library", [one, other])
    set_labels(library, f"path = '{one}' AND start = 0", ["halo", "windmill"], [0.8, 0.2])
    set_labels(library, f"path = '{one}' AND start = 2", ["windmill", "halo"], [0.6, 0.4])
    set_labels(library, f"path = '{other}'", ["a < b & c"], [1.0])
    return library


def set_labels(library: Library, where: str, names: list[str], scores: list[float]) -> None:
    library.commit(lambda table: table.update(where=where, values={"names": names, "scores": scores, "named_by": "me"}))


def test_shares_are_weighted_by_score_and_time(library: Library) -> None:
    by_path = {Path(video.path).stem: video for video in tags_of(library)}
    halo, windmill = sorted(by_path["one"].tags, key=lambda tag: tag.name)
    # two seconds of the first window alone, two of both, two of the second alone
    assert halo.share == pytest.approx((2 * 0.8 + 2 * 0.6 + 2 * 0.4) / 6, abs=1e-3)
    assert windmill.share == pytest.approx((2 * 0.2 + 2 * 0.4 + 2 * 0.6) / 6, abs=1e-3)
    assert (halo.spans, windmill.spans) == (((0.0, 4.0),), ((2.0, 6.0),))
    assert halo.score == pytest.approx(0.8)


def test_csv_and_json_have_the_same_tags(library: Library, tmp_path: Path) -> None:
    printed = export_tags(library, format="csv")
    assert printed.text is not None
    rows = list(csv.DictReader(io.StringIO(printed.text)))
    assert [row["tag"] for row in rows] == ["a < b & c", "halo", "windmill"]
    export_tags(library, format="json", out=tmp_path / "out" / "tags.json")
    videos = json.loads((tmp_path / "out" / "tags.json").read_text())
    assert [(tag["name"], f"{tag['share']:.4f}") for video in videos for tag in video["tags"]] == [
        (row["tag"], row["share"]) for row in rows
    ]
    assert [row["tag"] for row in csv.DictReader(io.StringIO(export_tags(library, min_share=0.5).text or ""))] == ["a < b & c", "halo"]


def test_each_video_gets_a_valid_sidecar_beside_it(library: Library, tmp_path: Path) -> None:
    export = export_tags(library, format="sidecar")
    assert set(export.files) == {tmp_path / "videos" / "one.mp4.xmp", tmp_path / "videos" / "deep" / "other.mp4.xmp"}
    assert subjects((tmp_path / "videos" / "one.mp4.xmp").read_bytes()) == ["halo", "windmill"]
    assert subjects((tmp_path / "videos" / "deep" / "other.mp4.xmp").read_bytes()) == ["a < b & c"]
    assert export.notes == ()
    below = export_tags(library, format="sidecar", out=tmp_path / "elsewhere")
    assert set(below.files) == {tmp_path / "elsewhere" / "one.mp4.xmp", tmp_path / "elsewhere" / "deep" / "other.mp4.xmp"}


def test_the_content_of_other_programs_is_kept_and_noted(library: Library, tmp_path: Path) -> None:
    sidecar, not_xmp = tmp_path / "videos" / "one.mp4.xmp", tmp_path / "videos" / "deep" / "other.mp4.xmp"
    sidecar.write_text(THEIRS)
    not_xmp.write_text("my notes")
    export = export_tags(library, format="sidecar")
    assert subjects(sidecar.read_bytes()) == ["holiday", "halo", "windmill"]
    assert 'xmp:Rating="4"' in sidecar.read_text()
    assert not_xmp.read_text() == "my notes"
    assert len(export.notes) == 2
    assert "2 tags added" in " ".join(export.notes)
    set_labels(library, "start = 0 AND path LIKE '%one.mp4'", ["toprock"], [1.0])
    set_labels(library, "start = 2", ["toprock"], [1.0])
    export_tags(library, format="sidecar")
    assert subjects(sidecar.read_bytes()) == ["holiday", "toprock"]  # our tags are removed, theirs stay
    before = sidecar.read_bytes()
    export_tags(library, format="sidecar")
    assert sidecar.read_bytes() == before


def test_a_tag_of_another_program_is_never_removed() -> None:
    first = add_tags(THEIRS.encode(), ["holiday", "halo"])
    assert first is not None
    second = add_tags(first.content, ["toprock"])
    assert second is not None
    assert subjects(second.content) == ["holiday", "toprock"]


def test_wrong_arguments_are_refused(library: Library, tmp_path: Path) -> None:
    bare, _ = index_videos(tmp_path / "bare", [tmp_path / "videos"], backbone=Words())
    with pytest.raises(LibraryError, match="has a label"):
        export_tags(bare)
    with pytest.raises(ConfigError, match="one of csv, json, sidecar"):
        export_tags(library, format="xml")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="is a folder"):
        export_tags(library, out=tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(MediaError, match="cannot be written"):
        export_tags(library, out=tmp_path / "file" / "tags.csv")
