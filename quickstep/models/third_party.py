"""Read a third-party classifier, a folder of `weights.ckpt` and `config.json`, as the parts of a model.

Its encoder becomes the backbone, and its last layer the linear head (mean over time, then the layer).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from quickstep.backbones import BackboneSpec
from quickstep.heads import Head, open_head
from quickstep.types.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from quickstep.backbones import Backbone
    from quickstep.storage.cache import Cache


@dataclass(frozen=True, eq=False)
class ThirdPartyModel:
    """The parts of a third-party classifier."""

    name: str  # opens the backbone again
    labels: tuple[str, ...]
    backbone: Backbone
    head: Head


def read_third_party(
    folder: Path, *, labels: Sequence[str] | None = None, weights: str | Path | None = None, cache: Cache | None = None
) -> ThirdPartyModel:
    """Read a third-party classifier; `labels`, in the order of its layer, are needed where its config names none.

    `weights` is the folder of the CLIP model that it is based on, where its config names no known one.
    """
    name = f"clip-classifier:{folder.absolute()}"
    backbone: Any = BackboneSpec(name, None if weights is None else str(weights)).open(cache)
    layer = backbone.classifier_layer()
    width, classes = layer.weight.shape
    if width != backbone.width:
        raise ModelError(folder, f"its layer has {width} inputs, and its encoder has {backbone.width} outputs")
    names = tuple(labels or layer.labels or ())
    if not names:
        raise ModelError(
            folder,
            f"its config.json names no class_labels for its {classes} classes: name them in their order with "
            "`quickstep import-model FOLDER -o MODEL --labels a,b,c`",
        )
    if len(names) != classes or len(set(names)) != classes:
        error = f"{len(names)} labels ({', '.join(names[:5])}) for the {classes} classes of its layer; each class needs its own label"
        raise ConfigError("labels", error) if labels else ModelError(folder, f"its config.json has {error}")
    if classes < 2:
        raise ModelError(folder, "it has only one class; a classifier needs at least two")
    head = open_head("linear", {})
    zeros, ones = np.zeros(width, np.float32), np.ones(width, np.float32)
    head.load({"mean": zeros, "scale": ones, "weight": layer.weight, "bias": layer.bias})
    return ThirdPartyModel(name, names, cast("Backbone", backbone), head)
