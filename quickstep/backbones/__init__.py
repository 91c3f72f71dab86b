"""Backbone: what turns frames into vectors; the table of those there are; open_backbone. Imports no network.

From outside the project: pass an instance of a class that keeps the Protocol, or its name as `"their.module:Class"`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

import numpy as np
from numpy.typing import NDArray

from quickstep.signals.poses.config import PoseConfig
from quickstep.storage.cache import Cache
from quickstep.types.errors import ConfigError, UnknownName
from quickstep.types.registry import Entry, look_up
from quickstep.types.signals import Features, Frames, Matching, Poses
from quickstep.types.skeleton import Skeleton
from quickstep.types.view import View

if TYPE_CHECKING:
    import torch


class Backbone(Protocol):
    """One network, or one description that needs none, whose values we take as they are."""

    @property
    def name(self) -> str:
        """What opens it again."""

    @property
    def revision(self) -> str | None:
        """The commit or version it is of, where there is one."""

    @property
    def reads(self) -> str:
        """The signal it looks at: "frames" or "poses"."""

    @property
    def view(self) -> View:
        """The moments and the size it is made for."""

    @property
    def license(self) -> str:
        """The licence of its weights."""

    @property
    def width(self) -> int:
        """D: how many numbers a vector has."""

    @property
    def batch(self) -> int:
        """How many frames it likes to be given at once."""

    @property
    def parallel(self) -> bool:
        """Whether several threads gain by calling it at the same time."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """Everything that decides its values, as JSON; known without loading the network."""

    def embed(self, batch: Sequence[Frames]) -> list[Features]:
        """The features of each window, the same whatever else is in the batch."""


class PoseBackbone(Protocol):
    """A backbone that is shown people instead of pictures (`reads = "poses"`), with all else that a Backbone has."""

    @property
    def name(self) -> str: ...

    @property
    def identity(self) -> Mapping[str, Any]: ...

    @property
    def config(self) -> PoseConfig:
        """Which poses it wants: what finds them, of whom, with which joints."""

    @property
    def skeleton(self) -> Skeleton:
        """Whose joints it gives or measures."""

    @property
    def options(self) -> Mapping[str, Any]:
        """What opens it again as it is, as JSON; `with_options` takes the same."""

    def with_options(self, options: Mapping[str, Any]) -> PoseBackbone:
        """The same backbone with other settings."""

    def embed(self, batch: Sequence[Poses]) -> list[Features]:
        """The features of each: one person's poses at the moments of a view."""


class Tunable(Backbone, Protocol):
    """A backbone whose network can be trained further."""

    @property
    def unit(self) -> tuple[int, ...]:
        """The shape of the bytes it looks at in one go: of a picture (H, W, 3), a window (F, H, W, 3), or a window of flow (F, H, W, 2)."""

    def load(self) -> torch.nn.Module:
        """uint8 (B, *unit) -> float32 (B, D) or (B, T', D), normalisation inside; in fp32 on the CPU, in `eval`, nothing open to change."""

    def blocks(self, module: torch.nn.Module) -> list[list[str]]:
        """The names of all parameters of what `load` gave, grouped from the input (stem) to the output (top)."""

    def write(self, module: torch.nn.Module, folder: Path) -> None:
        """The module's weights as a folder that `open_backbone(name, weights=folder)` opens again with equal output."""


class TextBackbone(Backbone, Protocol):
    """A backbone whose vectors live beside those of words.

    What else than its `identity` decides the words' vectors (a tokenizer) it tells as `text_identity`.
    """

    def embed_text(self, words: Sequence[str]) -> NDArray[np.float32]:
        """One vector a sentence, (N, D), in the space of `embed`; of any length."""

    @property
    def matching(self) -> Matching:
        """How the network itself holds words against what it sees."""


_CLIP = "quickstep.backbones.image_encoders:ImageTower"
_I3D = "quickstep.backbones.i3d.backbone:I3d"
_VIDEO = "quickstep.backbones.video_encoders:VideoTower"
_XCLIP = "quickstep.backbones.xclip:XClip"

