"""The one loop that fits every head: shuffled batches, three optimizers, early stopping, best and last kept.

Deterministic on a machine and without side effects: all chance comes from a generator of its own, never from torch's global one.
Knows neither what the numbers mean nor which head they belong to.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from quickstep.heads import FitConfig, History
from quickstep.types.errors import ConfigError
from quickstep.types.progress import Progress
from quickstep.types.segment import Segment

MOMENTUM = 0.9
CHUNK = 512  # segments measured at once
LEAST_GAIN = 1e-6
COOLING = tuple(2.0**k for k in range(-6, 4))


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


Falling = Callable[[int, int, int], float]


def cosine(done: int, epochs: int, _steps: int) -> float:
    """What is left of the learning rate: less and less, and nothing at the end."""
    return 0.5 + 0.5 * math.cos(math.pi * done / epochs)


class Rates(NamedTuple):
    """The dropout, the learning rate where none is set, and what is left of it after so many of all epochs, and so many steps."""

    dropout: float
    learning: float
    falling: Falling = cosine


class Network(Protocol):
    """A torch module from a batch of inputs to logits (B, C); one of several streams may give (S, B, C) while it is fitted.

    Then each stream is to be right by itself, whatever the others say.
    """

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


@dataclass(frozen=True, eq=False)
class Measure:
    """One look at a set of samples."""

    loss: float
    calibrated: NDArray[np.float64]  # (N,) the loss of each at the temperature that suits all of them best
    wrong: NDArray[np.bool_]  # (N,)

    @property
    def accuracy(self) -> float:
        return 1.0 - float(self.wrong.mean())

    def measurably_worse_than(self, other: Measure) -> bool:
        """Whether the difference over the same samples is more than twice its own standard error: else it may well be luck."""
        difference = self.calibrated - other.calibrated
        return float(difference.mean()) > 2 * float(difference.std()) / math.sqrt(len(difference)) + LEAST_GAIN


def fit_network(
    network: nn.Module,
    train: Samples,
    validation: Samples | None,
    *,
    fitting: FitConfig,
    rates: Rates | tuple[float, float],
    progress: Progress,
) -> Fitted:
    """Fits the network's parameters in place; `rates` are the dropout and the learning rate to use when none is set."""
    with _one_thread():
        return _fit(network, train, validation, fitting, Rates(*rates), progress)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Steps this small gain nothing from more threads, wait for each other on a busy machine, and would add up in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _fit(network: nn.Module, train: Samples, validation: Samples | None, fitting: FitConfig, rates: Rates, progress: Progress) -> Fitted:
    rate = fitting.learning_rate or rates.learning
    generator = torch.Generator().manual_seed(fitting.seed)
    optimizer = _optimizer(network, fitting, rate)
    weight = _class_weight(train.labels, network, fitting)
    dropout = Dropout(rates.dropout, generator)
    epochs, steps = fitting.passes(len(train)), math.ceil(len(train) / fitting.step(len(train)))
    watch = _Watch(fitting.patience or max(20, epochs // 5), len(train), len(validation) if validation else 0)
    while watch.epochs < epochs and not watch.tired:
        for group in optimizer.param_groups:
            group["lr"] = rate * rates.falling(watch.epochs, epochs, watch.epochs * steps)
        _one_epoch(network, train, optimizer, _Step(fitting, weight, dropout, generator))
        watch.note(network, measure(network, train, weight), measure(network, validation, weight) if validation else None)
        if not math.isfinite(watch.train_loss[-1]):
            raise _diverged(watch.epochs, rate)
        progress("fitting", watch.epochs, epochs)
    if watch.epochs < epochs:
        progress("fitting", epochs, epochs)
    return watch.fitted(network, train, validation)


@dataclass(frozen=True)
class _Step:
    """What every step of an epoch uses."""

    fitting: FitConfig
    weight: Tensor | None
    dropout: Dropout
    generator: torch.Generator


def _one_epoch(network: Any, train: Samples, optimizer: torch.optim.Optimizer, step: _Step) -> None:
    order = torch.randperm(len(train), generator=step.generator)
    for chosen in torch.split(order, step.fitting.step(len(train))):
        logits = network(*train.take(chosen), dropout=step.dropout)  # (B, C) or (S, B, C)
        labels = train.labels[chosen].expand(logits.shape[:-1]).flatten()
        loss = nn.functional.cross_entropy(logits.flatten(0, -2), labels, weight=step.weight, label_smoothing=step.fitting.label_smoothing)
        optimizer.zero_grad()
        (loss + network.penalty()).backward()
        optimizer.step()


@torch.no_grad()
def measure(network: Any, samples: Samples, weight: Tensor | None = None) -> Measure:
    """Loss and mistakes over all samples, without dropout."""
    logits = torch.cat([network(*samples.take(chosen)) for chosen in torch.split(torch.arange(len(samples)), CHUNK)])  # (N, C)
    loss = nn.functional.cross_entropy(logits, samples.labels, weight=weight).item()
    shares = torch.ones(len(samples)) if weight is None else weight[samples.labels]
    shares = shares / shares.mean()
    cooled = [shares * nn.functional.cross_entropy(logits * factor, samples.labels, reduction="none") for factor in COOLING]  # each (N,)
    calibrated = min(cooled, key=lambda losses: losses.sum().item())
    return Measure(loss, calibrated.double().numpy(), (logits.argmax(dim=1) != samples.labels).numpy())


class _Watch:
    """Follows the epochs: keeps the curves, the mistakes and the weights that did best, and says when patience is at its end.

    Judged by the calibrated loss. Not by accuracy, which on some dozen segments moves in steps that are mostly luck; nor by the bare
    loss, which grows with over-sure scores long after their order has stopped getting worse: they are calibrated at the end anyway.
    And the shrinkage already sees to it that running to the end does little harm, so an earlier epoch must be measurably better.
    """

    def __init__(self, patience: int, train: int, validation: int) -> None:
        self.patience = patience
        self.validated = validation > 0
        self.train_loss: list[float] = []
        self.train_accuracy: list[float] = []
        self.val_loss: list[float] = []
        self.val_accuracy: list[float] = []
        self.calibrated: list[float] = []
        self.wrong = np.zeros(train, dtype=np.int64)
        self.wrong_val = np.zeros(validation, dtype=np.int64)
        self.worse = 0  # epochs in a row that were measurably worse than the lowest
        self.lowest: Measure | None = None
        self.best_epoch = 0
        self.best: dict[str, Tensor] = {}

    @property
    def epochs(self) -> int:
        return len(self.train_loss)

    @property
    def tired(self) -> bool:
        return self.worse >= self.patience

    def note(self, network: nn.Module, train: Measure, validation: Measure | None) -> None:
        self.train_loss.append(train.loss)
        self.train_accuracy.append(train.accuracy)
        self.wrong += train.wrong
        if validation is None:
            return
        self.val_loss.append(validation.loss)
        self.val_accuracy.append(validation.accuracy)
        self.calibrated.append(float(validation.calibrated.mean()))
        self.wrong_val += validation.wrong
        if self.lowest is None or validation.calibrated.mean() < self.lowest.calibrated.mean():
            self.lowest, self.best_epoch, self.best = validation, self.epochs, _copy(network)
        self.worse = self.worse + 1 if validation.measurably_worse_than(self.lowest) else 0

    def fitted(self, network: nn.Module, train: Samples, validation: Samples | None) -> Fitted:
        last = _copy(network)
        if not self.worse:
            self.best_epoch, self.best = self.epochs, last
        stopped = "all epochs were run"
        if not self.validated:
            stopped += ": without validation segments their number is fixed and the last one is kept"
        elif self.tired:
            stopped = f"{self.patience} epochs in a row were measurably worse on validation than epoch {self.best_epoch}"
        elif self.worse:
            stopped += f"; epoch {self.best_epoch} was measurably better on validation than the last"
        else:
            stopped += "; none was measurably better on validation than the last"
        history = History(
            train_loss=tuple(self.train_loss),
            train_accuracy=tuple(self.train_accuracy),
            val_loss=tuple(self.val_loss),
            val_accuracy=tuple(self.val_accuracy),
            val_calibrated=tuple(self.calibrated),
            best_epoch=self.best_epoch,
            stopped=stopped,
            wrong_train=tuple(self.wrong.tolist()),
            wrong_val=tuple(self.wrong_val.tolist()),
            train_segments=train.segments,
            val_segments=validation.segments if validation else (),
        )
        return Fitted(history, self.best, last)


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
