"""Follow the epochs of fine-tuning: which is the best on validation, when to stop, and whether anything is learned.

The state is plain data, so that it can be saved and resumed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from quickstep.evaluation.metrics import plain_shares
from quickstep.heads import History
from quickstep.training.finetuning.config import FinetuneConfig
from quickstep.types.segment import Segment

CHECK_AFTER = 3  # epochs
CHANCE_SHARE = 0.95  # a training loss above this share of ln(classes) after three epochs is close to guessing
FINAL_CHANCE_SHARE = 0.9  # the same at the end


@dataclass(frozen=True)
class Measures:
    """How well the validation segments are classified."""

    loss: float
    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    wrong: tuple[int, ...]  # indices of the misclassified segments
    count: int

    def value(self, metric: str) -> float:
        """Return a metric, higher is better."""
        return {
            "loss": -self.loss,
            "accuracy": self.accuracy,
            "balanced-accuracy": self.balanced_accuracy,
            "macro-f1": self.macro_f1,
        }[metric]

    def describe(self, metric: str) -> str:
        """Describe the validation result in one line."""
        rest = "" if metric in ("loss", "accuracy") else f", {metric.replace('-', ' ')} {self.value(metric):.4f}"
        return f"validation loss {self.loss:.4f}, accuracy {self.accuracy:.4f}{rest}"


def measure(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> Measures:
    """Measure the scores (N, C) of segments with these labels."""
    predicted = logits.argmax(axis=1)
    loss = float(-log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean())
    shares = plain_shares(labels, predicted, classes=logits.shape[1])
    return Measures(loss, *shares, tuple(np.flatnonzero(predicted != labels).tolist()), len(labels))


@dataclass
class Progression:
    """The epochs so far."""

    train_loss: list[float] = field(default_factory=list)
    train_accuracy: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
    val_accuracy: list[float] = field(default_factory=list)
    wrong_train: dict[str, int] = field(default_factory=dict)  # number of the segment -> epochs in which it was misclassified
    wrong_val: dict[str, int] = field(default_factory=dict)
    best_epoch: int = 0
    best: float = -math.inf
    best_loss: float = math.inf
    since: int = 0  # epochs without a better one

    @property
    def epochs(self) -> int:
        """The number of epochs."""
        return len(self.train_loss)

    def add(self, loss: float, accuracy: float, wrong: Sequence[int], validation: Measures | None, numbers: Sequence[int], by: str) -> bool:
        """Add an epoch; return whether it is the best so far. `numbers` are those of the validation segments."""
        self.train_loss.append(loss)
        self.train_accuracy.append(accuracy)
        _count(self.wrong_train, wrong)
        if validation is None:
            self.best_epoch = self.epochs
            return True
        self.val_loss.append(validation.loss)
        self.val_accuracy.append(validation.accuracy)
        _count(self.wrong_val, [numbers[place] for place in validation.wrong])
        value = validation.value(by)
        better = (value, -validation.loss) > (self.best, -self.best_loss)  # equal values are ordered by their loss
        if better:
            self.best, self.best_loss, self.best_epoch = value, validation.loss, self.epochs
        self.since = 0 if better else self.since + 1
        return better

    def over(self, config: FinetuneConfig) -> bool:
        """Return whether all epochs were run, or the patience is used up."""
        return self.epochs >= config.epochs or (bool(self.val_loss) and self.since >= config.patience_epochs)

    def stopped(self, config: FinetuneConfig) -> str:
        """Say why training ended."""
        if not self.val_loss:
            return "all epochs were run and the last one is used, because the val part is empty"
        if self.since >= config.patience_epochs:
            return f"{self.since} epochs in a row were not better on validation ({config.metric}) than epoch {self.best_epoch}"
        return f"all epochs were run; epoch {self.best_epoch} was the best on validation ({config.metric})"

    def history(self, config: FinetuneConfig, train: dict[int, Segment], val: dict[int, Segment]) -> History:
        """Return the history for the model; segments by their numbers."""
        return History(
            train_loss=tuple(self.train_loss),
            train_accuracy=tuple(self.train_accuracy),
            val_loss=tuple(self.val_loss),
            val_accuracy=tuple(self.val_accuracy),
            best_epoch=self.best_epoch,
            stopped=self.stopped(config),
            wrong_train=tuple(self.wrong_train.get(str(number), 0) for number in train),
            wrong_val=tuple(self.wrong_val.get(str(number), 0) for number in val),
            train_segments=tuple(train.values()),
            val_segments=tuple(val.values()),
        )


def _count(counts: dict[str, int], numbers: Sequence[int]) -> None:
    for number in set(numbers):
        counts[str(number)] = counts.get(str(number), 0) + 1


def warn_of_chance(progression: Progression, config: FinetuneConfig, *, classes: int, last: bool = False) -> str | None:
    """Return a warning if nothing is being learned: after three epochs, or at the end; None otherwise."""
    chance, loss = math.log(classes), progression.train_loss[-1]
    if loss < chance * (FINAL_CHANCE_SHARE if last else CHANCE_SHARE):
        return None
    when = "at the end" if last else f"after {progression.epochs} epochs"
    what = (
        f"{when} the training loss is {loss:.3f}, close to ln {classes} = {chance:.3f}, the loss of guessing among {classes} classes: "
        f"{'nothing was learned' if last else 'nothing is learned yet'}"
    )
    return f"{what}; {_advice(progression, config, chance)}"


def _advice(progression: Progression, config: FinetuneConfig, chance: float) -> str:
    """Say what to try first."""
    loss = progression.train_loss
    if loss[-1] > 1.1 * chance or loss[-1] > loss[0] + 0.02:
        return f"the learning rate may be too high: try `learning_rate={config.rate / 10:.1g}`"
    tries = [f"try `learning_rate={config.rate * 10:.1g}`"]
    if config.unfreeze not in (None, "all"):
        tries.append("a larger `unfreeze`")
    tries.append("augment less with `augment=0.2`")
    if config.mixup or config.label_smoothing:
        tries.append("leave out `mixup` and `label_smoothing`")
    return ", ".join(tries) + "; and check the training windows with `quickstep preview-augment`"
