"""The graph head: ST-GCN++ over joints, bones and the motion of both, each a network of its own, their scores added up."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from quickstep.heads import Examples, FitConfig, HeadCapabilities, History
from quickstep.heads.feature_arrays import Fittable, as_arrays, check_weights
from quickstep.heads.skeleton.augmentation import Changes, changed
from quickstep.heads.skeleton.graph_network import BRANCHES, GraphNetwork, graph_of
from quickstep.heads.skeleton.input_channels import STREAMS, Body, Moves, body_of, evenly, fitting_body, streams
from quickstep.heads.skeleton.mirror_choice import with_mirror
from quickstep.heads.training_loop import Dropout, Rates, Samples, fit_network
from quickstep.types.config_fields import between, setting
from quickstep.types.errors import ConfigError
from quickstep.types.progress import Progress, silent
from quickstep.types.signals import Features
from quickstep.types.skeleton import Skeleton

RATES = {"adamw": 0.005, "adam": 0.005, "sgd": 0.1}
STEPS, FEWEST = 320, 30  # a fit takes so many steps at least, and so many epochs
SMOOTHING = 0.1  # the share of each label that is spread over all, where it is not said otherwise
AT_ONCE = 64  # segments measured at once: more would not stay in the processor's own memory


@dataclass(frozen=True)
class StgcnConfig:
    """The graph head's settings."""

    streams: str = setting(", ".join(STREAMS), "what is looked at, each by a network of its own")
    width: int = setting(24, "channels of the first block; the others have twice as many")
    blocks: int = setting(3, "blocks of the network")
    steps: int = setting(64, "moments that a segment is brought to")
    at_once: int = setting(4, "moments that enter the network as one")
    dropout: float = setting(0.3, "share of the numbers before the last layer that is hidden at random while fitting")
    augment: float = setting(1.0, "how much segments are changed while fitting: 0 not at all, 2 twice as much as usual")
    mirror: bool | None = setting(None, "learn from mirrored copies too; by default where held-back segments are not told worse by it")

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
        """The streams one by one."""
        return tuple(name.strip() for name in self.streams.split(","))


class StgcnHead(Fittable):
    """Several graph networks side by side, each to be right by itself."""

    Config = StgcnConfig
    name = "stgcn"
    capabilities = HeadCapabilities(reads_joints=True)

    def __init__(self, config: StgcnConfig | None = None) -> None:
        super().__init__()
        self.config = config or StgcnConfig()

    def fit(
        self, train: Examples, validation: Examples | None = None, *, classes: int, fitting: FitConfig, progress: Progress = silent
    ) -> History:
        """Learns from segments that are changed a little each time they are seen."""
        skeleton, config = body_of(train), self.config
        mirror = with_mirror(config.mirror, train, skeleton, classes=classes, seed=fitting.seed)
        network = _network(config, graph_of(skeleton), (train.features[0].values.shape[2], classes), seed=fitting.seed)
        shown = _Shown(network, Body.of(skeleton), config, skeleton if mirror else None)
        samples = [_samples(each, config) for each in (train, validation) if each is not None]
        fitted = fit_network(
            shown,
            samples[0],
            samples[1] if validation is not None else None,
            fitting=_usual(fitting, len(train)),
            rates=Rates(config.dropout, RATES[fitting.optimizer]),
            progress=progress,
        )
        body = Body.of(skeleton).arrays
        states = ({name.removeprefix("network."): value for name, value in state.items()} for state in (fitted.best, fitted.last))
        self._weights, self._last = (body | as_arrays(state) for state in states)
        return fitted.history

    @property
    def classes(self) -> int:
        """How many classes it tells apart."""
        return int(self._weights["bias"].shape[2]) if self._weights else 0

    @torch.no_grad()
    def scores(self, features: Sequence[Features]) -> NDArray[np.float64]:
        """Logits (N, C), in double precision, a segment at a time so that none depends on its neighbours."""
        body = Body.from_arrays(self._weights["parents"], self._weights["root"])
        network = _network(self.config, torch.zeros(3, *[len(body.parents)] * 2), (self._channels, self.classes), seed=0).double()
        network.load_state_dict({name: torch.from_numpy(self._weights[name]) for name in network.state_dict()})
        shown = _Shown(network, body, self.config, None)
        rows = []
        for each in fitting_body(features, len(body.parents), self._channels):
            moves = evenly([each], self.config.steps).double()
            rows.append(shown(moves.joints, moves.pace)[0].numpy())
        return np.stack(rows) if rows else np.zeros((0, self.classes))

    @property
    def _channels(self) -> int:
        """C of the features (T, K, C): of C - 1 coordinates, each stream makes 2 (C - 1) + 1 numbers."""
        return (len(self._weights["normal.weight"]) // len(self.config.names) // len(self._weights["parents"]) - 1) // 2 + 1

    def load(self, weights: Mapping[str, NDArray[Any]]) -> None:
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


class _Shown(nn.Module):
    """The network with what leads to it: changes while it is fitted, then the streams; and the sum of what the streams say."""

    def __init__(self, network: GraphNetwork, body: Body, config: StgcnConfig, mirror: Skeleton | None) -> None:
        super().__init__()
        self.network = network
        self.classes = int(network.bias.shape[2])
        self._body, self._config, self._mirror = body, config, mirror
        self._changes = Changes().times(config.augment)

    def forward(self, joints: Tensor, pace: Tensor, dropout: Dropout | None = None) -> Tensor:
        """Logits (S, B, C) of every stream while it is fitted, else their mean (B, C)."""
        if dropout is None and len(joints) > AT_ONCE:
            parts = zip(torch.split(joints, AT_ONCE), torch.split(pace, AT_ONCE), strict=True)
            return torch.cat([self(*part) for part in parts])
        moves = Moves(joints, pace)
        if dropout is not None:
            moves = changed(moves, self._changes, steps=self._config.steps, mirror=self._mirror, generator=dropout.generator)
        seen = (moves.joints[..., -1] > 0).to(joints.dtype)
        logits: Tensor = self.network(streams(moves, self._body, self._config.names), seen, dropout)
        return logits if dropout is not None else logits.mean(dim=0)

    def penalty(self) -> Tensor:
        return torch.zeros(())


def _network(config: StgcnConfig, graph: Tensor, sizes: tuple[int, int], *, seed: int) -> GraphNetwork:
    """A network that is not fitted, for features of so many channels and so many classes."""
    channels, classes = sizes
    widths = (config.width, *[2 * config.width] * (config.blocks - 1))
    generator = torch.Generator().manual_seed(seed)
    return GraphNetwork((len(config.names), 2 * (channels - 1) + 1, classes), widths, graph, generator, at_once=config.at_once)


def _samples(examples: Examples, config: StgcnConfig) -> Samples:
    moves = evenly(examples.features, config.steps)
    return Samples(lambda chosen: (moves.joints[chosen], moves.pace[chosen]), torch.from_numpy(examples.labels), examples.segments)


def _usual(fitting: FitConfig, segments: int) -> FitConfig:
    """What suits this network where nothing was said: fewer steps than a linear layer takes, for each is far more work."""
    epochs = fitting.epochs or max(FEWEST, math.ceil(STEPS / math.ceil(segments / fitting.step(segments))))
    return replace(fitting, epochs=epochs, label_smoothing=fitting.label_smoothing or SMOOTHING)
