"""Heads by name, what they are shown (Examples), how they are fitted (FitConfig) and what came of it (History).

Imports no network library: a head's own file loads when its name is looked up. Knows no video, no backbone and no label's name.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, get_type_hints

import numpy as np
from numpy.typing import NDArray

from quickstep.storage.serialization import from_plain, to_plain
from quickstep.types.config_fields import at_least, between, one_of, setting
from quickstep.types.errors import ConfigError
from quickstep.types.progress import Progress, silent
from quickstep.types.registry import Entry, look_up
from quickstep.types.segment import Segment
from quickstep.types.signals import Features, Texts
from quickstep.types.skeleton import Skeleton

HEADS: dict[str, Entry] = {
    "attention": Entry("quickstep.heads.attention:AttentionHead", "looks at each stretch of time by itself: keeps the order of things"),
    "averaged": Entry("quickstep.heads.window_average:AveragedHead", "each window by itself, their scores averaged: what fine-tuning fits"),
    "few-shot": Entry("quickstep.heads.few_shot.head:FewShotHead", "begins with words and lets 0 to 16 segments a class move it"),
    "forest": Entry("quickstep.heads.tree_ensemble:ForestHead", "trees on what each number does over time: for motion-numbers"),
    "linear": Entry(
        "quickstep.heads.linear:LinearHead", "the mean over time and one linear layer: quick, steady, hard to beat on few videos"
    ),
    "lstm": Entry("quickstep.heads.skeleton.lstm:LstmHead", "for joints: two LSTM layers over 100 moments, as many systems have them"),
    "pose-ensemble": Entry("quickstep.heads.skeleton.ensemble:PoseEnsembleHead", "for joints: stgcn and pose-trees together"),
    "pose-trees": Entry(
        "quickstep.heads.skeleton.pose_trees:PoseTreesHead", "for joints: trees on what can be counted of them; fitted in seconds"
    ),
    "prompts": Entry("quickstep.heads.text.zero_shot:PromptsHead", "words alone, for backbones that read them: nothing is fitted"),
    "prototypes": Entry(
        "quickstep.heads.few_shot.prototypes:PrototypesHead", "what is typical of each class: from one segment on, no words"
    ),
    "stgcn": Entry("quickstep.heads.skeleton.stgcn:StgcnHead", "for joints: ST-GCN++ over joints, bones and their motion"),
}

STEPS = 800  # that a fit takes at least, where it is not said otherwise
OPTIMIZERS = ("adamw", "adam", "sgd")


@dataclass(frozen=True, eq=False)
class Examples:
    """Features with the number of the class each belongs to; `segments`, where known, tell which belong together."""

    features: Sequence[Features]
    labels: NDArray[np.int64]  # (N,)
    segments: tuple[Segment, ...] = ()
    texts: Texts | None = None  # what words say of the classes, for heads that read them
    skeleton: Skeleton | None = None  # whose joints the features (T, K, C) are, for heads that read them

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", np.asarray(self.labels, dtype=np.int64))
        if self.labels.shape != (len(self.features),):
            raise ValueError(f"{len(self.features)} features have labels of shape {self.labels.shape}")
        if self.segments and len(self.segments) != len(self.features):
            raise ValueError(f"{len(self.features)} features have {len(self.segments)} segments")

    def __len__(self) -> int:
        return len(self.features)

    @property
    def groups(self) -> list[Hashable]:
        """What must not be divided when part of the examples is held back: the group, else the video, else each by itself."""
        if self.segments:
            return [segment.group or segment.path for segment in self.segments]
        return list(range(len(self)))


@dataclass(frozen=True)
class FitConfig:
    """How the one loop fits any head; the defaults need no tuning on 30 to some thousand segments."""

    epochs: int | None = setting(None, "passes over the training segments, at most; by default 100, more where they are few")
    learning_rate: float | None = setting(None, "size of the first steps; by default what suits the optimizer and the features' width")
    optimizer: Literal["adamw", "adam", "sgd"] = setting("adamw", "adamw, adam or sgd (with momentum)")
    weight_decay: float = setting(0.0, "the optimizer's own weight decay, on top of the head's shrinkage")
    batch: int | None = setting(None, "segments a step; by default from 32 to 512, growing with their number")
    class_weights: bool = setting(False, "let every class count the same, however many segments it has")
    label_smoothing: float = setting(0.0, "share of each label that is spread over all classes")
    patience: int | None = setting(
        None, "stop after so many epochs in a row that are measurably worse on validation; by default a fifth of all"
    )
    seed: int = setting(0, "the same seed gives the same model on the same machine")

    def passes(self, segments: int) -> int:
        """How many epochs there are at most: a few segments are few steps an epoch, and a fit takes its number of steps."""
        return self.epochs or max(100, math.ceil(STEPS / math.ceil(segments / self.step(segments))))

    def step(self, segments: int) -> int:
        """How many segments there are in one step."""
        return self.batch or min(512, max(32, segments // 16))

    def __post_init__(self) -> None:
        if self.epochs is not None:
            between("epochs", self.epochs, 1, 1_000_000)
        one_of("optimizer", self.optimizer, OPTIMIZERS)
        at_least("weight_decay", self.weight_decay, 0)
        between("label_smoothing", self.label_smoothing, 0, 0.99)
        if self.patience is not None:
            at_least("patience", self.patience, 1)
        between("seed", self.seed, 0, 2**63 - 1)
        if self.batch is not None:
            at_least("batch", self.batch, 1)
        if self.learning_rate is not None and not 0 < self.learning_rate < float("inf"):
            raise ConfigError("learning_rate", f"above 0, not {self.learning_rate:g}")


@dataclass(frozen=True)
class History:
    """What happened in each epoch, which one was kept, and how often each segment was wrong.

    Losses are measured after each epoch, without dropout, smoothing or shrinkage, so that both curves mean the same.
    """

    train_loss: tuple[float, ...]
    train_accuracy: tuple[float, ...]
    val_loss: tuple[float, ...]  # empty without validation segments
    val_accuracy: tuple[float, ...]
    best_epoch: int  # the one that is kept, counted from 1: the last, unless an earlier one was measurably better
    stopped: str  # why it ended, in words
    wrong_train: tuple[int, ...]  # in how many epochs each training segment was wrong
    wrong_val: tuple[int, ...]
    val_calibrated: tuple[float, ...] = ()  # the validation loss at the temperature that suits the epoch best: what chooses the epoch
    shrinkage: float | None = None  # the strength of the pull to zero that was used
    train_segments: tuple[Segment, ...] = ()
    val_segments: tuple[Segment, ...] = ()

    @property
    def epochs(self) -> int:
        """How many epochs were run."""
        return len(self.train_loss)

    def most_wrong(self, split: Literal["train", "val"], count: int = 10) -> list[tuple[Segment, int]]:
        """The segments that were wrong in most epochs, with the number of those epochs; never right ones."""
        segments, wrong = (self.train_segments, self.wrong_train) if split == "train" else (self.val_segments, self.wrong_val)
        ranked = sorted(zip(segments, wrong), key=lambda pair: -pair[1])
        return [pair for pair in ranked[:count] if pair[1] > 0]

    def to_json(self) -> dict[str, Any]:
        """Everything but the segments, which their keeper stores once."""
        data: dict[str, Any] = to_plain(replace(self, train_segments=(), val_segments=()))
        return {name: value for name, value in data.items() if not name.endswith("_segments")}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> History:
        """The reverse of `to_json`."""
        return from_plain(cls, data, where="history")

    def with_segments(self, train: tuple[Segment, ...], val: tuple[Segment, ...]) -> History:
        """The same, told of these segments; ValueError when their number is another."""
        if (len(train), len(val)) != (len(self.wrong_train), len(self.wrong_val)):
            raise ValueError("the history tells of another number of segments")
        return replace(self, train_segments=train, val_segments=val)


class Head(Protocol):
    """Turns features into scores; what we fit. Its config is a frozen dataclass; its weights are plain arrays.

    One that says `reads_texts = True` is shown `Examples.texts` too; one that says `reads_joints = True` takes features (T, K, C) alone,
    and is shown `Examples.skeleton`.
    """

    name: str

    @property
    def classes(self) -> int:
        """C; 0 before it is fitted or loaded."""
        ...

    @property
    def config(self) -> Any: ...

    def fit(
        self, train: Examples, validation: Examples | None = None, *, classes: int, fitting: FitConfig, progress: Progress = silent
    ) -> History: ...

    def scores(self, features: Sequence[Features]) -> NDArray[np.float64]:
        """Logits (N, C); each row depends on its own features alone, to the bit."""
        ...

    def weights(self) -> dict[str, NDArray[Any]]: ...

    def last_weights(self) -> dict[str, NDArray[Any]] | None:
        """What the last epoch left, where it is known: of a head that was fitted, not of one that was loaded."""
        ...

    def load(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """Takes over weights; ValueError when they are not exactly this head's."""
        ...


def open_head(name: str, config: Mapping[str, Any] | None = None) -> Head:
    """A head that is not fitted yet, by its name in HEADS or as "their.module:Class"."""
    head_class = look_up("head", name, HEADS)
    hints = get_type_hints(head_class.Config)
    for setting_name in config or {}:
        if setting_name not in hints:
            raise ConfigError(setting_name, f"the head {name!r} has no such setting; it has: {', '.join(sorted(hints))}")
    settings = {key: _as_meant(value, str(hints[key])) for key, value in (config or {}).items()}
    try:
        head: Head = head_class(from_plain(head_class.Config, settings, where=f"the head {name!r}"))
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError("head-settings", str(error)) from error
    return head


def _as_meant(value: Any, hint: str) -> Any:
    """A value as the command line gives it, in the type that its setting has: 20.0 is a number of things, "yes" a decision."""
    if isinstance(value, float) and value.is_integer() and "float" not in hint:
        return int(value)
    if isinstance(value, str) and "bool" in hint:
        return {"true": True, "yes": True, "false": False, "no": False}.get(value.lower(), value)
    return value
