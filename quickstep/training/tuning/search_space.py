"""Space: which settings can be tried; and how a trial's draws become the settings of `train`.

Draws by whatever suggests; knows no Optuna.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol, get_type_hints

from quickstep.backbones import (
    TEXT_BACKBONES,
    Backbone,
    check_view,
    embeds_text,
    is_trainable,
    names_features,
    reads_poses,
    weights_available,
)
from quickstep.datasets.manifest import Manifest
from quickstep.heads import HEADS, RENAMED_HEADS, open_head
from quickstep.models.pose_input import all_poses
from quickstep.storage.cache import Cache
from quickstep.training.train import TrainConfig
from quickstep.training.tuning.config import OF_TUNING, TuneConfig
from quickstep.training.tuning.trial import Recipe
from quickstep.types.errors import ConfigError, QuickstepError, WeightsError
from quickstep.types.registry import look_up

FIRST_TO_OPEN = "clip-vit-b32"
RATES = (1e-4, 1.0)
RATES_OPENED = (1e-6, 1e-2)  # of networks that are opened
BLOCKS = ("0", "1", "3", "all")
DECAY = (0.5, 1.0)
DROPOUT = (0.0, 0.6)
OPTIMIZERS = ("adamw", "sgd", "adam")
FOR_FRAMES = ("linear", "attention", "prototypes")
FOR_JOINTS = ("linear", "stgcn", "lstm", "pose-trees")
FOR_NUMBERS = ("linear", "extra-trees")
# What else a head lets one choose and that is worth a search; None: as it does by default.
HEAD_SETTINGS: dict[str, dict[str, tuple[Any, ...]]] = {
    "attention": {"looks": (2, 4, 8)},
    "lstm": {"hidden": (32, 64, 128)},
    "linear": {"shrinkage": (None, 1e-4, 1e-3, 1e-2, 1e-1)},
}
# A setting of `train` that was said is not searched.
SAID = {
    "backbone": "backbone",
    "head": "head",
    "head-settings": "head_settings",
    "learning-rate": "learning_rate",
    "dropout": "dropout",
    "optimizer": "optimizer",
    "class-weights": "class_weights",
}


class Draws(Protocol):
    """What suggests values: a trial."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any: ...

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float: ...


@dataclass(frozen=True)
class Place:
    """What can be combined with one backbone."""

    backbone: str
    heads: tuple[str, ...]
    frames: tuple[int, ...]  # the first is its own number
    windows: tuple[int, ...] = (1,)


@dataclass(frozen=True)
class Space:
    """All that can be tried, around what was said of `train`."""

    places: tuple[Place, ...]
    over: tuple[str, ...]
    finetune: bool = False

    @classmethod
    def of(cls, manifest: Manifest, config: TuneConfig, base: TrainConfig, *, cache: Cache) -> Space:
        """What can be tried here: the backbones at hand, and the heads that suit them."""
        usual = TrainConfig()
        said = {dimension for dimension, name in SAID.items() if getattr(base, name) != getattr(usual, name)}
        if base.frames is not None or base.windows is not None:
            said.add("view")
        clash = said & set(config.over)
        if clash:
            raise ConfigError("over", f"{', '.join(sorted(clash))} was fixed by an option of its own: leave one of the two out")
        over = tuple(
            dimension
            for dimension in ("backbone", *(_opened() if config.finetune else _rest()))
            if config.wants(dimension) and dimension not in said
        )
        names = _backbones(manifest, config, base, free="backbone" in over)
        places = tuple(_place(name, config, base, over, cache=cache) for name in names)
        if all(len(place.heads) == 1 for place in places):
            over = tuple(dimension for dimension in over if dimension != "head")
        if len(places) == 1:
            over = tuple(dimension for dimension in over if dimension != "backbone")
        if not over:
            raise ConfigError("over", "everything is fixed, so there is nothing to search: leave some options out")
        return cls(places, over, config.finetune)

    def draw(self, trial: Draws, base: TrainConfig, *, usual: str | None = None) -> Recipe:
        """The settings that a trial is to try; with `usual`, those that `train` or `finetune` takes of that backbone by itself."""
        if self.finetune:
            return self._draw_opened(trial, base, usual=usual)
        return Recipe(self._draw(trial, base, usual=usual))

    def _draw_opened(self, trial: Draws, base: TrainConfig, *, usual: str | None) -> Recipe:
        if usual is not None:
            return Recipe.opened(base, backbone=usual)
        chosen = self._choose(trial, "backbone", [place.backbone for place in self.places])
        place = next(place for place in self.places if place.backbone == chosen)
        settings: dict[str, Any] = {"backbone": chosen}
        if "view" in self.over:
            settings |= {name: value for name, value in self._view(trial, place).items() if name == "frames"}
        if "learning-rate" in self.over:
            settings["learning_rate"] = trial.suggest_float("learning-rate", *RATES_OPENED, log=True)
        if "optimizer" in self.over:
            settings["optimizer"] = trial.suggest_categorical("optimizer", OPTIMIZERS)
        if "dropout" in self.over:
            settings["dropout"] = trial.suggest_float("dropout", *DROPOUT)
        if "class-weights" in self.over:
            settings["class_weights"] = trial.suggest_categorical("class-weights", [False, True])
        if "unfreeze" in self.over:
            settings["unfreeze"] = trial.suggest_categorical("unfreeze", BLOCKS)
        if "layer-decay" in self.over:
            settings["layer_decay"] = trial.suggest_float("layer-decay", *DECAY)
        if "augment" in self.over:
            settings["augment"] = trial.suggest_float("augment", 0.0, 1.0)
        return Recipe.opened(base, **settings)

    def _draw(self, trial: Draws, base: TrainConfig, *, usual: str | None) -> TrainConfig:
        if usual is not None:
            place = next(place for place in self.places if place.backbone == usual)
            return replace(base, backbone=usual, head=base.head if base.head in place.heads else place.heads[0])
        chosen = self._choose(trial, "backbone", [place.backbone for place in self.places])
        place = next(place for place in self.places if place.backbone == chosen)
        settings: dict[str, Any] = {"backbone": chosen, "head": self._choose(trial, "head", place.heads, of=place)}
        if "view" in self.over:
            settings |= self._view(trial, place)
        if "learning-rate" in self.over:
            settings["learning_rate"] = trial.suggest_float("learning-rate", *RATES, log=True)
        if "optimizer" in self.over:
            settings["optimizer"] = trial.suggest_categorical("optimizer", OPTIMIZERS)
        if "class-weights" in self.over:
            settings["class_weights"] = trial.suggest_categorical("class-weights", [False, True])
        if "dropout" in self.over:
            share = trial.suggest_float("dropout", *DROPOUT)
            if "dropout" in _settings_of(settings["head"]):
                settings["dropout"] = share
        if "head-settings" in self.over:
            settings["head_settings"] = _head_settings(trial, settings["head"])
        return replace(base, **settings)

    def _choose(self, trial: Draws, dimension: str, choices: Sequence[Any], *, of: Place | None = None) -> Any:
        """One of some; where backbones offer different ones, under a name of the backbone's own."""
        if len(choices) == 1:
            return choices[0]
        alike = of is None or all(list(place.heads) == list(choices) for place in self.places)
        return trial.suggest_categorical(dimension if alike or of is None else f"{dimension} of {of.backbone}", list(choices))

    def _view(self, trial: Draws, place: Place) -> dict[str, int]:
        looks: dict[str, int] = {}
        for name, choices, alike in (
            ("frames", place.frames, all(other.frames == place.frames for other in self.places)),
            ("windows", place.windows, all(other.windows == place.windows for other in self.places)),
        ):
            if len(choices) > 1:
                looks[name] = trial.suggest_categorical(name if alike else f"{name} of {place.backbone}", sorted(choices))
        return looks


