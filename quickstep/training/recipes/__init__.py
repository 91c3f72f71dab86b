"""Recipes: named settings for train, finetune and tune, one toml file each.

In a recipe, `verb` names the command ("train", "finetune" or "tune"; by default train) and `about` describes the recipe in one line. A
recipe overrides the defaults, and an option or a keyword overrides the recipe. A model saves its settings, so it does not need the recipe.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

from quickstep.backbones import RENAMED_BACKBONES
from quickstep.heads import current_head_name
from quickstep.storage.serialization import from_plain
from quickstep.training.train import TrainConfig
from quickstep.types.errors import ConfigError, UnknownName
from quickstep.types.registry import refuse_code_in

# The configs behind the options of each verb: a recipe may set all their fields. They are imported when a recipe needs them.
VERBS: dict[str, tuple[str, ...]] = {
    "train": ("quickstep.training.train:TrainConfig",),
    "finetune": ("quickstep.training.finetuning:FinetuneConfig", "quickstep.training.augmentation.augment:Augment"),
    "tune": ("quickstep.training.tuning:TuneConfig", "quickstep.training.train:TrainConfig"),
}
_TARGETS = {"train": "-o MODEL", "finetune": "-o MODEL", "tune": "-o FOLDER"}


@dataclass(frozen=True)
class Recipe:
    """Settings for one verb, from one toml file."""

    name: str
    verb: str
    about: str
    settings: Mapping[str, Any]
    text: str  # the content of the file


def recipe_names() -> tuple[str, ...]:
    """Return the names of the recipes that ship with quickstep."""
    return tuple(sorted(file.name.removesuffix(".toml") for file in files(__name__).iterdir() if file.name.endswith(".toml")))


def open_recipe(name: str) -> Recipe:
    """Open a recipe by its name, or a toml file by its path; `configs` and `read_recipe` check its settings."""
    own = name.endswith(".toml")
    if not own and name not in recipe_names():
        raise UnknownName("recipe", name, recipe_names())
    try:
        text = Path(name).read_text(encoding="utf-8") if own else (files(__name__) / f"{name}.toml").read_text(encoding="utf-8")
        settings = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError("recipe", f"{name} cannot be read as toml: {error}") from error
    if isinstance(settings.get("head"), str):
        settings["head"] = current_head_name(settings["head"])  # a recipe of version 0.1 keeps working
    if isinstance(settings.get("backbone"), str):
        settings["backbone"] = RENAMED_BACKBONES.get(settings["backbone"], settings["backbone"])
    refuse_code_in(settings)
    verb, about = settings.pop("verb", "train"), settings.pop("about", "")
    if verb not in VERBS:
        raise ConfigError("recipe", f"{name} is for the verb {verb!r}; recipes exist for {', '.join(VERBS)}")
    return Recipe(name, verb, str(about), settings, text)


def read_recipe(name: str, *, verb: str | None = None) -> dict[str, Any]:
    """Return the checked settings of a recipe; raise ConfigError if it is for another verb than `verb`."""
    recipe = open_recipe(name)
    if verb is not None and recipe.verb != verb:
        command = f"quickstep {recipe.verb} DATA {_TARGETS[recipe.verb]} --recipe {name}"
        raise ConfigError("recipe", f"{name} is a recipe for {recipe.verb!r}, not for {verb!r}: {command}")
    configs(recipe)
    return _with_current_names(recipe)


def configs(recipe: Recipe) -> tuple[Any, ...]:
    """Return the configs of the recipe's verb with its settings, for example a FinetuneConfig and an Augment for finetune."""
    kinds = [_load(target) for target in VERBS[recipe.verb]]
    settings = _with_current_names(recipe)
    unknown = sorted(settings.keys() - {field.name for kind in kinds for field in fields(kind)})
    if unknown:
        raise ConfigError("recipe", f"{recipe.name} sets {unknown[0]!r}, which is not a setting of `quickstep {recipe.verb}`")
    return tuple(_build(recipe.name, kind, settings) for kind in kinds)


def _with_current_names(recipe: Recipe) -> dict[str, Any]:
    """Return the settings under their current names; a recipe of version 0.1 may have old names."""
    kinds = [_load(target) for target in VERBS[recipe.verb]]
    current = {field.metadata["was"]: field.name for kind in kinds for field in fields(kind) if "was" in field.metadata}
    return {current.get(name, name): value for name, value in recipe.settings.items()}


def train_config(name: str, changes: Mapping[str, Any] | None = None) -> TrainConfig:
    """Return the config of a recipe for train, with some settings changed."""
    settings = read_recipe(name, verb="train") | dict(changes or {})
    return _build(name, TrainConfig, settings)  # type: ignore[no-any-return]


def _load(target: str) -> Any:
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)


def _build(name: str, kind: Any, settings: Mapping[str, Any]) -> Any:
    names = {field.name for field in fields(kind)}
    try:
        return from_plain(kind, {key: value for key, value in settings.items() if key in names}, where=name)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError("recipe", str(error)) from error
