"""The training loop of all heads: shuffled batches, three optimizers, early stopping; the best and the last weights are kept.

The loop is deterministic on a machine and draws random numbers from a generator of its own, never from torch's global one.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from quickstep.heads import Examples, FitConfig, History
from quickstep.types.errors import ConfigError
from quickstep.types.progress import Progress
from quickstep.types.segment import Segment

MOMENTUM = 0.9
CHUNK = 512  # segments measured at once
SMALLEST_DIFFERENCE = 1e-6
FACTORS = tuple(2.0**k for k in range(-6, 4))  # of the logits, by which the loss is calibrated


class Dropout:
    """Zeroes a share of the values, with a generator of its own; a network that gets one is in training."""

    def __init__(self, rate: float, generator: torch.Generator) -> None:
        self.rate = rate
        self.generator = generator

    def __call__(self, values: Tensor) -> Tensor:
        """Return the values with a share of them zeroed and the others scaled up."""
        if self.rate == 0:
            return values
        mask = torch.rand(values.shape, generator=self.generator) >= self.rate
        return values * mask / (1 - self.rate)


Schedule = Callable[[int, int, int], float]  # epochs done, epochs in all, steps done -> factor of the learning rate


def cosine(done: int, epochs: int, _steps: int) -> float:
    """Return the cosine schedule's factor of the learning rate, which falls to 0."""
    return 0.5 + 0.5 * math.cos(math.pi * done / epochs)


class Rates(NamedTuple):
    """The dropout rate, the learning rate by default, and its schedule."""

    dropout: float
    learning: float
    schedule: Schedule = cosine


class Network(Protocol):
    """A torch module from a batch of inputs to logits (B, C).

    A network of several streams returns (S, B, C) while it is fitted; then each stream gets a loss of its own.
    """

    def __call__(self, *inputs: Tensor, dropout: Dropout | None = None) -> Tensor:
        """Return logits (B, C) or (S, B, C)."""
        ...

    def penalty(self) -> Tensor:
        """Return what is added to the loss for regularization."""
        ...


class LinearNetwork(nn.Module):
    """One linear layer with L2 regularization, which starts at zero."""

    def __init__(self, width: int, classes: int, shrinkage: float) -> None:
        super().__init__()
        self.classes = classes
        self.shrinkage = shrinkage
        self.weight = nn.Parameter(torch.zeros(width, classes))
        self.bias = nn.Parameter(torch.zeros(classes))

    def forward(self, inputs: Tensor, dropout: Dropout | None = None) -> Tensor:
        """Return logits (B, C)."""
        return (dropout(inputs) if dropout else inputs) @ self.weight + self.bias

    def penalty(self) -> Tensor:
        """Return the regularization."""
        return self.shrinkage / 2 * self.weight.square().sum()


@dataclass(frozen=True, eq=False)
class Samples:
    """Inputs that can be taken by index, padded as the network needs it, with their class numbers."""

    take: Callable[[Tensor], tuple[Tensor, ...]]
    labels: Tensor  # (N,)
    segments: tuple[Segment, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)


def samples_of_table(inputs: NDArray[np.float64], examples: Examples) -> Samples:
    """Return samples of one vector each, (N, D)."""
    table = torch.from_numpy(inputs.astype(np.float32))
    return Samples(lambda chosen: (table[chosen],), torch.from_numpy(examples.labels), examples.segments)


@dataclass(frozen=True, eq=False)
class Fitted:
    """The result of a fit: its history, and the network's state after the best and after the last epoch."""

    history: History
    best: dict[str, Tensor]
    last: dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Measurement:
    """The loss and the errors over a set of samples after an epoch."""

    loss: float
    calibrated: NDArray[np.float64]  # (N,) the loss of each sample at the temperature that suits all samples best
    wrong: NDArray[np.bool_]  # (N,)

    @property
    def accuracy(self) -> float:
        """The share of samples that is classified correctly."""
        return 1.0 - float(self.wrong.mean())

    def significantly_worse_than(self, other: Measurement) -> bool:
        """Return whether the mean difference over the same samples is more than twice its standard error."""
        difference = self.calibrated - other.calibrated
        return float(difference.mean()) > 2 * float(difference.std()) / math.sqrt(len(difference)) + SMALLEST_DIFFERENCE


def fit_network(
    network: nn.Module, train: Samples, validation: Samples | None, *, fitting: FitConfig, rates: Rates, progress: Progress
) -> Fitted:
    """Fit the network's parameters in place."""
    with _one_thread():
        return _fit(network, train, validation, fitting, rates, progress)


