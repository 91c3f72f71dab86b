"""The LSTM head: each moment's joints as one vector, an input layer with ReLU, two LSTM layers, a dense layer on what the last one leaves.

The network of many people who named moves by AlphaPose joints; `basic_lstm` takes over what they fitted with TensorFlow 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from quickstep.heads import Examples, FitConfig, HeadCapabilities, History
from quickstep.heads.feature_arrays import Fittable, Standardiser, as_arrays, check_weights, fitting_width
from quickstep.heads.skeleton.augmentation import Changes, changed
from quickstep.heads.skeleton.input_channels import Moves, body_of, evenly
from quickstep.heads.skeleton.mirror_choice import with_mirror
from quickstep.heads.training_loop import Dropout, Rates, Samples, cosine, fit_network
from quickstep.types.config_fields import at_least, between, setting
from quickstep.types.progress import Progress, silent
from quickstep.types.signals import Features
from quickstep.types.skeleton import Skeleton

RATES = {"adamw": 0.003, "adam": 0.003, "sgd": 0.1}
FORGET = 1.0  # added to the forget gate: what was seen is kept until there is a reason not to
DECAY_STEPS = 100_000


@dataclass(frozen=True)
class LstmConfig:
    """The LSTM head's settings."""

    hidden: int = setting(64, "numbers that each layer keeps in mind")
    steps: int = setting(100, "moments that a segment is brought to")
    dropout: float = setting(0.3, "share of the numbers hidden at random while fitting: of what enters the LSTM, and of what leaves it")
    augment: float = setting(1.0, "how much segments are changed while fitting: 0 not at all, 2 twice as much as usual")
    mirror: bool | None = setting(None, "learn from mirrored copies too; by default where held-back segments are not told worse by it")
    l2: float = setting(0.0, "pull of all numbers to zero: half their squares, so many times, are added to the loss")
    decay: float | None = setting(None, f"what is left of the learning rate after every {DECAY_STEPS:,} steps; by default it falls to 0")
    standardise: bool = setting(True, "bring every number to mean 0 and spread 1 first")

    def __post_init__(self) -> None:
        between("hidden", self.hidden, 1, 4096)
        between("steps", self.steps, 1, 4096)
        between("dropout", self.dropout, 0, 0.95)
        between("augment", self.augment, 0, 3)
        at_least("l2", self.l2, 0)
        if self.decay is not None:
            between("decay", self.decay, 0.0, 1.0)


class LstmHead(Fittable):
    """Two stacked LSTM layers over a segment's joints."""

    Config = LstmConfig
    name = "lstm"
    capabilities = HeadCapabilities(reads_joints=True)

    def __init__(self, config: LstmConfig | None = None) -> None:
        super().__init__()
        self.config = config or LstmConfig()

    def fit(
        self, train: Examples, validation: Examples | None = None, *, classes: int, fitting: FitConfig, progress: Progress = silent
    ) -> History:
        """Standardises by the training segments alone, and learns from segments that are changed a little each time."""
        skeleton, config = body_of(train), self.config
        mirror = with_mirror(config.mirror, train, skeleton, classes=classes, seed=fitting.seed)
        moves = evenly(train.features, config.steps)
        network = _Lstm(moves.joints[0, 0].numel(), classes, config, mirror=skeleton if mirror else None)
        network.begin(fitting.seed, moves)
        fitted = fit_network(
            network,
            _samples(train, config),
            _samples(validation, config) if validation else None,
            fitting=fitting,
            rates=Rates(config.dropout, RATES[fitting.optimizer], cosine if config.decay is None else _decaying(config.decay)),
            progress=progress,
        )
        self._weights, self._last = as_arrays(fitted.best), as_arrays(fitted.last)
        return fitted.history

    @property
    def classes(self) -> int:
        """How many classes it tells apart."""
        return len(self._weights["out.bias"]) if self._weights else 0

    @torch.no_grad()
    def scores(self, features: Sequence[Features]) -> NDArray[np.float64]:
        """Logits (N, C), in double precision, a segment at a time so that none depends on its neighbours."""
        width = len(self._weights["mean"])
        network = _Lstm(width, self.classes, self.config).double()
        network.load_state_dict({name: torch.from_numpy(array) for name, array in self._weights.items()})
        rows = []
        for each in fitting_width(features, width):
            moves = evenly([each], self.config.steps).double()
            rows.append(network(moves.joints, moves.pace)[0].numpy())
        return np.stack(rows) if rows else np.zeros((0, self.classes))

    def load(self, weights: Mapping[str, NDArray[Any]]) -> None:
        width, classes = np.size(weights.get("mean", ())), np.size(weights.get("out.bias", ()))
        network = _Lstm(max(1, width), max(1, classes), self.config)
        check_weights(weights, {name: tuple(value.shape) for name, value in network.state_dict().items()})
        self._weights, self._last = dict(weights), None


