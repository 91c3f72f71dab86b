"""Heads turn features into scores: the table of heads by name, what a head must offer, its training examples, fit settings and history.

Listing the table imports no head and no network library; a head's module is imported when its name is looked up.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Protocol, get_type_hints

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

__all__ = [
    "HEADS",
    "OPTIMIZERS",
    "RENAMED_HEADS",
    "Examples",
    "FitConfig",
    "Head",
    "HeadCapabilities",
    "History",
    "capabilities_of",
    "current_head_name",
    "history_without_epochs",
    "log_softmax",
    "logsumexp",
    "open_head",
    "softmax",
]

HEADS: dict[str, Entry] = {
    "attention": Entry("quickstep.heads.attention:AttentionHead", "attention over time that keeps the order of events, and a linear layer"),
    "extra-trees": Entry(
        "quickstep.heads.tree_ensemble:ExtraTreesHead", "extremely randomized trees on statistics of each feature: for kinematics"
    ),
    "few-shot": Entry("quickstep.heads.few_shot.head:FewShotHead", "starts from class descriptions; for 0 to 16 segments a class"),
    "linear": Entry("quickstep.heads.linear:LinearHead", "the mean over time and one linear layer: fast, hard to beat on few videos"),
    "lstm": Entry("quickstep.heads.skeleton.lstm:LstmHead", "for joints: two LSTM layers over 100 timestamps"),
    "pose-ensemble": Entry("quickstep.heads.skeleton.ensemble:PoseEnsembleHead", "for joints: stgcn and pose-trees together"),
    "pose-trees": Entry(
        "quickstep.heads.skeleton.pose_trees:PoseTreesHead", "for joints: trees on statistics of the joints; fitted in seconds"
    ),
    "prototypes": Entry("quickstep.heads.few_shot.head:PrototypesHead", "class means, shrunk covariance: from one segment a class"),
    "stgcn": Entry("quickstep.heads.skeleton.stgcn:StgcnHead", "for joints: ST-GCN++ over joints, bones and their motion"),
    "window-average": Entry(
        "quickstep.heads.linear:WindowAverageHead", "scores each window and averages the probabilities: the head of fine-tuning"
    ),
    "zero-shot": Entry("quickstep.heads.text.zero_shot:ZeroShotHead", "class descriptions alone, where the backbone embeds text"),
}
RENAMED_HEADS = {"averaged": "window-average", "forest": "extra-trees", "prompts": "zero-shot"}  # names of version 0.1

OPTIMIZER_STEPS = 800  # the least that a fit takes by default
OPTIMIZERS = ("adamw", "adam", "sgd")


@dataclass(frozen=True)
class HeadCapabilities:
    """What a head needs beside vectors in time; each head class declares it."""

    reads_texts: bool = False  # uses `Examples.texts`, the embedded class descriptions
    reads_image_parts: bool = False  # takes one vector for each part of the image too, from backbones that adapt text to the video
    reads_joints: bool = False  # takes features (T, K, C) alone, and `Examples.skeleton`


@dataclass(frozen=True, eq=False)
class Examples:
    """Features with their class numbers; `segments`, where known, give the groups."""

    features: Sequence[Features]
    labels: NDArray[np.int64]  # (N,)
    segments: tuple[Segment, ...] = ()
    texts: Texts | None = None  # the class descriptions, for heads that read texts
    skeleton: Skeleton | None = None  # names the joints of features (T, K, C), for heads that read joints

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
        """The group of each example, which validation never divides: the segment's group, else its video, else the example itself."""
        if self.segments:
            return [segment.group or segment.path for segment in self.segments]
        return list(range(len(self)))