def as_arrays(state: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    """Return the tensors of a module as arrays."""
    return {name: value.numpy() for name, value in state.items()}


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Use one thread: steps this small gain nothing from more, and more threads would sum in another order."""
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
    weight = _class_weights(train.labels, network, fitting)
    dropout = Dropout(rates.dropout, generator)
    epochs, steps = fitting.passes(len(train)), math.ceil(len(train) / fitting.step(len(train)))
    stopping = _EarlyStopping(fitting.patience or max(20, epochs // 5), len(train), len(validation) if validation else 0)
    while stopping.epochs < epochs and not stopping.out_of_patience:
        for group in optimizer.param_groups:
            group["lr"] = rate * rates.schedule(stopping.epochs, epochs, stopping.epochs * steps)
        _run_epoch(network, train, optimizer, _Step(fitting, weight, dropout, generator))
        stopping.record(network, measure(network, train, weight), measure(network, validation, weight) if validation else None)
        if not math.isfinite(stopping.train_loss[-1]):
            raise _diverged(stopping.epochs, rate)
        progress("fitting", stopping.epochs, epochs)
    if stopping.epochs < epochs:
        progress("fitting", epochs, epochs)
    return stopping.result(network, train, validation)


@dataclass(frozen=True)
class _Step:
    """What every step of an epoch uses."""

    fitting: FitConfig
    weight: Tensor | None
    dropout: Dropout
    generator: torch.Generator


def _run_epoch(network: Any, train: Samples, optimizer: torch.optim.Optimizer, step: _Step) -> None:
    order = torch.randperm(len(train), generator=step.generator)
    for chosen in torch.split(order, step.fitting.step(len(train))):
        logits = network(*train.take(chosen), dropout=step.dropout)  # (B, C) or (S, B, C)
        labels = train.labels[chosen].expand(logits.shape[:-1]).flatten()
        loss = nn.functional.cross_entropy(logits.flatten(0, -2), labels, weight=step.weight, label_smoothing=step.fitting.label_smoothing)
        optimizer.zero_grad()
        (loss + network.penalty()).backward()
        optimizer.step()


@torch.no_grad()
def measure(network: Any, samples: Samples, weight: Tensor | None = None) -> Measurement:
    """Return the loss and the errors over all samples, without dropout."""
    logits = torch.cat([network(*samples.take(chosen)) for chosen in torch.split(torch.arange(len(samples)), CHUNK)])  # (N, C)
    loss = nn.functional.cross_entropy(logits, samples.labels, weight=weight).item()
    shares = torch.ones(len(samples)) if weight is None else weight[samples.labels]
    shares = shares / shares.mean()
    candidates = [shares * nn.functional.cross_entropy(logits * factor, samples.labels, reduction="none") for factor in FACTORS]
    calibrated = min(candidates, key=lambda losses: losses.sum().item())  # (N,)
    return Measurement(loss, calibrated.double().numpy(), (logits.argmax(dim=1) != samples.labels).numpy())


class _EarlyStopping:
    """Records the epochs: curves, errors and the best weights; knows when patience has run out.

    The criterion is the calibrated loss. Accuracy on some dozen segments moves in large steps that are mostly chance. The plain loss
    grows with overconfident scores long after their order has stopped getting worse, and scores are calibrated at the end anyway.
    The regularization keeps the damage of further epochs small, so an earlier epoch is kept only where it was significantly better.
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
        self.worse = 0  # epochs in a row that were significantly worse than the best
        self.lowest: Measurement | None = None
        self.best_epoch = 0
        self.best: dict[str, Tensor] = {}

    @property
    def epochs(self) -> int:
        """The number of epochs so far."""
        return len(self.train_loss)

    @property
    def out_of_patience(self) -> bool:
        """Whether too many epochs in a row were worse."""
        return self.worse >= self.patience

    def record(self, network: nn.Module, train: Measurement, validation: Measurement | None) -> None:
        """Add an epoch."""
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
            self.lowest, self.best_epoch, self.best = validation, self.epochs, _copy_state(network)
        self.worse = self.worse + 1 if validation.significantly_worse_than(self.lowest) else 0

    def result(self, network: nn.Module, train: Samples, validation: Samples | None) -> Fitted:
        """Choose the epoch that is kept, and return the history and the weights."""
        last = _copy_state(network)
        if not self.worse:
            self.best_epoch, self.best = self.epochs, last
        history = History(
            train_loss=tuple(self.train_loss),
            train_accuracy=tuple(self.train_accuracy),
            val_loss=tuple(self.val_loss),
            val_accuracy=tuple(self.val_accuracy),
            val_calibrated=tuple(self.calibrated),
            best_epoch=self.best_epoch,
            stopped=self._reason(),
            wrong_train=tuple(self.wrong.tolist()),
            wrong_val=tuple(self.wrong_val.tolist()),
            train_segments=train.segments,
            val_segments=validation.segments if validation else (),
        )
        return Fitted(history, self.best, last)

    def _reason(self) -> str:
        if not self.validated:
            return "all epochs were run: without validation segments their number is fixed, and the last epoch is kept"
        if self.out_of_patience:
            return f"{self.patience} epochs in a row were significantly worse on validation than epoch {self.best_epoch}"
        if self.worse:
            return f"all epochs were run; epoch {self.best_epoch} was significantly better on validation than the last"
        return "all epochs were run; none was significantly better on validation than the last"


def _copy_state(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def _optimizer(network: nn.Module, fitting: FitConfig, rate: float) -> torch.optim.Optimizer:
    if fitting.optimizer == "sgd":
        return torch.optim.SGD(network.parameters(), lr=rate, momentum=MOMENTUM, weight_decay=fitting.weight_decay)
    kind = torch.optim.Adam if fitting.optimizer == "adam" else torch.optim.AdamW
    return kind(network.parameters(), lr=rate, weight_decay=fitting.weight_decay)


def _class_weights(labels: Tensor, network: Any, fitting: FitConfig) -> Tensor | None:
    """Return class weights whose mean over the training segments is 1; a class without segments gets 0."""
    if not fitting.class_weights:
        return None
    counts = torch.bincount(labels, minlength=network.classes).to(torch.float32)  # (C,)
    present = counts > 0
    return torch.where(present, len(labels) / (present.sum() * counts.clamp(min=1)), torch.zeros(()))


def _diverged(epoch: int, rate: float) -> ConfigError:
    return ConfigError(
        "learning_rate", f"the loss was not a finite number after epoch {epoch}; lower it (it was {rate:.2g}), say to {rate / 10:.2g}"
    )
