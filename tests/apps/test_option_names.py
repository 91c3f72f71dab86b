"""Settings in messages are named as options; verbs and options of version 0.1 work for one release, with a note on stderr."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from command_line import call

from quickstep.apps.cli import COMMANDS, app
from quickstep.apps.option_names import RENAMED_OPTIONS, RENAMED_VERBS, as_options, error_text, options_of_command, translate
from quickstep.types.errors import ConfigError, MediaError


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
        (["tune", "d", "--over", "blocks,augment"], ["tune", "d", "--over", "unfreeze,augment"], ["--over unfreeze"]),
        (["tune", "d", "--over=blocks"], ["tune", "d", "--over=unfreeze"], ["--over unfreeze"]),
        (["tune", "d", "--over", "head"], ["tune", "d", "--over", "head"], []),
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


@pytest.fixture
def options() -> Iterator[None]:
    token = options_of_command.set(lambda: {"--frames", "--new-head", "--backbone", "--from"})
    yield
    options_of_command.reset(token)


@pytest.mark.usefixtures("options")
@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("take fewer `frames`", "take fewer --frames"),
        ('take `backbone="joints"`', "take --backbone joints"),
        ("set `new_head=True` to replace it", "set --new-head to replace it"),
        ("leave out `from_`", "leave out --from"),
        ("`backbone=joints` or `weights=FOLDER`", "--backbone joints or `weights=FOLDER`"),
        ("run `quickstep check DANCES`", "run `quickstep check DANCES`"),
    ],
)
def test_settings_in_a_message_become_options_of_the_command(message: str, shown: str) -> None:
    assert as_options(message) == shown


@pytest.mark.usefixtures("options")
def test_an_error_names_the_setting_as_its_caller_does() -> None:
    error = ConfigError("new_head", "cannot be trained; take `backbone=joints`")
    assert str(error) == "new_head: cannot be trained; take `backbone=joints`"
    assert error_text(error) == "--new-head: cannot be trained; take --backbone joints"
    assert error_text(ConfigError("models", "name two")) == "models: name two"
    assert error_text(MediaError("a.mp4", "is empty")) == "a.mp4: is empty"


def test_the_command_line_names_options_and_python_names_settings(capsys: pytest.CaptureFixture[str]) -> None:
    from quickstep import TrainConfig

    with pytest.raises(ConfigError, match=r"^learning_rate: "):
        TrainConfig(learning_rate=-1.0)
    _, _, err = call(capsys, "train", "DANCES", "-o", "model", "--learning-rate", "-1")
    assert "--learning-rate: " in err
    _, _, err = call(capsys, "compare", "one")
    assert "--" not in err
