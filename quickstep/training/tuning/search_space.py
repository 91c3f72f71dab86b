"""The settings that a search can draw, and how the draws of a trial become settings of `train` or `finetune`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
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
from quickstep.models.pose_input import are_pose_files
from quickstep.storage.cache import Cache
from quickstep.training.train import TrainConfig
from quickstep.training.tuning.config import FINETUNE_DIMENSIONS, TuneConfig
from quickstep.training.tuning.trial import Candidate, changed_fields
from quickstep.types.errors import ConfigError, QuickstepError, WeightsError
from quickstep.types.registry import look_up

DEFAULT_TO_FINETUNE = "clip-vit-b32"
LEARNING_RATES = (1e-4, 1.0)
FINETUNE_LEARNING_RATES = (1e-6, 1e-2)
UNFREEZE = ("0", "1", "3", "all")
LAYER_DECAY = (0.5, 1.0)
DROPOUT = (0.0, 0.6)
OPTIMIZERS = ("adamw", "sgd", "adam")
HEADS_FOR_FRAMES = ("linear", "attention", "prototypes")
HEADS_FOR_JOINTS = ("linear", "stgcn", "lstm", "pose-trees")
HEADS_FOR_NAMED_FEATURES = ("linear", "extra-trees")
# Settings of heads that are searched; None is the head's own default.
HEAD_SETTINGS: dict[str, dict[str, tuple[Any, ...]]] = {
    "attention": {"looks": (2, 4, 8)},
    "lstm": {"hidden": (32, 64, 128)},
    "linear": {"shrinkage": (None, 1e-4, 1e-3, 1e-2, 1e-1)},
}
TRAIN_DIMENSIONS = ("head", "head-settings", "learning-rate", "dropout", "optimizer", "class-weights", "view")
SHARED_DIMENSIONS = ("learning-rate", "dropout", "optimizer", "class-weights", "view")
# The dimension that a setting of `train` belongs to; a dimension with a changed setting is not searched.
DIMENSION_OF = {
    "backbone": "backbone",
    "head": "head",
    "head_settings": "head-settings",
    "learning_rate": "learning-rate",
    "dropout": "dropout",
    "optimizer": "optimizer",
    "class_weights": "class-weights",
    "frames": "view",
    "windows": "view",
}


class Draws(Protocol):
    """The methods of an Optuna trial that suggest values."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Suggest one of the choices."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """Suggest a number from low to high; with `log`, uniform in its logarithm."""


@dataclass(frozen=True)
class BackboneChoices:
    """The choices that can be combined with one backbone."""

    backbone: str
    heads: tuple[str, ...]
    frames: tuple[int, ...]  # the backbone's own number first
    windows: tuple[int, ...] = (1,)


@dataclass(frozen=True)
class SearchSpace:
    """All settings that can be drawn."""

    choices: tuple[BackboneChoices, ...] = field(metadata={"written_as": "places"})
    over: tuple[str, ...]  # the dimensions that are searched
    finetune: bool = False

    @classmethod
    def of(cls, manifest: Manifest, config: TuneConfig, base: TrainConfig, *, cache: Cache) -> SearchSpace:
        """Find the backbones that can be used here and the heads that suit them; settings that `base` changes are fixed."""
        fixed = {DIMENSION_OF[name] for name in changed_fields(base) if name in DIMENSION_OF}
        clash = fixed & set(config.over)
        if clash:
            raise ConfigError("over", f"{', '.join(sorted(clash))} is fixed by a setting of its own: leave one of the two out")
        dimensions = ("backbone", *((*SHARED_DIMENSIONS, *FINETUNE_DIMENSIONS) if config.finetune else TRAIN_DIMENSIONS))
        over = tuple(dimension for dimension in dimensions if config.wants(dimension) and dimension not in fixed)
        names = _backbones(manifest, config, base, searched="backbone" in over)
        choices = tuple(_choices(name, config, base, over, cache=cache) for name in names)
        if all(len(one.heads) == 1 for one in choices):
            over = tuple(dimension for dimension in over if dimension != "head")
        if len(choices) == 1:
            over = tuple(dimension for dimension in over if dimension != "backbone")
        if not over:
            raise ConfigError("over", "everything is fixed, so there is nothing to search: leave some options out")
        return cls(choices, over, config.finetune)

    def draw(self, trial: Draws, base: TrainConfig, *, default_of: str | None = None) -> Candidate:
        """Draw the settings of a trial; with `default_of`, return the default settings of that backbone instead."""
        if default_of is not None:
            if self.finetune:
                return Candidate.finetuned(base, backbone=default_of)
            heads = next(one for one in self.choices if one.backbone == default_of).heads
            return Candidate(replace(base, backbone=default_of, head=base.head if base.head in heads else heads[0]))
        chosen = self._choose(trial, "backbone", [one.backbone for one in self.choices])
        choices = next(one for one in self.choices if one.backbone == chosen)
        if self.finetune:
            return self._draw_finetuned(trial, base, choices)
        return Candidate(replace(base, **self._draw_train_settings(trial, choices)))

    def _draw_finetuned(self, trial: Draws, base: TrainConfig, choices: BackboneChoices) -> Candidate:
        settings: dict[str, Any] = {"backbone": choices.backbone}
        if "view" in self.over:
            settings |= {name: value for name, value in self._draw_view(trial, choices).items() if name == "frames"}
        if "learning-rate" in self.over:
            settings["learning_rate"] = trial.suggest_float("learning-rate", *FINETUNE_LEARNING_RATES, log=True)
        if "optimizer" in self.over:
            settings["optimizer"] = trial.suggest_categorical("optimizer", OPTIMIZERS)
        if "dropout" in self.over:
            settings["dropout"] = trial.suggest_float("dropout", *DROPOUT)
        if "class-weights" in self.over:
            settings["class_weights"] = trial.suggest_categorical("class-weights", [False, True])
        if "unfreeze" in self.over:
            settings["unfreeze"] = trial.suggest_categorical("unfreeze", UNFREEZE)
        if "layer-decay" in self.over:
            settings["layer_decay"] = trial.suggest_float("layer-decay", *LAYER_DECAY)
        if "augment" in self.over:
            settings["augment"] = trial.suggest_float("augment", 0.0, 1.0)
        return Candidate.finetuned(base, **settings)

    def _draw_train_settings(self, trial: Draws, choices: BackboneChoices) -> dict[str, Any]:
        settings: dict[str, Any] = {"backbone": choices.backbone, "head": self._choose(trial, "head", choices.heads, of=choices)}
        if "view" in self.over:
            settings |= self._draw_view(trial, choices)
        if "learning-rate" in self.over:
            settings["learning_rate"] = trial.suggest_float("learning-rate", *LEARNING_RATES, log=True)
        if "optimizer" in self.over:
            settings["optimizer"] = trial.suggest_categorical("optimizer", OPTIMIZERS)
        if "class-weights" in self.over:
            settings["class_weights"] = trial.suggest_categorical("class-weights", [False, True])
        if "dropout" in self.over:
            dropout = trial.suggest_float("dropout", *DROPOUT)
            if "dropout" in _config_fields(settings["head"]):
                settings["dropout"] = dropout
        if "head-settings" in self.over:
            settings["head_settings"] = _draw_head_settings(trial, settings["head"])
        return settings

    def _choose(self, trial: Draws, dimension: str, choices: Sequence[Any], *, of: BackboneChoices | None = None) -> Any:
        """Draw one of the choices; where backbones have different choices, under a name with the backbone."""
        if len(choices) == 1:
            return choices[0]
        shared = of is None or all(list(one.heads) == list(choices) for one in self.choices)
        return trial.suggest_categorical(dimension if shared or of is None else f"{dimension} of {of.backbone}", list(choices))

    def _draw_view(self, trial: Draws, choices: BackboneChoices) -> dict[str, int]:
        drawn: dict[str, int] = {}
        for name, numbers, shared in (
            ("frames", choices.frames, all(one.frames == choices.frames for one in self.choices)),
            ("windows", choices.windows, all(one.windows == choices.windows for one in self.choices)),
        ):
            if len(numbers) > 1:
                drawn[name] = trial.suggest_categorical(name if shared else f"{name} of {choices.backbone}", sorted(numbers))
        return drawn


