"""Foreign: a classifier that others published as a folder of `weights.ckpt` and `config.json`, as the parts of a model.

The tower becomes the backbone and the layer behind it the linear head (the mean over time, then the layer). Knows no model.
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

_FILES = ("weights.ckpt", "config.json")


@dataclass(frozen=True, eq=False)
class Foreign:
    """What such a folder holds."""

    name: str  # what opens the backbone again
    labels: tuple[str, ...]
    backbone: Backbone
    head: Head


def is_foreign(folder: Path) -> bool:
    """Whether a folder is such a classifier, and none of our models."""
    return all((folder / name).is_file() for name in _FILES) and not (folder / "model.json").exists()


def read_foreign(
    folder: Path, *, labels: Sequence[str] | None = None, weights: str | Path | None = None, cache: Cache | None = None
) -> Foreign:
    """The parts of a published classifier; `labels`, in the order of its layer, where its config does not name them.

    `weights` is the folder of the CLIP it was made of, where the config names none that is known.
    """
    name = f"clip-classifier:{folder.absolute()}"
    backbone: Any = BackboneSpec(name, None if weights is None else str(weights)).open(cache)
    layer = backbone.classifier_layer()
    width, classes = layer.weight.shape
    if width != backbone.width:
        raise ModelError(folder, f"its layer reads {width} numbers, and its tower gives {backbone.width}")
    known = tuple(labels or layer.labels or ())
    if not known:
        raise ModelError(
            folder,
            f"its config.json names no class_labels for its {classes} classes: name them in their order with "
            "`quickstep import-model FOLDER -o MODEL --labels a,b,c`",
        )
    if len(known) != classes or len(set(known)) != classes:
        error = f"{len(known)} labels ({', '.join(known[:5])}) for the {classes} classes of its layer; each needs one of its own"
        raise ConfigError("labels", error) if labels else ModelError(folder, f"its config.json has {error}")
    if classes < 2:
        raise ModelError(folder, "it tells only one class, and there is nothing to tell it from")
    head = open_head("linear", {})
    zeros, ones = np.zeros(width, np.float32), np.ones(width, np.float32)
    head.load({"mean": zeros, "scale": ones, "weight": layer.weight, "bias": layer.bias})
    return Foreign(name, known, cast("Backbone", backbone), head)