def _opened() -> tuple[str, ...]:
    return ("learning-rate", "dropout", "optimizer", "class-weights", "view", *OF_TUNING)


def _rest() -> tuple[str, ...]:
    return ("head", "head-settings", "learning-rate", "dropout", "optimizer", "class-weights", "view")


def _backbones(manifest: Manifest, config: TuneConfig, base: TrainConfig, *, free: bool) -> tuple[str, ...]:
    if config.backbones:
        if base.backbone is not None:
            raise ConfigError("backbones", "is said beside --backbone: leave one of the two out")
        return tuple(dict.fromkeys(config.backbones))
    if base.backbone is not None:
        return (base.backbone,)
    if all_poses(manifest.paths):
        return ("joints", "kinematics") if free else ("joints",)
    here = tuple(name for name in TEXT_BACKBONES if _at_hand(name))
    if config.finetune:
        return here or (FIRST_TO_OPEN,)
    return ("flow-hist", *here) if free else (*here, "flow-hist")[:1]


def _at_hand(name: str) -> bool:
    try:
        return weights_available(name)
    except QuickstepError:
        return False


def _place(name: str, config: TuneConfig, base: TrainConfig, over: Sequence[str], *, cache: Cache) -> Place:
    """What can be combined with a backbone; one that cannot be opened at all is refused before the search begins."""
    backbone = replace(base, backbone=name).spec.open(cache)
    try:
        _ = backbone.identity
    except WeightsError as error:
        raise WeightsError(f"the backbone {name!r} cannot be used here: {error}") from error
    if config.finetune and not is_trainable(backbone):
        raise ConfigError("finetune", f"the network of {name!r} cannot be trained further: name others with --backbones")
    heads = ("window-average",) if config.finetune else tuple(config.heads or _heads(backbone))
    for head in heads:
        open_head(head)
    if "head" not in over:
        heads = (heads[0],) if config.heads else (base.head if base.head != TrainConfig().head else _heads(backbone)[0],)
    own = backbone.view.frames
    frames = tuple(dict.fromkeys(count for count in (own, max(1, own // 2), 2 * own) if _looks(backbone, count)))
    free = len(frames) > 1 or reads_poses(backbone) or backbone.view.windows is None
    return Place(name, heads, frames, (1,) if free else (1, 2, 4))


def _heads(backbone: Backbone) -> tuple[str, ...]:
    if backbone.capabilities.gives_joints:
        return FOR_JOINTS
    if names_features(backbone):
        return FOR_NUMBERS
    return (*FOR_FRAMES, "few-shot") if embeds_text(backbone) else FOR_FRAMES


def _looks(backbone: Backbone, frames: int) -> bool:
    try:
        check_view(backbone, replace(backbone.view, frames=frames))
    except ConfigError:
        return False
    return True


def _settings_of(head: str) -> set[str]:
    return set(get_type_hints(look_up("head", head, HEADS, renamed=RENAMED_HEADS).Config))


def _head_settings(trial: Draws, head: str) -> dict[str, Any]:
    drawn = {name: trial.suggest_categorical(f"{head}: {name}", choices) for name, choices in HEAD_SETTINGS.get(head, {}).items()}
    return {name: value for name, value in drawn.items() if value is not None}


def plain(space: Space) -> Mapping[str, Any]:
    """The space in JSON's own types."""
    data: Mapping[str, Any] = asdict(space)
    return data
