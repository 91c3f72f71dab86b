"""What a backbone offers: `Backbone`, what each kind of backbone adds to it, and `Capabilities`, which say what one can do.

A backbone from outside the project is an instance of a class with these attributes, or the class by name: `"their.module:Class"`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, TypeGuard

import numpy as np
from numpy.typing import NDArray

from quickstep.types.errors import ConfigError
from quickstep.types.signals import Features, Flow, Frames, Matching, Poses
from quickstep.types.skeleton import Skeleton
from quickstep.types.view import View

if TYPE_CHECKING:
    import torch

    from quickstep.backbones.spec import BackboneSpec
    from quickstep.signals.flow.config import FlowConfig
    from quickstep.signals.poses.config import PoseConfig


@dataclass(frozen=True)
class Capabilities:
    """What a backbone can do; an attribute of its class, so that nothing has to be loaded to read it."""

    reads: Literal["frames", "flow", "poses"] = "frames"
    embeds_text: bool = False  # is a TextBackbone
    trainable: bool = False  # is a TrainableBackbone
    gives_joints: bool = False  # its features are joints, (T, K, C)
    prompts_by_video: bool = False  # with the embedding PROMPTED the video rewrites the vectors of texts
    parallel: bool = False  # a call uses one core, so that several threads gain by calling it at the same time
    frame_by_frame: bool = False  # one vector a frame, which no other frame influences
    names_features: bool = False  # is a NamedFeatures
    resamples_poses: bool = True  # takes poses at the timestamps of a view; False: at the timestamps they were estimated at
    restricts_views: bool = False  # has `check_view(view)`, which refuses views that it cannot use
    settings: tuple[str, ...] = ()  # which fields of a BackboneSpec it takes besides the name


PROMPTED = "prompted"  # the embedding of backbones that can prompt by video


class Backbone(Protocol):
    """Turns a signal (frames, flow or poses) into features, with a pretrained network or a fixed description."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""

    @property
    def name(self) -> str:
        """Its name in the table, or whatever its author calls it."""

    @property
    def revision(self) -> str | None:
        """The commit or version, where there is one."""

    @property
    def view(self) -> View:
        """The timestamps and the frame size it is made for."""

    @property
    def license(self) -> str:
        """The licence of its weights."""

    @property
    def width(self) -> int:
        """D, the length of a vector."""

    @property
    def batch(self) -> int:
        """How many frames to give at once for full speed."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """Everything that decides its values, as JSON, without loading the network."""

    def embed(self, batch: Sequence[Frames]) -> list[Features]:
        """Compute the features of each window; a window's values do not depend on the rest of the batch."""


class FlowBackbone(Backbone, Protocol):
    """A backbone that reads optical flow (`reads="flow"`): `embed` is given windows of Flow."""

    @property
    def flow_config(self) -> FlowConfig:
        """How the flow is computed."""

    def embed(self, batch: Sequence[Flow]) -> list[Features]:  # type: ignore[override]
        """Compute the features of each window of flow."""


class PoseBackbone(Protocol):
    """A backbone that reads poses (`reads="poses"`): `embed` is given the poses of one person a segment."""

    @property
    def capabilities(self) -> Capabilities:
        """As of a Backbone."""

    @property
    def name(self) -> str:
        """As of a Backbone."""

    @property
    def view(self) -> View:
        """As of a Backbone."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """As of a Backbone."""

    @property
    def spec(self) -> BackboneSpec:
        """What opens it again."""

    @property
    def config(self) -> PoseConfig:
        """Which poses it wants: the estimator, the person, the joints."""

    @property
    def skeleton(self) -> Skeleton:
        """The skeleton whose joints it gives or measures."""

    def embed(self, batch: Sequence[Poses]) -> list[Features]:
        """Compute the features of each: one person's poses."""


class NamedFeatures(Backbone, Protocol):
    """A backbone whose numbers have names (`names_features=True`)."""

    @property
    def columns(self) -> Mapping[str, tuple[int, ...]]:
        """Name -> the columns of a vector that hold it."""

    @property
    def meanings(self) -> Mapping[str, str]:
        """Name -> what it measures, with its unit."""

    @property
    def families(self) -> Mapping[str, tuple[str, ...]]:
        """Group -> names that measure much the same."""