BACKBONES: dict[str, Entry] = {
    "motion": Entry("quickstep.backbones.flow_histograms.backbone:Motion", "how things move and look; needs no download"),
    "joints": Entry("quickstep.backbones.joints:Joints", "the dancer's joints, in body lengths; of videos, or of files of poses"),
    "motion-numbers": Entry("quickstep.backbones.kinematics:MotionNumbers", "how the dancer moves, in numbers that have names"),
    "clip-vit-b32": Entry(_CLIP, "CLIP ViT-B/32, 512 numbers a frame: the fastest CLIP"),
    "clip-vit-b16": Entry(_CLIP, "CLIP ViT-B/16, 512 numbers a frame: sees finer detail, about 4x the work"),
    "clip-vit-l14": Entry(_CLIP, "CLIP ViT-L/14, 768 numbers a frame: the strongest CLIP, about 18x the work"),
    "siglip2-b16": Entry(_CLIP, "SigLIP 2 B/16, 768 numbers a frame: reads many languages, about 4x the work"),
    "siglip2-l16": Entry(_CLIP, "SigLIP 2 L/16, 1024 numbers a frame: reads many languages, about 20x the work"),
    "xclip-b32": Entry(_XCLIP, "X-CLIP B/32, 512 numbers a window of 8 frames; made for Kinetics-400, its words follow the video"),
    "xclip-b16": Entry(_XCLIP, "X-CLIP B/16, the same with finer detail, about 4x the work"),
    "xclip-b16-zero-shot": Entry(_XCLIP, "X-CLIP B/16 with windows of 32 frames, made for labels it has never seen"),
    "xclip-l14": Entry(_XCLIP, "X-CLIP L/14, 768 numbers a window of 8 frames: the strongest X-CLIP, about 18x the work"),
    "clip-classifier:NAME": Entry(
        "quickstep.backbones.clip_classifier:ClipClassifier",
        "the tower of a published CLIP classifier: weights.ckpt and config.json",
    ),
    "i3d-rgb": Entry(_I3D, "I3D, 1024 numbers 7 times a window of 64 frames: sees motion; give its weights, or train it (--init)"),
    "i3d-flow": Entry(_I3D, "I3D of optical flow, the same size: sees nothing but motion; the other half of a two-stream pair"),
    "i3d-r50": Entry(_I3D, "ResNet-50 I3D, 2048 numbers 4 times a window of 32 frames; give its weights, or train it (--init)"),
    "i3d-r50-nl": Entry(_I3D, "the same with non-local blocks, in which every point sees every other"),
    "hf-image:NAME": Entry(_CLIP, "any CLIP, SigLIP, SigLIP 2 (these read words too), DINOv2 or DINOv3, by hub name or local folder"),
    "hf-video:NAME": Entry(_VIDEO, "any VideoMAE, TimeSformer, ViViT or V-JEPA 2, one vector a window, by hub name or local folder"),
    "hf-xclip:NAME": Entry(_XCLIP, "any X-CLIP, by hub name or local folder"),
}

TEXT_BACKBONES = tuple(name for name, entry in BACKBONES.items() if entry.target in (_CLIP, _XCLIP))