@dataclass(frozen=True)
class FitConfig:
    """Settings of the training loop; the defaults need no tuning on 30 to some thousand segments."""

    epochs: int | None = setting(None, "passes over the training segments, at most; by default 100, more for few segments")
    learning_rate: float | None = setting(None, "initial learning rate; the default depends on the head and the optimizer")
    optimizer: Literal["adamw", "adam", "sgd"] = setting("adamw", "adamw, adam or sgd (with momentum)")
    weight_decay: float = setting(0.0, "the optimizer's weight decay, in addition to the head's regularization")
    batch: int | None = setting(None, "segments a step; by default from 32 to 512, growing with their number")
    class_weights: bool = setting(False, "weight classes equally, whatever their number of segments")
    label_smoothing: float = setting(0.0, "share of each label that is spread over all classes")
    patience: int | None = setting(
        None, "stop after this many epochs in a row that are significantly worse on validation; by default a fifth of all epochs"
    )
    seed: int = setting(0, "the same seed gives the same model on the same machine")

    def passes(self, segments: int) -> int:
        """Return the largest number of epochs: few segments are few steps an epoch, so they get more epochs."""
        return self.epochs or max(100, math.ceil(OPTIMIZER_STEPS / math.ceil(segments / self.step(segments))))

    def step(self, segments: int) -> int:
        """Return the batch size."""
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
            raise ConfigError("learning_rate", f"must be above 0, not {self.learning_rate:g}")


