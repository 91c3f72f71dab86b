"""The attention head: a few looks at different stretches of time, each drawn to what tells the classes apart, and one linear layer.

Each look begins as a soft window in time, early to late, so that "first this, then that" is another answer than the reverse from the
first epoch on; fitting moves the windows and turns them to moments that matter.
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
from quickstep.heads.feature_arrays import Fittable, Standardiser, as_arrays, check_weights, fitting_width, flat
from quickstep.heads.regularization import choose_shrinkage
from quickstep.heads.training_loop import Dropout, Samples, fit_network
from quickstep.types.config_fields import at_least, between, setting
from quickstep.types.progress import Progress, silent
from quickstep.types.signals import Features

RATES = {"adamw": 0.03, "adam": 0.03, "sgd": 0.3}
ORDER = 0.5  # weight of what the looks see differently
CALM = 1.0  # the pull on what moves the looks: they start where they do good service already


@dataclass(frozen=True)
class AttentionConfig:
    """The attention head's settings."""

    looks: int = setting(4, "stretches of time that are looked at by themselves")
    dropout: float = setting(0.0, "share of the numbers hidden at random while fitting")
    shrinkage: float | None = setting(None, "pull of the weights to zero; by default chosen on held-back training segments")

    def __post_init__(self) -> None:
        between("looks", self.looks, 1, 64)
        between("dropout", self.dropout, 0, 0.95)
        if self.shrinkage is not None:
            at_least("shrinkage", self.shrinkage, 0)


class AttentionHead(Fittable):
    """Attentive pooling over time that keeps order, and a linear layer."""

    Config = AttentionConfig
    name = "attention"

    def __init__(self, config: AttentionConfig | None = None) -> None:
        super().__init__()
        self.config = config or AttentionConfig()

    def fit(
        self, train: Examples, validation: Examples | None = None, *, classes: int, fitting: FitConfig, progress: Progress = silent
    ) -> History:
        """Standardises by the training segments' moments alone, and fits looks and layer together."""
        scale = Standardiser.of(np.concatenate([flat(each) for each in train.features]))
        network = _Attention(len(scale.mean), classes, self.config.looks, self.config.shrinkage or 0.0)
        shown = _samples(scale, train)
        if self.config.shrinkage is None:
            first = _looked(network, shown)  # (N, L * D)
            network.shrinkage = choose_shrinkage(first, train.labels, train.groups, classes=classes, seed=fitting.seed).strength
        fitted = fit_network(
            network,
            shown,
            _samples(scale, validation) if validation else None,
            fitting=fitting,
            rates=(self.config.dropout, RATES[fitting.optimizer]),
            progress=progress,
        )
        self._weights, self._last = (scale.arrays | as_arrays(state) for state in (fitted.best, fitted.last))
        return replace(fitted.history, shrinkage=network.shrinkage)

    @torch.no_grad()
    def scores(self, features: Sequence[Features]) -> NDArray[np.float64]:
        """Logits (N, C), in double precision, a segment at a time so that none depends on its neighbours."""
        scale = Standardiser(self._weights["mean"], self._weights["scale"])
        network = _Attention(len(scale.mean), self.classes, self.config.looks, 0.0).double()
        network.load_state_dict({name: torch.from_numpy(self._weights[name]) for name in network.state_dict()})
        rows = []
        for each in fitting_width(features, len(scale.mean)):
            values, positions, mask = _pad([_moments(scale, each)], dtype=torch.float64)
            rows.append(network(values, positions, mask)[0].numpy())
        return np.stack(rows) if rows else np.zeros((0, self.classes))

    def load(self, weights: Mapping[str, NDArray[Any]]) -> None:
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
        # Everything starts at a fixed place, so no chance is needed to begin.
        self.content = nn.Parameter(torch.zeros(looks, width))
        self.centre = nn.Parameter((torch.arange(looks) + 0.5) / looks)
        self.sharpness = nn.Parameter(torch.full((looks,), float(np.log(2.0 * looks))))  # log of 1 / width of the window
        self.weight = nn.Parameter(torch.zeros(looks * width, classes))
        self.bias = nn.Parameter(torch.zeros(classes))

    def looked(self, values: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        """What each look sees, side by side: (B, T, D), (B, T), (B, T) -> (B, L * D)."""
        away = (positions[:, None, :] - self.centre[None, :, None]) * self.sharpness.exp()[None, :, None]  # (B, L, T)
        drawn = values @ self.content.T  # (B, T, L)
        logits = (drawn.transpose(1, 2) - away.square() / 2).masked_fill(~mask[:, None, :], -torch.inf)
        seen = logits.softmax(dim=2) @ values  # (B, L, D)
        # What all looks see counts more than where they differ: most moves are told by the whole, and few segments should not need order.
        seen = torch.lerp(seen.mean(dim=1, keepdim=True).expand_as(seen), seen, ORDER)
        side_by_side: Tensor = seen.flatten(1) / self.looks**0.5
        return side_by_side

    def forward(self, values: Tensor, positions: Tensor, mask: Tensor, dropout: Dropout | None = None) -> Tensor:
        seen = self.looked(values, positions, mask)
        return (dropout(seen) if dropout else seen) @ self.weight + self.bias

    def penalty(self) -> Tensor:
        pull: Tensor = self.shrinkage / 2 * self.weight.square().sum()
        return pull + CALM / 2 * self.content.square().sum() / self.looks


_Moments = tuple[NDArray[np.float64], NDArray[np.float64]]  # values (T, D), positions (T,) from 0, the first moment, to 1, the last


def _moments(scale: Standardiser, features: Features) -> _Moments:
    times = features.times - features.times[0]
    length = times[-1]
    return scale(flat(features)), times / length if length > 0 else np.full(len(times), 0.5)


def _pad(moments: Sequence[_Moments], *, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    """Values (B, T, D), positions (B, T) and the mask (B, T) that is true where there is a moment."""
    longest = max(len(positions) for _, positions in moments)
    values = torch.zeros(len(moments), longest, moments[0][0].shape[1], dtype=dtype)
    places = torch.zeros(len(moments), longest, dtype=dtype)
    mask = torch.zeros(len(moments), longest, dtype=torch.bool)
    for row, (vectors, positions) in enumerate(moments):
        values[row, : len(positions)] = torch.from_numpy(vectors)
        places[row, : len(positions)] = torch.from_numpy(positions)
        mask[row, : len(positions)] = True
    return values, places, mask


def _samples(scale: Standardiser, examples: Examples) -> Samples:
    moments = [_moments(scale, each) for each in examples.features]
    return Samples(lambda chosen: _pad([moments[i] for i in chosen.tolist()]), torch.from_numpy(examples.labels), examples.segments)


@torch.no_grad()
def _looked(network: _Attention, samples: Samples) -> NDArray[np.float64]:
    """What the looks see of every segment before anything is fitted, (N, L * D)."""
    parts = [network.looked(*samples.take(chosen)) for chosen in torch.split(torch.arange(len(samples)), 256)]
    return torch.cat(parts).double().numpy()
