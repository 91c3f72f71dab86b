"""Recipes: every one that ships is whole; what is said beside it counts more."""

from __future__ import annotations

from pathlib import Path

import pytest

import tests.toys as toys
from quickstep.cli import main
from quickstep.errors import ConfigError, QuickstepError, UnknownName
from quickstep.heads import open_head
from quickstep.manifest import write_manifest
from quickstep.model import Model
from quickstep.recipes import read_recipe, recipe_names, train_config


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_can_be_cooked(name: str) -> None:
    config = train_config(name)
    assert open_head(config.head, config.head_settings).name == config.head


def test_what_is_said_counts_more_than_the_recipe(tmp_path: Path) -> None:
    settings = ('head = "attention"', "epochs = 3", "head_settings = {dropout = 0.25}", 'backbone = "tests.toys:Colours"')
    (tmp_path / "own.toml").write_text("\n".join(settings))
    write_manifest(toys.draw_colours(tmp_path / "videos"), tmp_path / "set.csv")
    with pytest.raises(SystemExit) as end:
        main(["train", str(tmp_path / "set.csv"), "-o", str(tmp_path / "model"), "--recipe", str(tmp_path / "own.toml"), "--epochs", "2"])
    assert not end.value.code
    used = Model.load(tmp_path / "model").facts.training
    assert (used["head"], used["epochs"], used["head_settings"]) == ("attention", 2, {"dropout": 0.25})
    assert train_config(str(tmp_path / "own.toml"), {"epochs": 5}).epochs == 5


def test_a_recipe_that_is_none_is_named() -> None:
    with pytest.raises(UnknownName, match="there is no recipe 'cake'"):
        read_recipe("cake")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("head = ", "cannot be read"),
        ("haed = 'linear'", "'haed' that is not known"),
        ("epochs = 'many'", "epochs"),
        ("epochs = 0", "--epochs"),
    ],
)
def test_a_wrong_recipe_says_what_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "own.toml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_recipe(str(tmp_path / "own.toml"))
    with pytest.raises(QuickstepError, match="cannot be read"):
        read_recipe(str(tmp_path / "none.toml"))
