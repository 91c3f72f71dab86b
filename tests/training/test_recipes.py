"""Recipes: those that ship are valid for their verb, and options override a recipe."""

from __future__ import annotations

import json
import tomllib
from dataclasses import is_dataclass
from pathlib import Path

import pytest
import toys

from quickstep.apps.cli import app, main
from quickstep.backbones import BACKBONES
from quickstep.datasets.manifest import write_manifest
from quickstep.heads import open_head
from quickstep.models.model import Model
from quickstep.storage.serialization import to_plain
from quickstep.training.recipes import configs, open_recipe, read_recipe, recipe_names, train_config
from quickstep.training.train import TrainConfig
from quickstep.types.errors import ConfigError, QuickstepError, UnknownName


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_has_valid_settings_and_existing_names(name: str) -> None:
    recipe = open_recipe(name)
    assert 20 < len(recipe.about) < 160
    assert "\n" not in recipe.about
    built = configs(recipe)
    for config in built:
        backbone = getattr(config, "backbone", None)
        assert backbone is None or backbone in BACKBONES
        if isinstance(config, TrainConfig):
            assert open_head(config.head, config.head_settings).name == config.head
    settings = {key: value for config in built for key, value in to_plain(config).items()}
    assert {key: settings[key] for key in recipe.settings} == recipe.settings


@pytest.mark.parametrize("name", recipe_names())
def test_the_command_line_takes_every_setting_of_a_recipe(name: str) -> None:
    recipe = open_recipe(name)
    _, bound, _ = app.parse_args([recipe.verb, "somewhere", "-o", "there", "--recipe", name])
    settings = {key: value for config in bound.arguments.values() if is_dataclass(config) for key, value in to_plain(config).items()}
    assert {key: settings[key] for key in recipe.settings} == recipe.settings


def test_recipes_of_published_systems_and_three_general_ones_ship() -> None:
    assert {"har-clip", "breakdance-clip", "dance-i3d", "fast", "balanced", "best", "chore-lstm"} <= set(recipe_names())


def test_the_breakdance_recipe_has_the_published_settings() -> None:
    settings = open_recipe("breakdance-clip").settings
    published = {"backbone": "clip-vit-l14", "embedding": "pooled", "optimizer": "adamw", "schedule": "cosine", "patience": 10}
    assert published.items() <= settings.items()


def test_the_nineteen_styles_recipe_has_the_published_settings() -> None:
    settings = open_recipe("dance-i3d").settings
    published = {"backbone": "i3d-r50-nl", "optimizer": "sgd", "learning_rate": 7.87e-4, "dropout": 0.2966, "momentum": 0.9}
    assert published.items() <= settings.items()
    assert min(settings["flip"], settings["colour"], settings["noise"]) > 0


def test_a_recipe_for_another_verb_is_refused_with_the_right_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match=r"quickstep finetune DATA -o MODEL --recipe dance-i3d"):
        train_config("dance-i3d")
    with pytest.raises(SystemExit) as end:
        main(["train", "nowhere", "-o", str(tmp_path / "m"), "--recipe", "breakdance-clip"])
    assert end.value.code == 1
    assert "quickstep finetune DATA -o MODEL --recipe breakdance-clip" in capsys.readouterr().err
    (tmp_path / "odd.toml").write_text('verb = "cook"')
    with pytest.raises(ConfigError, match=r"'cook'.*train, finetune, tune"):
        open_recipe(str(tmp_path / "odd.toml"))


def test_the_command_lists_all_recipes_and_prints_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["recipes"])
    listed = capsys.readouterr().out
    assert all(f"{name} " in listed for name in recipe_names())
    with pytest.raises(SystemExit):
        main(["recipes", "har-clip"])
    assert tomllib.loads(capsys.readouterr().out)["backbone"] == "clip-vit-b32"
    with pytest.raises(SystemExit):
        main(["recipes", "--json"])
    assert {recipe["verb"] for recipe in json.loads(capsys.readouterr().out)} <= {"train", "finetune", "tune"}


def test_an_option_overrides_the_recipe(tmp_path: Path) -> None:
    settings = ('head = "attention"', "epochs = 3", "head_settings = {dropout = 0.25}", 'backbone = "toys:Colours"')
    (tmp_path / "own.toml").write_text("\n".join(settings))
    write_manifest(toys.draw_colours(tmp_path / "videos"), tmp_path / "set.csv")
    with pytest.raises(SystemExit) as end:
        main(["train", str(tmp_path / "set.csv"), "-o", str(tmp_path / "model"), "--recipe", str(tmp_path / "own.toml"), "--epochs", "2"])
    assert not end.value.code
    used = Model.load(tmp_path / "model").facts.training
    assert (used["head"], used["epochs"], used["head_settings"]) == ("attention", 2, {"dropout": 0.25})
    assert train_config(str(tmp_path / "own.toml"), {"epochs": 5}).epochs == 5


def test_an_unknown_recipe_is_named() -> None:
    with pytest.raises(UnknownName, match="'cake'"):
        read_recipe("cake")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("head = ", "cannot be read"),
        ("haed = 'linear'", "'haed'"),
        ("epochs = 'many'", "epochs"),
        ("epochs = 0", "epochs"),
    ],
)
def test_an_invalid_recipe_is_refused_with_the_reason(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "own.toml").write_text(text)
    with pytest.raises(ConfigError, match=reason):
        read_recipe(str(tmp_path / "own.toml"))
    with pytest.raises(QuickstepError, match="cannot be read"):
        read_recipe(str(tmp_path / "none.toml"))


def test_a_recipe_of_version_0_1_opens_with_the_new_names(tmp_path: Path) -> None:
    old = {"measure": "accuracy", "blocks": "2", "clip": 0.5, "memory": 1.0, "output": "pooled", "every": 2.0}
    lines = [f"{name} = {json.dumps(value)}" for name, value in old.items()]
    (tmp_path / "old.toml").write_text("\n".join(['verb = "finetune"', *lines]))
    settings = read_recipe(str(tmp_path / "old.toml"), verb="finetune")
    new = {"metric": "accuracy", "unfreeze": "2", "grad_clip": 0.5, "frame_cache_gb": 1.0, "embedding": "pooled", "step_epochs": 2.0}
    assert settings == new
