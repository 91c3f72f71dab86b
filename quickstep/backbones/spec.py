"""The table of backbones, and BackboneSpec: which backbone, with which weights and settings; `spec.open(cache)` is the only way to one.

A model folder, a library and a training run hold a spec; nobody passes its fields one by one.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

from quickstep.backbones.interface import Backbone, Capabilities, TextBackbone, embeds_text
from quickstep.storage.cache import Cache
from quickstep.types.errors import ConfigError, UnknownName
from quickstep.types.registry import Entry, current_name, look_up, refuse_code_in, trust, trust_typed

_CLIP = "quickstep.backbones.image_encoders:ImageEncoder"
_I3D = "quickstep.backbones.i3d.backbone:I3d"
_I3D_FLOW = "quickstep.backbones.i3d.backbone:FlowI3d"
_VIDEO = "quickstep.backbones.video_encoders:VideoEncoder"
_XCLIP = "quickstep.backbones.xclip:XClip"

BACKBONES: dict[str, Entry] = {
    "flow-hist": Entry("quickstep.backbones.flow_histograms.backbone:FlowHistograms", "histograms of optical flow and edges; no download"),
    "joints": Entry("quickstep.backbones.joints:Joints", "the dancer's joints in body lengths; reads videos or pose files"),
    "kinematics": Entry("quickstep.backbones.joints:Kinematics", "named measures of how the dancer moves: speed, height, turns ..."),
    "clip-vit-b32": Entry(_CLIP, "CLIP ViT-B/32, a vector of 512 a frame: the fastest CLIP"),
    "clip-vit-b16": Entry(_CLIP, "CLIP ViT-B/16, a vector of 512 a frame: sees finer detail, about 4x the work"),
    "clip-vit-l14": Entry(_CLIP, "CLIP ViT-L/14, a vector of 768 a frame: the strongest CLIP, about 18x the work"),
    "siglip2-b16": Entry(_CLIP, "SigLIP 2 B/16, a vector of 768 a frame: text in many languages, about 4x the work"),
    "siglip2-l16": Entry(_CLIP, "SigLIP 2 L/16, a vector of 1024 a frame: text in many languages, about 20x the work"),
    "xclip-b32": Entry(_XCLIP, "X-CLIP B/32, a vector of 512 for 8 frames; trained on Kinetics-400, the video adapts the text vectors"),
    "xclip-b16": Entry(_XCLIP, "X-CLIP B/16, the same with finer detail, about 4x the work"),
    "xclip-b16-zero-shot": Entry(_XCLIP, "X-CLIP B/16 with windows of 32 frames, made for labels it was not trained on"),
    "xclip-l14": Entry(_XCLIP, "X-CLIP L/14, a vector of 768 for 8 frames: the strongest X-CLIP, about 18x the work"),
    "clip-classifier:NAME": Entry(
        "quickstep.backbones.clip_classifier:ClipClassifier",
        "the image encoder of a published CLIP classifier: a folder with weights.ckpt and config.json",
    ),
    "i3d-rgb": Entry(_I3D, "I3D, 7 vectors of 1024 for 64 frames: sees motion; give its weights, or train it (--init)"),
    "i3d-flow": Entry(_I3D_FLOW, "I3D of optical flow, the same size: sees motion only; the second stream of a two-stream pair"),
    "i3d-r50": Entry(_I3D, "ResNet-50 I3D, 4 vectors of 2048 for 32 frames; give its weights, or train it (--init)"),
    "i3d-r50-nl": Entry(_I3D, "the same with non-local blocks"),
    "hf-image:NAME": Entry(_CLIP, "any CLIP, SigLIP, SigLIP 2 (with text), DINOv2 or DINOv3, by hub name or local folder"),
    "hf-video:NAME": Entry(_VIDEO, "any VideoMAE, TimeSformer, ViViT or V-JEPA 2, one vector a window, by hub name or local folder"),
    "hf-xclip:NAME": Entry(_XCLIP, "any X-CLIP, by hub name or local folder"),
}
RENAMED_BACKBONES = {"motion": "flow-hist", "motion-numbers": "kinematics"}  # names of version 0.1

TEXT_BACKBONES = tuple(name for name, entry in BACKBONES.items() if entry.target in (_CLIP, _XCLIP))
NOT_TRAINABLE = ("flow-hist", "joints", "kinematics")


def table_row(name: str) -> str:
    """Return the key of the table for a name: `hf-image:openai/clip-vit-base-patch32` belongs to `hf-image:NAME`."""
    family, colon, rest = name.partition(":")
    row = f"{family}:NAME"
    return row if colon and rest and row in BACKBONES else name


def weights_available(name: str) -> bool:
    """Whether a backbone can be used offline: it needs no weights, or they are on this machine."""
    if name not in BACKBONES and ":" not in name:
        raise UnknownName("backbone", name, BACKBONES)
    entry = BACKBONES.get(table_row(name))
    if entry is None or entry.target not in (_CLIP, _I3D, _I3D_FLOW, _VIDEO, _XCLIP):
        return True
    if entry.target in (_I3D, _I3D_FLOW):  # whose weights are always a file that the user gives
        return False
    from quickstep.backbones.checkpoints.checkpoint import is_available

    return is_available(name)


def require_text(backbone: Backbone) -> TextBackbone:
    """Return the backbone itself; one without a text encoder is refused with the names of those that have one."""
    if not embeds_text(backbone):
        raise no_text_encoder(backbone.name)
    return backbone


def no_text_encoder(name: str) -> UnknownName:
    """Return the error for a backbone without a text encoder, with the names of those that have one."""
    error = UnknownName("backbone with a text encoder", name, TEXT_BACKBONES)
    error.message = f"the backbone {name!r} has no text encoder; these have: {', '.join(error.choices)}"
    return error


NETWORK = "backbone"  # the folder inside a model folder with the weights of a fine-tuned network


@dataclass(frozen=True)
class BackboneSpec:
    """Everything that opens the same backbone again; as JSON, part of model.json."""

    name: str
    weights: str | None = None  # a local file or folder, or a hub name, in place of the published checkpoint
    embedding: str | None = field(default=None, metadata={"written_as": "output"})  # "projected", "pooled" or "prompted"
    precision: str | None = None  # "auto", "fp32" or "bf16"
    engine: str | None = None  # "torch" or "openvino"
    flow: str | None = None  # how flow is computed for one that reads it, such as "tvl1" or "dis,camera"
    poses: dict[str, Any] = field(default_factory=dict)  # the fields of PoseConfig that were set, for one that reads poses
    init: str | None = None  # what a network without weights starts from: "scratch" or "inflate:FILE"
    width: float | None = None  # with init "scratch": a narrower network, as a share of the usual width
    inside: bool = False  # `weights` is a folder inside the model folder: the network was fine-tuned

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", RENAMED_BACKBONES.get(self.name, self.name))

    @classmethod
    def named(cls, name: str, *, weights: str | Path | None = None, **settings: Any) -> Self:
        """Return the spec for a name that a person typed; an old name is noted, local weights get their absolute path."""
        poses = settings.get("poses") or {}
        trust_typed(name, settings.get("flow"), poses.get("estimator"))
        return cls(current_name("backbone", name, RENAMED_BACKBONES), weights=absolute_path(weights), **settings)

    @classmethod
    def of(cls, backbone: Backbone) -> Self:
        """Return the spec of somebody's own backbone, which is opened again by its class."""
        capabilities_of(backbone)
        trust(type(backbone).__module__)
        return cls(f"{type(backbone).__module__}:{type(backbone).__qualname__}")

    def with_weights(self, weights: str | Path | None) -> Self:
        """Return the spec with weights from another place; None changes nothing."""
        return self if weights is None else replace(self, weights=str(weights), inside=False)

    def in_folder(self, folder: Path) -> Self:
        """Return the spec for a model that lies in this folder: weights inside it get their absolute path."""
        return replace(self, weights=str(folder / NETWORK)) if self.inside else self

    def settled(self, backbone: Backbone) -> Self:
        """Return the spec with everything that was left open as the opened backbone settled it."""
        identity = backbone.identity
        settled = {"embedding": "output", "precision": "precision", "engine": "engine"}
        values = {name: identity.get(key, getattr(self, name)) for name, key in settled.items()}
        poses = backbone.spec.poses if backbone.capabilities.reads == "poses" else {}  # type: ignore[attr-defined]
        return replace(self, **values, poses=dict(poses))

    def open(self, cache: Cache | None = None) -> Backbone:
        """Open the backbone, ready to describe itself; its network loads with the first `embed`."""
        row = table_row(self.name)
        refuse_code_in({"flow": self.flow, "estimator": self.poses.get("estimator")})
        backbone: Any = look_up("backbone", row, BACKBONES)
        if not isinstance(backbone, type):
            return backbone  # type: ignore[no-any-return]  # somebody's instance
        self._check(capabilities_of(backbone))
        if row in BACKBONES:
            return backbone(self, cache or Cache())  # type: ignore[no-any-return]
        return backbone(**self._settings)  # type: ignore[no-any-return]  # somebody's class

    @property
    def _settings(self) -> dict[str, Any]:
        """The fields that were set, besides the name and the place of the weights."""
        values = {item.name: getattr(self, item.name) for item in fields(self) if item.name not in ("name", "inside")}
        return {name: value for name, value in values.items() if value is not None and value != {}}

    def _check(self, capabilities: Capabilities) -> None:
        for name in self._settings:
            if name in capabilities.settings:
                continue
            if name == "poses":
                raise ConfigError(next(iter(self.poses)), f"is for backbones that read poses, such as joints; {self.name!r} does not")
            raise ConfigError(name, f"the backbone {self.name!r} has no such setting; leave it out")


def absolute_path(weights: str | Path | None) -> str | None:
    """Return the absolute path of local weights, so that a model finds them from any folder; a hub name as it is."""
    if weights is None or not Path(weights).expanduser().exists():
        return None if weights is None else str(weights)
    return str(Path(weights).expanduser().absolute())


def capabilities_of(backbone: Any) -> Capabilities:
    """Return the capabilities of somebody's backbone; one without is refused with what to write."""
    capabilities = getattr(backbone, "capabilities", None)
    if isinstance(backbone, str):
        raise ConfigError("backbone", f"a backbone object is needed here; name one in the config: TrainConfig(backbone={backbone!r})")
    if not isinstance(capabilities, Capabilities):
        name = (backbone if isinstance(backbone, type) else type(backbone)).__qualname__
        raise ConfigError(
            "backbone", f"the class {name} does not say what it can do: write `capabilities = quickstep.Capabilities(reads='frames')` in it"
        )
    return capabilities