@dataclass(frozen=True, eq=False)
class ClassifierLayer:
    """The linear layer that a checkpoint has behind its network, and the names of its classes where it holds them."""

    weight: NDArray[np.float32]  # (D, C)
    bias: NDArray[np.float32]  # (C,)
    labels: tuple[str, ...] | None = None


class TrainableBackbone(Backbone, Protocol):
    """A backbone whose network can be trained further (`trainable=True`)."""

    @property
    def unit(self) -> tuple[int, ...]:
        """The shape of one input: a frame (H, W, 3), a window (F, H, W, 3), or a window of flow (F, H, W, 2)."""

    def load(self) -> torch.nn.Module:
        """Load the network: uint8 (B, *unit) -> float32 (B, D) or (B, T', D), normalization inside; fp32, on the CPU, frozen, in `eval`."""

    def blocks(self, module: torch.nn.Module) -> list[list[str]]:
        """Group the names of all parameters of what `load` gave, from the input (stem) to the output (top)."""

    def write(self, module: torch.nn.Module, folder: Path, *, view: View | None = None) -> None:
        """Write the module's weights as a folder that opens again, as `weights`, with equal output, and this view where it can say it."""

    def with_weights_of(self, module: torch.nn.Module) -> Self:
        """Return the same backbone with the weights that a module such as `load` gives has now."""

    def classifier_layer(self) -> ClassifierLayer | None:
        """Return the layer that the checkpoint has behind its network, where it has one."""


class TextBackbone(Backbone, Protocol):
    """A backbone with a text encoder (`embeds_text=True`): sentences and windows have vectors in one space."""

    @property
    def templates(self) -> Sequence[str]:
        """The templates it was trained with, such as "a video of {}"; () where labels are put into none."""

    @property
    def text_identity(self) -> Mapping[str, Any]:
        """Everything that decides the vectors of sentences, as JSON."""

    @property
    def matching(self) -> Matching:
        """How the network compares texts with videos."""

    def embed_text(self, words: Sequence[str]) -> NDArray[np.float32]:
        """Compute one vector a sentence, (N, D), in the space of `embed`; of any length."""


def embeds_text(backbone: Backbone) -> TypeGuard[TextBackbone]:
    """Whether it has a text encoder, as it was opened."""
    return backbone.capabilities.embeds_text


def is_trainable(backbone: Backbone) -> TypeGuard[TrainableBackbone]:
    """Whether its network can be trained further."""
    return backbone.capabilities.trainable


def reads_poses(backbone: Backbone | PoseBackbone) -> TypeGuard[PoseBackbone]:
    """Whether it reads poses instead of frames."""
    return backbone.capabilities.reads == "poses"


def reads_flow(backbone: Backbone) -> TypeGuard[FlowBackbone]:
    """Whether it reads optical flow instead of frames."""
    return backbone.capabilities.reads == "flow"


def names_features(backbone: Backbone) -> TypeGuard[NamedFeatures]:
    """Whether its numbers have names."""
    return backbone.capabilities.names_features


def with_windows(view: View, *, windows: int | None = None, crops: int | None = None) -> View:
    """Return the view with another number of windows a segment and crops a window; None keeps the number."""
    if windows is not None:
        view = replace(view, windows=windows, stride=None)
    return view if crops is None else replace(view, crops=crops)


def view_for(backbone: Backbone, *, frames: int | None = None, windows: int | None = None, crops: int | None = None) -> View:
    """Return the backbone's own view with another number of frames a window, windows a segment or crops a window."""
    view = with_windows(backbone.view, windows=windows, crops=crops)
    view = view if frames is None else replace(view, frames=frames)
    check_view(backbone, view)
    return view


def check_view(backbone: Any, view: View) -> None:
    """Refuse a view that the backbone cannot use, before anything is decoded."""
    if view.crops > 1 and backbone.capabilities.reads == "poses":
        raise ConfigError("crops", f"the backbone {backbone.name!r} reads poses, which have no crops: take 1")
    if backbone.capabilities.restricts_views:
        backbone.check_view(view)
