"""I3d: 3D convolutional networks for windows of video, with published weights, those of a 2D network, or none yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from quickstep.backbones.base_network import Network, Pixels
from quickstep.backbones.i3d.weights import ARCHITECTURES, start_weights
from quickstep.backbones.interface import Capabilities, ClassifierLayer
from quickstep.backbones.spec import BackboneSpec
from quickstep.signals.flow.config import parse_flow
from quickstep.storage.cache import Cache
from quickstep.types.errors import ConfigError
from quickstep.types.signals import Features, Flow, Frames
from quickstep.types.view import View

if TYPE_CHECKING:
    import torch

    from quickstep.backbones.i3d.networks import I3dEncoder, LoadedNetwork

FLOW_BOUND = 20.0  # pixels of motion that become 1
VERSION = 1  # of how windows are prepared: goes up when it changes the values


class I3d(Network):
    """`i3d-rgb`, `i3d-r50` or `i3d-r50-nl`.

    `weights` is a file (.pt, .pth, .safetensors) with the published names, or a folder that `write` made. Without it, `init` says what
    training starts from: "inflate:FILE" (a 2D network) or "scratch" ("scratch:7" sets the seed). `width` narrows every layer of a network
    from scratch. Weights that do not fit are refused when the backbone is opened, before any video is decoded.
    """

    capabilities = Capabilities(trainable=True, restricts_views=True, settings=("weights", "init", "width", "precision", "engine"))
    revision = None

    def __init__(self, spec: BackboneSpec, cache: Cache) -> None:
        if spec.engine not in (None, "torch"):
            raise ConfigError("engine", f"{spec.name} is run by torch alone; leave it out")
        super().__init__(spec, cache)
        self.architecture = ARCHITECTURES[spec.name]
        self.start = start_weights(spec)
        self.license = "Apache-2.0" if self.start.untrained else "unknown"  # nobody's weights: ours
        self._check_fit()

    def _check_fit(self) -> None:
        """Load the weights, to refuse those that do not fit; the cache remembers files that fit, which need no second look."""
        if self.start.flat is not None:
            _ = self._loaded
        elif self.start.file is not None:
            key = dict(self.description)
            if self.cache.recall("i3d-weights-fit", key) is None:
                _ = self._loaded
                self.cache.remember("i3d-weights-fit", key, True)

    @property
    def view(self) -> View:
        """Windows of as many frames, at the frame rate that the network was trained on."""
        return self.start.view or self.architecture.view

    @cached_property
    def width(self) -> int:
        """D, the length of a vector."""
        if self.start.width == 1:
            return self.architecture.width
        from quickstep.backbones.i3d.networks import width_of  # imports torch

        return width_of(self.name, self.start.width)

    @property
    def inner_width(self) -> int:
        """The length of the vectors inside the network."""
        return self.width

    @property
    def unit(self) -> tuple[int, int, int, int]:
        """The shape of a window."""
        return self.view.frames, self.view.size, self.view.size, self.architecture.channels

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The names of the classes of `classify`, where the weights hold them."""
        return self._loaded.labels

    @cached_property
    def description(self) -> dict[str, Any]:
        """What decides the vectors, apart from how they are computed."""
        return {"name": self.name, "weights": self.start.identity(self.cache), "version": VERSION}

    def check_view(self, view: View) -> None:
        """Refuse windows too short or too small for the network's pooling."""
        if view.frames < self.architecture.min_frames:
            raise ConfigError("frames", f"{self.name} needs windows of at least {self.architecture.min_frames} frames, not {view.frames}")
        if view.size < self.architecture.min_size:
            raise ConfigError("size", f"{self.name} needs frames of at least {self.architecture.min_size} pixels, not {view.size}")

    # -- the network -------------------------------------------------------------------------------------------------------

    @property
    def network(self) -> torch.nn.Module:
        """The network alone: (N, C, T, H, W), normalized -> the feature map before pooling."""
        return self._loaded.network

    def classify(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, T, H, W), normalized -> the logits of the checkpoint's own head, averaged over time, (N, classes)."""
        return self._loaded.classify(x)

    @cached_property
    def _loaded(self) -> LoadedNetwork:
        from quickstep.backbones.i3d.networks import load_network  # imports torch

        return load_network(self.name, self.start)

    def load(self) -> I3dEncoder:
        """uint8 (B, F, H, W, C) of any length and size -> (B, T', D): load the network without a head, in fp32 on the CPU."""
        from quickstep.backbones.i3d.networks import load_encoder  # imports torch

        return load_encoder(self.name, self.start)

    def blocks(self, module: torch.nn.Module) -> list[list[str]]:
        """Group the names of the module's parameters from the input to the output: the stem, each block."""
        network: Any = module.network
        return [[f"network.{name}" for name in block] for block in network.blocks()]

    def write(self, module: torch.nn.Module, folder: Path, *, view: View | None = None) -> None:
        """Write the module's weights (or those of `network`, with its head) as a folder that opens again with equal output."""
        from quickstep.backbones.i3d.networks import write_network  # imports torch

        write_network(module, folder, name=self.name, start=self.start, view=asdict(view or self.view), labels=lambda: self.labels)

    def classifier_layer(self) -> ClassifierLayer | None:
        """Return the layer behind the network, where its weights have one."""
        tensors = self.network.state_dict()
        for name in ("logits.conv3d", "cls_head.fc_cls"):
            if f"{name}.weight" in tensors:
                weight, bias = (tensors[f"{name}.{part}"].detach().float().numpy() for part in ("weight", "bias"))
                return ClassifierLayer(weight.reshape(len(weight), -1).T, bias, self.labels)
        return None

    # -- features ----------------------------------------------------------------------------------------------------------

    def embed(self, batch: Sequence[Frames | Flow]) -> list[Features]:
        """Compute a few vectors a window. Square frames are taken as they are; others are prepared as the view says."""
        windows = [self._pixels_of(window) for window in batch]
        values: dict[int, np.ndarray[Any, np.dtype[np.float32]]] = {}
        for shape in dict.fromkeys(window.shape for window in windows):
            places = [place for place, window in enumerate(windows) if window.shape == shape]
            rows = (row for block in self.vectors((windows[place] for place in places), shape) for row in block)
            values |= {place: row.copy() for place, row in zip(places, rows, strict=True)}
        return [Features(values[place], self._times(window, len(values[place]))) for place, window in enumerate(batch)]

    def _pixels_of(self, window: Frames | Flow) -> Pixels:
        if isinstance(window, Flow) != (self.capabilities.reads == "flow"):
            raise TypeError(f"{self.name} reads {self.capabilities.reads}, not {type(window).__name__}")
        if len(window) < self.architecture.min_frames:
            raise ConfigError("frames", f"{self.name} needs windows of at least {self.architecture.min_frames} frames, not {len(window)}")
        if isinstance(window, Frames):
            square = window.pixels.shape[1] == window.pixels.shape[2] >= self.architecture.min_size
            return window.pixels if square else self.prepared(window)
        if window.bound != FLOW_BOUND:
            window = Flow.of(window.pixels, window.times, bound=FLOW_BOUND)
        return window.levels

    def _times(self, window: Frames | Flow, count: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return the middle of the time that each vector describes."""
        steps = -(-len(window) // self.architecture.stride)  # of the feature map
        middles = (np.arange(count) + 0.5 + (steps - count) / 2) * len(window) / steps - 0.5
        return np.interp(middles, np.arange(len(window)), window.times)


class FlowI3d(I3d):
    """`i3d-flow`: the same network for optical flow; `flow` says how that is computed ("tvl1", "dis,camera")."""

    capabilities = replace(I3d.capabilities, reads="flow", settings=(*I3d.capabilities.settings, "flow"))

    def __init__(self, spec: BackboneSpec, cache: Cache) -> None:
        self.flow_config = parse_flow(spec.flow)
        super().__init__(spec, cache)

    @cached_property
    def description(self) -> dict[str, Any]:
        """What decides the vectors, apart from how they are computed."""
        return {"name": self.name, "weights": self.start.identity(self.cache), "version": VERSION, "shown": asdict(self.flow_config)}
