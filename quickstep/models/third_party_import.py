"""import_model: a classifier that others published -> a model folder of our own, which needs theirs no more."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from quickstep.backbones import BackboneSpec
from quickstep.models.model import Model
from quickstep.models.model_files import NETWORK, check_target
from quickstep.storage.cache import Cache


def import_model(
    folder: str | Path,
    out: str | Path,
    *,
    labels: Sequence[str] | None = None,
    weights: str | Path | None = None,
    cache: Cache | None = None,
) -> Model:
    """The model of a published `weights.ckpt` and `config.json`, saved with its tower inside.

    `labels` name its classes in their order, where its config does not; `weights` is the folder of the CLIP it was made of, where its
    config names none that is known.
    """
    check_target(out)
    foreign = Model.of_foreign(folder, labels=labels, weights=weights, cache=cache)
    tower: Any = foreign.backbone
    with tempfile.TemporaryDirectory(prefix="quickstep-") as aside:
        inside = Path(aside) / NETWORK
        tower.write(tower.load(), inside)
        spec = BackboneSpec(f"clip-classifier:{Path(folder).absolute().name}", inside=True)
        mine = replace(foreign, backbone=spec.in_folder(Path(aside)).open(cache), spec=spec, networks={NETWORK: inside}, folder=Path(out))
        mine.save(out)
    return Model.load(out, cache=cache)
