"""Texts of strangers: escapes for terminals, and cells that no spreadsheet takes for a formula."""

from __future__ import annotations

import csv
import io
import json
import logging
from pathlib import Path

import pytest
from command_line import call
from hypothesis import given
from hypothesis import strategies as st

from quickstep.apps.terminal import print_json, say, set_verbosity, show_table
from quickstep.datasets.manifest import Manifest, read_manifest, write_manifest
from quickstep.types.errors import ManifestError
from quickstep.types.escaping import csv_cells, escaped, from_csv, is_plain
from quickstep.types.segment import Segment

STEERING = "\x1b\x9b\u202e\u2066\x07\r\x85\u2028"


@given(st.text())
def test_what_is_escaped_has_no_steering_character_and_plain_text_stays(text: str) -> None:
    shown = escaped(text)
    assert is_plain(shown)
    assert not set(shown) & set(STEERING)
    if is_plain(text):
        assert shown == text


@pytest.mark.parametrize("text", ["windmill", "头转", "naïve", "👩‍🎤 spin", "می‌رقصد", "a\u00a0b"])
def test_words_of_every_script_are_plain(text: str) -> None:
    assert is_plain(text)
    assert escaped(text) == text


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0")), min_size=1))
def test_cells_come_back_and_none_begins_a_formula(values: list[str]) -> None:
    out = io.StringIO()
    csv.writer(out).writerow(csv_cells(values))
    (row,) = csv.reader(io.StringIO(out.getvalue(), newline=""))
    assert [from_csv(cell) for cell in row] == values
    for cell in row:
        assert not cell.startswith(("=", "@", "\t")) or cell == ""


def test_numbers_stay_numbers() -> None:
    assert csv_cells(["-0.5", -0.5, "+3", "=1+1", "-y.mp4", Path("-y.mp4"), "'a"]) == [
        "-0.5",
        -0.5,
        "+3",
        "'=1+1",
        "'-y.mp4",
        "'-y.mp4",
        "''a",
    ]


def test_a_list_with_formulas_comes_back_the_same(tmp_path: Path) -> None:
    rows = [("=a.mp4", "@up", "-1x"), ("b.mp4", "'in", "+z")]
    for name, _, _ in rows:
        (tmp_path / name).touch()
    segments = tuple(Segment(tmp_path / name, label, group=group) for name, label, group in rows)
    write_manifest(Manifest(segments), tmp_path / "list.csv")
    assert "'@up" in (tmp_path / "list.csv").read_text()
    again = read_manifest(tmp_path / "list.csv")
    assert [(s.path.name, s.label, s.group) for s in again.segments] == rows


@pytest.mark.parametrize("label", ["a\x1b[2Jb", "a\u202eb", "a\nb", "a\x9bb"])
def test_labels_that_steer_a_terminal_are_refused(tmp_path: Path, label: str) -> None:
    (tmp_path / "list.csv").write_text(f'path,label\nx.mp4,"{label}"\n', newline="")
    with pytest.raises(ManifestError) as caught:
        read_manifest(tmp_path / "list.csv")
    assert is_plain(str(caught.value))


def test_nothing_printed_steers_the_terminal(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    say(f"hello {STEERING}")
    show_table(("name",), [(f"row {STEERING}",)])
    print_json({"name": STEERING})
    printed = capsys.readouterr()
    assert not set(printed.out + printed.err) & set(STEERING)
    assert json.loads(printed.out.splitlines()[-1]) == {"name": STEERING}
    status, out, error = call(capsys, "predict", tmp_path / "no\x1b[2Jmodel", tmp_path / "x\u202e.mp4")
    assert status == 1
    assert not set(out + error) & set(STEERING)
    assert "\\x1b[2J" in error


def test_the_log_is_escaped(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    set_verbosity(quiet=False, verbose=True)
    logging.getLogger("quickstep.test").warning("a name: %s", STEERING)
    assert not set(capsys.readouterr().err) & (set(STEERING) - {"\n"})
