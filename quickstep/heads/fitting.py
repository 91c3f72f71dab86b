"""The one loop that fits every head: shuffled batches, three optimizers, early stopping, best and last kept.

Deterministic on a machine and without side effects: all chance comes from a generator of its own, never from torch's global one.
Knows neither what the numbers mean nor which head they belong to.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from quickstep.errors import ConfigError
from quickstep.heads import FitConfig, History
from quickstep.progress import Progress
from quickstep.segment import Segment

MOMENTUM = 0.9
CHUNK = 512  # segments measured at once


class Dropout:
    """Sets a share of numbers to zero, by a generator of its own; being passed to a network is what says "training"."""

    def __init__(self, rate: float, generator: torch.Generator) -> None:
        self.rate = rate
        self.generator = generator

    def __call__(self, values: Tensor) -> Tensor:
        if self.rate == 0:
            return values
        kept = torch.rand(values.shape, generator=self.generator) >= self.rate
        return values * kept / (1 - self.rate)


class Network(Protocol):
    """A torch module from a batch of inputs to logits (B, C)."""

    def __call__(self, *inputs: Tensor, dropout: Dropout | None = None) -> Tensor: ...

    def penalty(self) -> Tensor:
        """What is added to the loss to keep weights small."""
        ...


@dataclass(frozen=True, eq=False)
class Samples:
    """Inputs that can be taken by their numbers, padded as the network likes them, with their classes."""

    take: Callable[[Tensor], tuple[Tensor, ...]]
    labels: Tensor  # (N,)
    segments: tuple[Segment, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Fitted:
    """What a fit leaves: the story and the weights of the best and of the last epoch."""

    history: History
    best: dict[str, Tensor]
    last: dict[str, Tensor]


@dataclass(frozen=True)
class Measure:
    """One look at a set of samples."""

    loss: float
    wrong: NDArray[np.bool_]  # (N,)

    @property
    def accuracy(self) -> float:
        return 1.0 - float(self.wrong.mean())


def fit_network(
    network: nn.Module, train: Samples, validation: Samples | None, *, fitting: FitConfig, rates: tuple[float, float], progress: Progress
) -> Fitted:
    """Fits the network's parameters in place; `rates` are the dropout and the learning rate to use when none is set."""
    dropout_rate, usual_rate = rates
    rate = fitting.learning_rate or usual_rate
    generator = torch.Generator().manual_seed(fitting.seed)
    optimizer = _optimizer(network, fitting, rate)
    weight = _class_weight(train.labels, network, fitting)
    dropout = Dropout(dropout_rate, generator)
    watch = _Watch(fitting.patience, len(train), len(validation) if validation else 0)
    while watch.epochs < fitting.epochs and not watch.tired:
        for group in optimizer.param_groups:
            group["lr"] = rate * (0.5 + 0.5 * math.cos(math.pi * watch.epochs / fitting.epochs))
        _one_epoch(network, train, optimizer, _Step(fitting, weight, dropout, generator))
        watch.note(network, measure(network, train, weight), measure(network, validation, weight) if validation else None)
        if not math.isfinite(watch.train_loss[-1]):
            raise _diverged(watch.epochs, rate)
        progress("fitting", watch.epochs, fitting.epochs)
    if watch.epochs < fitting.epochs:
        progress("fitting", fitting.epochs, fitting.epochs)
    return watch.fitted(network, train, validation)


