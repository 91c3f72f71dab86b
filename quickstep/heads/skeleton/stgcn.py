"""The stgcn head: ST-GCN++ over joints, bones and the motion of both; each stream is a network, and their scores are averaged."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from quickstep.heads import Examples, FitConfig, HeadCapabilities, History
from quickstep.heads.feature_arrays import FittedArrays, check_weights
from quickstep.heads.skeleton.augmentation import Changes, augment
from quickstep.heads.skeleton.graph_network import BRANCHES, GraphNetwork, graph_of
from quickstep.heads.skeleton.input_channels import (
    STREAMS,
    Body,
    JointSequences,
    check_joints,
    resample,
    skeleton_of,
    stream_inputs,
)
from quickstep.heads.skeleton.mirror_choice import use_mirrored_copies
from quickstep.heads.training_loop import Dropout, Rates, Samples, as_arrays, fit_network
from quickstep.types.config_fields import between, setting
from quickstep.types.errors import ConfigError
from quickstep.types.progress import Progress, silent
from quickstep.types.signals import Features
from quickstep.types.skeleton import Skeleton

LEARNING_RATES = {"adamw": 0.005, "adam": 0.005, "sgd": 0.1}
LEAST_STEPS, LEAST_EPOCHS = 320, 30  # of a fit by default
LABEL_SMOOTHING = 0.1  # by default
CHUNK = 64  # segments scored at once: more would not stay in the processor's cache


@dataclass(frozen=True)
class StgcnConfig:
    """The stgcn head's settings."""

    streams: str = setting(", ".join(STREAMS), "inputs, each read by a network of its own")
    width: int = setting(24, "channels of the first block; the other blocks have twice as many")
    blocks: int = setting(3, "blocks of the network")
    steps: int = setting(64, "timestamps that each segment is resampled to")
    at_once: int = setting(4, "consecutive timestamps that enter the network as one")
    dropout: float = setting(0.3, "dropout before the last layer while fitting")
    augment: float = setting(1.0, "strength of the augmentation while fitting: 0 for none, 2 for twice the usual changes")
    mirror: bool | None = setting(None, "train on mirrored copies too; by default where this does not hurt on held-out segments")

    def __post_init__(self) -> None:
        if not self.names or len(set(self.names)) != len(self.names) or not set(self.names) <= set(STREAMS):
            raise ConfigError("streams", f"some of {', '.join(STREAMS)}, each once, not {self.streams!r}")
        between("width", self.width, BRANCHES, 1024)
        between("blocks", self.blocks, 1, 20)
        between("at_once", self.at_once, 1, 64)
        between("steps", self.steps, 2, 4096)
        if self.steps % self.at_once:
            raise ConfigError("steps", f"a multiple of at_once ({self.at_once}), not {self.steps}")
        between("dropout", self.dropout, 0, 0.95)
        between("augment", self.augment, 0, 3)

    @property
    def names(self) -> tuple[str, ...]:
        """The streams as a tuple."""
        return tuple(name.strip() for name in self.streams.split(","))


