"""Recipes: named settings of `train`, one flat toml each, for systems that people come from; knows no video.

Defaults < recipe < what is said beside it. What came of it is saved in the model, so that nobody needs the recipe again.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from quickstep.errors import ConfigError, UnknownName
from quickstep.records import from_plain
from quickstep.training import TrainConfig


def recipe_names() -> tuple[str, ...]:
    """The recipes that ship with quickstep."""
    return tuple(sorted(file.name.removesuffix(".toml") for file in files(__name__).iterdir() if file.name.endswith(".toml")))


def read_recipe(name: str) -> dict[str, Any]:
    """The settings of a recipe: of one that ships, or of a toml file of one's own."""
    own = name.endswith(".toml")
    if not own and name not in recipe_names():
        raise UnknownName("recipe", name, recipe_names())
    try:
        text = Path(name).read_text(encoding="utf-8") if own else (files(__name__) / f"{name}.toml").read_text(encoding="utf-8")
        settings = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError("recipe", f"{name} cannot be read as toml: {error}") from error
    _config(name, settings)
    return settings


def train_config(name: str, changes: Mapping[str, Any] | None = None) -> TrainConfig:
    """The settings of a recipe, with some of them changed."""
    return _config(name, read_recipe(name) | dict(changes or {}))


def _config(name: str, settings: Mapping[str, Any]) -> TrainConfig:
    try:
        return from_plain(TrainConfig, dict(settings), where=name)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError("recipe", str(error)) from error
