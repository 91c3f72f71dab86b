"""The history of a fit: curves by epoch, the epoch that was kept, and how often each segment was misclassified."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from quickstep.heads.probabilities import log_softmax
from quickstep.storage.serialization import from_plain, to_plain
from quickstep.types.segment import Segment

if TYPE_CHECKING:
    from quickstep.heads import Examples, Head


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
