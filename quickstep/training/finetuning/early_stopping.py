"""Watch: follows the epochs of fine-tuning: which is best on validation, when patience ends, and whether anything is learnt at all.

Everything it knows is plain data, so that a run that was killed goes on with it. Knows no torch.
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

LOOK_AFTER = 3  # epochs
NEAR_CHANCE = 0.95  # of ln(classes): a training loss above this share of it after three epochs is all but guessing
STILL_NEAR = 0.9  # and at the end of training


@dataclass(frozen=True)
class Measures:
    """How well validation segments are named."""

    loss: float
    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    wrong: tuple[int, ...]  # places of the segments that are named wrongly
    count: int

    def value(self, measure: str) -> float:
        """The measure of choice, greater being better."""
        return -self.loss if measure == "loss" else float(getattr(self, measure.replace("-", "_")))

    def told(self, measure: str) -> str:
        """It in words."""
        rest = "" if measure in ("loss", "accuracy") else f", {measure.replace('-', ' ')} {self.value(measure):.4f}"
        return f"validation loss {self.loss:.4f}, accuracy {self.accuracy:.4f}{rest}"


def measured(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> Measures:
    """What the scores (N, C) of segments with these labels are worth."""
    said = logits.argmax(axis=1)
    loss = float(-log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean())
    shares = plain_shares(labels, said, classes=logits.shape[1])
    return Measures(loss, *shares, tuple(np.flatnonzero(said != labels).tolist()), len(labels))


@dataclass
class Watch:
    """The story so far."""

    train_loss: list[float] = field(default_factory=list)
    train_accuracy: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
    val_accuracy: list[float] = field(default_factory=list)
    wrong_train: dict[str, int] = field(default_factory=dict)  # number of the segment -> epochs in which it was wrong
    wrong_val: dict[str, int] = field(default_factory=dict)
    best_epoch: int = 0
    best: float = -math.inf
    best_loss: float = math.inf
    since: int = 0  # epochs without a better one

    @property
    def epochs(self) -> int:
        return len(self.train_loss)

    def note(
        self, loss: float, accuracy: float, wrong: Sequence[int], validation: Measures | None, numbers: Sequence[int], by: str
    ) -> bool:
        """Takes in an epoch; whether it is the best so far. `numbers` are those of the validation segments."""
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
        better = (value, -validation.loss) > (self.best, -self.best_loss)  # equals are told apart by their loss
        if better:
            self.best, self.best_loss, self.best_epoch = value, validation.loss, self.epochs
        self.since = 0 if better else self.since + 1
        return better

    def over(self, config: FinetuneConfig) -> bool:
        """Whether all epochs were run, or patience is at its end."""
        return self.epochs >= config.epochs or (bool(self.val_loss) and self.since >= config.tires_after)

    def stopped(self, config: FinetuneConfig) -> str:
        """Why it ended, in words."""
        if not self.val_loss:
            return "all epochs were run: without validation segments their number is fixed and the last one is kept"
        if self.since >= config.tires_after:
            return f"{self.since} epochs in a row were no better on validation ({config.metric}) than epoch {self.best_epoch}"
        return f"all epochs were run; epoch {self.best_epoch} was the best on validation ({config.metric})"

    def history(self, config: FinetuneConfig, train: dict[int, Segment], val: dict[int, Segment]) -> History:
        """The story for the model; segments by their numbers."""
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


def on_chance(watch: Watch, config: FinetuneConfig, *, classes: int, last: bool = False) -> str | None:
    """What to say when nothing is being learnt: after three epochs, or at the end."""
    guessing, loss = math.log(classes), watch.train_loss[-1]
    if loss < guessing * (STILL_NEAR if last else NEAR_CHANCE):
        return None
    when = "at its end" if last else f"after {watch.epochs} epochs"
    what = (
        f"{when} the training loss is {loss:.3f}, and guessing among {classes} classes has ln {classes} = {guessing:.3f}: "
        f"{'nothing was learnt' if last else 'nothing is being learnt yet'}"
    )
    return f"{what}; {_advice(watch, config, guessing)}"


def _advice(watch: Watch, config: FinetuneConfig, guessing: float) -> str:
    """What to try first."""
    loss = watch.train_loss
    if loss[-1] > 1.1 * guessing or loss[-1] > loss[0] + 0.02:
        return f"the steps may be too long: try `learning_rate={config.rate / 10:.1g}`"
    tries = [f"try `learning_rate={config.rate * 10:.1g}`"]
    if config.unfreeze not in (None, "all"):
        tries.append("a larger `unfreeze`")
    tries.append("change less with `augment=0.2`")
    if config.mixup or config.label_smoothing:
        tries.append("leave out `mixup` and `label_smoothing`")
    return ", ".join(tries) + "; and look at what the network is shown with `quickstep preview-augment`"
