"""Verbs and options of version 0.1 work for one release, with one line on stderr that names the new one."""

from __future__ import annotations

import pytest
from command_line import call

from quickstep.apps.cli import COMMANDS, app
from quickstep.apps.renamed import RENAMED_OPTIONS, RENAMED_VERBS, translate


@pytest.mark.parametrize(
    ("typed", "meant", "named"),
    [
        (["scan", "DANCES"], ["check", "DANCES"], ["check"]),
        (["collect", "kinetics", "--list", "a"], ["import-dataset", "kinetics", "--list", "a"], ["import-dataset"]),
        (
            ["timeline", "m", "v", "--hop=2", "--unsure", "0.3"],
            ["timeline", "m", "v", "--stride=2", "--min-confidence", "0.3"],
            ["--stride", "--min"],
        ),
        (["predict", "m", "v", "--csv"], ["predict", "m", "v", "--format", "csv"], ["--format csv"]),
        (["motion", "v", "--csv", "a.csv"], ["kinematics", "v", "--out", "a.csv"], ["kinematics", "--out"]),
        (["serve", "m", "--workers", "3"], ["serve", "m", "--decoders", "3"], ["--decoders"]),
        (["tune", "d", "--workers", "3"], ["tune", "d", "--workers", "3"], []),
        (["search", "lib", "--", "--sheet"], ["search", "lib", "--", "--sheet"], []),
        ([], [], []),
    ],
)
def test_old_names_are_translated(typed: list[str], meant: list[str], named: list[str]) -> None:
    tokens, notes = translate(typed)
    assert tokens == meant
    assert len(notes) == len(named)
    assert all(name in note for name, note in zip(named, notes, strict=True))


def test_the_tables_name_verbs_and_options_that_exist_and_no_old_ones() -> None:
    assert set(RENAMED_VERBS.values()) <= COMMANDS.keys()
    assert not RENAMED_VERBS.keys() & COMMANDS.keys()
    for verb, renamed in RENAMED_OPTIONS.items():
        options = {name for argument in app[verb].assemble_argument_collection() for name in argument.names}
        assert {new[0] for new in renamed.values()} <= options, verb
        assert not renamed.keys() & options, verb


def test_the_note_is_one_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = call(capsys, "scan", "nowhere")
    assert (status, out) == (1, "")
    note, error = err.splitlines()
    assert "check" in note
    assert "nowhere" in error
