"""The attention head: several attention queries over time, and one linear layer on what they return.

Each query starts as a soft window in time, from early to late. So "first A, then B" differs from the reverse from the first epoch on;
fitting moves the windows and makes the queries depend on the content.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from quickstep.heads import Examples, FitConfig, History
from quickstep.heads.feature_arrays import FittedArrays, Standardizer, check_weights, check_width, flat
from quickstep.heads.inner_folds import choose_shrinkage
from quickstep.heads.training_loop import Dropout, Rates, Samples, as_arrays, fit_network
from quickstep.types.config_fields import at_least, between, setting
from quickstep.types.progress import Progress, silent
from quickstep.types.signals import Features

LEARNING_RATES = {"adamw": 0.03, "adam": 0.03, "sgd": 0.3}
ORDER = 0.5  # weight of the differences between the queries' results
QUERY_SHRINKAGE = 1.0  # regularization of the queries, whose initial windows do well already


@dataclass(frozen=True)
class AttentionConfig:
    """The attention head's settings."""

    looks: int = setting(4, "number of attention queries")
    dropout: float = setting(0.0, "share of the features that dropout zeroes while fitting")
    shrinkage: float | None = setting(None, "strength of the L2 regularization; by default chosen by cross-validation on the training part")

    def __post_init__(self) -> None:
        between("looks", self.looks, 1, 64)
        between("dropout", self.dropout, 0, 0.95)
        if self.shrinkage is not None:
            at_least("shrinkage", self.shrinkage, 0)


