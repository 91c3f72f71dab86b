"""The commands of the library: data on stdout, messages on stderr, and one line for each error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import call
from library_sets import draw_some

BACKBONE = ("--backbone", "toys:Words")


@pytest.fixture
def library(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    draw_some(tmp_path / "videos")
    status, out, err = call(capsys, "index", tmp_path / "library", tmp_path / "videos", *BACKBONE)
    assert (status, out) == (0, "")
    assert "5 new; 14 windows" in err
    return tmp_path / "library"


def test_index_prints_counts_and_failures(library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "videos" / "notes.mp4").write_text("not a video")
    status, out, err = call(capsys, "index", library, tmp_path / "videos", "--json")
    assert status == 0
    result = json.loads(out)
    assert (result["unchanged"], len(result["failures"])) == (5, 1)
    assert "notes.mp4" in err
    status, _, err = call(capsys, "index", library, tmp_path / "videos", "--strict")
    assert status == 1
    (tmp_path / "videos" / "red.mp4").unlink()
    status, out, _ = call(capsys, "index", library, "--prune", "--json")
    assert (status, json.loads(out)["pruned"]) == (0, 1)


def test_search_prints_moments_or_that_nothing_matches(library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = call(capsys, "search", library, "blue", "--draw", tmp_path / "sheet.png")
    assert status == 0
    assert len(out.splitlines()) == 3
    assert "threshold" in err
    assert (tmp_path / "sheet.png").stat().st_size > 1000
    status, out, _ = call(capsys, "search", library, "blue", "--json", "--where", "duration > 10")
    (moment,) = json.loads(out)["moments"]
    assert (Path(moment["path"]).name, moment["start"], moment["end"]) == ("long.mp4", 6.0, 12.0)
    status, out, err = call(capsys, "search", library, "an elephant")
    assert (status, out) == (0, "")
    assert "no match" in err


def test_the_other_commands_print_json(library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = call(capsys, "duplicates", library, "--json")
    assert (status, json.loads(out)["videos"]) == (0, 5)
    (tmp_path / "queries.csv").write_text("query,path\nblue,videos/blue.mp4\n")
    status, out, _ = call(capsys, "evaluate-retrieval", library, tmp_path / "queries.csv", "--json")
    assert status == 0
    assert json.loads(out)["recall"]["R@5"]["value"] == 1.0
    status, out, _ = call(capsys, "evaluate-retrieval", library, tmp_path / "queries.csv")
    assert "mAP" in out


def test_an_error_is_one_line(library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    videos = tmp_path / "videos"
    wrong: dict[str, list[str | Path]] = {
        "no library": ["search", tmp_path / "nowhere", "red"],
        "a folder that is none": ["search", videos, "red"],
        "a file": ["duplicates", videos / "red.mp4"],
        "no words": ["search", library, ""],
        "nothing asked": ["search", library],
        "sql": ["search", library, "red", "--where", "colour = 'red'"],
        "no such example": ["search", library, "--like", tmp_path / "nowhere.mp4"],
        "a span outside": ["search", library, "--like", f"{videos / 'red.mp4'}@5-9"],
        "a score of no label": ["search", library, "red", "--min-score", "0.5"],
        "no names": ["search", library, "--label", "red"],
        "no videos": ["index", tmp_path / "new", tmp_path / "empty", *BACKBONE],
        "nothing to index": ["index", library],
        "another backbone": ["index", library, videos, "--backbone", "flow-hist"],
        "a backbone that is none": ["index", tmp_path / "new", videos, "--backbone", "motoin"],
        "another window": ["index", library, videos, "--window", "9"],
        "a hop longer than the window": ["index", tmp_path / "new", videos, "--stride", "9", *BACKBONE],
        "weights that are nowhere": ["index", tmp_path / "new", videos, "--weights", tmp_path / "nowhere"],
        "metadata that is nowhere": ["index", library, videos, "--metadata", tmp_path / "nowhere.csv"],
        "questions that are nowhere": ["evaluate-retrieval", library, tmp_path / "nowhere.csv"],
        "no tags": ["export-tags", library],
        "a folder of other things": ["index", videos, videos, *BACKBONE],
    }
    for name, words in wrong.items():
        status, out, err = call(capsys, *words)
        last = err.strip().splitlines()[-1]
        assert (status, out) == (1, ""), name
        assert last.startswith("quickstep: "), (name, err)
        assert len(last) < 500, (name, last)
        assert "Traceback" not in err, name
    assert not (tmp_path / "new").exists()