def open_backbone(
    name: str | Backbone,
    *,
    weights: str | Path | None = None,
    output: str | None = None,
    precision: str | None = None,
    engine: str | None = None,
    init: str | None = None,
    width: float | None = None,
    flow: str | None = None,
    poses: Mapping[str, Any] | None = None,
    cache: Cache | None = None,
) -> Backbone:
    """The backbone of that name, ready to describe itself; its network loads with the first `embed`.

    `weights` is a local folder (or another hub name) to take the checkpoint from, `output` "projected", "pooled" or "prompted",
    `precision` "auto", "fp32" or "bf16", `engine` "torch" or "openvino", `poses` the settings of one that reads poses.
    `init` ("scratch", "inflate:FILE") and `width` are what a network that is to be trained begins with, `flow` how the motion is found
    that one is shown which reads flow ("tvl1", "dis,camera").
    `store` remembers the digests of weight files.
    """
    if not isinstance(name, str):
        return name
    target = look_up("backbone", _row(name), BACKBONES)
    if not callable(target):
        return target  # type: ignore[no-any-return]  # somebody's ready instance
    options = {"weights": weights, "output": output, "precision": precision, "engine": engine, "init": init, "width": width, "flow": flow}
    taken = inspect.signature(target).parameters
    for option in poses or {}:
        if "options" not in taken:
            raise ConfigError(option, f"belongs to backbones that read poses, which {name!r} does not: take --backbone joints")
    for option, value in options.items():
        if value is not None and option not in taken:
            raise ConfigError(option, f"the backbone {name!r} has nothing to choose here; leave it out")
    known = {"name": name, "cache": cache, "options": poses or None, **options}
    return target(**{key: value for key, value in known.items() if key in taken and value is not None})  # type: ignore[no-any-return]


def can_be_tuned(backbone: Backbone) -> TypeGuard[Tunable]:
    """Whether its network can be trained further."""
    return hasattr(backbone, "write") and hasattr(backbone, "blocks")


def reads_words(backbone: Backbone) -> TypeGuard[TextBackbone]:
    """Whether it can hold words against what it sees, as it was opened."""
    return hasattr(backbone, "embed_text") and getattr(backbone, "has_text", True)


def with_words(backbone: Backbone) -> TextBackbone:
    """Itself; where it cannot read words, a line that says which backbones can."""
    if not reads_words(backbone):
        raise without_words(backbone.name)
    return backbone


def without_words(name: str) -> UnknownName:
    """What to say of a backbone that cannot read: which can."""
    error = UnknownName("backbone with a text side", name, TEXT_BACKBONES)
    error.message = f"there is no text side to the backbone {name!r}, so that it cannot read words; these can: {', '.join(error.choices)}"
    return error


def view_for(backbone: Backbone, *, frames: int | None = None, windows: int | None = None, crops: int | None = None) -> View:
    """The backbone's own view, with another number of frames a window, windows a segment or crops a window where it takes them."""
    view = laid(backbone.view, windows=windows, crops=crops)
    view = view if frames is None else replace(view, frames=frames)
    check_view(backbone, view)
    return view


def laid(view: View, *, windows: int | None = None, crops: int | None = None) -> View:
    """The view with so many windows over a segment and so many crops of each; what is left out stays as it is."""
    if windows is not None:
        view = replace(view, windows=windows, stride=None)
    return view if crops is None else replace(view, crops=crops)


def check_view(backbone: Backbone, view: View) -> None:
    """Refuse, before anything is decoded, a view through which the backbone cannot look: it says which it can."""
    if view.crops > 1 and getattr(backbone, "reads", "frames") == "poses":
        raise ConfigError("crops", f"the backbone {backbone.name!r} is shown people, who stand in one place of the picture: take 1")
    check = getattr(backbone, "check_view", None)
    if check is not None:
        check(view)


def weights_at_hand(name: str) -> bool:
    """Whether a backbone can be used without any network: it needs no weights, or they are on this machine."""
    if name not in BACKBONES and ":" not in name:
        raise UnknownName("backbone", name, BACKBONES)
    entry = BACKBONES.get(_row(name))
    if entry is None or entry.target not in (_CLIP, _I3D, _VIDEO, _XCLIP):
        return True
    if entry.target == _I3D:  # whose weights are always a file that is given
        return False
    from quickstep.backbones.checkpoints.hub_checkpoint import at_hand

    return at_hand(name)


def _row(name: str) -> str:
    """The table's row for a name: `hf-image:openai/clip-vit-base-patch32` stands under `hf-image:NAME`."""
    family, colon, rest = name.partition(":")
    row = f"{family}:NAME"
    return row if colon and rest and row in BACKBONES else name