class AttentionHead(FittedArrays):
    """Attention pooling over time that keeps the order of events, and a linear layer."""

    Config = AttentionConfig
    name = "attention"

    def __init__(self, config: AttentionConfig | None = None) -> None:
        super().__init__()
        self.config = config or AttentionConfig()

    def fit(
        self, train: Examples, validation: Examples | None = None, *, classes: int, fitting: FitConfig, progress: Progress = silent
    ) -> History:
        """Standardize on the training segments alone, and fit queries and layer together."""
        standardize = Standardizer.of(np.concatenate([flat(segment) for segment in train.features]))
        network = _Attention(len(standardize.mean), classes, self.config.looks, self.config.shrinkage or 0.0)
        samples = _samples(standardize, train)
        if self.config.shrinkage is None:
            inputs = _initial_results(network, samples)  # (N, L * D)
            network.shrinkage = choose_shrinkage(inputs, train.labels, train.groups, classes=classes, seed=fitting.seed).strength
        fitted = fit_network(
            network,
            samples,
            _samples(standardize, validation) if validation else None,
            fitting=fitting,
            rates=Rates(self.config.dropout, LEARNING_RATES[fitting.optimizer]),
            progress=progress,
        )
        self._weights, self._last = (standardize.arrays | as_arrays(state) for state in (fitted.best, fitted.last))
        return replace(fitted.history, shrinkage=network.shrinkage)

    @torch.no_grad()
    def scores(self, features: Sequence[Features]) -> NDArray[np.float64]:
        """Return logits (N, C) in double precision; segments are scored one by one, so that none depends on the others."""
        standardize = Standardizer(self._weights["mean"], self._weights["scale"])
        network = _Attention(len(standardize.mean), self.classes, self.config.looks, 0.0).double()
        network.load_state_dict({name: torch.from_numpy(self._weights[name]) for name in network.state_dict()})
        rows = []
        for segment in check_width(features, len(standardize.mean)):
            values, positions, mask = _pad([_sequence(standardize, segment)], dtype=torch.float64)
            rows.append(network(values, positions, mask)[0].numpy())
        return np.stack(rows) if rows else np.zeros((0, self.classes))

    def load(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """Set the weights; ValueError when they are not exactly this head's."""
        width, classes, looks = np.size(weights.get("mean", ())), np.size(weights.get("bias", ())), self.config.looks
        shapes = {"mean": (width,), "scale": (width,), "weight": (looks * width, classes), "bias": (classes,)}
        check_weights(weights, shapes | {"content": (looks, width), "centre": (looks,), "sharpness": (looks,)})
        self._weights, self._last = dict(weights), None


class _Attention(nn.Module):
    def __init__(self, width: int, classes: int, looks: int, shrinkage: float) -> None:
        super().__init__()
        self.classes = classes
        self.looks = looks
        self.shrinkage = shrinkage
        # All parameters start at fixed values, so no random numbers are needed.
        self.content = nn.Parameter(torch.zeros(looks, width))
        self.centre = nn.Parameter((torch.arange(looks) + 0.5) / looks)
        self.sharpness = nn.Parameter(torch.full((looks,), float(np.log(2.0 * looks))))  # log of 1 / width of the window
        self.weight = nn.Parameter(torch.zeros(looks * width, classes))
        self.bias = nn.Parameter(torch.zeros(classes))

    def attend(self, values: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        """Return the results of all queries, concatenated: (B, T, D), (B, T), (B, T) -> (B, L * D)."""
        distance = (positions[:, None, :] - self.centre[None, :, None]) * self.sharpness.exp()[None, :, None]  # (B, L, T)
        by_content = values @ self.content.T  # (B, T, L)
        logits = (by_content.transpose(1, 2) - distance.square() / 2).masked_fill(~mask[:, None, :], -torch.inf)
        results = logits.softmax(dim=2) @ values  # (B, L, D)
        # The mean of the queries counts more than their differences: most moves do not need order, and few segments cannot teach it.
        results = torch.lerp(results.mean(dim=1, keepdim=True).expand_as(results), results, ORDER)
        concatenated: Tensor = results.flatten(1) / self.looks**0.5
        return concatenated

    def forward(self, values: Tensor, positions: Tensor, mask: Tensor, dropout: Dropout | None = None) -> Tensor:
        inputs = self.attend(values, positions, mask)
        return (dropout(inputs) if dropout else inputs) @ self.weight + self.bias

    def penalty(self) -> Tensor:
        penalty: Tensor = self.shrinkage / 2 * self.weight.square().sum()
        return penalty + QUERY_SHRINKAGE / 2 * self.content.square().sum() / self.looks


_Sequence = tuple[NDArray[np.float64], NDArray[np.float64]]  # values (T, D), positions (T,) from 0, the first timestamp, to 1, the last


def _sequence(standardize: Standardizer, features: Features) -> _Sequence:
    times = features.times - features.times[0]
    length = times[-1]
    return standardize(flat(features)), times / length if length > 0 else np.full(len(times), 0.5)


def _pad(sequences: Sequence[_Sequence], *, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    """Return values (B, T, D), positions (B, T) and the mask (B, T) that is true where there is a timestamp."""
    longest = max(len(positions) for _, positions in sequences)
    values = torch.zeros(len(sequences), longest, sequences[0][0].shape[1], dtype=dtype)
    positions = torch.zeros(len(sequences), longest, dtype=dtype)
    mask = torch.zeros(len(sequences), longest, dtype=torch.bool)
    for row, (vectors, at) in enumerate(sequences):
        values[row, : len(at)] = torch.from_numpy(vectors)
        positions[row, : len(at)] = torch.from_numpy(at)
        mask[row, : len(at)] = True
    return values, positions, mask


def _samples(standardize: Standardizer, examples: Examples) -> Samples:
    sequences = [_sequence(standardize, segment) for segment in examples.features]
    return Samples(lambda chosen: _pad([sequences[i] for i in chosen.tolist()]), torch.from_numpy(examples.labels), examples.segments)


@torch.no_grad()
def _initial_results(network: _Attention, samples: Samples) -> NDArray[np.float64]:
    """Return the queries' results for every segment before anything is fitted, (N, L * D)."""
    parts = [network.attend(*samples.take(chosen)) for chosen in torch.split(torch.arange(len(samples)), 256)]
    return torch.cat(parts).double().numpy()