def _backbones(manifest: Manifest, config: TuneConfig, base: TrainConfig, *, searched: bool) -> tuple[str, ...]:
    """List the backbones to choose from: as the settings say, else those whose weights are on this machine."""
    if config.backbones:
        if base.backbone is not None:
            raise ConfigError("backbones", "cannot be combined with a fixed backbone: leave one of the two out")
        return tuple(dict.fromkeys(config.backbones))
    if base.backbone is not None:
        return (base.backbone,)
    if are_pose_files(manifest.paths):
        return ("joints", "kinematics") if searched else ("joints",)
    available = tuple(name for name in TEXT_BACKBONES if _is_available(name))
    if config.finetune:
        return available or (DEFAULT_TO_FINETUNE,)
    return ("flow-hist", *available) if searched else (*available, "flow-hist")[:1]


def _is_available(name: str) -> bool:
    try:
        return weights_available(name)
    except QuickstepError:
        return False


def _choices(name: str, config: TuneConfig, base: TrainConfig, over: Sequence[str], *, cache: Cache) -> BackboneChoices:
    """Find the choices for a backbone; one that cannot be opened is refused before the search begins."""
    backbone = replace(base, backbone=name).spec.open(cache)
    try:
        _ = backbone.identity
    except WeightsError as error:
        raise WeightsError(f"the backbone {name!r} cannot be used here: {error}") from error
    if config.finetune and not is_trainable(backbone):
        raise ConfigError("finetune", f"the network of {name!r} cannot be fine-tuned: name other backbones")
    heads = ("window-average",) if config.finetune else tuple(config.heads or _suitable_heads(backbone))
    for head in heads:
        open_head(head)
    if "head" not in over:
        heads = (heads[0],) if config.heads else (base.head if base.head != TrainConfig().head else _suitable_heads(backbone)[0],)
    own = backbone.view.frames
    frames = tuple(dict.fromkeys(count for count in (own, max(1, own // 2), 2 * own) if _accepts_frames(backbone, count)))
    single_window = len(frames) > 1 or reads_poses(backbone) or backbone.view.windows is None
    return BackboneChoices(name, heads, frames, (1,) if single_window else (1, 2, 4))


def _suitable_heads(backbone: Backbone) -> tuple[str, ...]:
    if backbone.capabilities.gives_joints:
        return HEADS_FOR_JOINTS
    if names_features(backbone):
        return HEADS_FOR_NAMED_FEATURES
    return (*HEADS_FOR_FRAMES, "few-shot") if embeds_text(backbone) else HEADS_FOR_FRAMES


def _accepts_frames(backbone: Backbone, frames: int) -> bool:
    try:
        check_view(backbone, replace(backbone.view, frames=frames))
    except ConfigError:
        return False
    return True


def _config_fields(head: str) -> set[str]:
    return set(get_type_hints(look_up("head", head, HEADS, renamed=RENAMED_HEADS).Config))


def _draw_head_settings(trial: Draws, head: str) -> dict[str, Any]:
    drawn = {name: trial.suggest_categorical(f"{head}: {name}", choices) for name, choices in HEAD_SETTINGS.get(head, {}).items()}
    return {name: value for name, value in drawn.items() if value is not None}