class StgcnHead(FittedArrays):
    """One graph network a stream, each with a loss of its own."""

    Config = StgcnConfig
    name = "stgcn"
    capabilities: ClassVar[HeadCapabilities] = HeadCapabilities(reads_joints=True)

    def __init__(self, config: StgcnConfig | None = None) -> None:
        super().__init__()
        self.config = config or StgcnConfig()

    def fit(
        self, train: Examples, validation: Examples | None = None, *, classes: int, fitting: FitConfig, progress: Progress = silent
    ) -> History:
        """Train on segments that are augmented differently in every epoch."""
        skeleton, config = skeleton_of(train), self.config
        mirror = use_mirrored_copies(config.mirror, train, skeleton, classes=classes, seed=fitting.seed)
        network = _network(config, graph_of(skeleton), (train.features[0].values.shape[2], classes), seed=fitting.seed)
        fitted = fit_network(
            _StreamNetwork(network, Body.of(skeleton), config, skeleton if mirror else None),
            _samples(train, config),
            _samples(validation, config) if validation is not None else None,
            fitting=_with_defaults(fitting, len(train)),
            rates=Rates(config.dropout, LEARNING_RATES[fitting.optimizer]),
            progress=progress,
        )
        body = Body.of(skeleton).arrays
        states = ({name.removeprefix("network."): value for name, value in state.items()} for state in (fitted.best, fitted.last))
        self._weights, self._last = (body | as_arrays(state) for state in states)
        return fitted.history

    @property
    def classes(self) -> int:
        """The number of classes; 0 before the head is fitted or loaded."""
        return int(self._weights["bias"].shape[2]) if self._weights else 0

    @torch.no_grad()
    def scores(self, features: Sequence[Features]) -> NDArray[np.float64]:
        """Return logits (N, C) in double precision; segments are scored one by one, so that none depends on the others."""
        body = Body.from_arrays(self._weights["parents"], self._weights["root"])
        network = _network(self.config, torch.zeros(3, *[len(body.parents)] * 2), (self._channels, self.classes), seed=0).double()
        network.load_state_dict({name: torch.from_numpy(self._weights[name]) for name in network.state_dict()})
        streams = _StreamNetwork(network, body, self.config, None)
        rows = []
        for segment in check_joints(features, len(body.parents), self._channels):
            sequence = resample([segment], self.config.steps).double()
            rows.append(streams(sequence.joints, sequence.pace)[0].numpy())
        return np.stack(rows) if rows else np.zeros((0, self.classes))

    @property
    def _channels(self) -> int:
        """C of the features (T, K, C): a stream has 2 (C - 1) + 1 channels."""
        return (len(self._weights["normal.weight"]) // len(self.config.names) // len(self._weights["parents"]) - 1) // 2 + 1

    def load(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """Set the weights; ValueError when they are not exactly this head's."""
        body = Body.from_arrays(*(np.atleast_1d(weights.get(name, np.zeros(0, np.int32))) for name in ("parents", "root")))
        count, names = len(body.parents), len(self.config.names)
        channels, rest = divmod(np.size(weights.get("normal.weight", ())), names * count)
        classes = (np.shape(weights.get("bias", ())) or (0,))[-1]
        if rest or channels < 5 or channels % 2 == 0 or classes < 1:
            raise ValueError(f"the head's arrays are not of {names} streams of {count} joints")
        network = _network(self.config, torch.zeros(3, count, count), ((channels - 1) // 2 + 1, classes), seed=0)
        shapes: dict[str, tuple[int, ...]] = {name: tuple(value.shape) for name, value in network.state_dict().items()}
        shapes |= {"parents": (count,), "root": (len(body.root),)}
        check_weights(weights, shapes, {"parents": np.int32, "root": np.int32})
        self._weights, self._last = dict(weights), None


class _StreamNetwork(nn.Module):
    """The network with its input: augmentation while it is fitted, then the streams; and the mean of the streams' logits."""

    def __init__(self, network: GraphNetwork, body: Body, config: StgcnConfig, mirror: Skeleton | None) -> None:
        super().__init__()
        self.network = network
        self.classes = int(network.bias.shape[2])
        self._body, self._config, self._mirror = body, config, mirror
        self._changes = Changes().times(config.augment)

    def forward(self, joints: Tensor, pace: Tensor, dropout: Dropout | None = None) -> Tensor:
        """Return the logits (S, B, C) of every stream while it is fitted, else their mean (B, C)."""
        if dropout is None and len(joints) > CHUNK:
            parts = zip(torch.split(joints, CHUNK), torch.split(pace, CHUNK), strict=True)
            return torch.cat([self(*part) for part in parts])
        sequences = JointSequences(joints, pace)
        if dropout is not None:
            sequences = augment(sequences, self._changes, steps=self._config.steps, mirror=self._mirror, generator=dropout.generator)
        visible = (sequences.joints[..., -1] > 0).to(joints.dtype)
        logits: Tensor = self.network(stream_inputs(sequences, self._body, self._config.names), visible, dropout)
        return logits if dropout is not None else logits.mean(dim=0)

    def penalty(self) -> Tensor:
        return torch.zeros(())


def _network(config: StgcnConfig, graph: Tensor, sizes: tuple[int, int], *, seed: int) -> GraphNetwork:
    """Return an unfitted network for features of so many channels and so many classes."""
    channels, classes = sizes
    widths = (config.width, *[2 * config.width] * (config.blocks - 1))
    generator = torch.Generator().manual_seed(seed)
    return GraphNetwork((len(config.names), 2 * (channels - 1) + 1, classes), widths, graph, generator, at_once=config.at_once)


def _samples(examples: Examples, config: StgcnConfig) -> Samples:
    sequences = resample(examples.features, config.steps)
    return Samples(lambda chosen: (sequences.joints[chosen], sequences.pace[chosen]), torch.from_numpy(examples.labels), examples.segments)


def _with_defaults(fitting: FitConfig, segments: int) -> FitConfig:
    """Set this network's defaults: fewer steps than a linear layer takes, because each step is far more work."""
    epochs = fitting.epochs or max(LEAST_EPOCHS, math.ceil(LEAST_STEPS / math.ceil(segments / fitting.step(segments))))
    return replace(fitting, epochs=epochs, label_smoothing=fitting.label_smoothing or LABEL_SMOOTHING)
