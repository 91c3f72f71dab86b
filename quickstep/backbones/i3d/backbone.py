"""I3d: networks that see motion in windows of video, with published weights, those of a network of pictures, or none yet.

Decides what a network is shown and what its values are called. Knows no torch: the networks stand in files of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from quickstep.backbones.base_network import Network, Pixels
from quickstep.backbones.i3d.weights import KINDS, origin_of
from quickstep.backbones.interface import Capabilities, ClassifierLayer
from quickstep.backbones.spec import BackboneSpec
from quickstep.signals.flow.config import parse_flow
from quickstep.storage.cache import Cache
from quickstep.storage.serialization import to_plain
from quickstep.types.errors import ConfigError
from quickstep.types.signals import Features, Flow, Frames
from quickstep.types.view import View

if TYPE_CHECKING:
    import torch

    from quickstep.backbones.i3d.networks import Watched, Watching

BOUND = 20.0  # pixels of motion that are 1
VERSION = 1  # of how windows are shown: counts up when it changes the values


class I3d(Network):
    """`i3d-rgb`, `i3d-r50` or `i3d-r50-nl`.

    `weights` is a file (.pt, .pth, .safetensors) of the published names, or a folder that `write` made. Without it, `init` says what
    to begin with: "inflate:FILE" (a network of pictures) or "scratch" ("scratch:7" is the seed), for training further. `width` narrows
    every layer of a network from scratch. A file is read when the backbone is opened, so that one that does not fit is refused at once.
    """

    capabilities = Capabilities(trainable=True, restricts_views=True, settings=("weights", "init", "width", "precision", "engine"))
    revision = None

    def __init__(self, spec: BackboneSpec, cache: Cache) -> None:
        if spec.engine not in (None, "torch"):
            raise ConfigError("engine", f"{spec.name} is run by torch alone; leave it out")
        super().__init__(spec, cache)
        self.kind = KINDS[spec.name]
        self.origin = origin_of(spec)
        self.license = "Apache-2.0" if self.origin.begins else "unknown"  # no one's weights: ours
        if not self.origin.begins:  # what does not fit is told at once, and not when the first video has been decoded
            _ = self._watched

    @property
    def view(self) -> View:
        """Windows of so many frames at the pace of those it was trained on."""
        return self.origin.view or self.kind.view

    @cached_property
    def width(self) -> int:
        """D: how many numbers a vector has."""
        if self.origin.width == 1:
            return self.kind.width
        from quickstep.backbones.i3d.networks import width_of  # imports torch

        return width_of(self.name, self.origin.width)

    @property
    def inner_width(self) -> int:
        """How wide the network itself is."""
        return self.width

    @property
    def unit(self) -> tuple[int, int, int, int]:
        """A window."""
        return self.view.frames, self.view.size, self.view.size, self.kind.channels

    @property
    def labels(self) -> tuple[str, ...] | None:
        """What the scores of `classify` stand for, where the weights say it."""
        return self._watched.labels

    @cached_property
    def description(self) -> dict[str, Any]:
        """Which function of windows this is, whoever computes it."""
        return {"name": self.name, "weights": self.origin.digest(self.cache), "version": VERSION}

    def check_view(self, view: View) -> None:
        """Refuse windows too short or too small for anything to be left at the end of the network."""
        if view.frames < self.kind.fewest:
            raise ConfigError("frames", f"{self.name} needs windows of at least {self.kind.fewest} frames, not {view.frames}")
        if view.size < self.kind.smallest:
            raise ConfigError("size", f"{self.name} needs pictures of at least {self.kind.smallest} pixels, not {view.size}")

    # -- the network -------------------------------------------------------------------------------------------------------

    @property
    def network(self) -> torch.nn.Module:
        """The network alone: (N, C, T, H, W) already normalised -> the feature map before pooling."""
        return self._watched.network

    def classify(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, T, H, W) already normalised -> the logits of the checkpoint's own head, averaged over time, (N, classes)."""
        return self._watched.classify(x)

    @cached_property
    def _watched(self) -> Watched:
        from quickstep.backbones.i3d.networks import open_network  # imports torch

        return open_network(self)

    def load(self) -> Watching:
        """uint8 (B, F, H, W, C) of any length and size -> (B, T', D): the network without a head, in fp32 on the CPU."""
        from quickstep.backbones.i3d.networks import watching  # imports torch

        return watching(self)

    def blocks(self, module: torch.nn.Module) -> list[list[str]]:
        """The names of the module's parameters from the input to the output: the stem, each block."""
        network: Any = module.network
        return [[f"network.{name}" for name in block] for block in network.blocks()]

    def write(self, module: torch.nn.Module, folder: Path, *, view: View | None = None) -> None:
        """The module's weights (or those of `network`, with its head) as a folder that opens again with equal output."""
        from quickstep.backbones.i3d.networks import write_network  # imports torch

        write_network(self, module, folder, to_plain(view or self.view))

    def classifier_layer(self) -> ClassifierLayer | None:
        """The layer behind the network, where its weights have one."""
        tensors = self.network.state_dict()
        for name in ("logits.conv3d", "cls_head.fc_cls"):
            if f"{name}.weight" in tensors:
                weight, bias = (tensors[f"{name}.{part}"].detach().float().numpy() for part in ("weight", "bias"))
                return ClassifierLayer(weight.reshape(len(weight), -1).T, bias, self.labels)
        return None

    # -- looking -----------------------------------------------------------------------------------------------------------

    def embed(self, batch: Sequence[Frames | Flow]) -> list[Features]:
        """A few vectors a window. Square pictures are taken as they come; others are prepared as the view says."""
        windows = [self._shown(each) for each in batch]
        values: dict[int, np.ndarray[Any, np.dtype[np.float32]]] = {}
        for shape in dict.fromkeys(window.shape for window in windows):
            places = [place for place, window in enumerate(windows) if window.shape == shape]
            rows = (row for some in self.vectors((windows[place] for place in places), shape) for row in some)
            values |= {place: row.copy() for place, row in zip(places, rows, strict=True)}
        return [Features(values[place], self._times(each, len(values[place]))) for place, each in enumerate(batch)]

    def _shown(self, each: Frames | Flow) -> Pixels:
        """The window's bytes."""
        if isinstance(each, Flow) != (self.capabilities.reads == "flow"):
            raise TypeError(f"{self.name} reads {self.capabilities.reads}, not at {type(each).__name__}")
        if len(each) < self.kind.fewest:
            raise ConfigError("frames", f"{self.name} needs windows of at least {self.kind.fewest} frames, not {len(each)}")
        if isinstance(each, Frames):
            square = each.pixels.shape[1] == each.pixels.shape[2] >= self.kind.smallest
            return each.pixels if square else self.prepared(each)
        if each.bound != BOUND:
            each = Flow.of(each.pixels, each.times, bound=BOUND)
        return each.levels

    def _times(self, each: Frames | Flow, count: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        """The middle of what each vector sees."""
        moments = -(-len(each) // self.kind.stride)  # of the feature map
        steps = (np.arange(count) + 0.5 + (moments - count) / 2) * len(each) / moments - 0.5
        return np.interp(steps, np.arange(len(each)), each.times)


class FlowI3d(I3d):
    """`i3d-flow`: the same network for optical flow; `flow` says how that is computed ("tvl1", "dis,camera")."""

    capabilities = replace(I3d.capabilities, reads="flow", settings=(*I3d.capabilities.settings, "flow"))

    def __init__(self, spec: BackboneSpec, cache: Cache) -> None:
        self.flow_config = parse_flow(spec.flow)
        super().__init__(spec, cache)

    @cached_property
    def description(self) -> dict[str, Any]:
        """Which function of windows this is, whoever computes it."""
        return {**super().description, "shown": asdict(self.flow_config)}
