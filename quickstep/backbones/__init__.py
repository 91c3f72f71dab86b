"""Backbones: pretrained networks and fixed descriptions that turn frames, flow or poses into features."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from quickstep.backbones.interface import (
    PROMPTED,
    Backbone,
    Capabilities,
    ClassifierLayer,
    FlowBackbone,
    NamedFeatures,
    PoseBackbone,
    TextBackbone,
    TrainableBackbone,
    check_view,
    embeds_text,
    is_trainable,
    names_features,
    reads_flow,
    reads_poses,
    view_for,
    with_windows,
)
from quickstep.backbones.spec import (
    BACKBONES,
    NOT_TRAINABLE,
    RENAMED_BACKBONES,
    TEXT_BACKBONES,
    BackboneSpec,
    require_text,
    weights_available,
)
from quickstep.storage.cache import Cache

__all__ = [
    "BACKBONES",
    "NOT_TRAINABLE",
    "PROMPTED",
    "RENAMED_BACKBONES",
    "TEXT_BACKBONES",
    "Backbone",
    "BackboneSpec",
    "Capabilities",
    "ClassifierLayer",
    "FlowBackbone",
    "NamedFeatures",
    "PoseBackbone",
    "TextBackbone",
    "TrainableBackbone",
    "check_view",
    "embeds_text",
    "is_trainable",
    "names_features",
    "open_backbone",
    "reads_flow",
    "reads_poses",
    "require_text",
    "view_for",
    "weights_available",
    "with_windows",
]


def open_backbone(
    name: str | Backbone,
    *,
    weights: str | Path | None = None,
    poses: Mapping[str, Any] | None = None,
    cache: Cache | None = None,
    **settings: Any,
) -> Backbone:
    """Open a backbone by name; an instance is given back as it is.

    `weights` is a local folder or file, or another hub name, to take the checkpoint from; `poses` the fields of PoseConfig to set;
    `settings` the other fields of BackboneSpec (`embedding`, `precision`, `engine`, `flow`, `init`, `width`). Opening is quick: the
    network loads with the first `embed`.
    """
    if not isinstance(name, str):
        return name
    spec = BackboneSpec.named(name, weights=weights, poses=dict(poses or {}), **settings)
    return spec.open(cache)