@dataclass(frozen=True)
class _Step:
    """What every step of an epoch uses."""

    fitting: FitConfig
    weight: Tensor | None
    dropout: Dropout
    generator: torch.Generator

    def batch(self, count: int) -> int:
        return self.fitting.batch or min(512, max(32, count // 16))


def _one_epoch(network: Any, train: Samples, optimizer: torch.optim.Optimizer, step: _Step) -> None:
    order = torch.randperm(len(train), generator=step.generator)
    for chosen in torch.split(order, step.batch(len(train))):
        logits = network(*train.take(chosen), dropout=step.dropout)  # (B, C)
        loss = nn.functional.cross_entropy(logits, train.labels[chosen], weight=step.weight, label_smoothing=step.fitting.label_smoothing)
        optimizer.zero_grad()
        (loss + network.penalty()).backward()
        optimizer.step()


@torch.no_grad()
def measure(network: Any, samples: Samples, weight: Tensor | None = None) -> Measure:
    """Loss and mistakes over all samples, without dropout."""
    logits = torch.cat([network(*samples.take(chosen)) for chosen in torch.split(torch.arange(len(samples)), CHUNK)])  # (N, C)
    loss = nn.functional.cross_entropy(logits, samples.labels, weight=weight)
    return Measure(loss.item(), (logits.argmax(dim=1) != samples.labels).numpy())


class _Watch:
    """Follows the epochs: keeps the curves, the mistakes and the best weights, and says when patience is at its end."""

    def __init__(self, patience: int, train: int, validation: int) -> None:
        self.patience = patience
        self.validated = validation > 0
        self.train_loss: list[float] = []
        self.train_accuracy: list[float] = []
        self.val_loss: list[float] = []
        self.val_accuracy: list[float] = []
        self.wrong = np.zeros(train, dtype=np.int64)
        self.wrong_val = np.zeros(validation, dtype=np.int64)
        self.best_epoch = 0
        self.best: dict[str, Tensor] = {}

    @property
    def epochs(self) -> int:
        return len(self.train_loss)

    @property
    def tired(self) -> bool:
        return self.validated and self.epochs - self.best_epoch >= self.patience

    def note(self, network: nn.Module, train: Measure, validation: Measure | None) -> None:
        self.train_loss.append(train.loss)
        self.train_accuracy.append(train.accuracy)
        self.wrong += train.wrong
        if validation is not None:
            self.val_loss.append(validation.loss)
            self.val_accuracy.append(validation.accuracy)
            self.wrong_val += validation.wrong
        # Loss, not accuracy: on some dozen segments accuracy moves in steps that are mostly luck.
        if validation is None or validation.loss < min(self.val_loss[:-1], default=math.inf):
            self.best_epoch = self.epochs
            self.best = _copy(network)

    def fitted(self, network: nn.Module, train: Samples, validation: Samples | None) -> Fitted:
        stopped = "all epochs were run"
        if not self.validated:
            stopped = "all epochs were run: without validation segments the number of epochs is fixed and the last one is kept"
        elif self.tired:
            stopped = f"the validation loss had not fallen for {self.patience} epochs"
        history = History(
            train_loss=tuple(self.train_loss),
            train_accuracy=tuple(self.train_accuracy),
            val_loss=tuple(self.val_loss),
            val_accuracy=tuple(self.val_accuracy),
            best_epoch=self.best_epoch,
            stopped=stopped,
            wrong_train=tuple(self.wrong.tolist()),
            wrong_val=tuple(self.wrong_val.tolist()),
            train_segments=train.segments,
            val_segments=validation.segments if validation else (),
        )
        return Fitted(history, self.best, _copy(network))


def _copy(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def _optimizer(network: nn.Module, fitting: FitConfig, rate: float) -> torch.optim.Optimizer:
    if fitting.optimizer == "sgd":
        return torch.optim.SGD(network.parameters(), lr=rate, momentum=MOMENTUM, weight_decay=fitting.weight_decay)
    kind = torch.optim.Adam if fitting.optimizer == "adam" else torch.optim.AdamW
    return kind(network.parameters(), lr=rate, weight_decay=fitting.weight_decay)


def _class_weight(labels: Tensor, network: Any, fitting: FitConfig) -> Tensor | None:
    """Weights whose mean over the training segments is 1; a class without any gets none."""
    if not fitting.class_weights:
        return None
    counts = torch.bincount(labels, minlength=network.classes).to(torch.float32)  # (C,)
    present = counts > 0
    return torch.where(present, len(labels) / (present.sum() * counts.clamp(min=1)), torch.zeros(()))


def _diverged(epoch: int, rate: float) -> ConfigError:
    return ConfigError(
        "learning_rate", f"the loss was no number any more after epoch {epoch}; lower it (it was {rate:.2g}), say to {rate / 10:.2g}"
    )
