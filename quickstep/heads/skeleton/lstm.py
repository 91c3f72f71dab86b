"""The LSTM head: the joints of each timestamp as one vector, an input layer with ReLU, two LSTM layers, a dense layer on the last output.

Several published systems classify AlphaPose joints in this way; `tensorflow_lstm` reads the weights of those fitted with TensorFlow 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from quickstep.heads import Examples, FitConfig, HeadCapabilities, History
from quickstep.heads.feature_arrays import FittedArrays, Standardizer, check_weights, check_width
from quickstep.heads.skeleton.augmentation import Changes, augment
from quickstep.heads.skeleton.input_channels import JointSequences, resample, skeleton_of
from quickstep.heads.skeleton.mirror_choice import use_mirrored_copies
from quickstep.heads.training_loop import Dropout, Rates, Samples, Schedule, as_arrays, cosine, fit_network
from quickstep.types.config_fields import at_least, between, setting
from quickstep.types.progress import Progress, silent
from quickstep.types.signals import Features
from quickstep.types.skeleton import Skeleton

LEARNING_RATES = {"adamw": 0.003, "adam": 0.003, "sgd": 0.1}
FORGET_BIAS = 1.0  # added to the forget gate, so that memory is kept at the start of training
DECAY_STEPS = 100_000


@dataclass(frozen=True)
class LstmConfig:
    """The LSTM head's settings."""

    hidden: int = setting(64, "units of each layer")
    steps: int = setting(100, "timestamps that each segment is resampled to")
    dropout: float = setting(0.3, "dropout while fitting, before and after the LSTM layers")
    augment: float = setting(1.0, "strength of the augmentation while fitting: 0 for none, 2 for twice the usual changes")
    mirror: bool | None = setting(None, "train on mirrored copies too; by default where this does not hurt on held-out segments")
    l2: float = setting(0.0, "L2 regularization of all parameters")
    decay: float | None = setting(None, f"factor of the learning rate for every {DECAY_STEPS:,} steps; by default the rate falls to 0")
    standardise: bool = setting(True, "standardize every coordinate first")

    def __post_init__(self) -> None:
        between("hidden", self.hidden, 1, 4096)
        between("steps", self.steps, 1, 4096)
        between("dropout", self.dropout, 0, 0.95)
        between("augment", self.augment, 0, 3)
        at_least("l2", self.l2, 0)
        if self.decay is not None:
            between("decay", self.decay, 0.0, 1.0)


class LstmHead(FittedArrays):
    """Two stacked LSTM layers over a segment's joints."""

    Config = LstmConfig
    name = "lstm"
    capabilities: ClassVar[HeadCapabilities] = HeadCapabilities(reads_joints=True)

    def __init__(self, config: LstmConfig | None = None) -> None:
        super().__init__()
        self.config = config or LstmConfig()

    def fit(
        self, train: Examples, validation: Examples | None = None, *, classes: int, fitting: FitConfig, progress: Progress = silent
    ) -> History:
        """Standardize on the training segments alone, and train on segments that are augmented differently in every epoch."""
        skeleton, config = skeleton_of(train), self.config
        mirror = use_mirrored_copies(config.mirror, train, skeleton, classes=classes, seed=fitting.seed)
        sequences = resample(train.features, config.steps)
        network = _Lstm(sequences.joints[0, 0].numel(), classes, config, mirror=skeleton if mirror else None)
        network.initialize(fitting.seed, sequences)
        fitted = fit_network(
            network,
            _samples(train, config),
            _samples(validation, config) if validation else None,
            fitting=fitting,
            rates=Rates(config.dropout, LEARNING_RATES[fitting.optimizer], cosine if config.decay is None else _exponential(config.decay)),
            progress=progress,
        )
        self._weights, self._last = as_arrays(fitted.best), as_arrays(fitted.last)
        return fitted.history

    @property
    def classes(self) -> int:
        """The number of classes; 0 before the head is fitted or loaded."""
        return len(self._weights["out.bias"]) if self._weights else 0

    @torch.no_grad()
    def scores(self, features: Sequence[Features]) -> NDArray[np.float64]:
        """Return logits (N, C) in double precision; segments are scored one by one, so that none depends on the others."""
        width = len(self._weights["mean"])
        network = _Lstm(width, self.classes, self.config).double()
        network.load_state_dict({name: torch.from_numpy(array) for name, array in self._weights.items()})
        rows = []
        for segment in check_width(features, width):
            sequence = resample([segment], self.config.steps).double()
            rows.append(network(sequence.joints, sequence.pace)[0].numpy())
        return np.stack(rows) if rows else np.zeros((0, self.classes))

    def load(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """Set the weights; ValueError when they are not exactly this head's."""
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
        # torch would fill these from its global generator, which must stay untouched: they are empty until `initialize` or `load`.
        with torch.device("meta"):
            self.enter = nn.Linear(width, hidden)
            self.first = nn.LSTM(hidden, hidden, batch_first=True)
            self.second = nn.LSTM(hidden, hidden, batch_first=True)
            self.out = nn.Linear(hidden, classes)
        self.to_empty(device="cpu")
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))

    @torch.no_grad()
    def initialize(self, seed: int, sequences: JointSequences) -> None:
        """Fill the parameters from a seed, and set the standardization to that of the training sequences."""
        generator = torch.Generator().manual_seed(seed)
        hidden = self._config.hidden
        for name, value in self.named_parameters():
            if value.dim() == 2:
                nn.init.uniform_(value, -1 / math.sqrt(hidden), 1 / math.sqrt(hidden), generator=generator)
            else:
                value.zero_()
            if name.endswith("bias_ih_l0"):
                value[hidden : 2 * hidden] = FORGET_BIAS
        nn.init.kaiming_uniform_(self.enter.weight, nonlinearity="relu", generator=generator)
        if self._config.standardise:
            scale = Standardizer.of(sequences.joints.flatten(0, 1).flatten(1).double().numpy())
            self.mean.copy_(torch.from_numpy(scale.mean))
            self.scale.copy_(torch.from_numpy(scale.scale) * math.sqrt(len(scale.scale)))

    def forward(self, joints: Tensor, pace: Tensor, dropout: Dropout | None = None) -> Tensor:
        if dropout is not None:
            sequences = JointSequences(joints, pace)
            joints = augment(sequences, self._changes, steps=self._config.steps, mirror=self._mirror, generator=dropout.generator).joints
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
    sequences = resample(examples.features, config.steps)
    return Samples(lambda chosen: (sequences.joints[chosen], sequences.pace[chosen]), torch.from_numpy(examples.labels), examples.segments)


def _exponential(decay: float) -> Schedule:
    return lambda _done, _epochs, steps: decay ** (steps // DECAY_STEPS)