class _Lstm(nn.Module):
    def __init__(self, width: int, classes: int, config: LstmConfig, *, mirror: Skeleton | None = None) -> None:
        super().__init__()
        hidden = config.hidden
        self.classes = classes
        self._config, self._mirror, self._changes = config, mirror, Changes().times(config.augment)
        self.mean: Tensor
        self.scale: Tensor
        # torch fills these by its global chance, which is not ours to disturb: they stay empty until `begin`, or until they are loaded.
        with torch.device("meta"):
            self.enter = nn.Linear(width, hidden)
            self.first = nn.LSTM(hidden, hidden, batch_first=True)
            self.second = nn.LSTM(hidden, hidden, batch_first=True)
            self.out = nn.Linear(hidden, classes)
        self.to_empty(device="cpu")
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))

    @torch.no_grad()
    def begin(self, seed: int, moves: Moves) -> None:
        """Fills the network by a seed, and takes the measure of what it will be shown."""
        generator = torch.Generator().manual_seed(seed)
        hidden = self._config.hidden
        for name, value in self.named_parameters():
            if value.dim() == 2:
                nn.init.uniform_(value, -1 / math.sqrt(hidden), 1 / math.sqrt(hidden), generator=generator)
            else:
                value.zero_()
            if name.endswith("bias_ih_l0"):
                value[hidden : 2 * hidden] = FORGET
        nn.init.kaiming_uniform_(self.enter.weight, nonlinearity="relu", generator=generator)
        if self._config.standardise:
            scale = Standardiser.of(moves.joints.flatten(0, 1).flatten(1).double().numpy())
            self.mean.copy_(torch.from_numpy(scale.mean))
            self.scale.copy_(torch.from_numpy(scale.scale) * math.sqrt(len(scale.scale)))

    def forward(self, joints: Tensor, pace: Tensor, dropout: Dropout | None = None) -> Tensor:
        if dropout is not None:
            moves = changed(Moves(joints, pace), self._changes, steps=self._config.steps, mirror=self._mirror, generator=dropout.generator)
            joints = moves.joints
        x = torch.relu(self.enter((joints.flatten(2) - self.mean) * self.scale))  # (B, T, H)
        x, _ = self.first(dropout(x) if dropout else x)
        x, _ = self.second(x)
        last = x[:, -1]
        logits: Tensor = self.out(dropout(last) if dropout else last)
        return logits

    def penalty(self) -> Tensor:
        if not self._config.l2:
            return torch.zeros(())
        return self._config.l2 / 2 * torch.stack([value.square().sum() for value in self.parameters()]).sum()


def _samples(examples: Examples, config: LstmConfig) -> Samples:
    moves = evenly(examples.features, config.steps)
    return Samples(lambda chosen: (moves.joints[chosen], moves.pace[chosen]), torch.from_numpy(examples.labels), examples.segments)


def _decaying(decay: float) -> Any:
    return lambda _done, _epochs, steps: decay ** (steps // DECAY_STEPS)
