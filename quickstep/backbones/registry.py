"""The table of backbones by name. Listing it imports no network library."""

from __future__ import annotations

from quickstep.backbones.interface import Backbone, TextBackbone, embeds_text
from quickstep.types.errors import UnknownName
from quickstep.types.registry import Entry

_CLIP = "quickstep.backbones.image_encoders:ImageEncoder"
_I3D = "quickstep.backbones.i3d.backbone:I3d"
_I3D_FLOW = "quickstep.backbones.i3d.backbone:FlowI3d"
_VIDEO = "quickstep.backbones.video_encoders:VideoEncoder"
_XCLIP = "quickstep.backbones.xclip:XClip"

BACKBONES: dict[str, Entry] = {
    "flow-hist": Entry("quickstep.backbones.flow_histograms.backbone:FlowHistograms", "histograms of optical flow and edges; no download"),
    "joints": Entry("quickstep.backbones.joints:Joints", "the dancer's joints in body lengths; reads videos or pose files"),
    "kinematics": Entry("quickstep.backbones.kinematics:Kinematics", "named measures of how the dancer moves: speed, height, turns ..."),
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