class Head(Protocol):
    """A classifier of features. Its config is a frozen dataclass, its weights are plain arrays."""

    name: str
    capabilities: ClassVar[HeadCapabilities]

    @property
    def classes(self) -> int:
        """The number of classes; 0 before the head is fitted or loaded."""
        ...

    @property
    def config(self) -> Any:
        """The head's settings."""
        ...

    def fit(
        self, train: Examples, validation: Examples | None = None, *, classes: int, fitting: FitConfig, progress: Progress = silent
    ) -> History:
        """Fit the head to the training examples; validation examples serve early stopping, or are only measured."""
        ...

    def scores(self, features: Sequence[Features]) -> NDArray[np.float64]:
        """Return logits (N, C); each row depends on its own features alone, to the bit."""
        ...

    def weights(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that the scores depend on."""
        ...

    def last_weights(self) -> dict[str, NDArray[Any]] | None:
        """Return the weights after the last epoch; None for a head that was loaded or has no epochs."""
        ...

    def load(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """Set the weights; ValueError when they are not exactly this head's."""
        ...


def open_head(name: str, config: Mapping[str, Any] | None = None) -> Head:
    """Return an unfitted head by its name in HEADS or as "their.module:Class"."""
    head_class = _head_class(name)
    hints = get_type_hints(head_class.Config)
    for setting_name in config or {}:
        if setting_name not in hints:
            raise ConfigError(setting_name, f"the head {name!r} has no such setting; it has: {', '.join(sorted(hints))}")
    settings = {key: _converted(value, str(hints[key])) for key, value in (config or {}).items()}
    try:
        head: Head = head_class(from_plain(head_class.Config, settings, where=f"the head {name!r}"))
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError("head-settings", str(error)) from error
    return head


def capabilities_of(name: str) -> HeadCapabilities:
    """Return what the head of this name needs, without making one."""
    capabilities: HeadCapabilities = _head_class(name).capabilities
    return capabilities


def current_head_name(name: str) -> str:
    """Return today's name for the name of a head in a file that version 0.1 wrote."""
    return RENAMED_HEADS.get(name, name)


def _head_class(name: str) -> Any:
    return look_up("head", name, HEADS, renamed=RENAMED_HEADS)


def _converted(value: Any, hint: str) -> Any:
    """Convert a value of the command line to the setting's type: 20.0 to an integer, "yes" to a boolean."""
    if isinstance(value, float) and value.is_integer() and "float" not in hint:
        return int(value)
    if isinstance(value, str) and "bool" in hint:
        return {"true": True, "yes": True, "false": False, "no": False}.get(value.lower(), value)
    return value


@dataclass(frozen=True)
class History:
    """What happened in each epoch, which one was kept, and in how many epochs each segment was wrong.

    Losses are measured after each epoch, without dropout, smoothing or regularization, so that both curves can be compared.
    """

    train_loss: tuple[float, ...]
    train_accuracy: tuple[float, ...]
    val_loss: tuple[float, ...]  # empty without validation segments
    val_accuracy: tuple[float, ...]
    best_epoch: int  # the epoch that is kept, counted from 1: the last, unless an earlier one was significantly better
    stopped: str  # why the fit ended, in words
    wrong_train: tuple[int, ...]  # in how many epochs each training segment was wrong
    wrong_val: tuple[int, ...]
    val_calibrated: tuple[float, ...] = ()  # the validation loss at the best temperature of each epoch: the criterion of early stopping
    shrinkage: float | None = None  # the strength of the L2 regularization that was used
    train_segments: tuple[Segment, ...] = ()
    val_segments: tuple[Segment, ...] = ()

    @property
    def epochs(self) -> int:
        """The number of epochs that were run."""
        return len(self.train_loss)

    def most_wrong(self, split: Literal["train", "val"], count: int = 10) -> list[tuple[Segment, int]]:
        """Return the segments that were wrong in most epochs, each with that number; segments that were never wrong are left out."""
        segments, wrong = (self.train_segments, self.wrong_train) if split == "train" else (self.val_segments, self.wrong_val)
        ranked = sorted(zip(segments, wrong), key=lambda pair: -pair[1])
        return [pair for pair in ranked[:count] if pair[1] > 0]

    def to_json(self) -> dict[str, Any]:
        """Return everything but the segments, which the model folder stores once."""
        data: dict[str, Any] = to_plain(replace(self, train_segments=(), val_segments=()))
        return {name: value for name, value in data.items() if not name.endswith("_segments")}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> History:
        """Return the history that `to_json` wrote."""
        return from_plain(cls, data, where="history")

    def with_segments(self, train: tuple[Segment, ...], val: tuple[Segment, ...]) -> History:
        """Return a copy with these segments; ValueError when the numbers of segments differ."""
        if (len(train), len(val)) != (len(self.wrong_train), len(self.wrong_val)):
            raise ValueError("the history is of another number of segments")
        return replace(self, train_segments=train, val_segments=val)


def history_without_epochs(
    head: Head, train: Examples, validation: Examples | None, *, stopped: str, shrinkage: float | None = None
) -> History:
    """Return the history of a head that was solved in one step: one epoch, measured by the head's own scores."""
    loss, wrong = _measure(head, train)
    val_loss, wrong_val = _measure(head, validation) if validation else ((), np.zeros(0, dtype=bool))
    return History(
        train_loss=loss,
        train_accuracy=_accuracy(wrong),
        val_loss=val_loss,
        val_accuracy=_accuracy(wrong_val),
        best_epoch=1,
        stopped=stopped,
        wrong_train=tuple(map(int, wrong)),
        wrong_val=tuple(map(int, wrong_val)),
        shrinkage=shrinkage,
        train_segments=train.segments,
        val_segments=validation.segments if validation else (),
    )


def _measure(head: Head, examples: Examples) -> tuple[tuple[float, ...], NDArray[np.bool_]]:
    """Return the mean loss (nothing without examples) and which examples are wrong (N,)."""
    if not len(examples):
        return (), np.zeros(0, dtype=bool)
    logits = head.scores(examples.features)
    losses = -log_softmax(logits, axis=1)[np.arange(len(examples)), examples.labels]
    return (float(losses.mean()),), logits.argmax(axis=1) != examples.labels


def _accuracy(wrong: NDArray[np.bool_]) -> tuple[float, ...]:
    return (1.0 - float(wrong.mean()),) if len(wrong) else ()


# With numpy alone, equal to scipy to the bit: importing scipy would take longer than a prediction.
def softmax(logits: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
    """Return probabilities that sum to 1 along an axis; the logits are finite."""
    powers = np.exp(logits - logits.max(axis=axis, keepdims=True))
    return np.asarray(powers / powers.sum(axis=axis, keepdims=True))


def log_softmax(logits: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
    """Return the logarithms of the probabilities."""
    shifted = logits - logits.max(axis=axis, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True)))


def logsumexp(values: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
    """Return the logarithm of the sum of exponentials along an axis, without overflow."""
    highest = values.max(axis=axis, keepdims=True)
    is_highest = values == highest  # summed apart from the smaller ones, which is more exact
    count = is_highest.sum(axis=axis, keepdims=True).astype(np.float64)
    others = np.exp(np.where(is_highest, -np.inf, values) - highest).sum(axis=axis, keepdims=True) / count
    return np.asarray((np.log1p(others) + np.log(count) + highest).squeeze(axis))
